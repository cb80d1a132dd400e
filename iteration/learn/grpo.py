"""Group-relative policy optimisation: an answer counts by how much better or worse it is than the others to its problem.

A group is all graded answers, right and wrong, of one search of a problem of which the filters kept an answer. An answer's
advantage is its reward minus the group's mean, divided by the group's standard deviation; groups of equal rewards give nothing.
The ratio of each token's probability to that of sampling (the stored logprobs) is clipped. Meant for plain samples
(search.name=sample) of the last round (train.pool=last).
Source: Shao et al. 2024, DeepSeekMath, equation 3, without its KL term; Yu et al. 2025, DAPO, equation 8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from iteration import losses
from iteration.examples import item_table, paths, pieces, token_counts, tree_of
from iteration.parts import above
from iteration.types import Examples, State


@dataclass
class Grpo:
    clip: float = 0.2  # a token's ratio counts down to 1 - clip
    clip_high: float = 0.2  # and up to 1 + clip_high; DAPO: 0.28
    token_level: bool = False  # every token counts the same, as in DAPO; otherwise every answer does
    sampled_at: float = 1.0  # the temperature of the answers: generate.temperature times search.temperature

    sequences: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("logprobs", "reward")

    def __post_init__(self) -> None:
        above(self, clip=0, clip_high=0, sampled_at=0)

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        rows = nodes()
        names, counts, known = rows["id"].to_pylist(), token_counts(rows), rows["logprobs"].is_valid().to_numpy()
        trees, worth = {tree_of(name) for name in kept["id"].to_pylist()}, advantages(rows)
        ends = [i for i, name in enumerate(names) if name in worth and tree_of(name) in trees]
        routes = [route for route in paths(rows, np.array(ends, np.int64)) if known[route[1:]].all()]
        return item_table([names[route[-1]] for route in routes], [int(counts[route].sum()) for route in routes])

    def examples(self, nodes: pa.Table, items: list[tuple[str, str]]) -> Examples:
        names, worth, weights = [name for name, _ in items], advantages(nodes), []
        token_parts = pieces(nodes, names)
        logprobs = [np.concatenate(parts) for parts in pieces(nodes, names, "logprobs")]
        for name, parts in zip(names, token_parts, strict=True):
            answer = sum(map(len, parts[1:]))
            weights.append(np.repeat([0.0, worth[name] / (1 if self.token_level else answer)], [len(parts[0]), answer]))
        return Examples.of([[np.concatenate(parts)] for parts in token_parts], weights, logprobs)

    def objective(self, model: Any) -> Callable:
        return partial(losses.clipped, low=1 - self.clip, high=1 + self.clip_high, temperature=self.sampled_at)

    def total(self, batch: Any) -> float:
        return float(np.count_nonzero(batch.weights) if self.token_level else batch.count)


def advantages(nodes: pa.Table) -> dict[str, float]:
    """By the node id of each graded answer; none where it is 0, so of no group of equal rewards."""
    groups: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for name, state, reward in zip(*(nodes[column].to_pylist() for column in ("id", "state", "reward")), strict=True):
        if state is not None and state != State.FAILED:
            groups[tree_of(name)].append((name, reward))
    found = {}
    for group in groups.values():
        rewards = np.array([reward for _, reward in group], np.float64)
        if np.ptp(rewards) > 0:
            scaled = (rewards - rewards.mean()) / rewards.std()
            found |= {name: float(each) for (name, _), each in zip(group, scaled, strict=True) if each}
    return found
