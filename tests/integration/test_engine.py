"""One engine in an actor of its own: what it says, and that an update really changes it."""

import os

import numpy as np
import pyarrow as pa
import pytest

from cluster.engine import WISH, Generate, environment
from cluster.remote import lists
from iteration import tiny
from iteration.tasks.expressions import VOCABULARY

OPTIONS = Generate(max_tokens=24, context=64, cache_mb=32, max_seqs=64, gpus=0, dtype="float32")


def wishes(prompts, n=4, seeds=None, whole=True, logprobs=True):
    seeds = seeds or [1000 * i for i in range(len(prompts))]
    arrays = [np.array(prompt, np.int32) for prompt in prompts]
    rows = len(prompts)
    limits = [1.0] * rows, [OPTIONS.max_tokens] * rows
    columns = [lists(arrays, pa.int32()), [n] * rows, [whole] * rows, *limits, [logprobs] * rows, seeds]
    return pa.table(
        [pa.array(c, f.type) if isinstance(c, list) else c for c, f in zip(columns, WISH, strict=True)], schema=WISH
    )


PROMPTS = [[8, 3, 9, 2], [10, 5, 11, 3, 12, 2], [7, 4, 7, 2]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "models"
    for name in ("a", "b"):
        tiny.build(folder / name, VOCABULARY, tiny.Shape(hidden_size=64), seed=ord(name))
    return folder


@pytest.fixture(scope="module")
def generator(models):
    import ray

    from cluster.generator import Generator
    from cluster.head import start_actor, start_ray

    start_ray("", dashboard=False)
    arguments = 0, str(models.parent), OPTIONS
    found = start_actor(Generator, "generator", arguments, environment(0), concurrency=100).handle
    ray.get(found.update.remote("a"), timeout=300)
    yield found
    ray.get(found.close.remote(), timeout=30)
    ray.shutdown()


def ask(generator, *arguments, version="a", **options):
    import ray

    return ray.get(generator.generate.remote(wishes(*arguments, **options), version), timeout=120)


def test_every_wish_gets_its_answers_with_tokens_and_logprobs(generator):
    steps = ask(generator, PROMPTS).to_pylist()
    assert [step["wish"] for step in steps] == [0] * 4 + [1] * 4 + [2] * 4
    for step in steps:
        assert len(step["token_ids"]) == len(step["logprobs"]) > 0
        assert step["final"] == (step["token_ids"][-1] == 1)
        assert step["final"] != step["cut"] and (step["final"] or len(step["token_ids"]) == OPTIONS.max_tokens)
        assert step["model"] == "a" and all(p <= 0 for p in step["logprobs"])


def test_seeds_decide_alone_or_among_others(generator):
    together = ask(generator, PROMPTS, seeds=[5, 6, 7]).to_pylist()
    alone = ask(generator, PROMPTS[1:2], seeds=[6]).to_pylist()
    assert [step["token_ids"] for step in together[4:8]] == [step["token_ids"] for step in alone]
    assert len({tuple(step["token_ids"]) for step in together[4:8]}) > 1, "siblings differ"


def test_a_step_ends_at_the_line(generator):
    steps = ask(generator, PROMPTS, n=8, whole=False).to_pylist()
    cut = [step for step in steps if 2 in step["token_ids"]]
    assert cut, "some answer has a line end"
    for step in cut:
        assert step["token_ids"].index(2) == len(step["token_ids"]) - 1 and not step["final"]
        assert not step["cut"]


def test_what_no_wish_asks_for_changes_nothing_else(generator):
    """Without logprobs the same tokens come, and none of their logprobs; without a seed others come."""
    before = ask(generator, PROMPTS)
    lean = ask(generator, PROMPTS, logprobs=False)
    assert lean["token_ids"] == before["token_ids"] and lean["logprobs"].null_count == len(lean) == 12
    assert ask(generator, PROMPTS, logprobs=False, seeds=[None] * 3)["token_ids"] != before["token_ids"]


def test_a_prompt_that_is_too_long_is_said(generator):
    with pytest.raises(ValueError, match="a prompt has 70 tokens but generate.context is 64"):
        ask(generator, [[3] * 70])


def test_an_update_changes_the_answers_to_those_of_the_new_weights(generator, models):
    import ray
    import torch
    from transformers import AutoModelForCausalLM

    def compare(name):
        prompt = np.array(PROMPTS[1], np.int32)
        answer, logprobs = ray.get(generator.greedy.remote(prompt, name), timeout=60)
        model = AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32)
        ids = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))[None]
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert scores.argmax(-1).tolist() == answer.tolist()
        assert np.abs(scores.max(-1).values.numpy() - logprobs).max() < 1e-4
        return answer.tolist()

    before, sampled = compare("a"), ask(generator, PROMPTS, seeds=[1, 2, 3])
    ray.get(generator.update.remote("b"), timeout=60)
    after, other = compare("b"), ask(generator, PROMPTS, seeds=[1, 2, 3], version="b")
    assert before != after and other["model"].to_pylist()[0] == "b"
    assert sampled["token_ids"] != other["token_ids"]
    with pytest.raises(ray.exceptions.RayTaskError, match="a was asked for, but Generator 0 serves b"):
        ask(generator, PROMPTS)
    ray.get(generator.update.remote("a"), timeout=60)
    assert compare("a") == before and ask(generator, PROMPTS, seeds=[1, 2, 3])["token_ids"] == sampled["token_ids"]


