"""A training that is killed at any step makes the same model, and repeats no saved step."""

import pickletools

import numpy as np
import pytest

from cluster.folder.store import Store
from cluster.train.checkpoint import Checkpoints
from cluster.train.fit import fit
from cluster.train.options import Optimise
from iteration import tiny
from iteration.learn.dpo import Dpo
from iteration.learn.sft import Sft
from iteration.packing import batches
from iteration.tasks.expressions import VOCABULARY, Expressions

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
SHAPE = tiny.Shape(hidden_size=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate_size=64)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Several files in each checkpoint."""
    monkeypatch.setattr("cluster.train.checkpoint.FILE_BYTES", 50_000)


class Killed(BaseException):
    pass


class Watched(Sft):
    """Counts the batches that were really trained on, and is killed at one of them."""

    def __init__(self, kill_at=None):
        super().__init__()
        self.done, self.kill_at = 0, kill_at

    def total(self, batch):
        if self.done == self.kill_at:
            raise Killed
        self.done += 1
        return super().total(batch)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.build(folder, VOCABULARY, SHAPE, seed=1)
    data = Expressions().corpus(6000, np.random.default_rng(0))
    plan = list(batches(data, np.arange(len(data)), 4, 128, np.random.default_rng(0)))
    assert len(plan) > 8
    return folder, plan


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def trained(folder, plan, learn, checkpoints=None):
    model = load(folder)
    return model, list(fit(model, plan, Optimise(rows=4), learn, checkpoints))


@pytest.mark.parametrize("kills", [[1], [3], [2, 3, 1], [7, 0, 0]])
def test_killed_at_any_step_it_ends_in_the_same_model(world, tmp_path, kills):
    folder, plan = world
    calm, losses = trained(folder, plan, Sft())
    store, done = Store(tmp_path).open(), 0
    for kill in kills:
        attempt = Watched(kill)
        with pytest.raises(Killed):
            trained(folder, plan, attempt, Checkpoints(store, "m00001", 0))
        done += attempt.done
        settle(store)
    last, checkpoints = Watched(), Checkpoints(store, "m00001", 0)
    stormy, found = trained(folder, plan, last, checkpoints)
    assert found == losses and all(torch.equal(a, b) for a, b in zip(calm.parameters(), stormy.parameters(), strict=True))
    begun = checkpoints.attempts[-1] if checkpoints.attempts else 0
    assert last.done == len(plan) - begun, "saved steps are not repeated"
    assert 1 <= begun <= done, "a kill costs only the steps since the last written checkpoint"
    checkpoints.clear()
    assert not (tmp_path / "checkpoints/m00001").exists() and not list((tmp_path / "_tmp").iterdir())


def settle(store):
    """Wait until the killed attempt has written its checkpoint: its thread survives here, unlike after a SIGKILL."""
    import threading

    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon and "hypothesis" not in thread.name:
            thread.join(0.5)


def test_a_checkpoint_that_was_not_finished_does_not_count(world, tmp_path):
    folder, plan = world
    store = Store(tmp_path).open()
    torn = store.new_folder()
    (torn / "model.safetensors").write_bytes(b"half")
    _, losses = trained(folder, plan, Sft(), Checkpoints(store, "m00001", 0))
    assert len(losses) == len(plan)


def test_there_is_nothing_to_execute_in_a_checkpoint(world, tmp_path):
    folder, plan = world
    store = Store(tmp_path).open()
    checkpoints = Checkpoints(store, "m00001", 0)
    trained(folder, plan, Sft(), checkpoints)
    files = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert len([path for path in files if path.suffix == ".safetensors"]) > 2
    for path in files:
        with pytest.raises(Exception, match=r"opcode|pickle|exhausted|expected|not|decode"):
            list(pickletools.genops(path.read_bytes()))


def test_the_reference_of_preferences_is_the_model_that_training_began_with(world, tmp_path):
    """Restored weights must not become the reference."""
    folder, plan = world

    class Seen(Dpo):
        def objective(self, model):
            self.first = next(model.parameters()).detach().clone()
            return super().objective(model)

    store, learn = Store(tmp_path).open(), Seen()
    checkpoints = Checkpoints(store, "m00001", 0)
    list(fit(load(folder), plan[:3], Optimise(rows=4, micro_rows=4), Sft(), checkpoints))
    list(fit(load(folder), plan[:3], Optimise(rows=4, micro_rows=4), learn, Checkpoints(store, "m00001", 0)))
    assert torch.equal(learn.first, next(load(folder).parameters()))
