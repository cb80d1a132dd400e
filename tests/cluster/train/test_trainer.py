"""The trainer without Ray: packing changes nothing, and a small model learns."""

import json

import numpy as np
import pytest

from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.train.examples import load_examples, manifest_table
from cluster.train.fit import fit, micro_batches
from cluster.train.options import Model, Optimise, Train, TrainJudge, WarmStart
from cluster.train.ranks import ALONE, Group
from cluster.train.trainer import Trainer
from iteration import losses, tiny
from iteration.examples import item_table
from iteration.learn.dpo import Dpo
from iteration.learn.sft import Sft
from iteration.packing import batches
from iteration.parts import JUDGE, LEARN, TASK, VERIFY, Part
from iteration.tasks.expressions import VOCABULARY, Expressions
from iteration.types import Examples
from tests.cluster.folder.folders import TRAIN

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small matrices: threads only get in each other's way
EXPRESSIONS = Part(TASK, "expressions", {})
SHAPE = tiny.Shape(hidden_size=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate_size=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.build(folder, VOCABULARY, SHAPE, seed=1)
    return folder


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def corpus(tokens=3000, weights=None):
    found = Expressions().corpus(tokens, np.random.default_rng(0))
    each = np.ones(len(found)) if weights is None else weights(len(found))
    spread = (found.weights * np.repeat(each, found.lengths)).astype(np.float32)
    return Examples(found.token_ids, found.positions, spread, found.labels, found.offsets)


def alone(model, data):
    """The weighted mean loss with every example in a batch of its own: nothing packed, nothing padded."""
    total = weight = 0.0
    for begin, end in zip(data.offsets, data.offsets[1:], strict=False):
        ids = torch.from_numpy(data.token_ids[begin:end].astype(np.int64))[None]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        weights = torch.from_numpy(data.weights[begin + 1 : end].copy())
        total += (each * weights).sum().item()
        weight += weights.sum().item()
    return total / weight


@pytest.mark.parametrize("micro_rows", [1, 3, 64])
def test_packed_and_accumulated_is_the_same_loss_as_one_by_one(folder, micro_rows):
    data = corpus(weights=lambda n: np.linspace(0.5, 2, n).astype(np.float32))
    plan = list(batches(data, np.arange(len(data)), 64, 128, np.random.default_rng(0)))
    assert len(plan) == 1
    (loss,) = fit(load(folder), plan, Optimise(rows=64, micro_rows=micro_rows), Sft())
    assert loss == pytest.approx(alone(load(folder), data), abs=2e-5)


def test_a_model_is_warm_started_once_and_is_the_same_from_the_same_seed(tmp_path):
    records = []
    for name in ("a", "b"):
        store = Store(tmp_path / name).open()
        trainer = Trainer(
            str(store.root), Model(shape=SHAPE, warm_start=WarmStart(tokens=8000)), Train(threads=1), TrainJudge(), seed=3
        )
        record = trainer.begin(EXPRESSIONS)
        assert record["loss_last"] < record["loss_first"] and record["packing"] > 0.9
        assert trainer.begin(EXPRESSIONS) == record  # there already
        records.append((store.folder("models/m00000") / "model.safetensors").read_bytes())
    assert records[0] == records[1], "bit by bit"


def test_a_round_trains_on_its_manifest_once(tmp_path):
    from tests.iteration.test_examples import forest

    store = Store(tmp_path).open()
    store.put_table("traces/r00002/train/u00005", forest())
    ids = ["r00002/train/u00005/t001/n0003", "r00002/train/u00005/t000/n0001", "r00002/train/u00005/t001/n0003"]
    store.put_table("manifests/r00001", manifest_table(item_table(ids, [8, 5, 8]), np.arange(3), np.array([0, 0, 1])))
    trainer = Trainer(
        str(store.root), Model(shape=SHAPE, warm_start=WarmStart(tokens=500)), Train(threads=1), TrainJudge(), seed=0
    )
    trainer.begin(EXPRESSIONS)
    record = trainer.train("m00001", "m00000", Part(LEARN, "sft", {}))
    assert (record["examples"], record["tokens"], record["base"]) == (3, 8 + 5 + 8, "m00000")
    assert json.loads((tmp_path / "models/m00001/training.json").read_text()) == record
    before = (tmp_path / "models/m00001/model.safetensors").stat().st_ino
    assert trainer.train("m00001", "m00000", Part(LEARN, "sft", {})) == record
    assert (tmp_path / "models/m00001/model.safetensors").stat().st_ino == before


@pytest.mark.parametrize(
    ("given", "wanted", "saved", "lora"),
    [
        (torch.bfloat16, "float32", torch.float32, 0),
        (torch.bfloat16, "same", torch.bfloat16, 0),
        (torch.float32, "same", torch.float32, 0),
        (torch.float32, "bfloat16", torch.bfloat16, 0),
        (torch.bfloat16, "float32", torch.float32, 2),  # merged adapters have two ways to their dtype: up and down
        (torch.float32, "bfloat16", torch.bfloat16, 2),
    ],
)
def test_a_model_is_saved_in_the_dtype_that_is_asked_for(tmp_path, folder, given, wanted, saved, lora):
    """bfloat16 in, bfloat16 out: half the bytes, and the trainer's own logprobs are those of what was saved."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    from tests.iteration.test_examples import forest

    load(folder).to(given).save_pretrained(tmp_path / "given")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "given")
    store = Store(tmp_path / "run").open()
    store.put_table("traces/r00002/train/u00005", forest())
    items = item_table(["r00002/train/u00005/t001/n0003"], [8])
    options = Train(threads=1, save_dtype=wanted, lora=lora, lr=0.1)
    trainer = Trainer(str(store.root), Model(path=str(tmp_path / "given")), options, TrainJudge(), seed=0, resident=True)
    trainer.begin(EXPRESSIONS)
    for number in (1, 2):  # the second round starts from what the first one saved
        store.put_table(f"manifests/r0000{number}", manifest_table(items, np.arange(1), np.array([0])))
        trainer.train(f"m0000{number}", f"m0000{number - 1}", Part(LEARN, "sft", {}))
        made = store.folder(f"models/m0000{number}")
        weights = load_file(made / "model.safetensors")
        assert {each.dtype for each in weights.values()} == {saved}
        assert json.loads((made / "config.json").read_text())["dtype"] == str(saved).removeprefix("torch.")
        if not lora:  # what stays in memory, for engines, is what was saved
            mine = dict(trainer._resident.module.named_parameters())
            assert all(torch.equal(mine[name], value) for name, value in weights.items())
    prompt, answer = np.array([8, 3], np.int32), np.array([8, 1], np.int32)
    model = load(made)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[8, 3, 8, 1]])).logits[0, 1:3].log_softmax(-1)
    assert np.allclose(trainer.logprobs("m00002", prompt, answer), logits[[0, 1], [8, 1]].numpy(), atol=1e-5)
    before = load_file(store.folder("models/m00001") / "model.safetensors")
    assert any(not torch.equal(value, before[name]) for name, value in weights.items()), "it was trained"


def test_a_model_without_an_end_of_text_is_refused_at_the_start(tmp_path, folder):
    import shutil

    from iteration.errors import UserError

    endless = tmp_path / "endless"
    shutil.copytree(folder, endless)
    for name, keys in {
        "config.json": ["eos_token_id"],
        "generation_config.json": ["eos_token_id"],
        "tokenizer_config.json": ["eos_token"],
    }.items():
        record = json.loads((endless / name).read_text())
        (endless / name).write_text(json.dumps({key: value for key, value in record.items() if key not in keys}))
    store = Store(tmp_path / "run").open()
    with pytest.raises(UserError, match="no end-of-text token there, so no answer would end; name it as eos_token"):
        Trainer(str(store.root), Model(path=str(endless)), Train(threads=1), TrainJudge(), 0).begin(EXPRESSIONS)
    assert not store.has("models/m00000", "")


def test_a_training_that_diverges_commits_no_model(tmp_path):
    from iteration.errors import UserError

    store = Store(tmp_path).open()
    trainer = Trainer(
        str(store.root), Model(shape=SHAPE, warm_start=WarmStart(tokens=8000, lr=1e38)), Train(threads=1), TrainJudge(), 0
    )
    with pytest.raises(UserError, match="training diverged: the loss is nan at step"):
        trainer.begin(EXPRESSIONS)
    assert not store.has("models/m00000", "")


def test_no_model_and_no_corpus_is_said(tmp_path):
    from iteration.errors import UserError

    (tmp_path / "p.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n' * 3 + '{"prompt": "a3", "answer": "2"}\n' * 3)
    store = Store(tmp_path / "run").open()
    with pytest.raises(UserError, match="model.path nowhere: no Hugging Face model with safetensors there"):
        Trainer(str(store.root), Model(path="nowhere"), Train(threads=1), TrainJudge(), 0).begin(EXPRESSIONS)


def test_preference_loss_of_known_margins(monkeypatch):
    """Two pairs in one row: the margin of the first is 2 nats better than the reference's, that of the second 1 worse."""
    from types import SimpleNamespace

    monkeypatch.setattr(losses, "logprobs", lambda model, batch: torch.tensor(model))
    batch = SimpleNamespace(items=torch.tensor([0, 0, 1, 1]), weights=torch.tensor([1.0, -1.0, 1.0, -1.0]), count=3)
    ours, before = [-0.5, -2.5, -1.5, -0.5], [-1.0, -1.0, -1.0, -1.0]
    loss = losses.preference(ours, before, batch, beta=0.5, anchor=0.0)  # the third example is in other rows: it counts there
    expected = -sum(torch.nn.functional.logsigmoid(torch.tensor(0.5 * margin)) for margin in (0.5 + 1.5, -0.5 - 0.5))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)
    anchored = losses.preference(ours, before, batch, beta=0.5, anchor=2.0)
    assert anchored.item() - loss.item() == pytest.approx(2.0 * (0.5 + 1.5), abs=1e-4)


