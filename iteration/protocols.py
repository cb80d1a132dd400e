"""What each part must offer. A part is a dataclass whose fields are its options; it subclasses nothing."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from iteration.types import Expand, Node, Problem, Step, Tree, Verdict


class Task(Protocol):
    """Where problems come from and how they are shown."""

    def levels(self) -> Sequence[int]:
        """The levels that training may ask for, easiest first."""

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Up to `n` different problems of one level of `split` ("train" or "test"); the splits never overlap."""

    def prompt(self, problem: Problem) -> str:
        """The text that the model is shown."""


class Policy(Protocol):
    """What proposes moves: a language model."""

    def show(self, problem: Problem) -> Step:
        """The prompt as the model is shown it; its logprobs are zeros."""

    async def propose(self, tree: Tree, wish: Expand) -> list[Step]:
        """`wish.n` continuations of the path to `wish.node`, sampled with the tree's seed."""


class Verifier(Protocol):
    """Judges finished answers, in batches. An exception of the verifier becomes `failed`, never `wrong`."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """One verdict for each pair of problem and answer text (prompt excluded)."""


class Judge(Protocol):
    """A value model: how likely is each node to end well."""

    async def score(self, tree: Tree, nodes: Sequence[Node]) -> list[float]:
        """One value in [0, 1] for each node."""


class Search(Protocol):
    """Decides which moves to pursue. A generator: it yields wishes and is sent the nodes that grew."""

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[Expand, list[Node], None]:
        """Yield `Expand` wishes until nothing more is wanted."""


class Filter(Protocol):
    """Decides which traces are trained on."""

    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        """For each trace "" to keep it, or the reason why not.

        traces: this round's answers as far as earlier filters in the chain kept them, a table of
        `iteration.examples.ANSWER`; earlier: the same of what earlier rounds kept.
        """
