"""Losses over packed batches of tensors. Each returns a sum; who calls divides by the total of the whole batch.

`batch` holds tensors of iteration.packing.Batch: token_ids, positions, items int64; weights, labels float32; all [rows, slots].
"""

from __future__ import annotations

from typing import Any


def logprobs(model: Any, batch: Any) -> Any:
    """log p of each token given those before it in its sequence (nats), float32 [rows, slots]; 0 where a sequence begins."""
    import torch.nn.functional as F

    logits = model(input_ids=batch.token_ids, position_ids=batch.positions, use_cache=False).logits[:, :-1].float()
    found = -F.cross_entropy(logits.flatten(0, 1), batch.token_ids[:, 1:].flatten(), reduction="none")
    found = found.view(logits.shape[:2]) * (batch.positions[:, 1:] > 0)
    return F.pad(found, (1, 0))


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
