"""Attention within the sequences of packed rows: no sequence sees another.

In bfloat16 on a GPU: flash attention over all sequences of the rows at once, by their offsets. Elsewhere torch's sdpa with a
dense mask, which has the square of a row's tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

VARLEN = "varlen"


def varlen(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers. query: [rows, heads, slots, width]; key, value: the same of fewer heads.

    cu_seq_lens_q: int32 [sequences + 1], where sequences begin in the flattened rows, and their end; max_length_q: the longest.
    Returns [rows, slots, heads, width].
    """
    if softcap or s_aux is not None or getattr(module.config, "attention_chunk_size", None):
        raise ValueError("this model's attention has chunks, caps or sinks, torch's varlen_attn has not: type train.bf16=false")
    packed = [each.transpose(1, 2).flatten(0, 1) for each in (query, key, value)]
    window = (sliding_window - 1 if sliding_window else -1, 0)
    ends, longest = (cu_seq_lens_q, cu_seq_lens_q), (max_length_q, max_length_q)
    found = varlen_attn(*packed, *ends, *longest, scale=scaling, window_size=window, enable_gqa=True)
    return found.unflatten(0, (query.shape[0], query.shape[2])), None


AttentionInterface.register(VARLEN, varlen)  # without a mask function of that name, transformers makes no mask


def arguments(config: Any, positions: torch.Tensor, offsets: torch.Tensor, longest: int) -> dict[str, Any]:
    """What a model's decoder takes to keep the sequences of a batch apart, made once for all its layers and forward passes.

    positions: int64 [rows, slots], 0 where a sequence begins; offsets, longest: as in `varlen`. Nothing for a model with a
    sliding window and sdpa: transformers makes its masks from the positions.
    """
    if config._attn_implementation == VARLEN:
        names = "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"  # as in transformers' flash attention
        return dict(zip(names, (offsets, offsets, longest, longest), strict=True))
    if getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None):
        return {}
    sequence, slot = (positions == 0).cumsum(1), torch.arange(positions.shape[1], device=positions.device)
    return {"attention_mask": ((sequence[:, :, None] == sequence[:, None, :]) & (slot[:, None] >= slot))[:, None]}
