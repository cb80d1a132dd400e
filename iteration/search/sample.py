"""Best-of-N's samples: n whole answers, each from the prompt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from iteration.parts import at_least
from iteration.types import Expand, Node, Tree


@dataclass
class Sample:
    n: int = 12  # whole answers per problem

    judged: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least(self, n=1)

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[list[Expand], list[Node], None]:
        yield [Expand(0, self.n, whole=True)]
