"""The trainer without Ray: packing changes nothing, and a small model learns."""

import json

import numpy as np
import pytest

from cluster.store import Store
from cluster.trainer import Model, Optimise, Train, Trainer, TrainJudge, WarmStart, fit, manifest_table
from iteration import tiny
from iteration.examples import item_table
from iteration.learn.sft import Sft
from iteration.packing import batches
from iteration.tasks.expressions import VOCABULARY, Expressions
from iteration.types import Examples

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small matrices: threads only get in each other's way
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


def test_neighbours_in_a_row_are_not_seen(folder):
    """The logits of a packed example do not change when its neighbours do."""
    model = load(folder).eval()
    ids = torch.randint(2, 26, (1, 40))
    positions = torch.cat([torch.arange(15), torch.arange(25)])[None]
    other = ids.clone()
    other[0, :15] = torch.randint(2, 26, (15,))
    with torch.no_grad():
        a, b = (model(input_ids=x, position_ids=positions, use_cache=False).logits for x in (ids, other))
    assert torch.allclose(a[0, 15:], b[0, 15:], atol=1e-5) and not torch.allclose(a[0, :15], b[0, :15], atol=1e-2)


def test_a_model_is_warm_started_once_and_is_the_same_from_the_same_seed(tmp_path):
    records = []
    for name in ("a", "b"):
        store = Store(tmp_path / name).open()
        trainer = Trainer(
            str(store.root), Model(shape=SHAPE, warm_start=WarmStart(tokens=8000)), Train(threads=1), TrainJudge(), seed=3
        )
        record = trainer.begin(("expressions", {}))
        assert record["loss_last"] < record["loss_first"] and record["packing"] > 0.9
        assert trainer.begin(("expressions", {})) == record  # there already
        records.append(record["loss_last"])
    assert records[0] == records[1]


def test_a_round_trains_on_its_manifest_once(tmp_path):
    from tests.iteration.test_examples import forest

    store = Store(tmp_path).open()
    store.put_table("traces/r00002/train/u00005", forest())
    ids = ["r00002/train/u00005/t001/n0003", "r00002/train/u00005/t000/n0001", "r00002/train/u00005/t001/n0003"]
    store.put_table("manifests/r00001", manifest_table(item_table(ids, [8, 5, 8]), np.arange(3), np.array([0, 0, 1])))
    trainer = Trainer(
        str(store.root), Model(shape=SHAPE, warm_start=WarmStart(tokens=500)), Train(threads=1), TrainJudge(), seed=0
    )
    trainer.begin(("expressions", {}))
    record = trainer.train("m00001", "m00000", ("sft", {}))
    assert (record["examples"], record["tokens"], record["base"]) == (3, 8 + 5 + 8, "m00000")
    assert json.loads((tmp_path / "models/m00001/training.json").read_text()) == record
    before = (tmp_path / "models/m00001/model.safetensors").stat().st_ino
    assert trainer.train("m00001", "m00000", ("sft", {})) == record
    assert (tmp_path / "models/m00001/model.safetensors").stat().st_ino == before


def test_a_training_that_diverges_commits_no_model(tmp_path):
    from iteration.config import UserError

    store = Store(tmp_path).open()
    trainer = Trainer(
        str(store.root), Model(shape=SHAPE, warm_start=WarmStart(tokens=8000, lr=1e38)), Train(threads=1), TrainJudge(), 0
    )
    with pytest.raises(UserError, match="training diverged: the loss is nan at step"):
        trainer.begin(("expressions", {}))
    assert not store.has("models/m00000", "")


def test_no_model_and_no_corpus_is_said(tmp_path):
    from iteration.config import UserError

    (tmp_path / "p.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n' * 3 + '{"prompt": "a3", "answer": "2"}\n' * 3)
    store = Store(tmp_path / "run").open()
    with pytest.raises(UserError, match="model.path nowhere: no Hugging Face model there"):
        Trainer(str(store.root), Model(path="nowhere"), Train(threads=1), TrainJudge(), 0).begin(("expressions", {}))
