"""Looks at the final answer only: the number it states, or its last line. A lucky guess passes; `replay` is stricter."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration.extract import clean, explicit, number, numbers, shortest
from iteration.types import Problem, State, Verdict

# What may stand around a number in a stated answer: words and their marks, but nothing that makes another number of it.
_AROUND = re.compile(r"(?:\\(?:text|mathrm|textbf|mathbf|boxed)(?![A-Za-z])|\\[$%,;:!{}() ]|[^\\+*/^!√π²³_=<>|])*")


_RATIO = re.compile(r"(?<![\d./])-?(?:\d+ +)?\d+ */ *\d+(?![\d/]|\.\d)(?=\D*\Z)")  # a fraction, last in its line


def last_number(text: str) -> str:
    """The last number of a text in canonical form ("1,234.50" is "1234.5"), or ""."""
    return _last(clean(text))


def _last(text: str) -> str:
    for line in reversed(text.split("\n")):
        values, ratio = numbers(line), _RATIO.search(line)
        if values:
            return str(number(ratio[0]) or values[-1]) if ratio else values[-1]
    return ""


def final_number(text: str) -> str:
    """The number that a text states in a box, a tag or behind "answer"; where it marks none, its last one; or ""."""
    text = clean(text)
    said = explicit(text)
    if said is None:
        return _last(text)
    if said.isdigit():
        return shortest(said)
    said = said.replace("^\\circ", "").replace("^{\\circ}", "").rsplit("=", 1)[-1].strip("*_`$ ").rstrip(".")
    whole, values = number(said) or number(said.strip("\\%$ ")), set(numbers(said))
    if whole:
        return str(whole)
    alone = len(values) == 1 and _AROUND.fullmatch(said) and not re.search(r"\d\s?[A-Za-z](?![A-Za-z])|[A-Za-z]\d", said)
    return values.pop() if alone else ""


def last_line(text: str) -> str:
    """The last non-empty line, white space folded, or ""."""
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1].split()) if lines else ""


@functools.lru_cache(1024)  # a problem has many answers
def _expected(canonical: Callable[[str], str], answer: str) -> str:
    return canonical(answer)


@dataclass
class Exact:
    read: str = "number"  # what is compared: the answer's "number", stated or else its last one, or its last "line"

    version: ClassVar[str] = "2"

    def __post_init__(self) -> None:
        if self.read not in ("number", "line"):
            raise ValueError(f"verify.read is {self.read!r}; expected number or line")

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self.one(problem, answer) for problem, answer in zip(problems, answers, strict=True)]

    def one(self, problem: Problem, answer: str) -> Verdict:
        canonical = final_number if self.read == "number" else last_line
        expected, given = _expected(canonical, problem.answer), canonical(answer)
        if not expected:
            return Verdict(State.FAILED, why=f"the problem's own answer has no {self.read}: {problem.answer[:60]!r}")
        if not given:
            return Verdict(State.UNPARSEABLE, why=f"no {self.read} in the answer")
        if given != expected:
            return Verdict(State.WRONG, given, why=f"{given}, not {expected}")
        return Verdict(State.CORRECT, given, 1.0)
