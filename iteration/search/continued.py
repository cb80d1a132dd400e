"""Search that continues earlier work, from the strongest prefixes of the answers of the newest earlier round.

The other answers start at the prompt, so a problem without an earlier tree is sampled. The strength of a prefix is the judge's
score, else the share of the earlier answers through it that were correct; of equal prefixes the longer one is preferred. With
`retry` it returns to unsolved problems, for which only a judge can rank prefixes.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from iteration.parts import at_least, share
from iteration.types import Expand, Node, Tree


@dataclass
class Continued:
    n: int = 8  # whole answers per problem
    starts: int = 4  # prefixes to continue, at most
    anew: float = 0.5  # share of the answers that still start at the prompt

    continues: ClassVar[bool] = True  # earlier trees are planted

    def __post_init__(self) -> None:
        at_least(self, n=1, starts=1)
        share(self, "anew")

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[list[Expand], list[Node], None]:
        begun = [node for node in tree.nodes[1:] if node.worth > 0]
        best = sorted(begun, key=lambda node: (-node.worth, -node.depth, node.index))[: self.starts]
        anew = round(self.anew * self.n) if best else self.n
        places = [0] * anew + [best[i % len(best)].index for i in range(self.n - anew)]
        yield [Expand(node, places.count(node), whole=True) for node in dict.fromkeys(places)]
