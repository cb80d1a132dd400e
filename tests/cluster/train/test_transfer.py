"""What the trainer's ranks send: real processes, real gloo; the engine's side only records the calls."""

import os

import numpy as np
import pytest

from cluster.engine import environment
from cluster.folder.store import Store
from cluster.train import ranks
from cluster.train.examples import manifest_table
from cluster.train.options import Model, Train, TrainJudge
from cluster.train.ranks import Group
from cluster.train.trainer import Trainer
from iteration import tiny
from iteration.examples import item_table
from iteration.parts import LEARN, Part
from iteration.tasks.expressions import VOCABULARY

torch = pytest.importorskip("torch")
SHAPE = tiny.Shape(hidden_size=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate_size=64)


def rank(number, addresses, root, out):
    """Train with the others, send the model from memory, release it, send the committed folder."""
    os.environ.update(environment(0))
    from ray.exceptions import RaySystemError
    from safetensors.torch import save_file

    from cluster.train import transfer

    torch.set_num_threads(1)
    asked, sent = [], {}

    class Client:
        def __init__(self, engine):
            pass

        def __getattr__(self, method):
            return lambda *_: asked.append(method)

    def gather(self):
        """As vLLM's nccl does it: every rank goes through the weights, whose gathering needs all of them."""
        sent.clear()
        sent.update({name: tensor.clone() for name, tensor in self.source})

    transfer.RayVLLMWeightSyncClient, transfer.Teller.send_weights = Client, gather
    trainer = Trainer(root, Model(), Train(threads=1, ranks=2), TrainJudge(), 0, resident=True)
    trainer.train("m00001", "m00000", Part(LEARN, "sft", {}), Group(number, 2, addresses[0]))
    assert trainer.is_resident("m00001") and not trainer.is_resident("m00000")
    trainer.send("m00001", None, "host", 1, 2)
    save_file(sent, out / f"resident-{number}")
    assert asked == ([] if number else ["init_weight_transfer_engine", "shutdown_weight_transfer_engine"])
    trainer.release()
    assert not trainer.is_resident("m00001")
    with pytest.raises(RaySystemError, match="m00001 is not in the memory of this rank any more"):
        trainer.send("m00001", None, "host", 1, 2)
    if not number:
        trainer.send("m00001", None, "host", 1)
        save_file(sent, out / "read")
    trainer.train("m00002", "m00001", Part(LEARN, "sft", {}), Group(number, 2, addresses[1]))
    assert trainer.is_resident("m00002"), "the ranks connect again"
    trainer.release()
    os._exit(0)  # one was once aborted while it wound down (a thread of torch's)


@pytest.mark.engine
def test_the_ranks_send_from_memory_what_was_committed(tmp_path):
    from safetensors.torch import load_file

    from tests.iteration.test_examples import forest

    store = Store(tmp_path / "run").open()
    store.put_folder("models/m00000", lambda folder: tiny.build(folder, VOCABULARY, SHAPE, seed=1))
    store.put_table("traces/r00002/train/u00005", forest())
    ids = ["r00002/train/u00005/t001/n0003", "r00002/train/u00005/t000/n0001"]
    for name in ("r00001", "r00002"):
        store.put_table(f"manifests/{name}", manifest_table(item_table(ids, [8, 5]), np.arange(2), np.array([0, 0])))
    addresses = [ranks.meeting_point() for _ in range(2)]
    torch.multiprocessing.spawn(rank, (addresses, str(store.root), tmp_path), nprocs=2)
    committed = load_file(store.folder("models/m00001") / "model.safetensors")
    for file in ["resident-0", "resident-1", "read"]:
        sent = load_file(tmp_path / file)
        assert sent.keys() == committed.keys(), "tied weights once"
        assert all(torch.equal(sent[name], committed[name]) for name in sent)
    first = load_file(store.folder("models/m00000") / "model.safetensors")
    assert not all(torch.equal(first[name], committed[name]) for name in first)


def test_a_model_that_is_saved_under_other_names_is_read_from_its_folder(tmp_path):
    """transformers keeps the experts of some models in one tensor, and saves each by itself."""
    from cluster.train import transfer

    tiny.build(tmp_path, VOCABULARY, SHAPE, seed=1)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(transfer.source(tmp_path, model, "cpu"), transfer.ModuleSource)
    assert isinstance(transfer.source(tmp_path, torch.nn.Sequential(model), "cpu"), transfer.Folder)
    assert isinstance(transfer.source(tmp_path, None, "cpu"), transfer.Folder)
