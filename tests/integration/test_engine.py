"""One engine in an actor of its own: what it says, and that an update really changes it."""

import numpy as np
import pyarrow as pa
import pytest

from cluster.engine import WISH, Generate, environment
from cluster.remote import lists
from iteration import tiny
from iteration.tasks.expressions import VOCABULARY

OPTIONS = Generate(max_tokens=24, context=64, cache_mb=32, max_seqs=64)


def wishes(prompts, n=4, seeds=None, whole=True):
    seeds = seeds or [1000 * i for i in range(len(prompts))]
    arrays = [np.array(prompt, np.int32) for prompt in prompts]
    rows = len(prompts)
    columns = [lists(arrays, pa.int32()), [n] * rows, [whole] * rows, [False] * rows, [OPTIONS.max_tokens] * rows, seeds]
    return pa.table(
        [pa.array(c, f.type) if isinstance(c, list) else c for c, f in zip(columns, WISH, strict=True)], schema=WISH
    )


PROMPTS = [[8, 3, 9, 2], [10, 5, 11, 3, 12, 2], [7, 4, 7, 2]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("a", "b"):
        tiny.build(folder / name, VOCABULARY, tiny.Shape(hidden_size=64), seed=ord(name))
    return folder


@pytest.fixture(scope="module")
def generator(models):
    import ray

    from cluster.generator import Generator
    from cluster.placement import actor, start_ray

    start_ray("", dashboard=False)
    found = actor(Generator, "generator", environment(0), 0, 100).remote(0, str(models / "a"), "a", OPTIONS)
    assert ray.get(found.ready.remote(), timeout=300) == "a"
    yield found
    ray.get(found.close.remote(), timeout=30)
    ray.shutdown()


def ask(generator, *arguments, **options):
    import ray

    return ray.get(generator.generate.remote(wishes(*arguments, **options)), timeout=120)


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
        assert "\n" in step["text"] and not step["cut"]


def test_a_prompt_that_is_too_long_is_said(generator):
    with pytest.raises(ValueError, match="a prompt has 70 tokens but generate.context is 64"):
        ask(generator, [[3] * 70])


def test_an_update_changes_the_answers_to_those_of_the_new_weights(generator, models):
    import ray
    import torch
    from transformers import AutoModelForCausalLM

    def compare(name):
        prompt = np.array(PROMPTS[1], np.int32)
        answer, logprobs = ray.get(generator.greedy.remote(prompt), timeout=60)
        model = AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32)
        ids = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))[None]
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert scores.argmax(-1).tolist() == answer.tolist()
        assert np.abs(scores.max(-1).values.numpy() - logprobs).max() < 1e-4
        return answer.tolist()

    before, sampled = compare("a"), ask(generator, PROMPTS, seeds=[1, 2, 3])
    ray.get(generator.update.remote(str(models / "b"), "b"), timeout=60)
    after, other = compare("b"), ask(generator, PROMPTS, seeds=[1, 2, 3])
    assert before != after and other["model"].to_pylist()[0] == "b"
    assert sampled["token_ids"] != other["token_ids"]
    ray.get(generator.update.remote(str(models / "a"), "a"), timeout=60)
    assert compare("a") == before and ask(generator, PROMPTS, seeds=[1, 2, 3])["token_ids"] == sampled["token_ids"]
