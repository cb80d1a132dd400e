"""Step-level preferences: of siblings after the same prefix, the best is preferred to the worst (DPO).

A step's worth is the share of the answers below it that are correct; only siblings with a graded answer below them count. The
chosen step leads to a kept answer, and no answer below the rejected one is correct.
Source: Rafailov et al. 2023 (the loss); Zhang et al. 2024, Chain of Preference Optimization (pairs from search trees).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from iteration import losses
from iteration.examples import item_table, paths, pieces, token_counts
from iteration.parts import above, at_least
from iteration.types import Examples, State


@dataclass
class Dpo:
    beta: float = 0.1  # scale of the margin between chosen and rejected
    anchor: float = 1.0  # weight of the chosen step's own cross-entropy
    per_tree: int = 8  # pairs of one tree, the deepest first

    sequences: ClassVar[int] = 2

    def __post_init__(self) -> None:
        at_least(self, anchor=0, per_tree=1)
        above(self, beta=0)

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        rows = nodes()
        names, counts = rows["id"].to_pylist(), token_counts(rows)
        row_of = {name: i for i, name in enumerate(names)}
        pairs = self.pairs(rows, {row_of[name] for name in kept["id"].to_pylist()})
        both = paths(rows, np.array(pairs, np.int64).reshape(-1))
        tokens = [int(counts[both[2 * i]].sum() + counts[both[2 * i + 1]].sum()) for i in range(len(pairs))]
        return item_table([names[a] for a, _ in pairs], tokens, [names[b] for _, b in pairs])

    def pairs(self, nodes: pa.Table, kept: set[int]) -> list[tuple[int, int]]:
        """(chosen row, rejected row) of the pairs, tree by tree."""
        parents, numbers, depths = (nodes[name].to_numpy() for name in ("parent", "node", "depth"))
        states = nodes["state"].to_pylist()
        graded, right = np.zeros(len(nodes)), np.zeros(len(nodes))
        leads = np.zeros(len(nodes), bool)
        ends = [i for i, state in enumerate(states) if state is not None and state != State.FAILED]
        for route in paths(nodes, np.array(ends, np.int64)):
            graded[route] += 1
            right[route] += states[route[-1]] == State.CORRECT
            leads[route] |= route[-1] in kept
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i in np.flatnonzero((graded > 0) & (parents >= 0)).tolist():
            groups[i - int(numbers[i]), int(parents[i])].append(i)
        candidates: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (root, _), members in groups.items():
            share = {i: right[i] / graded[i] for i in members}
            best = max((i for i in members if leads[i]), key=lambda i: (share[i], -i), default=None)
            worst = min((i for i in members if not right[i]), default=None)
            if best is not None and worst is not None:
                candidates[root].append((best, worst))
        deepest = (sorted(pairs, key=lambda pair: -depths[pair[0]])[: self.per_tree] for pairs in candidates.values())
        return [pair for pairs in deepest for pair in pairs]

    def examples(self, nodes: pa.Table, items: list[tuple[str, str]]) -> Examples:
        names = [name for pair in items for name in pair]
        both = pieces(nodes, names)
        sequences, weights = [], []
        for i in range(len(items)):
            pair = both[2 * i], both[2 * i + 1]
            sequences.append([np.concatenate(parts) for parts in pair])
            before = [sum(map(len, parts[:-1])) for parts in pair]
            marks = [
                np.repeat([0.0, sign], [n, len(parts[-1])]) for parts, n, sign in zip(pair, before, (1.0, -1.0), strict=True)
            ]
            weights.append(np.concatenate(marks))
        return Examples.of(sequences, weights)

    def objective(self, model: Any) -> Callable:
        import copy
        from functools import partial

        reference = copy.deepcopy(model).eval()
        return lambda model, batch: partial(losses.preference, beta=self.beta, anchor=self.anchor)(model, reference, batch)

    def total(self, batch: Any) -> float:
        return float(batch.count)
