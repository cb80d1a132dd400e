"""The heart: one problem, one search, one tree. The only place that asks the policy, the verifier and the judge."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

from iteration.protocols import Judge, Policy, Search
from iteration.types import Node, Problem, State, Tree, Verdict


class AsyncVerifier(Protocol):
    """A verifier behind a wall: batched, possibly on another machine."""

    async def verify(self, problem: Problem, answers: list[str]) -> list[Verdict]: ...


def seed_of(*parts: object) -> int:
    """A seed in [0, 2^48) that depends on nothing but its parts (so a redone unit is the same unit)."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


async def respond(
    problem: Problem, search: Search, policy: Policy, verifier: AsyncVerifier, judge: Judge | None, budget: int, seed: int
) -> Tree:
    """Search one problem. `budget` is in generated tokens; it is checked before each wish.

    Errors of the policy are raised: an infrastructure failure must never look like a wrong answer.
    """
    tree = Tree.root(problem, policy.show(problem), seed)
    moves = search.explore(tree, np.random.default_rng(seed))
    wish = next(moves, None)
    while wish is not None and tree.cost.tokens < budget:
        grown = tree.grow(wish, await policy.propose(tree, wish))  # 1 respond, 2 in steps
        await assess(tree, grown, verifier, judge, wish.whole)  # 4 verify the ends, value the rest
        try:
            wish = moves.send(grown)  # 5 tell the search; 3 it decides whether to take more moves
        except StopIteration:
            wish = None
    return tree


async def assess(tree: Tree, grown: list[Node], verifier: AsyncVerifier, judge: Judge | None, whole: bool) -> None:
    """Give finished nodes their verdict and, with a judge, every node its value.

    A whole answer that a limit cut short is `unparseable`: it is neither a finished answer nor a wrong one.
    """
    ended = [node for node in grown if node.step.final]
    if ended:
        verdicts = await verifier.verify(tree.problem, [tree.answer(node.index) for node in ended])
        for node, verdict in zip(ended, verdicts, strict=True):
            node.verdict = verdict
    for node in grown:
        if whole and not node.step.final:
            node.verdict = Verdict(State.UNPARSEABLE, why="cut short by the token limit")
    if judge is not None:
        for node, value in zip(grown, await judge.score(tree, grown), strict=True):
            node.value = value
