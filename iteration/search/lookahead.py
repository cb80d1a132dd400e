"""Beam search that looks ahead: a step's worth is the judge's score after a few greedy steps from it.

Source: Snell et al. 2024, Scaling LLM Test-Time Compute Optimally, section 5.1 (lookahead search).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from iteration.parts import at_least
from iteration.types import Expand, Node, Tree


@dataclass
class Lookahead:
    keep: int = 2  # steps kept at each depth
    width: int = 4  # continuations of each
    ahead: int = 1  # greedy steps before a continuation is valued
    times: int = 1  # one after another, for as long as the budget lasts
    temperature: float = 1.0  # of the sampled steps, times generate.temperature

    def __post_init__(self) -> None:
        at_least(self, keep=1, width=1, ahead=0, times=1, temperature=0)

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[list[Expand], list[Node], None]:
        for _ in range(self.times):
            grown = yield [Expand(0, self.keep * self.width, temperature=self.temperature)]
            while True:
                seen = {node.index: node for node in tree.strongest(grown, len(grown))}  # a step, and its last one ahead
                for _ in range(self.ahead):
                    tips = {index: tip for index, tip in seen.items() if not tip.ended}
                    if tips:
                        rolled = yield [Expand(tip.index, 1, temperature=0) for tip in tips.values()]
                        seen |= dict(zip(tips, rolled, strict=True))
                best = sorted(seen, key=lambda index: (-seen[index].worth, index))[: self.keep]
                going = [index for index in best if not tree.nodes[index].ended]
                if not going:
                    break
                grown = yield [Expand(index, self.width, temperature=self.temperature) for index in going]
