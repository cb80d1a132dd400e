"""The interface of each kind of part. A part is a dataclass whose fields are its options; it needs no base class."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from iteration.types import Call, Examples, Expand, Node, Outcome, Problem, Reply, Step, Tree, Verdict, Wish


class Task(Protocol):
    """A source of problems and their prompts."""

    def levels(self) -> Sequence[int]:
        """The levels that training draws from, easiest first."""

    def splits(self) -> tuple[str, ...]:
        """Which of train, validation and test it has. They share no problem, and no other is ever drawn from."""

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Up to `n` different problems of one level of one of its splits."""

    def prompt(self, problem: Problem) -> str:
        """The prompt text."""


@runtime_checkable
class Corpus(Protocol):
    """A task with its own corpus, from which the first model is trained. Without it, `model.path` must name a model."""

    vocabulary: Sequence[str]  # the words of its tokenizer; the first two are padding and end of text

    def corpus(self, tokens: int, rng: np.random.Generator) -> Examples:
        """Examples of at least `tokens` tokens in total, with errors as in human text."""


@runtime_checkable
class Enumerable(Protocol):
    """A task whose problems can be listed. Without it, `flywheel verify` reads expected answers from the file of answers."""

    def all(self, split: str) -> list[Problem]:
        """Every problem of a split."""


@runtime_checkable
class Plays(Protocol):
    """A task, search, verifier or way to learn for games of two players. Without it, a part is for language."""

    plays: bool


@runtime_checkable
class Named(Protocol):
    """A task whose problems have names of their own in its files. Without it, an id names them in a file of answers."""

    names: Mapping[str, Problem]


@runtime_checkable
class FromFiles(Protocol):
    """A task that reads files. Without it, nothing is said of rows that were skipped or of files that changed."""

    bad_rows: str  # what becomes of what cannot be used: skip or refuse
    skipped: Sequence[str]  # what was left out, a line for each file

    def fingerprint(self) -> Mapping[str, str]:
        """A digest of the problems of each file, by the file's name."""


class Policy(Protocol):
    """A language model that proposes moves."""

    def show(self, problem: Problem) -> Step:
        """The prompt as the model sees it; its logprobs are zeros."""

    async def propose(self, tree: Tree, wishes: list[Expand]) -> list[list[Step]]:
        """For each wish `n` continuations of the path to its node, sampled with the tree's seed."""


class Verifier(Protocol):
    """Grades finished answers in batches. An exception of the verifier becomes `failed`, never `wrong`."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """One verdict per pair of problem and answer text (without the prompt)."""


@runtime_checkable
class Sandboxed(Protocol):
    """A verifier that needs a sandbox, the third argument of its `verify`. Without it, there is none, and it may not hang."""

    executes: bool  # whether it runs model-written code, which needs isolation, or only has to be stopped where it hangs
    seconds: float  # limit of CPU time per answer


@runtime_checkable
class BringsProgram(Protocol):
    """A sandboxed verifier that runs another program than Python. Without it, its sandbox shows the system's folders only."""

    program: str  # the path of one that finds its own path through /proc, or ""
    folders: Sequence[str]  # the folders that the program reads
    reserves: bool  # whether it reserves far more address space than memory, which is then measured instead


@runtime_checkable
class Versioned(Protocol):
    """A verifier whose verdicts changed between releases. Without it, its version is "1"; it is stored with every verdict."""

    version: str


class Memory(Protocol):
    """Keeps other models' replies by key. Safe from any process at any time: the first reply under a key stays."""

    def get(self, key: str) -> Reply | None:
        """The reply under a key, None where there is none."""

    def put(self, key: str, reply: Reply) -> Reply:
        """Keep a reply. Returns the one that counts: this, or an earlier one."""


@runtime_checkable
class Asks(Protocol):
    """A verifier that asks another model. Without it, nothing is remembered, and all options are stored with every verdict."""

    incidental: Sequence[str]  # options that change no verdict: not stored with it, and free to change when a run resumes

    def remember(self, memory: Memory) -> None:
        """Called before the first batch, if there is a run folder: what `memory` holds is not asked again."""


@runtime_checkable
class GradesSteps(Protocol):
    """A verifier that grades single steps. Without it, judges learn from rollouts, and `judge.name=oracle` is refused."""

    def steps(self, problem: Problem, answer: str) -> list[Verdict]:
        """One verdict per step of an answer, finished or not."""


