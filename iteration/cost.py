"""What tokens cost: floating point operations, device-seconds, money; and what is the cheapest way to an accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Size:
    """What a transformer's operations depend on."""

    parameters: int
    layers: int
    width: int  # of the attention: heads times their size

    @classmethod
    def of(cls, config: Mapping, parameters: int) -> Size:
        """From a Hugging Face config.json and a count of parameters."""
        heads = config.get("num_attention_heads") or 1
        head = config.get("head_dim") or (config.get("hidden_size") or 0) // heads
        return cls(parameters, config.get("num_hidden_layers") or 0, heads * head)

    def flops(self, tokens: float, context: float) -> float:
        """Operations to read or generate `tokens` where each looks at `context` tokens: 2 (P + 2 L d ctx) for each.

        Source: Kaplan et al. 2020, Scaling Laws for Neural Language Models, section 2.1 (2 for multiply and add).
        """
        return 2.0 * tokens * (self.parameters + 2 * self.layers * self.width * context)

    def training_flops(self, tokens: float, context: float) -> float:
        """Forward and backward: three times as much. Source: as above."""
        return 3 * self.flops(tokens, context)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to reach an accuracy: which model, with which of its settings, and what all questions cost with it."""

    model: int
    setting: int
    flops: float


def cheapest(spent: np.ndarray, each: np.ndarray, accuracy: np.ndarray, target: float, questions: float) -> Way | None:
    """The cheapest way to answer `questions` at an accuracy of at least `target`; None where there is none.

    spent: float [models], operations until there is the model; each: float [models, settings], for one question;
    accuracy: float [models, settings]. Training is paid once, answers are paid for each question: few questions favour search
    with an early model, many favour training. Source: Snell et al. 2024, section 7; Villalobos and Atkinson 2023.
    """
    total = np.where(accuracy >= target, spent[:, None] + questions * each, np.inf)
    if not total.size or not np.isfinite(total).any():
        return None
    model, setting = np.unravel_index(int(total.argmin()), total.shape)
    return Way(int(model), int(setting), float(total[model, setting]))


def matched(spent: np.ndarray, each: np.ndarray, model: int, questions: float) -> int | None:
    """For the operations that it takes to train up to `model` and let it answer every question in the first setting: the last
    setting that the first model can afford instead; None where it cannot afford any.

    spent: float [models]; each: float [models, settings], rising. Source: Snell et al. 2024, section 7 (FLOP-matched).
    """
    budget = spent[model] + questions * each[model, 0]
    affordable = np.flatnonzero(spent[0] + questions * each[0] <= budget)
    return int(affordable[-1]) if len(affordable) else None


def money(device_seconds: float, price: float) -> float:
    """In the currency of `price`, which is for one device and an hour."""
    return device_seconds / 3600 * price
