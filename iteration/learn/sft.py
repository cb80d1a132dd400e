"""Supervised fine-tuning on the kept answers: cross-entropy on everything after the prompt.

hardness: Tong et al. 2024, DART-Math, difficulty-aware rejection tuning, there by the number of answers, here by weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from iteration import losses
from iteration.examples import item_table, pieces, tally, tree_of
from iteration.parts import at_least
from iteration.types import Examples


@dataclass
class Sft:
    hardness: float = 0.0  # weight of an answer: its problem's solve rate ** -hardness; 1: solved problems count alike

    sequences: ClassVar[int] = 1

    def __post_init__(self) -> None:
        at_least(self, hardness=0)

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        return item_table(kept["id"].to_pylist(), kept["tokens"].to_pylist())

    def examples(self, nodes: pa.Table, items: list[tuple[str, str]]) -> Examples:
        counts = tally(map(tree_of, nodes["id"].to_pylist()), nodes["state"].to_pylist())
        token_parts = pieces(nodes, [name for name, _ in items])
        weights = []
        for (name, _), parts in zip(items, token_parts, strict=True):
            graded, right = counts[tree_of(name)]
            weight = (max(graded, 1) / max(right, 1)) ** self.hardness
            weights.append(np.repeat([0.0, weight], [len(parts[0]), sum(map(len, parts[1:]))]))
        return Examples.of([[np.concatenate(parts)] for parts in token_parts], weights)

    def objective(self, model: Any) -> Callable:
        return losses.likelihood

    def total(self, batch: Any) -> float:
        return float(batch.weights.sum())
