"""Small models and packed sequences, for tests with and without a GPU."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from cluster.train import ranks
from cluster.train.examples import StepLabels
from cluster.train.fit import micro_batches
from cluster.train.ranks import ALONE
from iteration.learn.dpo import Dpo
from iteration.learn.grpo import Grpo
from iteration.learn.sft import Sft
from iteration.packing import batches
from iteration.types import Examples

SIZES = {"vocab_size": 30, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "num_labels": 1}


def standing_in(query, key, value, ends, same, longest, also, *, scale, window_size, enable_gqa):
    """torch's varlen_attn sequence by sequence: its kernel needs a GPU."""
    assert ends is same and longest == also >= ends.diff().max() and ends.dtype == torch.int32 and enable_gqa
    found = []
    for begin, end in pairwise(ends.tolist()):
        slot = torch.arange(end - begin, device=query.device)
        back = slot[:, None] - slot
        seen = (back >= 0) & (back <= window_size[0] if window_size[0] >= 0 else True)
        heads = [each[begin:end].transpose(0, 1) for each in (query, key, value)]
        found.append(attend(*heads, seen, scale=scale, enable_gqa=True).transpose(0, 1))
    return torch.cat(found)


def model(kind, implementation, head="CausalLM"):
    """plain: grouped heads; windows: every other layer sees 8 tokens back, and logits have a cap and a scale."""
    import transformers

    torch.manual_seed(0)
    if kind == "plain":
        config, name = transformers.Qwen3Config(**SIZES), "Qwen3For"
    else:
        config = transformers.Gemma2Config(
            **SIZES, sliding_window=8, query_pre_attn_scalar=16, attn_logit_softcapping=None, final_logit_softcapping=3.0
        )
        name = "Gemma2For"
    config._attn_implementation = implementation
    made = getattr(transformers, name + head)(config)
    with torch.no_grad():  # logits that the cap changes
        made.get_input_embeddings().weight.mul_(20)
    return made


def pairs(count=20, signed=True):
    """Pairs of sequences for preferences, with negative weights on the second; if not signed, for other objectives."""
    rng = np.random.default_rng(0)
    tokens = [[rng.integers(2, 30, rng.integers(6, 20)).astype(np.int32) for _ in range(2)] for _ in range(count)]
    second = -1.0 if signed else 1.0
    weights = [np.repeat([0, 1.0, 0, second], [3, len(a) - 3, 3, len(b) - 3]) for a, b in tokens]
    return Examples.of(tokens, weights, [rng.integers(0, 2, len(each)).astype(np.float32) for each in weights])


CASES = [("CausalLM", Sft()), ("CausalLM", Dpo(beta=0.5)), ("CausalLM", Grpo()), ("SequenceClassification", StepLabels())]


def plan(data, rows=5):
    return list(batches(data, np.arange(len(data)), rows, 64, np.random.default_rng(0)))


def learnt(made, learn, plan, half=False):
    """(the summed loss, {parameter: gradient}) of all batches."""
    torch.manual_seed(1)
    worker = ranks.working(made, half)
    loss_of, total, gradients = learn.objective(worker), 0.0, ranks.Gradients(worker, made)
    for parameter in made.parameters():  # a reference that differs from the model
        parameter.data = parameter.data + 0.02 * torch.randn_like(parameter)
    ranks.refresh(worker, made)
    for batch in plan:
        for micro in micro_batches(batch, 2, ALONE, worker):
            loss = loss_of(worker, micro)
            loss.backward()
            gradients.deliver()
            total += loss.item()
    return total, {name: parameter.grad for name, parameter in made.named_parameters()}


def flattened(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


def close(found, wanted, tolerance=1e-4):
    assert found[0] == pytest.approx(wanted[0], rel=tolerance)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        assert torch.allclose(found[1][name], gradient, atol=tolerance * gradient.abs().max().item()), name
