"""The levels of the next round's problems, from the model's solve rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_FIRST = 3  # levels of the first round
_FLOOR = 0.1  # minimum weight of a level, e.g. one that is mastered or never solved


def shares(levels: Sequence[int], solved: Mapping[int, float], n: int) -> dict[int, int]:
    """Problems for each level, `n` in all.

    solved: share of correct answers by level, each from the last round that had it. The weight of a level is sqrt(p (1 - p)),
    the standard deviation of its outcome, but at least a floor. Levels go up to one above the hardest solved level, so that
    the next level is always tried. Returns only levels with at least one problem.
    """
    known = [level for level in levels if solved.get(level, 0.0) > 0]
    reach = levels.index(known[-1]) + 1 if known else _FIRST - 1
    asked = list(levels[: max(reach, min(_FIRST - 1, len(levels) - 1)) + 1])
    weights = np.array([max(_FLOOR, np.sqrt(solved.get(level, 0.5) * (1 - solved.get(level, 0.5)))) for level in asked])
    exact = n * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: n - int(counts.sum())]:
        counts[i] += 1
    return {level: int(count) for level, count in zip(asked, counts, strict=True) if count}