def test_weights_that_a_trainer_sends_are_those_that_an_engine_reads(generator, models):
    """The way of nccl and ipc, with our own backend: the trainer calls the engine by vLLM's weight-transfer API."""
    import ray

    from cluster.head import start_actor
    from cluster.train.options import Model, Train, TrainJudge
    from cluster.train.trainer import Trainer

    trainer = start_actor(Trainer, "trainer", (str(models.parent), Model(), Train(threads=1), TrainJudge(), 0)).handle
    ray.get(generator.update.remote("b"), timeout=60)
    read = ask(generator, PROMPTS, seeds=[1, 2, 3], version="b")
    ray.get(generator.update.remote("a"), timeout=60)
    (models / "sent").symlink_to(models / "b")
    ray.get(generator.update.remote("sent", [trainer]), timeout=120)
    sent = ask(generator, PROMPTS, seeds=[1, 2, 3], version="sent")
    assert sent["token_ids"] == read["token_ids"] and sent["model"].to_pylist()[0] == "sent"
    ray.get(generator.update.remote("a"), timeout=60)
    ray.kill(trainer)


def test_asleep_it_wakes_for_what_is_asked(generator):
    """On CPU vLLM ignores its sleep: what is shown is who calls whom."""
    import ray

    before = ask(generator, PROMPTS, seeds=[1, 2, 3])
    ray.get([generator.sleep.remote(), generator.sleep.remote()], timeout=60)
    assert ask(generator, PROMPTS, seeds=[1, 2, 3])["token_ids"] == before["token_ids"]


def test_every_token_that_ends_an_answer_counts(models, tmp_path):
    import shutil

    from transformers import GenerationConfig

    from cluster.engine import end_tokens

    folder = shutil.copytree(models / "a", tmp_path / "many")
    GenerationConfig(eos_token_id=[5, 7]).save_pretrained(folder)
    assert end_tokens(folder) == {1, 5, 7}
    (folder / "generation_config.json").unlink()
    assert end_tokens(folder) == {1}


def test_greedy_wishes_and_limits_of_one_wish(generator):
    import ray

    table = wishes(PROMPTS[:2] * 2, n=1, seeds=[1, 2, 3, 4])
    at = table.schema.get_field_index
    table = table.set_column(at("temperature"), "temperature", pa.array([0.0] * 4, pa.float32()))
    table = table.set_column(at("max_tokens"), "max_tokens", pa.array([24, 24, 3, 3], pa.int32()))
    steps = ray.get(generator.generate.remote(table, "a"), timeout=120).to_pylist()
    assert [step["token_ids"] for step in steps[2:]] == [step["token_ids"][:3] for step in steps[:2]]
    assert all(step["cut"] != step["final"] for step in steps[2:])


def test_a_hotter_wish_is_more_varied_and_its_logprobs_are_of_what_it_was_sampled_from(generator):
    import ray

    table = wishes([PROMPTS[0]] * 2, n=64, seeds=[1, 2])
    at = table.schema.get_field_index
    table = table.set_column(at("temperature"), "temperature", pa.array([0.25, 2.0], pa.float32()))
    table = table.set_column(at("max_tokens"), "max_tokens", pa.array([1, 1], pa.int32()))
    rows = ray.get(generator.generate.remote(table, "a"), timeout=120).to_pylist()
    cold, hot = ([(r["token_ids"][0], r["logprobs"][0]) for r in rows if r["wish"] == wish] for wish in (0, 1))
    assert len(set(cold)) < len(set(hot))
    # log p at two temperatures of the same two tokens: differences scale with 1 / T.
    shared = sorted(set(dict(cold)) & set(dict(hot)), key=dict(cold).get)
    first, last = shared[0], shared[-1]
    wide, narrow = dict(cold)[last] - dict(cold)[first], dict(hot)[last] - dict(hot)[first]
    assert wide == pytest.approx(8 * narrow, rel=1e-2)


