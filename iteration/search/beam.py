"""Beam search over steps: of all continuations at one depth, the best by worth are kept.

Source: Snell et al. 2024, Scaling LLM Test-Time Compute Optimally, section 5.1 (PRM search, beam search).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from iteration.parts import at_least
from iteration.types import Expand, Node, Tree


@dataclass
class Beam:
    keep: int = 4  # steps kept at each depth
    width: int = 4  # continuations of each
    times: int = 1  # beams one after another, for as long as the budget lasts
    temperature: float = 1.0  # of its steps, times generate.temperature; above 1 siblings differ more

    def __post_init__(self) -> None:
        at_least(self, keep=1, width=1, times=1, temperature=0)

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[list[Expand], list[Node], None]:
        for _ in range(self.times):
            grown = yield [Expand(0, self.keep * self.width, temperature=self.temperature)]
            while going := [node for node in tree.strongest(grown, self.keep) if not node.ended]:
                grown = yield [Expand(node.index, self.width, temperature=self.temperature) for node in going]
