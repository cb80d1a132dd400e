"""The data types shared by all parts. Independent of Ray, vLLM and file formats."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class State(enum.StrEnum):
    """The outcome of grading one answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSEABLE = "unparseable"  # no answer could be extracted: truncated, empty, malformed
    FAILED = "failed"  # the verifier itself broke: never counted as wrong, never trained on


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as a task hands it out.

    `id` is derived from the content, so the same problem has the same id in every run. `level` orders problems by
    difficulty; tasks without levels use 0.
    """

    id: str
    prompt: str
    answer: str
    level: int = 0
    question: str = ""  # an id that its variants share, e.g. one question in several orders; "" where it has no variants

    @property
    def counted(self) -> str:
        """The id under which its results are counted: variants of a question count as one problem."""
        return self.question or self.id


@dataclass(frozen=True, slots=True)
class Step:
    """A proposed move, as the policy sampled it.

    token_ids: int32 [t]; logprobs: float32 [t], of the sampled tokens under the sampling distribution (nats), None where
    nothing asked for them;
    `final` is true where the policy ended the answer (an end-of-text token), `cut` where a token limit truncated it: the
    answer is then unfinished and cannot be continued. A step with neither ended at a step boundary.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray | None
    text: str
    final: bool
    model: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's grade of a finished answer. `answer` is canonical, for votes; `reward` is in [0, 1]."""

    state: State
    answer: str = ""
    reward: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """Another model's reply to a question of a verifier (iteration/verify/llm.py)."""

    model: str  # as the endpoint names it
    words: str
    cut: bool = False  # by its limit of tokens
    tokens_in: int = 0
    tokens_out: int = 0
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """A call for a sandbox: a function by name ("iteration.verify.math:compare") and its plain arguments.

    With `guest` the function gets a guest as its first argument: a separate process in a separate sandbox, which may run
    model-written code (cluster/sandbox/inside.py, Guest).
    """

    function: str
    arguments: list
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a call. state: done | raised (by the function) | late (out of time) | broke (the sandbox failed).

    `guest`: how the guest exited, if it was not stopped.
    """

    state: str
    value: Any = None
    why: str = ""
    guest: str = ""


@dataclass(slots=True)
class Node:
    """One step in a tree. `parent` is an index into `Tree.nodes`, -1 at the root, whose step is the prompt.

    `values`: the judge's score in [0, 1] after each reasoning step inside (a whole answer has several), None without a judge;
    `value`: the judge's aggregate of all scores from the root to here. `visits` and `prior` are set by the search: its visit
    count, and the policy's probability of the step among its siblings.
    """

    index: int
    parent: int
    depth: int
    step: Step
    value: float | None = None
    values: list[float] | None = None
    visits: int = 0
    prior: float | None = None
    verdict: Verdict | None = None
    origin: str = ""  # of a step that was not sampled in this search: the earlier answer's trace id, or a place elsewhere

    @property
    def ended(self) -> bool:
        """The answer is finished, or truncated by a limit."""
        return self.step.final or self.step.cut

    @property
    def worth(self) -> float:
        """The value for the search, in [0, 1]: the verdict's reward if known, else the judge's value, else one half."""
        if self.verdict is not None and self.verdict.state != State.FAILED:
            return self.verdict.reward
        return 0.5 if self.value is None else self.value


@dataclass(slots=True)
class Cost:
    """The cost of one tree in tokens. `tokens` are generated tokens, the unit of every budget.

    Prompt and judge tokens are counted as sent, whether or not a prefix cache had them.
    """

    tokens: int = 0
    prompt_tokens: int = 0
    judge_tokens: int = 0
    waves: int = 0  # sequential calls to the policy


@dataclass(frozen=True, slots=True)
class Expand:
    """A search's wish: `n` continuations of `node`, each one step, or up to the end of the answer if `whole`.

    `temperature` multiplies the policy's own; above 1 siblings differ more, 0 is greedy (then n is 1). `logprobs`: the search
    reads them; they cost a quarter of the engine's speed.
    """

    node: int
    n: int
    whole: bool = False
    temperature: float = 1.0
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Meet:
    """A search's wish to wait until every running search of the unit wants to meet, for a joint decision.

    `decide` is called once with their trees, ordered by problem id; each search is sent its result.
    """

    decide: Callable[[list[Tree]], Any]


Wish = list[Expand] | Meet


@dataclass(frozen=True, slots=True)
class History:
    """A problem in earlier rounds: graded answers, correct ones among them, and the id of the newest tree."""

    tried: int = 0
    solved: int = 0
    tree: str = ""


UNKNOWN = History()


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer of an earlier round as steps, from which a search can continue. `id`: its trace id."""

    id: str
    steps: list[Step]