@pytest.fixture(scope="module")
def judges(models):
    """Two value models: fresh heads on the two policies."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = models.parent / "judges"
    for name in ("a", "b"):
        model = AutoModelForSequenceClassification.from_pretrained(models / name, num_labels=1)
        model.score.weight.data *= 20  # scores that differ
        model.save_pretrained(folder / f"judge-{name}")
        AutoTokenizer.from_pretrained(models / name).save_pretrained(folder / f"judge-{name}")
    return folder


def test_a_value_model_is_served_updated_and_reads_shared_prefixes_once(generator, judges):
    import ray
    import torch
    from transformers import AutoModelForSequenceClassification

    from cluster.generator import Judge
    from cluster.head import start_actor

    long = np.random.default_rng(0).integers(3, 26, 63).astype(np.int32)
    prefixes = [np.array(prompt, np.int32) for prompt in PROMPTS] + [long[:n] for n in (40, 50, 60, 63)]
    table = pa.table([lists(prefixes, pa.int32())], ["token_ids"])

    def own(name):
        model = AutoModelForSequenceClassification.from_pretrained(judges / f"judge-{name}", dtype=torch.float32).eval()
        with torch.no_grad():
            return [model(input_ids=torch.from_numpy(p.astype(np.int64))[None]).logits.sigmoid().item() for p in prefixes]

    arguments = 0, str(judges.parent), OPTIONS
    judge = start_actor(Judge, "judge", arguments, environment(0), concurrency=100).handle
    ray.get(judge.update.remote("judge-a"), timeout=300)
    assert ray.get(judge.score.remote(table, "judge-a"), timeout=60) == pytest.approx(own("a"), abs=1e-4)
    before = ray.get(judge.ledger.remote())
    assert ray.get(judge.score.remote(table, "judge-a"), timeout=60) == pytest.approx(own("a"), abs=1e-4)
    after = ray.get(judge.ledger.remote())
    assert after.cached_tokens - before.cached_tokens >= 4 * 32, "whole blocks of the prefixes are in the cache"
    ray.get(judge.update.remote("judge-b"), timeout=60)
    assert ray.get(judge.score.remote(table, "judge-b"), timeout=60) == pytest.approx(own("b"), abs=1e-4), (
        "nothing old is in the cache"
    )
    ray.get(judge.close.remote(), timeout=30)


@pytest.mark.skipif(not os.environ.get("FLYWHEEL_LONG"), reason="takes a minute: FLYWHEEL_LONG=1 runs it")
def test_a_killed_engine_process_takes_its_actor_along_and_both_come_back(models, generator):
    """As on GPUs, vLLM's engine here is a process of its own beside the actor: it gets a SIGKILL."""
    import time

    import psutil
    import ray
    from ray.exceptions import RayActorError

    from cluster.generator import Generator
    from cluster.head import start_actor

    apart = environment(0) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    arguments = 1, str(models.parent), OPTIONS
    handle = start_actor(Generator, "generator-apart", arguments, apart, concurrency=100).handle
    before = ask(handle, PROMPTS)
    actor = ray.get(handle.__ray_call__.remote(lambda self: os.getpid()))
    engines = [child for child in psutil.Process(actor).children(recursive=True) if "EngineCore" in " ".join(child.cmdline())]
    assert len(engines) == 1, "the engine is a process of its own"
    engines[0].kill()
    with pytest.raises(RayActorError):
        ask(handle, PROMPTS)
    until = time.monotonic() + 120
    while True:
        try:
            after = ask(handle, PROMPTS)
            break
        except RayActorError:
            assert time.monotonic() < until, "it did not come back"
            time.sleep(0.5)
    assert after["token_ids"].to_pylist() == before["token_ids"].to_pylist(), "with the weights that were asked for"
    assert ray.get(handle.__ray_call__.remote(lambda self: os.getpid())) != actor
    ray.get(handle.close.remote(), timeout=30)
    ray.kill(handle)