@runtime_checkable
class Reports(Protocol):
    """A verifier with a report on a whole set of answers. Without it, the field `verifier` of the round's record is empty."""

    def report(self, answers: pa.Table) -> dict[str, float]:
        """Numbers by name, over the answers of one model (iteration.examples.ANSWER)."""


def reported(verifier: Verifier, answers: pa.Table) -> dict[str, float]:
    return verifier.report(answers) if isinstance(verifier, Reports) else {}


class Sandbox(Protocol):
    """Runs functions by name within limits, many at once (cluster/sandbox/walls.py)."""

    def run(self, calls: Sequence[Call]) -> list[Outcome]:
        """One outcome per call, in order. Errors of a call are in its outcome, never raised."""


class Judge(Protocol):
    """A value model in `respond`: the probability that a node leads to a correct answer."""

    async def score(self, tree: Tree, nodes: Sequence[Node]) -> list[list[float]]:
        """For each node the scores in [0, 1] after each step inside it; empty for a node without a complete step."""

    def worth(self, scores: Sequence[float]) -> float:
        """The value of a partial answer, in [0, 1], from the scores of all its steps (at least one)."""


class Ends(Protocol):
    """Where steps end in tokens (iteration/steps.py, StepEnds)."""

    def __getitem__(self, token_ids: np.ndarray) -> np.ndarray:
        """token_ids: int32 [t]. Returns bool [t]: a step ends with this token."""


class Value(Protocol):
    """A kind of value model (iteration/judge/): where it scores, and its training examples.

    `learned` is False for a judge without a model: its scores are then the verifier's verdicts on steps.
    """

    learned: bool

    def cuts(self, token_ids: np.ndarray, ends: Ends, final: bool) -> np.ndarray:
        """The token positions inside a piece of an answer after which the judge scores.

        token_ids: int32 [t]; ends: where steps end in tokens; final: the answer ends here. Returns int64 [s].
        """

    def worth(self, scores: Sequence[float]) -> float:
        """As in `Judge`."""

    def examples(self, nodes: pa.Table, ends: Ends, steps: Callable[[str, str], list[Verdict]] | None) -> Examples:
        """Labelled examples from a unit's nodes (TRACE). steps: (problem id, answer) -> verdicts, if the verifier can."""


class Search(Protocol):
    """Decides which moves to pursue: a generator that yields wishes and is sent the new nodes."""

    def explore(self, tree: Tree, rng: np.random.Generator) -> Generator[Wish, Any, None]:
        """Yield lists of `Expand` (sent back: the new nodes, in order) or `Meet` (sent back: the decision) until done."""


@runtime_checkable
class Judged(Protocol):
    """A search that says whether it uses the judge's scores. Without it, the judge scores every new node."""

    judged: bool


@runtime_checkable
class Continues(Protocol):
    """A search that says whether it continues earlier work: its tree then starts with the partial answers of the newest earlier
    round. Without it, a tree starts with the prompt alone."""

    continues: bool


def uses_judge(search: Search | type) -> bool:
    """Whether a search, or its class, uses the judge's scores."""
    return not isinstance(search, Judged) or search.judged


class Learn(Protocol):
    """How a policy learns from traces: training items, their tokens and weights, and the loss.

    `sequences`: sequences per item (2 for a pair).
    """

    sequences: int

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        """The training items: columns id (of a node), against (id of another node, or "") and tokens.

        kept: the answers kept by the filters (iteration.examples.DECISION); nodes: reads the round's nodes (TRACE).
        """

    def examples(self, nodes: pa.Table, items: list[tuple[str, str]]) -> Examples:
        """The examples of the items (id, against), in order, from the nodes of their unit."""

    def objective(self, model: Any) -> Callable:
        """The loss function: (model, batch of tensors) -> sum over the batch. `model`: the model before training."""

    def total(self, batch: Any) -> float:
        """The divisor of the summed loss of a batch."""


@runtime_checkable
class Reads(Protocol):
    """A way to learn that reads more of a trace than its tokens, visits, state and place in the tree: the columns (TRACE) that
    `reads` names. The logprobs of all answers are stored only where it names them."""

    reads: Sequence[str]


class Filter(Protocol):
    """Selects the traces to train on."""

    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        """For each trace "" to keep it, or the reason to reject it.

        traces: this round's answers that the previous filters kept (iteration.examples.ANSWER); earlier: the same columns of
        the answers kept in earlier rounds.
        """
