"""How a set of problems is searched, as data: written once as arms/NAME.json; searching, grading and reports read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster.folder.layout import plan_key
from iteration.parts import JUDGE, SEARCH, Part


@dataclass(frozen=True, slots=True)
class Arm:
    """Its answers in round 3 are in traces/r00003/NAME. The name has no other meaning."""

    name: str
    title: str  # what people are shown, e.g. search, measure, or the name of a challenger
    split: str  # of the task: where its problems come from
    plan: str  # its problems: plans/rNNNNN/PLAN.parquet
    search: Part
    judge: Part | None  # leads the search
    budget: int  # generated tokens for each problem
    blind: bool  # held-out problems: the search sees no verdict, and nothing is trained on
    round: int | None = None  # the only round that has it; None: every round has it
    model: str = ""  # the version that answers, or who made the answers elsewhere; "" takes the round's own
    logprobs: bool = False  # the logprobs of all its answers are stored: learning reads them
    budgeted: bool = False  # the budget bounds its searches and is shown; otherwise the number of its samples does

    def plan_key(self, number: int) -> str:
        """The key of its problems: one plan per round for training problems, one for all rounds for held-out problems."""
        return plan_key(0 if self.blind else number, self.plan)

    def record(self) -> dict[str, Any]:
        """As it is written."""
        parts = {"search": self.search.section(), "judge": self.judge and self.judge.section()}
        return asdict(replace(self, search=None, judge=None)) | parts

    @classmethod
    def read(cls, record: dict[str, Any]) -> Arm:
        judge, search = record["judge"], Part.of(SEARCH, record["search"])
        arm = cls(**(record | {"search": search, "judge": Part.of(JUDGE, judge) if judge else None}))
        if "budgeted" in record:
            return arm
        alone = arm.blind and arm.round is not None and not arm.model  # records that do not say it yet
        return replace(arm, budgeted=alone and search.name != "sample")