def test_preferences_are_learnt_and_the_reference_stands_still(folder):
    """Pairs that differ in one token: after training the chosen one is likelier than before, the rejected one less."""
    rng = np.random.default_rng(0)
    prompts = rng.integers(6, 26, (32, 4)).astype(np.int32)
    pairs = [[np.append(p, 8).astype(np.int32), np.append(p, 9).astype(np.int32)] for p in prompts]
    weights = [np.array([0, 0, 0, 0, 1, 0, 0, 0, 0, -1.0])] * len(pairs)
    data = Examples.of(pairs, weights)
    plan = list(batches(data, np.tile(np.arange(32), 12), 4, 40, np.random.default_rng(0)))
    model = load(folder)
    learn = Dpo(beta=0.5, anchor=0.0)
    found = list(fit(model, plan, Optimise(lr=1e-3, rows=4, micro_rows=2), learn))
    assert found[0] == pytest.approx(np.log(2), abs=1e-4), "before the first step model and reference agree"
    assert np.mean(found[-4:]) < 0.5
    with torch.no_grad():
        logits = [
            m(input_ids=torch.from_numpy(prompts.astype(np.int64))).logits[:, -1].log_softmax(-1) for m in (load(folder), model)
        ]
    margins = [(each[:, 8] - each[:, 9]).mean().item() for each in logits]
    assert margins[1] > margins[0] + 1


