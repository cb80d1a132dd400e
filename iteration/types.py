"""The closed data types that pass through the house. Nothing here knows Ray, vLLM or a file format."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class State(enum.StrEnum):
    """How the verifier's judgement of one answer ended."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSEABLE = "unparseable"  # no answer could be read: truncated, empty, malformed
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


@dataclass(frozen=True, slots=True)
class Step:
    """A proposed move, exactly as the policy sampled it.

    token_ids: int32 [t]; logprobs: float32 [t], of the sampled tokens under the sampling distribution (nats);
    `final` is true where the policy ended the answer itself (any end-of-text token), `cut` where a token limit did: such a
    step is neither a finished answer nor can it go on. A step with neither ended at a step boundary.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray
    text: str
    final: bool
    model: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier says of a finished answer. `answer` is canonical, for votes; `reward` is in [0, 1]."""

    state: State
    answer: str = ""
    reward: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """Work for a sandbox: a function by name ("iteration.verify.math:compare") and its plain arguments.

    With `guest` the function is given, before its arguments, a guest to question: a process of its own, behind walls of its
    own, that may run what a model wrote (cluster/inside.py, Guest).
    """

    function: str
    arguments: list
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call. state: done | raised (by the function) | late (it took too much time) | broke (the sandbox did).

    `guest` says how the guest ended, where it ended itself.
    """

    state: str
    value: Any = None
    why: str = ""
    guest: str = ""


@dataclass(slots=True)
class Node:
    """One step in a tree. `parent` is an index into `Tree.nodes`, -1 at the root, whose step is the prompt.

    `values`: the judge's score in [0, 1] after each reasoning step inside (a whole answer holds several), None where no judge
    was asked; `value`: what the judge makes of all scores from the root to here. `visits` and `prior` are the search's: how
    often it came here, and the policy's probability of the step among its siblings.
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
    origin: str = ""  # trace id of the earlier round's answer that the step was taken from; "" where it was sampled here

    @property
    def ended(self) -> bool:
        """Nothing can follow: the answer is finished, or a limit cut it."""
        return self.step.final or self.step.cut

    @property
    def worth(self) -> float:
        """What a search may go by, in [0, 1]: the verdict where one is known, else the judge's score, else one half."""
        if self.verdict is not None and self.verdict.state != State.FAILED:
            return self.verdict.reward
        return 0.5 if self.value is None else self.value


@dataclass(slots=True)
class Cost:
    """What one tree cost, in tokens. `tokens` are those generated: the budget of every search is counted in them.

    Prompt and judge tokens are those sent, also where a prefix cache had them.
    """

    tokens: int = 0
    prompt_tokens: int = 0
    judge_tokens: int = 0
    waves: int = 0  # times that the search waited for the policy, one after another


@dataclass(frozen=True, slots=True)
class Expand:
    """A search's wish: `n` continuations below `node`, each one step, or up to the end of the answer if `whole`.

    `temperature`: times the policy's own; above 1 siblings differ more, 0 takes the likeliest tokens (then n is 1).
    """

    node: int
    n: int
    whole: bool = False
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Meet:
    """A search's wish to wait until every search of the unit that is still going wants to meet, and to decide together.

    `decide` is called once with their trees, ordered by problem, and each search is sent what it returns.
    """

    decide: Callable[[list[Tree]], Any]


Wish = list[Expand] | Meet


@dataclass(frozen=True, slots=True)
class History:
    """What earlier rounds made of a problem: judged answers, how many of them were correct, and the newest tree's id."""

    tried: int = 0
    solved: int = 0
    tree: str = ""


UNKNOWN = History()


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer of an earlier round, step by step: what a search may go on from. `id`: its trace id."""

    id: str
    steps: list[Step]


@dataclass(slots=True)
class Tree:
    """What one search of one problem produced. `seed` is the tree's own: the same seed gives the same tree."""

    problem: Problem
    seed: int
    nodes: list[Node]
    cost: Cost = field(default_factory=Cost)
    history: History = field(default_factory=History)

    @classmethod
    def root(cls, problem: Problem, prompt: Step, seed: int, history: History = UNKNOWN) -> Tree:
        """A tree with only its root, the prompt as the model is shown it."""
        return cls(problem, seed, [Node(0, -1, 0, prompt)], history=history)

    def grow(self, wishes: list[Expand], replies: list[list[Step]]) -> list[Node]:
        """Hang each wish's steps below its node, duplicates kept, and count their tokens. Returns the new nodes in order."""
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
        """The `n` nodes of highest worth, the earlier of two equals first; of equal siblings only the first."""
        distinct = {(node.parent, node.step.text): node for node in reversed(nodes)}
        return sorted(distinct.values(), key=lambda node: (-node.worth, node.index))[:n]

    def path(self, node: int) -> list[Node]:
        """The nodes from the root to `node`, both included."""
        found = []
        while node >= 0:
            found.append(self.nodes[node])
            node = self.nodes[node].parent
        return found[::-1]

    def answer(self, node: int) -> str:
        """The text of the answer so far, prompt excluded."""
        return "".join(each.step.text for each in self.path(node)[1:])


