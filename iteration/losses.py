"""Losses over packed batches of tensors. Each returns a sum, which the caller divides by the total of the whole batch.

`batch` holds tensors: token_ids, positions int64 [rows, slots]; targets, items int64 [n] and weights, labels float32 [n], as in
iteration.packing.Batch.rows; the number `count` of examples; and `attention`, the arguments that keep sequences apart.
"""

from __future__ import annotations

from typing import Any

AT_ONCE = 2**26  # logits in memory: 256 MB in float32, those of 442 tokens of a vocabulary of 151,936


def states(model: Any, batch: Any, slots: Any) -> Any:
    """The last hidden states of some slots of the flattened rows (int64 [n]): [n, width]."""
    inputs = {"input_ids": batch.token_ids, "position_ids": batch.positions, "use_cache": False}
    return model.get_decoder()(**inputs, **batch.attention).last_hidden_state.flatten(0, 1).index_select(0, slots)


def logits(model: Any, states: Any, tokens: Any) -> Any:
    """The logits of last hidden states [n, width], with all that this model does behind its decoder (a scale, a cap): its own
    forward pass, in which the decoder returns the given states. tokens: int64 [n], any input of that length."""
    from transformers.modeling_outputs import BaseModelOutputWithPast

    decoder = model.get_decoder()
    decoder.forward = lambda *_, **__: BaseModelOutputWithPast(last_hidden_state=states[None])
    try:
        return model.forward(input_ids=tokens[None], use_cache=False).logits[0]
    finally:
        del decoder.forward


def logprobs(model: Any, batch: Any, temperature: float = 1.0) -> Any:
    """log p of each target given the tokens before it in its sequence, at a temperature (nats): float32 [n].

    Only states in front of a target reach the output layer: prompts and unused slots cost no logits of a whole vocabulary.
    Where there are more than AT_ONCE logits, they are made in parts, and again in the backward pass.
    """
    import torch
    import torch.nn.functional as F
    from torch.utils.checkpoint import checkpoint

    def part(states: Any, tokens: Any) -> Any:
        return -F.cross_entropy(logits(model, states, tokens).float() / temperature, tokens, reduction="none")

    before, tokens = states(model, batch, batch.targets - 1), batch.token_ids.flatten().index_select(0, batch.targets)
    size = max(1, AT_ONCE // model.config.get_text_config().vocab_size)
    if len(tokens) <= size:
        return part(before, tokens)
    parts = zip(before.split(size), tokens.split(size), strict=True)
    return torch.cat([checkpoint(part, *each, use_reentrant=False, preserve_rng_state=False) for each in parts])


def likelihood(model: Any, batch: Any) -> Any:
    """Cross-entropy of the targets, each times its weight."""
    return -(logprobs(model, batch) * batch.weights).sum()


def preference(model: Any, reference: Any, batch: Any, beta: float, anchor: float) -> Any:
    """Direct preference optimisation over the batch's pairs, summed over pairs.

    Each item is a pair, two sequences side by side; its weights are 1 on the chosen step's tokens and -1 on the rejected
    step's. `anchor` times the chosen step's cross-entropy per token is added, which keeps its likelihood from falling.
    Source: Rafailov et al. 2023, equation 7; Pang et al. 2024, Iterative Reasoning Preference Optimization, equation 1.
    """
    import torch
    import torch.nn.functional as F

    ours = logprobs(model, batch)
    with torch.no_grad():
        before = logprobs(reference, batch)

    def by_item(values: Any) -> Any:
        return values.new_zeros(batch.count).index_add(0, batch.items, values)

    chosen = batch.weights.clamp(min=0)
    length = by_item(chosen)
    here = length > 0  # pairs in these rows
    margin = by_item((ours - before) * batch.weights)
    each = -F.logsigmoid(beta * margin) - anchor * by_item(ours * chosen) / torch.where(here, length, 1)
    return torch.where(here, each, 0).sum()


def clipped(model: Any, batch: Any, low: float, high: float, temperature: float) -> Any:
    """The clipped surrogate objective, negated: weights are advantages, labels the logprobs of sampling, at `temperature`.

    low, high: beyond these ratios of probabilities a token's advantage is no reason to move further.
    Source: Schulman et al. 2017, Proximal Policy Optimization Algorithms, equation 7.
    """
    ratio = (logprobs(model, batch, temperature) - batch.labels).exp()
    return -(ratio * batch.weights).minimum(ratio.clamp(low, high) * batch.weights).sum()


def binary(model: Any, batch: Any) -> Any:
    """Binary cross-entropy of a value model's score after each target, each times its weight."""
    import torch.nn.functional as F

    scores = model.score(states(model, batch, batch.targets))[..., 0].float()
    return (F.binary_cross_entropy_with_logits(scores, batch.labels, reduction="none") * batch.weights).sum()
