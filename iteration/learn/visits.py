"""Visit-weighted steps from search trees: the policy is trained on the visit counts of the search, as in AlphaZero.

In every tree that holds a kept answer, each visited step counts by its share of its siblings' visits, once, after the path to
it. Trees without visits (plain samples) give no examples.
Source: Silver et al. 2018, the policy's target pi(a|s) = N(s, a) / N(s).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from iteration import losses
from iteration.examples import item_table, paths, pieces, token_counts, tree_of
from iteration.types import Examples


@dataclass
class Visits:
    sequences: ClassVar[int] = 1

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        rows = nodes()
        trees = {tree_of(name) for name in kept["id"].to_pylist()}
        names, counts = rows["id"].to_pylist(), token_counts(rows)
        ends = [end for end in weighted_paths(rows) if tree_of(names[end[0][-1]]) in trees]
        return item_table([names[route[-1]] for route, _ in ends], [int(counts[route].sum()) for route, _ in ends])

    def examples(self, nodes: pa.Table, items: list[tuple[str, str]]) -> Examples:
        names = nodes["id"].to_pylist()
        weights = {names[route[-1]]: shares for route, shares in weighted_paths(nodes)}
        token_parts = pieces(nodes, [name for name, _ in items])
        spread = [
            np.concatenate([np.full(len(part), share) for part, share in zip(parts, weights[name], strict=True)])
            for (name, _), parts in zip(items, token_parts, strict=True)
        ]
        return Examples.of([[np.concatenate(parts)] for parts in token_parts], spread)

    def objective(self, model: Any) -> Callable:
        return losses.likelihood

    def total(self, batch: Any) -> float:
        return float(batch.weights.sum())


def weighted_paths(nodes: pa.Table) -> list[tuple[list[int], list[float]]]:
    """Paths from root to leaf over the visited nodes, and the weight of each node on them; each has one on one path only."""
    visits, parents, numbers = (nodes[name].to_numpy() for name in ("visits", "parent", "node"))
    above = np.arange(len(nodes)) - numbers + parents  # row of the parent; meaningless at roots
    seen = (visits > 0) & (parents >= 0)
    siblings = np.zeros(len(nodes))
    np.add.at(siblings, above[seen], visits[seen])
    inner = set(above[seen].tolist())
    taken: set[int] = set()
    weighted = []
    for route in paths(nodes, np.array([i for i in np.flatnonzero(seen).tolist() if i not in inner], np.int64)):
        shares = [0.0] + [0.0 if i in taken else float(visits[i] / siblings[above[i]]) for i in route[1:]]
        taken.update(route)
        weighted.append((route, shares))
    return weighted
