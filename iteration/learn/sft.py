"""Supervised fine-tuning on the kept answers: cross-entropy on everything after the prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from iteration import losses
from iteration.examples import item_table, pieces
from iteration.types import Examples


@dataclass
class Sft:
    sequences: ClassVar[int] = 1

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        return item_table(kept["id"].to_pylist(), kept["tokens"].to_pylist())

    def examples(self, nodes: pa.Table, items: list[tuple[str, str]]) -> Examples:
        token_parts = pieces(nodes, [name for name, _ in items])
        weights = [np.repeat([0.0, 1.0], [len(parts[0]), sum(map(len, parts[1:]))]) for parts in token_parts]
        return Examples.of([[np.concatenate(parts)] for parts in token_parts], weights)

    def objective(self, model: Any) -> Callable:
        return losses.likelihood

    def total(self, batch: Any) -> float:
        return float(batch.weights.sum())