def test_a_value_model_learns_which_steps_are_right(tmp_path):
    """Trained on traces of a world where a step is right if its token is even; the trainer's own scores show it."""
    import pyarrow as pa

    from cluster.searcher import Unit, table
    from iteration.types import Expand, History, Problem, State, Step, Tree, Verdict

    rng = np.random.default_rng(0)
    problems = [Problem(f"p{i}", "2 + 2", "4", 1) for i in range(40)]

    def tree(problem):
        found = Tree.root(problem, Step(np.array([8, 3, 8], np.int32), np.zeros(3, np.float32), "2 + 2", False), 0)
        digits = rng.integers(6, 26, 4).tolist()
        steps = [Step(np.array([d, 1], np.int32), np.zeros(2, np.float32), str(d), True) for d in digits]
        for node in found.grow([Expand(0, 4, True)], [steps]):
            good = int(node.step.text) % 2 == 0
            node.verdict = Verdict(State.CORRECT if good else State.WRONG, node.step.text, float(good))
        return found

    store = Store(tmp_path).open()
    unit = Unit(TRAIN, 1, 0, problems, ["2 + 2"] * 40, "m00000", [History()] * 40)
    store.put_table(unit.key, table(unit, [tree(problem) for problem in problems]))
    columns = {name: [getattr(p, name) for p in problems] for name in ("id", "prompt", "answer", "level")}
    store.put_table("plans/r00001/train", pa.table(columns))
    tiny.build(tmp_path / "models/m00000", VOCABULARY, SHAPE, seed=1)
    trainer = Trainer(str(tmp_path), Model(), Train(threads=1), TrainJudge(tokens=24_000, rows=4, lr=2e-3), 0)
    taught = 1, 0, Part(JUDGE, "process", {"labels": "rollouts"}), Part(VERIFY, "exact", {}), "\n", TRAIN
    record = trainer.judge(*taught)
    assert record["trunk"] == "m00000" and record["steps_labelled"] == record["answers"] and record["loss_last"] < 0.25
    assert trainer.judge(*taught) == record, "trained once"
    prefixes = [np.array([8, 3, 8, d, 1], np.int32) for d in range(6, 26)]
    scores = trainer.scores("j00001-process", prefixes)
    assert np.array_equal(scores > 0.5, np.arange(6, 26) % 2 == 0)