@dataclass(slots=True)
class Tree:
    """The result of searching one problem. The same `seed` gives the same tree."""

    problem: Problem
    seed: int
    nodes: list[Node]
    cost: Cost = field(default_factory=Cost)
    history: History = field(default_factory=History)

    @classmethod
    def root(cls, problem: Problem, prompt: Step, seed: int, history: History = UNKNOWN) -> Tree:
        """A tree with only its root, the prompt as the model sees it."""
        return cls(problem, seed, [Node(0, -1, 0, prompt)], history=history)

    def grow(self, wishes: list[Expand], replies: list[list[Step]]) -> list[Node]:
        """Append each wish's steps as children of its node, with duplicates, and count tokens. Returns the new nodes."""
        first = len(self.nodes)
        self.cost.waves += 1
        for wish, steps in zip(wishes, replies, strict=True):
            depth = self.nodes[wish.node].depth + 1
            for step in steps:
                self.nodes.append(Node(len(self.nodes), wish.node, depth, step))
                self.cost.tokens += len(step.token_ids)
            self.cost.prompt_tokens += sum(len(node.step.token_ids) for node in self.path(wish.node))
        return self.nodes[first:]

    @staticmethod
    def strongest(nodes: list[Node], n: int) -> list[Node]:
        """The `n` nodes of highest worth, ties by index; of siblings with the same text only the first."""
        distinct = {(node.parent, node.step.text): node for node in reversed(nodes)}
        return sorted(distinct.values(), key=lambda node: (-node.worth, node.index))[:n]

    def path(self, node: int) -> list[Node]:
        """The nodes from the root to `node`, inclusive."""
        nodes = []
        while node >= 0:
            nodes.append(self.nodes[node])
            node = self.nodes[node].parent
        return nodes[::-1]

    def answer(self, node: int) -> str:
        """The text of the answer so far, prompt excluded."""
        return "".join(each.step.text for each in self.path(node)[1:])


@dataclass(frozen=True, slots=True)
class Examples:
    """Training examples as columns: one array per column, not one object per example.

    offsets: int64 [n + 1], the start of each example in the columns below, which are all [T], concatenated.
    token_ids: int32. positions: int32, from 0; where they restart at 0 within an example, a second sequence begins that does
    not attend to the first (a pair). weights: float32, a token's weight in the loss, 0 for the prompt. labels: float32, where
    the weight is not 0: a value model's target after each token, a policy's logprob of it when it was sampled, or 0.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example: int64 [n]."""
        return np.diff(self.offsets)

    @classmethod
    def of(
        cls, sequences: list[list[np.ndarray]], weights: list[np.ndarray], labels: list[np.ndarray] | None = None
    ) -> Examples:
        """From each example's sequences (one, or two for a pair), and weights and labels per token."""
        parts = [sequence for each in sequences for sequence in each]
        tokens = np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)
        positions = np.concatenate([np.zeros(0, np.int32), *(np.arange(len(part)) for part in parts)]).astype(np.int32)
        weight = np.concatenate([np.zeros(0, np.float32), *weights]).astype(np.float32)
        label = np.zeros(len(tokens), np.float32) if labels is None else np.concatenate([np.zeros(0, np.float32), *labels])
        offsets = np.cumsum([0, *(sum(map(len, each)) for each in sequences)], dtype=np.int64)
        return cls(tokens, positions, weight, label.astype(np.float32), offsets)

    @classmethod
    def concat(cls, parts: list[Examples]) -> Examples:
        """Concatenate several, in order."""
        sizes = np.cumsum([0, *(part.offsets[-1] for part in parts)], dtype=np.int64)
        offsets = [np.zeros(1, np.int64), *(part.offsets[1:] + size for part, size in zip(parts, sizes[:-1], strict=True))]
        names = ("token_ids", "positions", "weights", "labels")
        empty = cls.of([], [])
        columns = [np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in names]
        return cls(*columns, np.concatenate(offsets))


