"""One rank and several train the same model: real processes, real gloo, FSDP2."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.folder.store import Store
from cluster.train import ranks
from cluster.train.checkpoint import Checkpoints
from cluster.train.examples import StepLabels
from cluster.train.fit import fit, pace
from cluster.train.options import Optimise, Train
from cluster.train.ranks import POLICY, VALUE, Group
from iteration import losses as losses_of
from iteration import tiny
from iteration.learn.sft import Sft
from iteration.packing import batches
from iteration.tasks.expressions import VOCABULARY, Expressions
from iteration.types import Examples

torch = pytest.importorskip("torch")
SHAPE = tiny.Shape(hidden_size=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate_size=64)
TOOL = Path(__file__).parents[4] / "shared/tools/get_smollm2.py"
ROWS = 5  # not a multiple of 2 or 3: ranks run out of rows at different times


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.build(folder, VOCABULARY, SHAPE, seed=1)
    return folder


def plan(own=None):
    """Packed batches of the task's corpus; for a pretrained model of some text that it can read."""
    if own is None:
        data = Expressions().corpus(6000, np.random.default_rng(0))
    else:
        from transformers import AutoTokenizer

        tokens = AutoTokenizer.from_pretrained(own)(Path(__file__).read_text())["input_ids"]
        pieces = [np.array(tokens[at : at + 100], np.int32) for at in range(0, 2400, 100)]
        data = Examples.of([[piece] for piece in pieces], [np.ones(len(piece)) for piece in pieces])
    return list(batches(data, np.arange(len(data)), ROWS, 128, np.random.default_rng(0)))


def part(rank, count, address, folder, out, store, options, steps, value=False):
    """What one rank does: train from its last checkpoint, up to `steps`, and save the model where all are done."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    head, learn = (VALUE, StepLabels()) if value else (POLICY, Sft())
    group, losses, norms, work = Group(rank, count, address), [], [], plan(folder if options.rows != ROWS else None)
    with ranks.joined(group, "cpu") as mesh:
        model = ranks.load(head, folder, group, mesh, False, options.lora).train()
        if options.recompute:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            losses_of.AT_ONCE = 500  # logits of 19 tokens: in parts, made again in the backward pass
        checkpoints = Checkpoints(store, "m00001", 0, mesh) if store else None
        for loss in fit(model, work, options, learn, checkpoints, group, mesh, norms):
            losses.append(loss)
            if len(losses) == steps:
                if checkpoints:
                    checkpoints.close()
                break
        else:
            ranks.save(model, head, folder, out if rank == 0 else None, mesh, options.lora, options.save_dtype)
    if rank == 0:
        out.mkdir(exist_ok=True)
        (out / "found.pickle").write_bytes(pickle.dumps((losses, norms)))


def spawned(*arguments):
    """One rank in a process of its own that ends at once: one was once aborted while it wound down (a thread of torch's)."""
    part(*arguments)
    os._exit(0)


def trained(count, folder, out, store=None, options=None, steps=0, value=False):
    """(losses, gradient norms) of a training on so many ranks."""
    address = ranks.meeting_point()
    arguments = (count, address, folder, out, store, options or Train(rows=ROWS, micro_rows=1, lr=1e-3), steps, value)
    if count == 1:
        part(0, *arguments)
    else:
        torch.multiprocessing.spawn(spawned, arguments, nprocs=count)
    return pickle.loads((out / "found.pickle").read_bytes())


# Two ranks take longer to start than to train: they start once, and train one after another what the tests look at.
ADAPTED = {"rows": ROWS, "micro_rows": 1, "lr": 5e-3, "lora": 4}
TOGETHER = {
    "plain": (Train(rows=ROWS, micro_rows=1, lr=1e-3), False),
    "adapters": (Train(**ADAPTED), False),
    "adapters in half": (Train(**ADAPTED, save_dtype="bfloat16"), False),
    "recomputed": (Train(rows=ROWS, micro_rows=1, lr=1e-3, recompute=True), False),
    "recomputed value": (Train(rows=ROWS, micro_rows=1, lr=1e-3, recompute=True), True),
}


def everything(rank, addresses, folder, out):
    for address, (name, (options, value)) in zip(addresses, TOGETHER.items(), strict=True):
        part(rank, 2, address, folder, out / name, None, options, 0, value)
    os._exit(0)


@pytest.fixture(scope="module")
def two(model, tmp_path_factory):
    """{name: (folder, losses, gradient norms)} of each of TOGETHER on two ranks."""
    out = tmp_path_factory.mktemp("two")
    addresses = [ranks.meeting_point() for _ in TOGETHER]
    torch.multiprocessing.spawn(everything, (addresses, model, out), nprocs=2)
    return {name: (out / name, *pickle.loads((out / name / "found.pickle").read_bytes())) for name in TOGETHER}


@pytest.fixture(scope="module")
def one(model, tmp_path_factory):
    """(folder, losses, gradient norms) on one rank."""
    out = tmp_path_factory.mktemp("one")
    return out, *trained(1, model, out)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.engine
def test_one_two_and_three_ranks_train_the_same_model(model, one, two, tmp_path):
    from transformers import AutoModelForCausalLM

    folder, losses, norms = one
    assert len(losses) > 8 and losses[-1] < losses[0]
    for other, others, their_norms in (two["plain"], (tmp_path, *trained(3, model, tmp_path))):
        np.testing.assert_allclose(others, losses, rtol=2e-5)
        np.testing.assert_allclose(their_norms, norms, rtol=1e-3)
        mine, theirs = weights(folder), weights(other)
        assert mine.keys() == theirs.keys(), "the same file comes out: tied weights once"
        assert all(torch.allclose(mine[name], theirs[name], atol=1e-4) for name in mine)
        loaded = AutoModelForCausalLM.from_pretrained(other)
        assert loaded.config.architectures == ["Qwen3ForCausalLM"]


@pytest.mark.engine
def test_two_ranks_save_in_bfloat16(two):
    """Adapters are merged before they are rounded."""
    whole, half = (weights(two[name][0]) for name in ("adapters", "adapters in half"))
    assert whole.keys() == half.keys() and ranks.dtype_of(two["adapters in half"][0]) == "bfloat16"
    assert all(torch.equal(whole[name].to(torch.bfloat16), half[name]) for name in whole), "rounded once, at the end"


def newest(store):
    """Steps in the only checkpoint. A step gets none while the one before is still being written."""
    (name,) = store.names("checkpoints/m00001")
    return int(name[1:])


@pytest.mark.engine
def test_another_number_of_ranks_resumes_a_training(model, one, tmp_path):
    folder, calm, _ = one
    store = Store(tmp_path / "run").open()
    first, _ = trained(1, model, tmp_path / "first", store, steps=4)
    saved = newest(store)
    assert len(first) == 4 and 1 <= saved <= 4
    second, norms = trained(3, model, tmp_path / "second", store, steps=8)
    assert second[:saved] == first[:saved] and len(norms) == 8 - saved, "saved steps are not repeated"
    saved = newest(store)
    assert 4 < saved <= 8
    last, norms = trained(2, model, tmp_path / "last", store)
    assert last[:saved] == second[:saved] and len(norms) == len(calm) - saved
    np.testing.assert_allclose(last, calm, rtol=5e-5)
    mine, other = weights(folder), weights(tmp_path / "last")
    assert all(torch.allclose(mine[name], other[name], atol=1e-4) for name in mine)


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.engine)])
def test_adapters_are_trained_and_merged(model, tmp_path, request, count):
    if count == 1:
        found = tmp_path, *trained(1, model, tmp_path, options=Train(**ADAPTED))
    else:
        found = request.getfixturevalue("two")["adapters"]
    folder, losses, _ = found
    assert losses[-1] < losses[0]
    before, after = weights(model), weights(folder)
    assert before.keys() == after.keys(), "whole weights come out, as an engine takes them"
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("proj" in name for name in changed), "only what has adapters"
    ranks_of = [torch.linalg.matrix_rank(after[name] - before[name], atol=1e-6).item() for name in sorted(changed)]
    assert max(ranks_of) <= 4


