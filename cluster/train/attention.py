"""Attention within the sequences of packed rows: no sequence sees another.

In bfloat16 on a GPU: flash attention over all sequences of the rows at once, by their offsets. Elsewhere torch's sdpa with a
dense mask, which has the square of a row's tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

VARLEN = "varlen"


def varlen(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **more: Any) -> tuple[Tensor, None]:
    """An attention function of transformers: [rows, slots, heads, width] of query [rows, heads, slots, width], key and value.

    cu_seq_lens_q: int32 [sequences + 1], where sequences begin in the flattened rows, and the end; max_length_q: no sequence is
    longer.
    """
    if more.get("softcap") or more.get("s_aux") is not None or getattr(module.config, "attention_chunk_size", None):
        raise ValueError("this model's attention has chunks, caps or sinks, torch's varlen_attn has not: type train.bf16=false")
    packed = [each.transpose(1, 2).flatten(0, 1) for each in (query, key, value)]
    ends, longest, window = more["cu_seq_lens_q"], more["max_length_q"], more.get("sliding_window")
    how = {"scale": more["scaling"], "window_size": (window - 1 if window else -1, 0), "enable_gqa": True}
    return varlen_attn(*packed, ends, ends, longest, longest, **how).unflatten(0, (query.shape[0], query.shape[2])), None


AttentionInterface.register(VARLEN, varlen)  # without a mask function of that name, transformers makes no mask


def arguments(config: Any, positions: Tensor, offsets: Tensor) -> dict[str, Any]:
    """What a model's decoder takes to keep the sequences of a batch apart, made once for all its layers and forward passes.

    positions: int64 [rows, slots], 0 where a sequence begins; offsets: as in `varlen`. Nothing for a model with a sliding
    window and sdpa: transformers makes its masks from the positions. For `varlen` nothing differs between batches of one shape
    but the number of offsets, so layers are compiled once.
    """
    if config._attn_implementation == VARLEN:
        torch._dynamo.maybe_mark_dynamic(offsets, 0)
        return {"cu_seq_lens_q": offsets, "max_length_q": positions.shape[1]}  # named as for transformers' flash attention
    if getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None):
        return {}
    sequence, slot = (positions == 0).cumsum(1), torch.arange(positions.shape[1], device=positions.device)
    return {"attention_mask": ((sequence[:, :, None] == sequence[:, None, :]) & (slot[:, None] >= slot))[:, None]}
