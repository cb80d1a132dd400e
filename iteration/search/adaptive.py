"""Compute-optimal: a unit's budget goes to the problems where it gains most, and to tree search where sampling fails.

Every problem first gets a few whole answers. From these and from its history the search estimates the gain of the next answer,
and the rest of the unit's budget is assigned answer by answer, each time where the gain per token is highest:

- verdicts are visible (training): the chance that the next answer is the problem's first correct one, under a Beta posterior of
  its solve rate; nothing for a problem that is solved;
- verdicts are hidden (held-out problems): the doubt about the vote, the chance under a Beta posterior that the runner-up is
  ahead of the leader, spread over the answers there are. Votes weigh by the judge where it has scored them.

Problems that are hard (no correct answer among the first, or a vote in doubt) spend their share on `tree` search where there is
a judge to lead it. The budget is met as closely as the first answers predict the length of the next ones.

Sources: Snell et al. 2024, Scaling LLM Test-Time Compute Optimally; Aggarwal et al. 2023, Adaptive-Consistency (the Beta test).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iteration.parts import at_least
from iteration.search.beam import Beam
from iteration.types import Expand, Meet, Node, State, Tree, Wish


@dataclass
class Adaptive:
    tokens: int = 600  # generated for a problem, on average over the unit
    first: int = 4  # whole answers to each problem, before anything is decided
    prior: float = 1.0  # answers that the history of a problem counts for at most, in the estimate of its solve rate
    doubt: float = 0.05  # hidden verdicts: a vote that is surer than this is settled
    tree: Beam = field(default_factory=lambda: Beam(times=1000))  # for the hard problems, if there is a judge

    def __post_init__(self) -> None:
        if isinstance(self.tree, dict):
            try:
                self.tree = Beam(**self.tree)
            except ValueError as error:
                raise ValueError(f"tree.{error}") from None
        at_least(self, tokens=1, first=1, prior=0, doubt=0)

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[Wish, Any, None]:
        yield [Expand(0, self.first, whole=True)]
        n = (yield Meet(self.shares))[tree.problem.id]
        if not n:
            return
        if tree.nodes[1].value is not None and self.hard(tree):
            until = tree.cost.tokens + n * length(tree)
            moves = self.tree.explore(tree, rng)
            grown = yield next(moves)
            while tree.cost.tokens < until:
                try:
                    grown = yield moves.send(grown)
                except StopIteration:
                    return
        else:
            yield [Expand(0, n, whole=True)]

    def shares(self, trees: list[Tree]) -> dict[str, int]:
        """Further answers for each problem, by its id."""
        left = self.tokens * len(trees) - sum(tree.cost.tokens for tree in trees)
        given: Counter = Counter({tree.problem.id: 0 for tree in trees})
        offers = [(-self.gain(tree, 1) / length(tree), i) for i, tree in enumerate(trees)]
        heapq.heapify(offers)
        while offers:
            gain, i = heapq.heappop(offers)
            cost = length(trees[i])
            if gain >= 0 or cost > left:
                continue
            left -= cost
            given[trees[i].problem.id] += 1
            heapq.heappush(offers, (-self.gain(trees[i], given[trees[i].problem.id] + 1) / cost, i))
        return dict(given)

    def hard(self, tree: Tree) -> bool:
        """None of the first answers was right; with hidden verdicts: no two of them agree, or the vote is in doubt."""
        return not solved(tree) if visible(tree) else self.gain(tree, 1) * (len(ends(tree)) + 1) > self.doubt

    def gain(self, tree: Tree, m: int) -> float:
        """The gain expected from the m-th further answer."""
        answers = ends(tree)
        if visible(tree):
            if solved(tree):
                return 0.0
            # The history counts for at most `prior` answers; Beta(a, b) given the misses, then m - 1 misses and a hit.
            share = (tree.history.solved + 0.5) / (tree.history.tried + 1)
            a, b = self.prior * share, self.prior * (1 - share) + len(answers)
            misses = sum(math.log(b + j) - math.log(a + b + j) for j in range(m - 1))
            return math.exp(misses) * a / (a + b + m - 1)
        votes = Counter()
        for node in answers:
            if node.verdict is None:  # finished, not cut
                votes[answer_key(tree, node)] += 1.0 if node.value is None else node.value
        top = [weight for _, weight in votes.most_common(2)] + [0.0, 0.0]
        doubt = overturned(top[0], top[1])
        return doubt / (len(answers) + m) if doubt > self.doubt else 0.0


def ends(tree: Tree) -> list[Node]:
    """The answers that ended, finished or cut."""
    return [node for node in tree.nodes[1:] if node.ended]


def visible(tree: Tree) -> bool:
    """Whether this search sees verdicts. Answers cut by a limit always have one."""
    return any(node.verdict is not None and node.step.final for node in tree.nodes)


def solved(tree: Tree) -> bool:
    return any(node.verdict is not None and node.verdict.state == State.CORRECT for node in tree.nodes)


def length(tree: Tree) -> float:
    """Tokens of one answer, estimated from the first ones."""
    whole = [len(node.step.token_ids) for node in tree.nodes[1:] if node.parent == 0 and node.ended]
    return max(1.0, float(np.mean(whole))) if whole else 1.0


def answer_key(tree: Tree, node: Node) -> str:
    """What an answer votes for where verdicts are hidden: its last line, white space folded."""
    lines = [" ".join(line.split()) for line in tree.answer(node.index).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def overturned(lead: float, second: float) -> float:
    """The probability that the second answer is really ahead of the first: P(p < 1/2), p ~ Beta(lead + 1, second + 1).

    Source: Aggarwal et al. 2023, equation 3. Computed by the midpoint rule, to about 1e-5.
    """
    p = (np.arange(2000) + 0.5) / 2000
    log = lead * np.log(p) + second * np.log1p(-p)
    density = np.exp(log - log.max())
    return float(density[:1000].sum() / density.sum())
