"""Expressions modulo 20 (synthetic): a small world where reasoning is visible, checkable and learnable on two cores.

A problem is an expression of digits 1-9 with + - *; an answer reduces it one operation a line, highest precedence
first, every number modulo 20. Level n has n operators, and its answer takes n * n + n tokens (end of text included):

    2 + 3 - 2 + 4 * 5
    2 + 3 - 2 + 0
    5 - 2 + 0
    3 + 0
    3

Problems where ignoring precedence would give the same answer are not used (level 1 has no precedence to ignore).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iteration.parts import at_least, share
from iteration.types import Examples, Problem

MODULUS = 20
OPERATORS = ("+", "-", "*")
VOCABULARY = ("<pad>", "<eos>", "\n", *OPERATORS, *map(str, range(MODULUS)))
END = 1
_ID = {word: i for i, word in enumerate(VOCABULARY)}
_TEST_SHARE = 10  # one expression in ten, chosen by its hash, is held out

Line = list  # of int and str alternating: [2, "+", 3]


def apply(a: int, operator: str, b: int) -> int:
    """One operation modulo 20."""
    return (a + b if operator == "+" else a - b if operator == "-" else a * b) % MODULUS


def reduce_at(line: Line, i: int) -> Line:
    """The line with the operator at index `i` (odd) carried out."""
    return [*line[: i - 1], apply(line[i - 1], line[i], line[i + 1]), *line[i + 2 :]]


def first_operator(line: Line) -> int:
    """Index of the operator that comes first: the leftmost *, else the leftmost of + and -."""
    return line.index("*") if "*" in line else 1


def value(line: Line) -> int:
    """The line's value with precedence, modulo 20."""
    while len(line) > 1:
        line = reduce_at(line, first_operator(line))
    return line[0]


def hasty_value(line: Line) -> int:
    """The value if precedence is ignored."""
    while len(line) > 1:
        line = reduce_at(line, 1)
    return line[0]


def show(line: Line) -> str:
    return " ".join(map(str, line))


def is_test(text: str) -> bool:
    return hashlib.blake2b(text.encode(), digest_size=4).digest()[0] % _TEST_SHARE == 0


def draw_line(level: int, rng: np.random.Generator) -> Line:
    """A random usable expression of `level` operators."""
    while True:
        digits, operators = rng.integers(1, 10, level + 1).tolist(), rng.integers(0, 3, level).tolist()
        line: Line = [digits[0]]
        for operator, digit in zip(operators, digits[1:], strict=True):
            line += [OPERATORS[operator], digit]
        if level == 1 or value(line) != hasty_value(line):
            return line


@dataclass
class Expressions:
    first_level: int = 3  # the easiest level that training asks for
    last_level: int = 9  # the hardest level that training may reach
    corpus_wrong_share: float = 0.15  # share of the warm start's attempts that are wrong ones at levels 5-7

    def __post_init__(self) -> None:
        at_least(self, first_level=1, last_level=1)
        share(self, "corpus_wrong_share")
        if self.last_level < self.first_level:
            raise ValueError(f"last_level is {self.last_level}; expected at least first_level, which is {self.first_level}")

    vocabulary = VOCABULARY
    end = END

    def levels(self) -> Sequence[int]:
        return range(self.first_level, self.last_level + 1)

    def splits(self) -> tuple[str, ...]:
        return "train", "test"

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        problems: dict[str, Problem] = {}
        for _ in range(50 * n if level > 0 else 0):  # a low level has few expressions: there may be fewer than n
            if len(problems) == n:
                break
            line = draw_line(level, rng)
            text = show(line)
            if is_test(text) == (split == "test"):
                name = f"expr{level}-{text.replace(' ', '')}"
                problems[text] = Problem(name, text, str(value(line)), level)
        return list(problems.values())

    def prompt(self, problem: Problem) -> str:
        return problem.prompt + "\n"

    def corpus(self, tokens: int, rng: np.random.Generator) -> Examples:
        """The warm start's texts, flawed on purpose, by imagined authors; no held-out expression is among them.

        careful (25 %) reduce in the right order; hasty (40 %) left to right; sloppy (35 %) in any order. A line has a
        slip of arithmetic with 2 % (sloppy 15 %). Levels 1-4, weighted to 3 and 4; at levels 5-7 wrong attempts only.
        """
        sequences, weights, n = [], [], 0
        while n < tokens:
            hard = rng.random() < self.corpus_wrong_share
            level = int(rng.integers(5, 8)) if hard else int(rng.choice(4, p=(0.1, 0.15, 0.35, 0.4))) + 1
            line = draw_line(level, rng)
            if is_test(show(line)):
                continue
            lines = attempt(line, rng)
            if hard and lines[-1][0] == value(line):
                continue
            prompt = [_ID[str(word)] for word in line] + [_ID["\n"]]
            answer = [_ID[word] for word in " \n ".join(map(show, lines)).split(" ")] + [END]
            sequences.append([np.array(prompt + answer, np.int32)])
            weights.append(np.repeat([0.0, 1.0], [len(prompt), len(answer)]))
            n += len(prompt) + len(answer)
        return Examples.of(sequences, weights)


def attempt(line: Line, rng: np.random.Generator) -> list[Line]:
    """The lines that one imagined author writes below `line`."""
    author = rng.random()
    sloppy = author > 0.65
    slips = rng.random(len(line)) < (0.15 if sloppy else 0.02)
    lines = []
    while len(line) > 1:
        at = first_operator(line) if author < 0.25 else 1
        if sloppy:
            at = 2 * int(rng.integers(len(line) // 2)) + 1
        line = reduce_at(line, at)
        if slips[len(lines)]:
            line[at - 1] = int(rng.integers(MODULUS))
        lines.append(line)
    return lines
