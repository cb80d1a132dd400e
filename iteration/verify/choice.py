"""Multiple choice: which letter does the answer state? It votes for the option, not for the letter it happens to stand at."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from iteration.types import Problem, State, Verdict

_STATED = re.compile(
    r"(?i:\b(?:final\s+|correct\s+)?(?:answer|choice|option)\b\s*(?:is|:|=)?)\s*:?\s*(?:\*\*)?\s*\$?(?:\\boxed\s*\{)?\s*"
    r"(?:\\text\s*\{)?\s*[(\[]?([A-J])\b(?![a-z'])"
)
_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?\s*[(\[]?([A-J])[)\]]?\s*\}?\s*\}")
_ALONE = re.compile(r"^\W*(?:\*\*)?[(\[]?([A-J])[)\].:]?(?:\*\*)?\W*$")


def letter(text: str) -> str:
    """The letter that a text states last: in a box, behind "answer", or alone on its last line; "" if it states none."""
    for pattern in (_BOXED, _STATED):
        found = pattern.findall(text)
        if found:
            return found[-1]
    lines = [line for line in text.splitlines() if line.strip()]
    found = _ALONE.match(lines[-1]) if lines else None
    return found[1] if found else ""


@dataclass
class Choice:
    version: ClassVar[str] = "1"

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self.one(problem, answer) for problem, answer in zip(problems, answers, strict=True)]

    def one(self, problem: Problem, answer: str) -> Verdict:
        try:
            stored = json.loads(problem.answer)
            right, order = stored["right"], stored["order"]
        except (ValueError, KeyError, TypeError):
            return Verdict(State.FAILED, why=f"the problem's answer holds no order of options: {problem.answer[:60]!r}")
        picked = letter(answer)
        if not picked or ord(picked) - 65 >= len(order):
            return Verdict(State.UNPARSEABLE, why=f"no letter from A to {chr(64 + len(order))} is stated")
        state = State.CORRECT if picked == right else State.WRONG
        option = f"option {order[ord(picked) - 65] + 1}"
        return Verdict(state, option, float(state == State.CORRECT), f"picked {picked}, right is {right}")

    def report(self, answers: pa.Table) -> dict[str, float]:
        """Position bias: for each letter its share of the picks, less its share of the right answers.

        answers: columns state and why, one row an answer. A model without bias has values near 0.
        """
        told = [re.match(r"picked (\w), right is (\w)", why or "") for why in answers["why"].to_pylist()]
        picks, rights = (Counter(each[i] for each in told if each) for i in (1, 2))
        n = max(1, sum(picks.values()))
        return {f"bias to {place}": (picks[place] - rights[place]) / n for place in sorted(picks.keys() | rights.keys())}