@dataclass(frozen=True, slots=True)
class Examples:
    """What the trainer eats, in columns (a Python object per example would be a list per token).

    offsets: int64 [n + 1], where each example begins in the columns below, which are all [T], one example after another.
    token_ids: int32. positions: int32, counted from 0; where they fall back to 0 within an example a second sequence begins
    that does not see the first (a pair). weights: float32, what a token counts in the loss, 0 for the prompt. labels: float32,
    what a value model is to say after each token, where its weight is not 0; zeros for a policy.
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
        """From each example's sequences (one, or two for a pair) and, for all its tokens, weights and labels."""
        parts = [sequence for each in sequences for sequence in each]
        tokens = np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)
        positions = np.concatenate([np.zeros(0, np.int32), *(np.arange(len(part)) for part in parts)]).astype(np.int32)
        weight = np.concatenate([np.zeros(0, np.float32), *weights]).astype(np.float32)
        label = np.zeros(len(tokens), np.float32) if labels is None else np.concatenate([np.zeros(0, np.float32), *labels])
        offsets = np.cumsum([0, *(sum(map(len, each)) for each in sequences)], dtype=np.int64)
        return cls(tokens, positions, weight, label.astype(np.float32), offsets)

    @classmethod
    def concat(cls, parts: list[Examples]) -> Examples:
        """All examples of several, in order."""
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
    """How varied a round's search was, over its training problems."""

    distinct_correct: float  # distinct correct answers to a problem, mean over problems
    k: int  # answers to each problem that pass_k is about
    pass_k: float  # share of problems that k answers solve (unbiased)
    entropy: float  # mean of -log p over the sampled tokens, nats a token


@dataclass(slots=True)
class Calibration:
    """How far a judge is to be trusted, on the held-out answers of one level."""

    level: int
    answers: int
    auc: float | None  # of its last score against the verdict; None where all verdicts are alike
    step_auc: float | None  # of each step's score against the step's own verdict, where the verifier can judge steps
    reliability: list[tuple[float, float, int]]  # (mean score, share correct, answers) by tenths of the score
    vote: float  # accuracy of the vote weighted by the judge among the measured answers
    majority: float  # and of the plain vote


@dataclass(slots=True)
class Audit:
    """What a second verifier says of a sample of the accepted answers; broken verdicts are not counted."""

    checked: int
    rejected: int
    rate: float  # the share rejected: false positives of the first verifier, if the second is right
    low: float  # 95 % Wilson interval
    high: float


@dataclass(frozen=True, slots=True)
class Span:
    """When an actor worked, and at what."""

    actor: str  # by name; driver for what it does itself
    phase: str
    began: float  # seconds since 1970
    seconds: float


@dataclass(slots=True)
class Round:
    """One round as a record: what went in, what came out, what it cost. Written once, as rounds/r00003.json.

    `seconds` and `tokens` are by phase (search, filter, train, update, measure, judge, score); tokens of judge are those that
    the search sent to it. `spans`: what was done since the round before was recorded.
    """

    number: int
    model_in: str  # the model that answered
    trained: str  # the model that came out of training, "" where there was nothing to train on
    model_out: str  # the best model after this round, which the next search starts from
    promoted: bool
    reason: str
    scores: list[Score]
    logprob_drift: float | None  # nats; None where no weights were updated
    counts: dict[str, int] = field(default_factory=dict)
    solve_rate: dict[int, float] = field(default_factory=dict)  # share of correct answers in the search, by level
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    loss_first: float = 0.0  # mean over the first twentieth of the steps, nats a token
    loss_last: float = 0.0
    diversity: Diversity | None = None
    judge: str = ""  # the value model trained in this round
    audit: Audit | None = None
    verifier: dict[str, float] = field(default_factory=dict)  # what the verifier reports of the round's answers
    verdicts: str = ""  # the regrading that the training went by, "" for the verdicts of the search
    calibration: list[Calibration] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
