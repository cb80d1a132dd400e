"""Choosing one of N answers, for every N at once, from stored traces, without generating.

All functions take the answers of one problem as `Pool` and work on every group of N of them: the N-th column of a result is the
accuracy with N answers, averaged over disjoint groups (so an answer counts once for each N). Ties share the credit. An
unparseable answer (truncated, empty) has no vote and is never chosen while there is another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

AGGREGATES: dict[str, Callable[[np.ndarray], float]] = {
    "last": lambda values: float(values[-1]),
    "min": lambda values: float(values.min()),
    "product": lambda values: float(values.prod()),
    "mean": lambda values: float(values.mean()),
}  # of the values of an answer's steps; an answer without values counts 0


JUDGED = "vote by the judge"  # the name shown for `weighted` by a value model's scores


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """A problem's answers in the order of sampling.

    answers: canonical, "" where unparseable; right: bool [n], the answer is correct; verified: bool [n], the
    verifier accepted the whole trace; tokens: int [n], generated between the previous answer and this one;
    values: the judge's scores of each answer's steps, float [s] each; visits: int [n], of the answer's last node.
    """

    answers: Sequence[str]
    right: np.ndarray
    verified: np.ndarray
    tokens: np.ndarray
    values: Sequence[np.ndarray]
    visits: np.ndarray

    def __len__(self) -> int:
        return len(self.answers)

    def scores(self, aggregate: str) -> np.ndarray:
        """float64 [n]: each answer's aggregated values."""
        return _scores(self, aggregate)


@lru_cache(maxsize=256)  # the rules ask for those of one pool many times
def _scores(pool: Pool, aggregate: str) -> np.ndarray:
    return np.array([AGGREGATES[aggregate](values) if len(values) else 0.0 for values in pool.values], np.float64)


def majority(pool: Pool, of: slice = slice(None)) -> float:
    """The probability that the answer with most votes is right (self-consistency). Source: Wang et al. 2022."""
    return weighted(pool, np.ones(len(pool)), of)


def leading(votes: Sequence[float], right: Sequence[bool]) -> float:
    """The chance that the answer with most votes is right; ties share it. votes: of each distinct answer that could be read."""
    most = max(votes, default=0.0)
    leaders = [good for vote, good in zip(votes, right, strict=True) if vote >= most - 1e-12]
    return sum(leaders) / len(leaders) if leaders else 0.0


def weighted(pool: Pool, weights: np.ndarray, of: slice = slice(None)) -> float:
    """The vote with each answer's weight, e.g. its judge's score. weights: float [n]. Source: Li et al. 2022, DiVeRSe."""
    votes: dict[str, float] = {}
    right: dict[str, bool] = {}
    for answer, weight, good in zip(pool.answers[of], weights[of].tolist(), pool.right[of].tolist(), strict=True):
        if answer:
            votes[answer] = votes.get(answer, 0.0) + weight
            right[answer] = right.get(answer, False) or good
    return leading(list(votes.values()), [right[answer] for answer in votes])


def best(pool: Pool, scores: np.ndarray, of: slice = slice(None)) -> float:
    """The answer of highest score (best-of-N). scores: float [n]."""
    readable = np.array([bool(answer) for answer in pool.answers[of]], bool)
    if not readable.any():
        return 0.0
    ranked, right = scores[of][readable], pool.right[of][readable]
    return float(right[ranked >= ranked.max() - 1e-12].mean())


def first_verified(pool: Pool, of: slice = slice(None)) -> float:
    """Whether the verifier accepts any answer: the accuracy with a verifier at test time (coverage)."""
    return float(pool.verified[of].any())


def by_visits(nodes: Sequence[tuple[int, int]], temperature: float, rng: np.random.Generator) -> int:
    """Sample a leaf: from the root down, each child with probability visits^(1/temperature); 0 takes the most visited.

    nodes: (parent, visits) of each node of one tree, the root first. Returns the index of the last node of the walk, a
    leaf of the visited tree. Source: Silver et al. 2018, temperature-controlled selection.
    """
    below: dict[int, list[int]] = {}
    for index, (parent, visits) in enumerate(nodes):
        if visits and parent >= 0:
            below.setdefault(parent, []).append(index)
    at = 0
    while at in below:
        visits = np.array([nodes[i][1] for i in below[at]], np.float64)
        if temperature <= 0:
            chances = (visits == visits.max()) / (visits == visits.max()).sum()
        else:
            chances = (visits / visits.max()) ** (1 / temperature)
            chances /= chances.sum()
        at = below[at][int(rng.choice(len(visits), p=chances))]
    return at


def curve(pool: Pool, rule: Callable[[Pool, slice], float], sizes: Sequence[int]) -> np.ndarray:
    """A rule's accuracy with each number of answers: float64 [sizes], averaged over the disjoint groups of that size.

    A size larger than the pool uses the whole pool.
    """
    n = len(pool)
    if not n:
        return np.zeros(len(sizes))
    means = []
    for size in sizes:
        size = min(size, n)
        means.append(np.mean([rule(pool, slice(i, i + size)) for i in range(0, n - size + 1, size)]))
    return np.array(means)