@dataclass(slots=True)
class Score:
    """Held-out results of one model at one level. Intervals are 95 % bootstraps over problems."""

    level: int
    problems: int
    samples: int
    pass_1: float
    low: float
    high: float
    k: int
    pass_k: float


@dataclass(slots=True)
class Diversity:
    """Diversity of a round's search over its training problems."""

    distinct_correct: float  # distinct correct answers per problem, mean over problems
    k: int  # answers per problem for pass_k
    pass_k: float  # share of problems solved by k answers (unbiased)
    entropy: float  # mean of -log p over the sampled tokens, nats per token


@dataclass(slots=True)
class Calibration:
    """Calibration of a judge on the held-out answers of one level."""

    level: int
    answers: int
    auc: float | None  # of its last score against the verdict; None where all verdicts are the same
    step_auc: float | None  # of each step's score against the step's own verdict, where the verifier grades steps
    reliability: list[tuple[float, float, int]]  # (mean score, share correct, answers) by tenths of the score
    vote: float  # accuracy of the judge-weighted vote over the measured answers
    majority: float  # accuracy of the plain vote


@dataclass(slots=True)
class Audit:
    """How a second verifier grades a sample of the accepted answers, and as many refused ones; without failed verdicts."""

    checked: int  # accepted answers
    rejected: int
    rate: float  # share rejected: the first verifier's false positives, if the second is right
    low: float  # 95 % Wilson interval
    high: float
    refused: int = 0  # answers that the first verifier found wrong
    accepted: int = 0
    missed: float = 0.0  # share accepted: the first verifier's false negatives, if the second is right
    missed_low: float = 0.0
    missed_high: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """A time span in which an actor worked."""

    actor: str  # its name, or driver
    phase: str
    began: float  # seconds since 1970
    seconds: float


@dataclass(slots=True)
class Round:
    """The record of one round: its inputs, outputs and cost. Written once, as rounds/r00003.json.

    `seconds` and `tokens` are by phase (search, filter, train, update, measure, judge, score); tokens of judge are those that
    the search sent to it. `spans`: the work since the record of the previous round.
    """

    number: int
    model_in: str  # the model that answered
    trained: str  # the trained model, "" where there was nothing to train on
    model_out: str  # the best model after this round, which the next search starts from
    promoted: bool
    reason: str
    scores: list[Score]
    logprob_drift: float | None  # nats; None where no weights were updated
    counts: dict[str, int] = field(default_factory=dict)
    solve_rate: dict[int, float] = field(default_factory=dict)  # share of correct answers in the search, by level
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    loss_first: float = 0.0  # mean over the first 5 % of the steps, nats per token
    loss_last: float = 0.0
    diversity: Diversity | None = None
    judge: str = ""  # the value model trained in this round
    audit: Audit | None = None
    verifier: dict[str, float] = field(default_factory=dict)  # the verifier's report on the round's answers
    verdicts: str = ""  # the regrading used for training, "" for the verdicts of the search
    calibration: list[Calibration] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
