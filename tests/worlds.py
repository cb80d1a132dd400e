"""Tiny worlds with known answers: scripted policies and verifiers."""

import numpy as np

from iteration.types import Expand, Problem, State, Step, Tree, Verdict


def step(text: str, final: bool = True, tokens: int | None = None, model: str = "") -> Step:
    n = len(text.split()) if tokens is None else tokens
    return Step(np.arange(n, dtype=np.int32), np.full(n, -1.0, np.float32), text, final, model)


class Scripted:
    """A policy that says what its script says: `answers[problem id]` in turn, over and over."""

    def __init__(self, answers: dict[str, list[Step]]):
        self.answers = answers
        self.asked: list[tuple[str, Expand]] = []

    def show(self, problem: Problem) -> Step:
        return step(problem.prompt, final=False)

    async def propose(self, tree: Tree, wish: Expand) -> list[Step]:
        self.asked.append((tree.problem.id, wish))
        script = self.answers[tree.problem.id]
        return [script[i % len(script)] for i in range(wish.n)]


class Equal:
    """A verifier that compares texts."""

    async def verify(self, problem: Problem, answers: list[str]) -> list[Verdict]:
        return [
            Verdict(State.CORRECT, a, 1.0) if a == problem.answer else Verdict(State.WRONG, a, why="differs") for a in answers
        ]
