"""Numbers with their uncertainty. Every function takes plain arrays, problem by problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000


def pass_at_k(n: np.ndarray, correct: np.ndarray, k: int) -> np.ndarray:
    """Unbiased pass@k of each problem: the chance that k of its n answers, drawn without replacement, hold a correct one.

    n, correct: int [p]. Returns float64 [p], in [0, 1]. Needs k <= n everywhere (ValueError).
    Source: Chen et al. 2021, Evaluating Large Language Models Trained on Code, equation 1: 1 - C(n - c, k) / C(n, k).
    """
    n, correct = np.asarray(n), np.asarray(correct)
    if len(n) and k > int(n.min()):
        raise ValueError(f"pass@{k} needs at least {k} answers for each problem; found {int(n.min())}")
    missing = n - correct
    miss = np.ones(len(n))
    for i in range(k):  # C(n - c, k) / C(n, k) as a product that never overflows
        miss *= np.clip((missing - i) / (n - i), 0.0, 1.0)
    return 1.0 - miss


@dataclass(frozen=True, slots=True)
class Interval:
    mean: float
    low: float
    high: float


def wilson(hits: int, n: int) -> Interval:
    """A share with its 95 % Wilson score interval; (0, 0, 1) for none of none. Source: Wilson 1927; Brown et al. 2001."""
    if not n:
        return Interval(0.0, 0.0, 1.0)
    z, p = 1.959963984540054, hits / n
    middle, spread = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)),
    )
    return Interval(p, max(0.0, float(middle - spread)), min(1.0, float(middle + spread)))


def bootstrap(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean of per-problem values with a 95 % percentile bootstrap over problems.

    values: float [p]; the answers to one problem are not independent, so problems are resampled, not answers.
    Where every problem has the same value the bootstrap is blind; the rule of three (3 / p) then gives the far end.
    Source: Efron 1979; Miller 2024, Adding Error Bars to Evals. Rule of three: Hanley and Lippman-Hand 1983.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("no problems to average over")
    means = _resampled_means(values, seed)
    low, high = np.percentile(means, (2.5, 97.5))
    if values.min() == values.max():
        low, high = max(0.0, low - 3 / len(values)), min(1.0, high + 3 / len(values))
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Interval:
    """Mean of after - before over the same problems, with its 95 % interval. before, after: float [p]."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if before.shape != after.shape:
        raise ValueError(f"paired values differ in shape: {before.shape} and {after.shape}")
    difference = after - before
    low, high = np.percentile(_resampled_means(difference, seed), (2.5, 97.5))
    return Interval(float(difference.mean()), float(low), float(high))


def auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """The chance that a positive scores above a negative (ties count half); None where one of them is missing.

    scores: float [n]; labels: bool [n]. Source: Mann and Whitney 1947; Hanley and McNeil 1982.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return None
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # equal scores share their mean rank
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def reliability(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean score, share of positives, count) in equal bins of the score, empty bins left out.

    scores: float [n] in [0, 1]; labels: bool [n]. Source: DeGroot and Fienberg 1983.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    of = np.minimum((scores * bins).astype(int), bins - 1)
    groups = [of == i for i in range(bins)]
    return [(float(scores[g].mean()), float(labels[g].mean()), int(g.sum())) for g in groups if g.any()]


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1)
