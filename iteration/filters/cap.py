"""Keeps a limited number of answers per problem over all rounds, so easy problems do not crowd out hard ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from iteration.parts import at_least


@dataclass
class Cap:
    per_problem: int = 4  # answers kept of one problem

    def __post_init__(self) -> None:
        at_least(self, per_problem=1)

    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        kept = Counter(earlier["problem_id"].to_pylist())
        reasons = []
        for problem in traces["problem_id"].to_pylist():
            kept[problem] += 1
            reasons.append("" if kept[problem] <= self.per_problem else f"more than {self.per_problem} for this problem")
        return reasons
