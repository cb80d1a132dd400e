"""Looks at the final answer only: the last line or the last number. A lucky guess passes; `replay` is stricter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from iteration.types import Problem, State, Verdict

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> str:
    """The last number of a text in canonical form ("1,234.50" is "1234.5"), or ""."""
    found = _NUMBER.findall(text)
    if not found:
        return ""
    number = found[-1].replace(",", "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    digits = digits.lstrip("0") or "0"
    digits = "0" + digits if digits.startswith(".") else digits
    return sign + digits if digits != "0" else "0"


def last_line(text: str) -> str:
    """The last non-empty line, white space folded, or ""."""
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1].split()) if lines else ""


@dataclass
class Exact:
    read: str = "number"  # what is compared: the answer's last "number" or its last "line"

    def __post_init__(self) -> None:
        if self.read not in ("number", "line"):
            raise ValueError(f"verify.read is {self.read!r}; expected number or line")

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self.one(problem, answer) for problem, answer in zip(problems, answers, strict=True)]

    def one(self, problem: Problem, answer: str) -> Verdict:
        canonical = last_number if self.read == "number" else last_line
        expected, found = canonical(problem.answer), canonical(answer)
        if not expected:
            return Verdict(State.FAILED, why=f"the problem's own answer has no {self.read}: {problem.answer[:60]!r}")
        if not found:
            return Verdict(State.UNPARSEABLE, why=f"no {self.read} in the answer")
        if found != expected:
            return Verdict(State.WRONG, found, why=f"{found}, not {expected}")
        return Verdict(State.CORRECT, found, 1.0)
