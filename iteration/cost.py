"""Cost of tokens in floating point operations, device-seconds and money; the cheapest way to reach an accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Size:
    """The sizes of a transformer that determine its operations."""

    parameters: int
    layers: int
    width: int  # of the attention: heads times head size

    @classmethod
    def of(cls, config: Mapping, parameters: int) -> Size:
        """From a Hugging Face config.json and a count of parameters."""
        heads = config.get("num_attention_heads") or 1
        head = config.get("head_dim") or (config.get("hidden_size") or 0) // heads
        return cls(parameters, config.get("num_hidden_layers") or 0, heads * head)

    def flops(self, tokens: float, context: float) -> float:
        """Operations to read or generate `tokens` where each attends to `context` tokens: 2 (P + 2 L d ctx) per token.

        Source: Kaplan et al. 2020, Scaling Laws for Neural Language Models, section 2.1 (2 for multiply and add).
        """
        return 2.0 * tokens * (self.parameters + 2 * self.layers * self.width * context)

    def training_flops(self, tokens: float, context: float) -> float:
        """Forward and backward pass: three times as many. Source: as above."""
        return 3 * self.flops(tokens, context)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to reach an accuracy: the model, its setting, and the operations for all questions."""

    model: int
    setting: int
    flops: float


def cheapest(spent: np.ndarray, each: np.ndarray, accuracy: np.ndarray, target: float, questions: float) -> Way | None:
    """The cheapest way to answer `questions` at an accuracy of at least `target`; None if no way reaches it.

    spent: float [models], operations to train the model; each: float [models, settings], operations per question;
    accuracy: float [models, settings]. Training is paid once, answers per question: few questions favour search
    with an early model, many favour training. Source: Snell et al. 2024, section 7; Villalobos and Atkinson 2023.
    """
    total = np.where(accuracy >= target, spent[:, None] + questions * each, np.inf)
    if not total.size or not np.isfinite(total).any():
        return None
    model, setting = np.unravel_index(int(total.argmin()), total.shape)
    return Way(int(model), int(setting), float(total[model, setting]))


def matched(spent: np.ndarray, each: np.ndarray, model: int, questions: float) -> int | None:
    """The largest setting of the first model at equal operations, None if it can afford none: the budget is that of training up
    to `model` and answering every question with it in the first setting.

    spent: float [models]; each: float [models, settings], rising. Source: Snell et al. 2024, section 7 (FLOP-matched).
    """
    budget = spent[model] + questions * each[model, 0]
    affordable = np.flatnonzero(spent[0] + questions * each[0] <= budget)
    return int(affordable[-1]) if len(affordable) else None


def money(device_seconds: float, price: float) -> float:
    """The cost in the currency of `price`, which is per device and hour."""
    return device_seconds / 3600 * price
