"""Tiny worlds with known answers: scripted policies and verifiers."""

import numpy as np

from cluster.folder.arm import Arm
from cluster.searcher import Unit
from iteration.parts import SEARCH, Part
from iteration.types import Expand, History, Problem, State, Step, Tree, Verdict

TRAIN = Arm("train", "search", "train", "train", Part(SEARCH, "sample", {"n": 2}), None, 100, blind=False)


def unit(*problems: Problem, round: int = 1, number: int = 0, model: str = "m00000", history=(), judge: str = "") -> Unit:
    """A unit of training problems; their prompts do not matter."""
    histories = list(history) or [History()] * len(problems)
    return Unit(TRAIN, round, number, list(problems), ["?"] * len(problems), model, histories, judge)


def step(text: str, final: bool = True, tokens: int | None = None, model: str = "", logprob: float = -1.0) -> Step:
    n = len(text.split()) if tokens is None else tokens
    return Step(np.arange(n, dtype=np.int32), np.full(n, logprob, np.float32), text, final, model)


class Scripted:
    """A policy that says what its script says: `answers[problem id]` in turn, over and over. `asked` keeps every wish."""

    def __init__(self, answers: dict[str, list[Step]]):
        self.answers = answers
        self.asked: list[tuple[str, Expand]] = []

    def show(self, problem: Problem) -> Step:
        return step(problem.prompt, final=False)

    async def propose(self, tree: Tree, wishes: list[Expand]) -> list[list[Step]]:
        self.asked += [(tree.problem.id, wish) for wish in wishes]
        script = self.answers[tree.problem.id]
        return [[script[i % len(script)] for i in range(wish.n)] for wish in wishes]


class Equal:
    """A verifier that compares texts."""

    async def verify(self, problem: Problem, answers: list[str]) -> list[Verdict]:
        return [
            Verdict(State.CORRECT, a, 1.0) if a == problem.answer else Verdict(State.WRONG, a, why="differs") for a in answers
        ]


class Digits(Scripted):
    """A world of digit strings: below any node the n-th sampled step is the digit n mod `base`, and after `length` digits the
    answer ends. What is sampled below one node goes on where the last wish for it ended; at temperature 0 it is the digit 0."""

    def __init__(self, length: int, base: int):
        super().__init__({})
        self.length, self.base = length, base

    async def propose(self, tree: Tree, wishes: list[Expand]) -> list[list[Step]]:
        self.asked += [(tree.problem.id, wish) for wish in wishes]
        there = {wish.node: sum(node.parent == wish.node for node in tree.nodes) for wish in wishes}
        found = []
        for wish in wishes:
            depth = tree.nodes[wish.node].depth
            digits = [0 if not wish.temperature else (there[wish.node] + i) % self.base for i in range(wish.n)]
            rest = "0" * (self.length - depth - 1) if wish.whole else ""
            found.append([step(f"{d}{rest}", wish.whole or depth + 1 == self.length, 1 + len(rest)) for d in digits])
        return found


class Knows:
    """A judge that gives each node the share of its digits that agree with the problem's answer."""

    async def score(self, tree: Tree, nodes) -> list[list[float]]:
        texts = [tree.answer(node.index) for node in nodes]
        return [[sum(a == b for a, b in zip(text, tree.problem.answer, strict=False)) / len(text)] for text in texts]

    def worth(self, scores) -> float:
        return scores[-1]
