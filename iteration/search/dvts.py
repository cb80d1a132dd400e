"""Diverse verifier tree search: beams of one step each that never compete, so that they stay different.

Source: Beeching, Tunstall, Rush 2024, Scaling test-time compute with open models (DVTS).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from iteration.parts import at_least
from iteration.types import Expand, Node, Tree


@dataclass
class Dvts:
    trees: int = 4  # independent subtrees
    width: int = 4  # continuations of each one's best step
    times: int = 1  # one after another, for as long as the budget lasts
    temperature: float = 1.0  # of its steps, times generate.temperature

    def __post_init__(self) -> None:
        at_least(self, trees=1, width=1, times=1, temperature=0)

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[list[Expand], list[Node], None]:
        for _ in range(self.times):
            grown = yield [Expand(0, self.trees * self.width, temperature=self.temperature)]
            groups = [grown[i :: self.trees] for i in range(self.trees)]
            while True:
                best = [tree.strongest(group, 1)[0] for group in groups]
                going = [node for node in best if not node.ended]
                if not going:
                    break
                grown = yield [Expand(node.index, self.width, temperature=self.temperature) for node in going]
                groups = [grown[i : i + self.width] for i in range(0, len(grown), self.width)]
