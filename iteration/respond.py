"""The core loop: searches one problem and returns its tree. Only this module calls the policy, the verifier and the judge."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from iteration.protocols import Judge, Policy, Search
from iteration.types import UNKNOWN, Begun, History, Meet, Node, Problem, State, Tree, Verdict


class AsyncVerifier(Protocol):
    """A verifier in an actor: batched, possibly on another machine."""

    async def verify(self, problem: Problem, answers: list[str]) -> list[Verdict]: ...


class Meeting:
    """A barrier for the searches of one unit, so that a budget can be divided between their problems.

    The barrier opens when all searches that have not left are waiting. Which searches wait never depends on timing.
    """

    def __init__(self, searches: int):
        self._searches = searches
        self._waiting: list[tuple[Tree, Meet, asyncio.Future]] = []

    async def wait(self, tree: Tree, wish: Meet) -> Any:
        """Wait for the others; returns the joint decision."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((tree, wish, future))
        self._begin()
        return await future

    def leave(self) -> None:
        """A search has ended."""
        self._searches -= 1
        self._begin()

    def _begin(self) -> None:
        if not self._waiting or len(self._waiting) < self._searches:
            return
        waiting, self._waiting = sorted(self._waiting, key=lambda each: each[0].problem.id), []
        decided = waiting[0][1].decide([tree for tree, _, _ in waiting])
        for _, _, future in waiting:
            if not future.done():
                future.set_result(decided)


def seed_of(*parts: object) -> int:
    """A seed in [0, 2^48) that depends only on its parts (so a retried unit gives the same result)."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


async def respond(
    problem: Problem,
    search: Search,
    policy: Policy,
    verifier: AsyncVerifier | None,
    judge: Judge | None,
    budget: int,
    seed: int,
    history: History = UNKNOWN,
    meeting: Meeting | None = None,
    begun: Sequence[Begun] = (),
) -> Tree:
    """Search one problem. `budget` is in generated tokens, checked before each wish.

    Without a verifier the search is blind, as on held-out problems: it sees no verdict, and `grade` is called on the tree
    afterwards. begun: answers of an earlier round, planted in the tree for searches that continue them. Errors of the policy
    are raised: an infrastructure failure must never count as a wrong answer.
    """
    tree = Tree.root(problem, policy.show(problem), seed, history)
    meeting = meeting or Meeting(1)
    try:
        if begun and verifier is not None:
            await plant(tree, begun, verifier, judge)
        moves = search.explore(tree, np.random.default_rng(seed))
        wish = next(moves, None)
        while wish is not None and tree.cost.tokens < budget:
            if isinstance(wish, Meet):
                sent = await meeting.wait(tree, wish)
            else:
                sent = tree.grow(wish, await policy.propose(tree, wish))  # 1 respond, 2 in steps
                close(sent, [each.whole for each in wish for _ in range(each.n)])
                await asyncio.gather(grade(tree, sent, verifier), value(tree, sent, judge))  # 4 verify the ends, value the rest
            try:
                wish = moves.send(sent)  # 5 tell the search; 3 it decides whether to take more moves
            except StopIteration:
                wish = None
    finally:
        meeting.leave()
    return tree


def close(grown: list[Node], whole: list[bool]) -> None:
    """Mark answers truncated by a limit as `unparseable`. whole: of each node, the `whole` of its wish."""
    for node, finished in zip(grown, whole, strict=True):
        if node.step.cut or (finished and not node.step.final):
            node.verdict = Verdict(State.UNPARSEABLE, why="cut short by the token limit")


def opened(prompt: str, answer: str) -> str:
    """The answer as graded: after the <think> that a chat template ends the prompt with, so unfinished thinking is noticed."""
    return f"<think>{answer}" if prompt.rstrip().endswith("<think>") else answer


async def grade(tree: Tree, nodes: list[Node], verifier: AsyncVerifier | None) -> None:
    """Set the verdicts of finished answers that have none."""
    ended = [node for node in nodes if node.step.final and node.verdict is None]
    if not ended or verifier is None:
        return
    prompt = tree.nodes[0].step.text
    verdicts = await verifier.verify(tree.problem, [opened(prompt, tree.answer(node.index)) for node in ended])
    for node, verdict in zip(ended, verdicts, strict=True):
        node.verdict = verdict


async def plant(tree: Tree, begun: Sequence[Begun], verifier: AsyncVerifier, judge: Judge | None) -> None:
    """Add the unfinished prefixes of earlier answers below the root; `origin` names their answer, and they cost no tokens.

    Their final steps are not added, only graded again by the current verifier: an answer counts in the round that sampled it.
    A prefix's value is the share of correct ones among the graded answers through it (Wang et al. 2024, Math-Shepherd, soft
    estimation), or the current judge's value.
    """
    ended = [answer for answer in begun if answer.steps[-1].final]
    texts = [opened(tree.nodes[0].step.text, "".join(step.text for step in answer.steps)) for answer in ended]
    verdicts = await verifier.verify(tree.problem, texts) if ended else []
    states = {answer.id: verdict.state for answer, verdict in zip(ended, verdicts, strict=True)}
    places: dict[tuple[int, bytes], Node] = {}
    through: dict[int, list[bool]] = defaultdict(list)
    for answer in begun:
        at = tree.nodes[0]
        for step in answer.steps:
            if step.final or step.cut:
                break
            key = at.index, step.token_ids.tobytes()
            if key not in places:
                places[key] = Node(len(tree.nodes), at.index, at.depth + 1, step, origin=answer.id)
                tree.nodes.append(places[key])
            at = places[key]
            if states.get(answer.id, State.FAILED) != State.FAILED:
                through[at.index].append(states[answer.id] == State.CORRECT)
    planted = tree.nodes[1:]
    for node in planted:
        node.value = float(np.mean(through[node.index])) if through[node.index] else None
    await value(tree, planted, judge)


async def value(tree: Tree, nodes: list[Node], judge: Judge | None) -> None:
    """Set each node's scores and its value."""
    if judge is not None:
        for node, values in zip(nodes, await judge.score(tree, nodes), strict=True):
            node.values = values
            so_far = [each for above in tree.path(node.index) for each in above.values or ()]
            node.value = judge.worth(so_far) if so_far else None