@pytest.mark.engine
@pytest.mark.skipif(not os.environ.get("FLYWHEEL_LONG"), reason="takes two minutes: FLYWHEEL_LONG=1 runs it")
@pytest.mark.skipif(not TOOL.is_file(), reason=f"no {TOOL}")
def test_a_pretrained_model_has_the_same_first_losses_on_two_ranks(tmp_path):
    """SmolLM2-135M-Instruct, its own tied head and 30 layers."""
    subprocess.run([sys.executable, str(TOOL), str(tmp_path / "model")], check=True, capture_output=True)
    options = Train(rows=4, micro_rows=1, lr=1e-5)
    one, norms = trained(1, tmp_path / "model", tmp_path / "1", options=options, steps=4)
    two, their_norms = trained(2, tmp_path / "model", tmp_path / "2", options=options, steps=4)
    assert len(one) == 4
    np.testing.assert_allclose(two, one, rtol=1e-4)
    np.testing.assert_allclose(their_norms, norms, rtol=1e-3)


@pytest.mark.engine
@pytest.mark.parametrize("value", [False, True])
def test_two_ranks_recompute_activations_and_logits(model, two, tmp_path, value):
    whole, _ = trained(1, model, tmp_path / "whole", value=value)
    folder, found, _ = two["recomputed value" if value else "recomputed"]
    np.testing.assert_allclose(found, whole, rtol=1e-4)
    mine, theirs = weights(tmp_path / "whole"), weights(folder)
    assert mine.keys() == theirs.keys() and ("score.weight" in mine) == value
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-4) for name in mine)


def test_schedules():
    shares = {name: [pace(name, step, 100, 10) for step in (0, 9, 50, 99)] for name in ("cosine", "linear", "constant")}
    assert all(found[0] < 0.11 for found in shares.values()), "a warm-up"
    assert shares["constant"][1:] == [1.0, 1.0, 1.0]
    assert shares["linear"][2] == pytest.approx(0.525) and shares["cosine"][2] == pytest.approx(0.525)
    assert 0.05 < shares["linear"][3] < 0.07 and 0.05 < shares["cosine"][3] < 0.06


def test_recomputed_activations_change_nothing(model):
    found = []
    for recompute in (False, True):
        one = ranks.load(POLICY, Path(model), ranks.ALONE, None, False, 0)
        one.train()
        if recompute:
            one.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        found.append(list(fit(one, plan()[:3], Optimise(rows=ROWS, micro_rows=2), Sft())))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_what_is_not_shared_out_is_said():
    from cluster.config import load
    from iteration.errors import UserError

    with pytest.raises(UserError, match="learn.name=dpo compares with a copy of the model.*type train.ranks=1"):
        load("configs/quickstart.yaml", ["learn.name=dpo", "train.ranks=2", "train.row_tokens=256"])
    with pytest.raises(UserError, match="train.schedule is 'sine'; expected cosine or linear or constant"):
        load("configs/quickstart.yaml", ["train.schedule=sine"])