def test_items_of_several_units_keep_their_places(tmp_path):
    import pyarrow.compute as pc

    from tests.iteration.test_learn import forest

    store = Store(tmp_path).open()
    store.put_table("traces/r00001/train/u00000", forest())
    other = forest()
    renamed = pc.replace_substring(other["id"], "r00001/train", "r00002/source-x")
    store.put_table("traces/r00002/source-x/u00000", other.set_column(0, "id", renamed))
    name = "r00001/train/u00000/t000/n000"
    items = [
        (f"{name}3", f"{name}4"),
        (f"{name}3".replace("r00001/train", "r00002/source-x"), f"{name}5"),
        (f"{name}1", f"{name}2"),
    ]
    items[1] = (items[1][0], items[1][1].replace("r00001/train", "r00002/source-x"))
    data, where = load_examples(Book(store), items, Dpo())
    assert where.tolist() == [0, 2, 1] and data.lengths[where].tolist() == [10, 9, 7]


def test_logits_only_for_targets_change_neither_loss_nor_gradient(folder):
    """Against logits for every slot: losses and gradients are equal up to rounding, and the output layer sees targets only."""
    import torch.nn.functional as F

    data = corpus(2000, weights=lambda n: np.arange(n) % 3 / 2)  # a third of the examples have weight 0
    (batch,) = batches(data, np.arange(len(data)), 64, 128, np.random.default_rng(0))
    model, dense, seen = load(folder), load(folder), []
    micro = next(micro_batches(batch, 64, ALONE, model))
    model.get_output_embeddings().register_forward_hook(lambda _, inputs, output: seen.append(output.shape[:2].numel()))
    loss = losses.likelihood(model, micro)
    logits = dense(input_ids=micro.token_ids, position_ids=micro.positions, use_cache=False).logits[:, :-1]
    each = F.cross_entropy(logits.flatten(0, 1), micro.token_ids[:, 1:].flatten(), reduction="none")
    wanted = (each * torch.from_numpy(batch.weights * (batch.positions > 0))[:, 1:].flatten()).sum()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    loss.backward(), wanted.backward()
    for mine, theirs in zip(model.parameters(), dense.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4 * theirs.grad.abs().max().item())
    assert seen == [len(micro.targets)] and 0 < seen[0] < 0.7 * batch.tokens


def test_a_rank_without_rows_counts_nothing_and_still_has_gradients(folder):
    (batch,) = batches(corpus(300), np.arange(3), 1, 128, np.random.default_rng(0))
    model = load(folder)
    (micro,) = micro_batches(batch, 1, Group(1, 2), model)
    assert micro.token_ids.shape == (1, 128) and not len(micro.targets) and not len(micro.weights)
    loss = losses.likelihood(model, micro)
    loss.backward()
    assert loss.item() == 0 and all(not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("options", [WarmStart, Train, TrainJudge])
def test_too_few_tokens_are_refused(options):
    assert options(tokens=1).tokens == 1
    with pytest.raises(ValueError, match="tokens is 0; expected at least 1"):
        options(tokens=0)
    with pytest.raises(ValueError, match="rows is 0; expected at least 1"):
        options(rows=0)


class Bomb:
    """What a pickle may do to whoever loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["pickle", "code"])
def test_loading_a_model_folder_never_executes_what_is_in_it(folder, tmp_path, how):
    import shutil

    from iteration.errors import UserError

    evil, mark = tmp_path / "evil", tmp_path / "executed"
    shutil.copytree(folder, evil)
    if how == "pickle":
        (evil / "model.safetensors").unlink()
        torch.save({"lm_head.weight": Bomb(mark)}, evil / "pytorch_model.bin")
    else:
        config = json.loads((evil / "config.json").read_text())
        config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}}
        (evil / "config.json").write_text(json.dumps(config))
        (evil / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    store = Store(tmp_path / "run").open()
    with pytest.raises(UserError, match="no Hugging Face model with safetensors there"):
        Trainer(str(store.root), Model(path=str(evil)), Train(threads=1), TrainJudge(), 0).begin(EXPRESSIONS)
    assert not mark.exists() and not store.has("models/m00000", "")
