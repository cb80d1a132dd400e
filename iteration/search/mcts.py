"""Monte-Carlo tree search over steps, as AlphaZero does it over moves: PUCT, with values from judge and verifier.

Steps are sampled, not enumerated, so a node's children widen as it is visited. One simulation walks down by PUCT to a node that
may widen, samples steps there, and backs the worth of each up to the root; a finished answer that is reached again is backed up
again and costs nothing. A step that was sampled before is one child with one more visit.

Sources: Silver et al. 2018 (AlphaZero; c(s) is in its pseudocode); Couetoux et al. 2011 (progressive widening).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from iteration.parts import above, at_least, share
from iteration.search.puct import weight
from iteration.types import Expand, Node, Tree


@dataclass
class Mcts:
    simulations: int = 64  # walks from the root; most of them generate
    width: int = 4  # steps sampled together
    widen: float = 0.5  # a node visited N times more may have sampled width + widen * N^power steps
    power: float = 0.5  # see widen
    c: float = 1.25  # weight of the prior against the value
    noise: float = 0.0  # share of Dirichlet noise in the root's priors
    alpha: float = 0.3  # of that noise: small is spiky
    temperature: float = 1.0  # of its steps, times generate.temperature

    def __post_init__(self) -> None:
        at_least(self, simulations=1, width=1, widen=0, power=0, c=0, temperature=0)
        above(self, alpha=0)
        share(self, "noise")

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[list[Expand], list[Node], None]:
        children: dict[int, dict[str, Node]] = defaultdict(dict)
        sampled: dict[int, int] = defaultdict(int)
        total: dict[int, float] = defaultdict(float)  # summed worth of what was backed up through a node

        def back_up(node: Node) -> None:
            for each in tree.path(node.index):
                each.visits += 1
                total[each.index] += node.worth

        for _ in range(self.simulations):
            node = tree.nodes[0]
            while not node.ended and sampled[node.index] >= self.room(node):
                node = self.best(node, list(children[node.index].values()), total)
            if node.ended:
                back_up(node)
                continue
            n = self.width if not sampled[node.index] else 1
            grown = yield [Expand(node.index, n, temperature=self.temperature, logprobs=True)]
            sampled[node.index] += n
            below = children[node.index]
            for each in grown:
                back_up(below.setdefault(each.step.text, each))
            self.set_priors(list(below.values()), rng if node.parent < 0 else None)

    def room(self, node: Node) -> int:
        """How many steps may have been sampled below a node."""
        return self.width + int(self.widen * max(0, node.visits - self.width) ** self.power)

    def best(self, node: Node, children: list[Node], total: dict[int, float]) -> Node:
        """The child of highest Q + c(s) P sqrt(N) / (1 + n)."""
        explore = weight(self.c, node.visits)
        return max(children, key=lambda child: total[child.index] / child.visits + explore * child.prior / (1 + child.visits))

    def set_priors(self, children: list[Node], rng: np.random.Generator | None) -> None:
        """The policy's probabilities of the steps, normalised over the sampled ones; with `rng` mixed with root noise."""
        logits = np.array([float(child.step.logprobs.sum()) for child in children])
        priors = np.exp(logits - logits.max())
        priors /= priors.sum()
        if rng is not None and self.noise:
            priors = (1 - self.noise) * priors + self.noise * rng.dirichlet([self.alpha] * len(priors))
        for child, prior in zip(children, priors.tolist(), strict=True):
            child.prior = prior
