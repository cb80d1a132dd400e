"""Replays an `expressions` answer line by line: each must be one legal reduction of the line before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iteration.types import Problem, State, Verdict

MODULUS = 20
_APPLY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def parse(line: str) -> list[int | str] | None:
    """["2", "+", "3"] as [2, "+", 3], or None where the line is no expression of numbers below 20."""
    words = line.split()
    if len(words) % 2 == 0:
        return None
    parsed: list[int | str] = []
    for i, word in enumerate(words):
        if i % 2:
            if word not in _APPLY:
                return None
            parsed.append(word)
        else:
            if not (word.isascii() and word.isdigit()) or int(word) >= MODULUS:
                return None
            parsed.append(int(word))
    return parsed


def legal(line: list[int | str], at: int) -> bool:
    """May the operator at index `at` be carried out now without changing the line's value, whatever its numbers?

    Any * may. A + or - only once no * is left, and not right behind a -: a - (b + c) is not (a - b) + c.
    """
    return line[at] == "*" or ("*" not in line and (at == 1 or line[at - 2] == "+"))


def step(before: list[int | str], after: list[int | str]) -> str:
    """ "" where `after` is one legal reduction of `before`, else what is wrong."""
    if len(after) != len(before) - 2:
        return f"{len(before) // 2 - len(after) // 2} reductions in one line"
    illegal = ""
    slip = ""
    for at in range(1, len(before), 2):
        if before[: at - 1] != after[: at - 1] or before[at + 2 :] != after[at:]:
            continue
        right = _APPLY[before[at]](before[at - 1], before[at + 1]) % MODULUS
        operation = f"{before[at - 1]} {before[at]} {before[at + 1]}"
        if after[at - 1] != right:
            slip = f"{operation} is {right}, not {after[at - 1]}"
        elif legal(before, at):
            return ""
        else:
            illegal = f"{operation} does not come first"
    return illegal or slip or "the rest of the line was not copied"


@dataclass
class Replay:
    """Correct only if every line is right. `steps` grades each line alone, `grade_step` one."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self.one(problem, answer) for problem, answer in zip(problems, answers, strict=True)]

    def grade_step(self, before: str, after: str) -> Verdict:
        """Is the line `after` one legal reduction of the line `before`?"""
        lines = parse(before), parse(after)
        if lines[0] is None or lines[1] is None:
            return Verdict(State.UNPARSEABLE, why="not an expression")
        why = step(*lines)
        return Verdict(State.WRONG, why=why) if why else Verdict(State.CORRECT, reward=1.0)

    def steps(self, problem: Problem, answer: str) -> list[Verdict]:
        """One verdict for each line of an answer that need not be finished."""
        lines = [line for line in answer.split("\n") if line.strip()]
        return [self.grade_step(before, after) for before, after in zip([problem.prompt, *lines], lines, strict=False)]

    def one(self, problem: Problem, answer: str) -> Verdict:
        before = parse(problem.prompt)
        if before is None:
            return Verdict(State.FAILED, why=f"the problem is no expression: {problem.prompt!r}")
        lines = answer.strip().split("\n")
        last = parse(lines[-1])
        # What it ends in, right or wrong, and however it came there: what it votes for.
        end = str(last[0]) if last is not None and len(last) == 1 else ""
        for number, text in enumerate(lines, 1):
            after = parse(text)
            if after is None:
                return Verdict(State.UNPARSEABLE, end, why=f"line {number} is no expression: {text.strip()[:40]!r}")
            why = step(before, after)
            if why:
                return Verdict(State.WRONG, end, why=f"line {number}: {why}")
            before = after
        if len(before) > 1:
            return Verdict(State.WRONG, why="stops before the end")
        if end != problem.answer:
            return Verdict(State.WRONG, end, why=f"ends in {end}, not {problem.answer}")
        return Verdict(State.CORRECT, end, 1.0)
