"""Sequences packed in one row are as each by itself: losses, gradients, and what a sliding window or a cap changes."""

import pytest

from cluster.train import attention
from cluster.train.attention import VARLEN
from cluster.train.fit import fit, micro_batches
from cluster.train.options import Optimise
from cluster.train.ranks import ALONE
from iteration import losses
from iteration.learn.sft import Sft
from iteration.packing import batch_of
from tests.cluster.train.packed import CASES, close, learnt, model, pairs, plan, standing_in

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    monkeypatch.setattr(attention, "varlen_attn", standing_in)


@pytest.mark.parametrize("kind", ["plain", "windows"])
@pytest.mark.parametrize("implementation", ["sdpa", VARLEN])
@pytest.mark.parametrize(("head", "learn"), CASES, ids=lambda each: type(each).__name__)
def test_packed_is_as_one_by_one(kind, implementation, head, learn):
    data = pairs()
    packed = plan(data)
    alone = [batch_of(data, [[i]], int(data.lengths[i])) for i in range(len(data))]
    assert max(batch.count for batch in packed) > 5, "several in a row"
    close(learnt(model(kind, implementation, head), learn, packed), learnt(model(kind, "sdpa", head), learn, alone))


@pytest.mark.parametrize("kind", ["plain", "windows"])
@pytest.mark.parametrize("implementation", ["sdpa", VARLEN])
def test_logprobs_are_those_of_the_model_s_own_forward_pass(kind, implementation):
    data = pairs(4)
    made, plain = model(kind, implementation).eval(), model(kind, "eager").eval()
    for batch in plan(data, 3):
        (micro,) = micro_batches(batch, 3, ALONE, made)
        with torch.no_grad():
            found = losses.logprobs(made, micro)
            for at, logprob in zip(micro.targets.tolist(), found.tolist(), strict=True):
                row, slot = divmod(at, 64)
                begin = slot - batch.positions[row, slot]
                logits = plain(input_ids=micro.token_ids[row : row + 1, begin:slot]).logits[0, -1]
                assert logprob == pytest.approx(logits.log_softmax(-1)[micro.token_ids[row, slot]].item(), abs=1e-4)


@pytest.mark.parametrize("kind", ["plain", "windows"])
def test_logits_in_parts_change_nothing(kind, monkeypatch):
    data = pairs()
    whole = learnt(model(kind, "sdpa"), Sft(), plan(data))
    largest = []
    cross_entropy = torch.nn.functional.cross_entropy
    counted = lambda logits, *rest, **more: largest.append(logits.numel()) or cross_entropy(logits, *rest, **more)  # noqa: E731
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", counted)
    monkeypatch.setattr(losses, "AT_ONCE", 300)
    close(learnt(model(kind, "sdpa"), Sft(), plan(data)), whole)
    assert max(largest) == 300 and len(largest) > 20


def test_no_mask_is_made_where_offsets_are_enough(monkeypatch):
    made = model("windows", VARLEN)
    monkeypatch.setattr("transformers.masking_utils.sdpa_mask", None)
    (batch,) = plan(pairs(4), 4)
    (micro,) = micro_batches(batch, 4, ALONE, made)
    seen = []
    made.get_decoder().layers[0].self_attn.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["attention_mask"]), with_kwargs=True
    )
    losses.likelihood(made, micro)
    assert seen == [None] and micro.attention["max_length_q"] == 64


def test_attention_that_the_kernel_lacks_is_refused():
    made = model("windows", VARLEN)
    made.get_decoder().layers[0].self_attn.attn_logit_softcapping = 50.0
    (batch,) = plan(pairs(4), 4)
    with pytest.raises(ValueError, match="varlen_attn has not: type train.bf16=false"):
        losses.likelihood(made, next(micro_batches(batch, 4, ALONE, made)))


def test_layers_are_compiled_once_however_many_sequences_the_rows_have(monkeypatch):
    from torch._dynamo.testing import CompileCounter

    @torch.library.custom_op("flywheel_tests::attend", mutates_args=())
    def attend(query: torch.Tensor, ends: torch.Tensor, longest: int) -> torch.Tensor:
        return query.clone()

    attend.register_fake(lambda query, ends, longest: torch.empty_like(query))
    attend.register_autograd(lambda _, gradient: (gradient, None, None))
    monkeypatch.setattr(attention, "varlen_attn", lambda query, *more, **_: attend(query, more[2], more[4]))
    compiled, how = CompileCounter(), torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: how(module, backend=compiled))
    work = plan(pairs(40), 4)
    assert len({len(batch.rows(slice(0, 4))["offsets"]) for batch in work[:-1]}) > 1
    steps = fit(model("plain", VARLEN), work[:-1], Optimise(rows=4, micro_rows=4, compile=True), Sft(), half=True)
    next(steps)
    first = compiled.frame_count
    assert first > 0 and len(list(steps)) == len(work) - 2 and compiled.frame_count == first
