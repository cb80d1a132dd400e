"""A step: nothing in it waits for the device, and in bfloat16 it is a float32 step up to rounding."""

import pytest

from cluster.folder.store import Store
from cluster.train import attention
from cluster.train.attention import VARLEN
from cluster.train.checkpoint import Checkpoints
from cluster.train.fit import fit
from cluster.train.options import Optimise
from iteration import losses
from iteration.learn.dpo import Dpo
from iteration.learn.sft import Sft
from tests.cluster.train.packed import CASES, model, pairs, plan, standing_in

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
OPTIONS = {"rows": 5, "micro_rows": 2, "lr": 1e-3}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("head", "learn"), CASES, ids=lambda each: type(each).__name__)
def test_nothing_in_a_step_reads_from_the_device(monkeypatch, half, head, learn):
    """On torch's meta device nothing can be read. A loss is read when the next step is on its way."""
    log = []

    class Sent:
        def __init__(self, numbers):
            log.append("sent")

        def read(self):
            log.append("read")
            return [0.0, 0.0]

    monkeypatch.setattr("cluster.train.ranks.Sent", Sent)
    # AdamW's fused step needs a device that computes.
    monkeypatch.setattr("cluster.train.fit.optimiser", lambda learnt, options: torch.optim.SGD(learnt))
    monkeypatch.setattr(losses, "AT_ONCE", 300)
    made = model("plain", VARLEN if half else "sdpa", head).to("meta")
    work = (plan(pairs()) * 2)[:3]
    assert len(list(fit(made, work, Optimise(**OPTIONS), learn, half=half))) == 3
    assert log == ["sent", "sent", "read", "sent", "read", "read"]


@pytest.mark.parametrize(("head", "learn"), CASES, ids=lambda each: type(each).__name__)
def test_bfloat16_with_float32_masters_is_close_to_float32(monkeypatch, head, learn):
    monkeypatch.setattr(attention, "varlen_attn", standing_in)
    work, found = plan(pairs(signed=isinstance(learn, Dpo))) * 2, {}
    for half in (False, True):
        made, norms = model("plain", VARLEN if half else "sdpa", head), []
        before = [p.detach().clone() for p in made.parameters()]
        told = list(fit(made, work, Optimise(**OPTIONS), learn, norms=norms, half=half))
        assert all(p.dtype == torch.float32 for p in made.parameters()), "the weights that are saved"
        moved = torch.cat([(p - old).flatten() for p, old in zip(made.parameters(), before, strict=True)])
        found[half] = told, norms, moved
    assert found[True][0] == pytest.approx(found[False][0], rel=0.03) and found[True][0] != found[False][0]
    assert found[True][1] == pytest.approx(found[False][1], rel=0.1)
    assert torch.cosine_similarity(found[True][2], found[False][2], 0) > 0.9


def test_a_training_in_bfloat16_resumes_with_the_same_model(tmp_path, monkeypatch):
    monkeypatch.setattr(attention, "varlen_attn", standing_in)
    (head, learn), work = CASES[0], plan(pairs(signed=False)) * 2
    calm = model("plain", VARLEN, head)
    losses_of = list(fit(calm, work, Optimise(**OPTIONS), learn, half=True))
    store = Store(tmp_path).open()
    first = Checkpoints(store, "m00001", 0)
    steps = fit(model("plain", VARLEN, head), work, Optimise(**OPTIONS), learn, first, half=True)
    assert [next(steps) for _ in range(4)] == losses_of[:4]
    steps.close()
    first.close()
    resumed, checkpoints = model("plain", VARLEN, head), Checkpoints(store, "m00001", 0)
    assert list(fit(resumed, work, Optimise(**OPTIONS), learn, checkpoints, half=True)) == losses_of
    assert checkpoints.attempts[-1] >= 1, "not from the beginning"
    assert all(torch.equal(a, b) for a, b in zip(calm.parameters(), resumed.parameters(), strict=True))


def test_layers_are_compiled_one_by_one():
    made, compiled = model("plain", "sdpa"), []
    for layer in made.model.layers:
        layer.compile = lambda layer=layer: compiled.append(layer)
    list(fit(made, plan(pairs())[:1], Optimise(**OPTIONS, compile=True), Sft()))
    assert compiled == list(made.model.layers)
