"""Losses over packed batches of tensors. Each returns a sum, which the caller divides by the total of the whole batch.

`batch` holds tensors of iteration.packing.Batch.rows: token_ids, positions, items int64; weights, labels float32; all
[rows, slots]; and targets int64 [n].
"""

from __future__ import annotations

from typing import Any


def logprobs(model: Any, batch: Any) -> Any:
    """log p of each token given those before it in its sequence (nats), float32 [rows, slots]; 0 where no target is.

    Only states in front of a target reach the output layer: prompts and unused slots cost no logits of a whole vocabulary.
    """
    import torch.nn.functional as F

    def select(_: Any, inputs: tuple) -> tuple:
        return (inputs[0].flatten(0, 1)[batch.targets - 1][None],)

    with model.get_output_embeddings().register_forward_pre_hook(select):
        logits = model(input_ids=batch.token_ids, position_ids=batch.positions, use_cache=False).logits[0].float()
    tokens = batch.token_ids.flatten()
    logprobs = -F.cross_entropy(logits, tokens[batch.targets], reduction="none")
    return logprobs.new_zeros(len(tokens)).index_copy(0, batch.targets, logprobs).view_as(batch.token_ids)


def likelihood(model: Any, batch: Any) -> Any:
    """Cross-entropy of the tokens, each times its weight."""
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
        items = int(batch.items.max()) + 2
        return torch.zeros(items, device=values.device).index_add(0, (batch.items + 1).flatten(), values.flatten())[1:]

    chosen = batch.weights.clamp(min=0)
    length = by_item(chosen)
    here = length > 0  # pairs in these rows
    margin = by_item((ours - before) * batch.weights)[here]
    return (-F.logsigmoid(beta * margin) - anchor * by_item(ours * chosen)[here] / length[here]).sum()


def binary(model: Any, batch: Any) -> Any:
    """Binary cross-entropy of a value model's score after each token, each times its weight."""
    import torch.nn.functional as F

    hidden = model.base_model(input_ids=batch.token_ids, position_ids=batch.positions, use_cache=False).last_hidden_state
    scores = model.score(hidden)[..., 0].float()
    return (F.binary_cross_entropy_with_logits(scores, batch.labels, reduction="none") * batch.weights).sum()
