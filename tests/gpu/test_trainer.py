"""The trainer on a GPU: the real kernel, bfloat16 against float32, and steps that do not wait."""

import pytest
import torch

from cluster.memory import shape_of
from cluster.memory import trainer as expected
from cluster.train.attention import VARLEN
from cluster.train.fit import fit
from cluster.train.options import Optimise, Train
from iteration.learn.dpo import Dpo
from iteration.packing import batch_of
from tests.cluster.train.packed import CASES, flattened, learnt, model, pairs, plan, standing_in

OPTIONS = {"rows": 5, "micro_rows": 2, "lr": 1e-3}
cases = pytest.mark.parametrize(("head", "learn"), CASES, ids=lambda each: type(each).__name__)


@pytest.mark.parametrize("window", [(-1, 0), (5, 0)])
def test_the_kernel_does_what_its_stand_in_does(window):
    from torch.nn.attention.varlen import varlen_attn

    torch.manual_seed(0)
    ends = torch.tensor([0, 7, 8, 40, 64], dtype=torch.int32, device="cuda")
    heads = [torch.randn(64, count, 16, device="cuda", dtype=torch.bfloat16) for count in (4, 2, 2)]
    found = []
    for kernel, dtype in ((varlen_attn, torch.bfloat16), (standing_in, torch.float32)):
        inputs = [each.to(dtype, copy=True).requires_grad_() for each in heads]
        output = kernel(*inputs, ends, ends, 32, 32, scale=0.3, window_size=window, enable_gqa=True)
        output.float().square().sum().backward()
        found.append([output, *(each.grad for each in inputs)])
    for mine, wanted in zip(*found, strict=True):
        assert torch.allclose(mine.float(), wanted, atol=0.02 * wanted.abs().max().item())


@cases
@pytest.mark.parametrize("kind", ["plain", "windows"])
def test_packed_in_bfloat16_is_as_one_by_one_in_float32(kind, head, learn):
    data = pairs()
    alone = [batch_of(data, [[i]], int(data.lengths[i])) for i in range(len(data))]
    found = learnt(model(kind, VARLEN, head).cuda(), learn, plan(data), half=True)
    wanted = learnt(model(kind, "sdpa", head).cuda(), learn, alone)
    assert found[0] == pytest.approx(wanted[0], rel=0.03)
    assert torch.cosine_similarity(flattened(found[1]), flattened(wanted[1]), 0) > 0.99


@cases
def test_steps_in_bfloat16_are_close_to_steps_in_float32(head, learn):
    work, found = plan(pairs(signed=isinstance(learn, Dpo))) * 2, {}
    for half in (False, True):
        made, norms = model("plain", VARLEN if half else "sdpa", head).cuda(), []
        found[half] = list(fit(made, work, Optimise(**OPTIONS), learn, norms=norms, half=half)), norms
        assert all(p.dtype == torch.float32 and p.is_cuda for p in made.parameters())
    assert found[True][0] == pytest.approx(found[False][0], rel=0.05)
    assert found[True][1] == pytest.approx(found[False][1], rel=0.1)


@cases
@pytest.mark.parametrize("half", [False, True])
def test_no_step_waits_for_the_gpu(head, learn, half):
    made = model("plain", VARLEN if half else "sdpa", head).cuda()
    steps = fit(made, plan(pairs()) * 4, Optimise(**OPTIONS), learn, half=half)
    next(steps)
    torch.cuda.set_sync_debug_mode("error")  # raises where torch waits for the GPU by itself
    try:
        assert len([next(steps) for _ in range(5)]) == 5
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_layers_change_nothing():
    found = []
    for compiled in (False, True):
        options = Optimise(**OPTIONS, compile=compiled)
        found.append(list(fit(model("plain", VARLEN).cuda(), plan(pairs(signed=False)) * 2, options, CASES[0][1], half=True)))
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_a_training_needs_no_more_memory_than_plan_expects():
    from tests.bench.bench_gpu import MODELS, made, released, work

    sizes = MODELS["135M"]
    released()
    list(fit(made(sizes, VARLEN), work(sizes)[:3], Train(rows=8, row_tokens=2048, micro_rows=8), CASES[0][1], half=True))
    options = Train(gpus=1, rows=8, row_tokens=2048, micro_rows=8)
    assert released() < 1.1 * expected(shape_of(sizes.config()), options, 80e9).total / 1e9
