"""Statistics with confidence intervals, from plain arrays with one value per problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000


def pass_at_k(n: np.ndarray, correct: np.ndarray, k: int) -> np.ndarray:
    """Unbiased pass@k of each problem: the probability that k of its n answers, without replacement, contain a correct one.

    n, correct: int [p]. Returns float64 [p], in [0, 1]. Raises ValueError unless k <= n for all problems.
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
    """A proportion with its 95 % Wilson score interval; (0, 0, 1) for n = 0. Source: Wilson 1927; Brown et al. 2001."""
    if not n:
        return Interval(0.0, 0.0, 1.0)
    z, p = 1.959963984540054, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    spread = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, float(middle - spread)), min(1.0, float(middle + spread)))


def bootstrap(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean of per-problem values with a 95 % percentile bootstrap over problems.

    values: float [p]; the answers to one problem are not independent, so problems are resampled, not answers.
    If all values are equal, the bootstrap interval has no width; the rule of three (3 / p) is used instead.
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
    """The probability that a positive scores above a negative (ties count half); None where either class is empty.

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
    """(mean score, share of positives, count) in equal-width bins of the score, without empty bins.

    scores: float [n] in [0, 1]; labels: bool [n]. Source: DeGroot and Fienberg 1983.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    of = np.minimum((scores * bins).astype(int), bins - 1)
    groups = [of == i for i in range(bins)]
    return [(float(scores[g].mean()), float(labels[g].mean()), int(g.sum())) for g in groups if g.any()]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The law c = exp(a k^b) with a, b < 0, and its error: the root mean square of c - fit over the points."""

    a: float
    b: float
    error: float

    def at(self, k: np.ndarray) -> np.ndarray:
        """Expected coverage with k answers: float64, shaped like k."""
        return np.exp(self.a * np.asarray(k, np.float64) ** self.b)


def coverage_fit(k: np.ndarray, coverage: np.ndarray) -> Coverage | None:
    """Fit c = exp(a k^b) by least squares in c; None with fewer than three points strictly between 0 and 1.

    k, coverage: float [n]. log(-log c) = log(-a) + b log k is a line; it is fitted iteratively with the weights
    (c log c)^2 of the current fit, which is least squares in c to first order.
    Source: Brown et al. 2024, Large Language Monkeys, section 3.1.
    """
    k, coverage = np.asarray(k, np.float64), np.asarray(coverage, np.float64)
    inside = (coverage > 0) & (coverage < 1)
    if inside.sum() < 3:
        return None
    x, y, fitted = np.log(k[inside]), np.log(-np.log(coverage[inside])), coverage[inside]
    for _ in range(20):
        weight = np.abs(fitted * np.log(fitted)) + 1e-12  # np.polyfit squares it
        b, intercept = np.polyfit(x, y, 1, w=weight)
        fitted = np.clip(np.exp(-np.exp(intercept + b * x)), 1e-12, 1 - 1e-12)
    error = float(np.sqrt(np.mean((coverage[inside] - fitted) ** 2)))
    return Coverage(float(-np.exp(intercept)), float(b), error)


def maj_at_k(votes: np.ndarray, right: np.ndarray, k: int, draws: int = 400, seed: int = 0) -> float:
    """The probability that the most common of k answers, drawn without replacement from a problem's n, is right; ties share it.

    votes: int [answers], the count of each distinct answer, with unparseable ones as the last;
    right: bool [answers]; the last is never right. Monte Carlo over `draws` where k < n. Source: Wang et al. 2022.
    """
    votes, right = np.asarray(votes, np.int64), np.asarray(right, bool)
    n = int(votes.sum())
    if k > n:
        raise ValueError(f"maj@{k} needs at least {k} answers; found {n}")
    rng = np.random.default_rng(seed)
    drawn = votes[None] if k == n else rng.multivariate_hypergeometric(votes, k, size=draws, method="marginals")
    drawn, right = drawn[:, :-1], right[:-1]  # unparseable answers have no vote
    if not drawn.shape[1]:
        return 0.0
    most = drawn.max(axis=1, keepdims=True)
    leads = (drawn == most) & (most > 0)
    return float(((leads & right).sum(axis=1) / np.maximum(1, leads.sum(axis=1))).mean())


def difficulty_bins(rates: np.ndarray, bins: int = 5) -> np.ndarray:
    """Quantiles of difficulty by the model's solve rate: int64 [p], 0 the easiest; equal rates share a bin.

    rates: float [p]. Source: Snell et al. 2024, Scaling LLM Test-Time Compute Optimally, section 3.2.
    """
    rates = np.asarray(rates, np.float64)
    _, places, counts = np.unique(-rates, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2)[places] / max(1, len(rates))
    return np.minimum((middle * bins).astype(np.int64), bins - 1)


def two_fold_choice(scores: np.ndarray, bins: np.ndarray, seed: int = 0) -> tuple[np.ndarray, dict[int, list[int]]]:
    """The best strategy of each bin, chosen on one half of its problems and scored on the other, and vice versa.

    scores: float [strategies, p]; bins: int [p]. Returns (score of each problem under the strategy that the other fold chose,
    float64 [p]; {bin: the strategies chosen}). Without the folds the best of several strategies would be biased upwards.
    Source: Snell et al. 2024, section 3.2.
    """
    scores, bins = np.asarray(scores, np.float64), np.asarray(bins)
    rng, chosen_scores, chosen = np.random.default_rng(seed), np.zeros(len(bins)), {}
    for each in np.unique(bins).tolist():
        of = rng.permutation(np.flatnonzero(bins == each))
        folds = of[: len(of) // 2], of[len(of) // 2 :]
        for here, other in (folds, folds[::-1]):
            best = int(scores[:, other if len(other) else here].mean(axis=1).argmax())
            chosen_scores[here] = scores[best, here]
            chosen.setdefault(each, []).append(best)
    return chosen_scores, chosen


def elo(wins: np.ndarray) -> np.ndarray:
    """Ratings by maximum likelihood, float64 [p], the first is 0: a player 400 points ahead wins ten of eleven games.

    wins: float [p, p], wins[i, j] games of i against j. Each pair that has met counts one more game, drawn, or a player who won
    all of them would be infinitely strong. Raises ValueError where not all players are linked by games.
    Source: Bradley and Terry 1952; the drawn game as in Hunter 2004 and Coulom's BayesElo.
    """
    wins = np.asarray(wins, np.float64)
    met = wins + wins.T > 0
    links = met | np.eye(len(wins), dtype=bool)
    for _ in wins:
        links = links @ links
    if not links.all():
        raise ValueError("not all players are linked by games")
    wins = wins + met / 2
    games, strength = wins + wins.T, np.zeros(len(wins))
    for _ in range(100):  # Newton's method; the first player stays at 0
        expected = 1 / (1 + np.exp(strength[None] - strength[:, None]))
        slope = (wins - games * expected).sum(1)
        bend = games * expected * (1 - expected)
        step = np.linalg.solve((np.diag(bend.sum(1)) - bend)[1:, 1:], slope[1:])
        strength[1:] += np.clip(step, -1, 1)
        if np.abs(step).max(initial=0) < 1e-9:
            break
    return strength * 400 / np.log(10)


def elo_intervals(one: np.ndarray, other: np.ndarray, won: np.ndarray, players: int, resamples: int = 200) -> list[Interval]:
    """Ratings with 95 % percentile bootstraps over games. one, other: players of each game, int [g]; won: by `one`, bool."""

    def rated(chosen: np.ndarray) -> np.ndarray:
        wins = np.zeros((players, players))
        a, b = one[chosen], other[chosen]
        np.add.at(wins, (np.where(won[chosen], a, b), np.where(won[chosen], b, a)), 1)
        return elo(wins)

    rng, n = np.random.default_rng(0), len(won)
    order = np.lexsort((other, one))  # resampled within each pairing, so that all players stay linked
    _, starts, counts = np.unique(one[order] * players + other[order], return_index=True, return_counts=True)
    first, size = np.repeat(starts, counts), np.repeat(counts, counts)
    draws = np.array([rated(order[first + rng.integers(size)]) for _ in range(resamples)])
    low, high = np.percentile(draws, (2.5, 97.5), axis=0)
    return [Interval(*map(float, each)) for each in zip(rated(np.arange(n)), low, high, strict=True)]


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1)
