"""Limits the share of each difficulty: a round keeps answers to easy and to hard problems.

Difficulty is Snell's: the model's own solve rate on the problem in this round, in equal bins.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from iteration.parts import above, at_least, share


@dataclass
class Balance:
    share: float = 0.4  # of all that is kept, at most this much from one bin (where there are enough bins for that)
    bins: int = 4  # of the solve rate, from hardest to easiest

    def __post_init__(self) -> None:
        at_least(self, bins=1)
        above(self, share=0)
        share(self, "share")

    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        bins = [min(self.bins - 1, int(rate * self.bins)) for rate in traces["rate"].to_pylist()]
        most = self.most(Counter(bins))
        kept: Counter = Counter()
        reasons = []
        for each in bins:
            kept[each] += 1
            reasons.append("" if kept[each] <= most else f"more than {most} from bin {each + 1} of {self.bins} of solve rates")
        return reasons

    def most(self, counts: Counter) -> int:
        """The largest limit for every bin at which none exceeds its share; if there is none, the size of the smallest bin."""
        sizes = sorted(counts.values())
        if len(sizes) < 2:
            return sum(sizes)
        fits = (m for m in range(sizes[-1], sizes[0], -1) if m <= self.share * sum(min(size, m) for size in sizes))
        return next(fits, sizes[0])
