"""What each part must offer. A part is a dataclass whose fields are its options; it subclasses nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from iteration.types import Call, Examples, Expand, Node, Outcome, Problem, Step, Tree, Verdict, Wish


class Task(Protocol):
    """Where problems come from and how they are shown."""

    def levels(self) -> Sequence[int]:
        """The levels that training may ask for, easiest first."""

    def splits(self) -> tuple[str, ...]:
        """Which of train, validation and test it has. They share no problem, and no other is ever drawn from."""

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Up to `n` different problems of one level of one of its splits."""

    def prompt(self, problem: Problem) -> str:
        """The text that the model is shown."""


@runtime_checkable
class Corpus(Protocol):
    """A task from whose own corpus the first model is made. Without it, `model.path` has to name a model."""

    vocabulary: Sequence[str]  # the words of its tokenizer; the first two are padding and end of text

    def corpus(self, tokens: int, rng: np.random.Generator) -> Examples:
        """At least `tokens` tokens of examples, flawed as people's are."""


@runtime_checkable
class Enumerable(Protocol):
    """A task whose problems can be listed. Without it, `flywheel verify` reads expected answers from the file of answers."""

    def all(self, split: str) -> list[Problem]:
        """Every problem of a split."""


@runtime_checkable
class Named(Protocol):
    """A task whose problems have names of their own in its files. Without it, an id names them in a file of answers."""

    names: Mapping[str, Problem]


class Policy(Protocol):
    """What proposes moves: a language model."""

    def show(self, problem: Problem) -> Step:
        """The prompt as the model is shown it; its logprobs are zeros."""

    async def propose(self, tree: Tree, wishes: list[Expand]) -> list[list[Step]]:
        """For each wish `n` continuations of the path to its node, sampled with the tree's seed."""


class Verifier(Protocol):
    """Judges finished answers, in batches. An exception of the verifier becomes `failed`, never `wrong`.

    One that runs what a model wrote says `executes = True`, one that may hang `executes = False`; both have `seconds`, the CPU
    that one answer may take, and their `verify` takes a `Sandbox` as third argument. `version` goes with every verdict.
    Where that takes more than the system's own programs, `program` is the path of it, `folders` are those that it reads, and it
    `reserves` where it asks for far more addresses than memory.
    """

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """One verdict for each pair of problem and answer text (prompt excluded)."""


@runtime_checkable
class JudgesSteps(Protocol):
    """A verifier that can judge single steps. Without it, judges learn from rollouts, and `judge.name=oracle` is refused."""

    def steps(self, problem: Problem, answer: str) -> list[Verdict]:
        """One verdict for each step of an answer that need not be finished."""


@runtime_checkable
class Reports(Protocol):
    """A verifier that has something to say of answers as a whole. Without it, the round's record says nothing of the kind."""

    def report(self, answers: pa.Table) -> dict[str, float]:
        """Numbers by name, from answers of one model (iteration.examples.ANSWER)."""


class Sandbox(Protocol):
    """Runs functions by name within limits, many at once (cluster/sandbox.py)."""

    def run(self, calls: Sequence[Call]) -> list[Outcome]:
        """One outcome for each call, in order. What a call does raises nothing here."""


class Judge(Protocol):
    """A value model's place in `respond`: how likely is each node to end well."""

    async def score(self, tree: Tree, nodes: Sequence[Node]) -> list[list[float]]:
        """For each node the scores in [0, 1] after the steps inside it; none for a node without a whole step."""

    def worth(self, scores: Sequence[float]) -> float:
        """What an answer is worth so far, in [0, 1], from the scores of all its steps (at least one)."""


class Ends(Protocol):
    """Where steps end in tokens (iteration/steps.py, StepEnds)."""

    def __getitem__(self, token_ids: np.ndarray) -> np.ndarray:
        """token_ids: int32 [t]. Returns bool [t]: with this token a step ends."""


class Value(Protocol):
    """A kind of value model (iteration/judge/): where it scores, and what it is taught.

    `learned` is False for a judge without a model: the verifier's verdicts on steps are then its scores.
    """

    learned: bool

    def cuts(self, token_ids: np.ndarray, ends: Ends, final: bool) -> np.ndarray:
        """After how many of the tokens of an answer's piece a score is wanted.

        token_ids: int32 [t]; ends: where steps end in tokens; final: the answer ends here. Returns int64 [s].
        """

    def worth(self, scores: Sequence[float]) -> float:
        """As in `Judge`."""

    def examples(self, nodes: pa.Table, ends: Ends, steps: Callable[[str, str], list[Verdict]] | None) -> Examples:
        """Labelled examples from a unit's nodes (TRACE). steps: (problem id, answer) -> verdicts, if the verifier can."""


class Search(Protocol):
    """Decides which moves to pursue. A generator: it yields wishes and is sent the nodes that grew.

    A search that never looks at a judge's scores says so with `judged = False`, and the judge is then not asked. One that goes
    on with old work says `continues = True`, and finds the beginnings of the newest earlier round's answers in its tree.
    """

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[Wish, Any, None]:
        """Yield lists of `Expand` (and get their nodes, in order) or `Meet` (and get what was decided) while more is wanted."""


class Learn(Protocol):
    """What is learnt from traces: which items, as which tokens and weights, and with which loss.

    `sequences`: how many sequences one item holds (2 for a pair).
    """

    sequences: int

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        """What to train on: columns id (of a node), against (of another, or "") and tokens.

        kept: the answers that the filters kept (iteration.examples.DECISION); nodes: reads the round's nodes (TRACE).
        """

    def examples(self, nodes: pa.Table, items: list[tuple[str, str]]) -> Examples:
        """The examples of these (id, against), in order, from the nodes of their unit."""

    def objective(self, model: Any) -> Callable:
        """The loss: takes (model, batch of tensors) and returns the sum over the batch; `model` is the one before training."""

    def total(self, batch: Any) -> float:
        """What the summed loss of a whole batch is divided by."""


class Filter(Protocol):
    """Decides which traces are trained on."""

    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        """For each trace "" to keep it, or the reason why not.

        traces: this round's answers as far as earlier filters in the chain kept them, a table of
        `iteration.examples.ANSWER`; earlier: the same of what earlier rounds kept.
        """
