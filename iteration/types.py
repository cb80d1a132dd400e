"""The closed data types that pass through the house. Nothing here knows Ray, vLLM or a file format."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

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
    `final` is true where the policy ended the answer itself (EOS), false where a limit or a step boundary cut it.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray
    text: str
    final: bool
    model: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier says of a finished answer. `answer` is canonical, for votes; `reward` is in [0, 1]."""

    state: State
    answer: str = ""
    reward: float = 0.0
    why: str = ""


@dataclass(slots=True)
class Node:
    """One step in a tree. `parent` is an index into `Tree.nodes`, -1 at the root, whose step is the prompt."""

    index: int
    parent: int
    depth: int
    step: Step
    value: float | None = None
    visits: int = 0
    prior: float | None = None
    verdict: Verdict | None = None


@dataclass(slots=True)
class Cost:
    """What one tree cost, in tokens. Prompt tokens served from the prefix cache are counted as prompt tokens."""

    tokens: int = 0
    prompt_tokens: int = 0
    judge_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Expand:
    """A search's wish: `n` continuations below `node`, each one step, or up to the end of the answer if `whole`."""

    node: int
    n: int
    whole: bool = False


@dataclass(slots=True)
class Tree:
    """What one search of one problem produced. `seed` is the tree's own: the same seed gives the same tree."""

    problem: Problem
    seed: int
    nodes: list[Node]
    cost: Cost = field(default_factory=Cost)

    @classmethod
    def root(cls, problem: Problem, prompt: Step, seed: int) -> Tree:
        """A tree with only its root, the prompt as the model is shown it."""
        return cls(problem, seed, [Node(0, -1, 0, prompt)])

    def grow(self, wish: Expand, steps: list[Step]) -> list[Node]:
        """Hang `steps` below the wished node, duplicates kept, and count their tokens."""
        depth = self.nodes[wish.node].depth + 1
        grown = [Node(len(self.nodes) + i, wish.node, depth, step) for i, step in enumerate(steps)]
        self.nodes += grown
        self.cost.tokens += sum(len(step.token_ids) for step in steps)
        self.cost.prompt_tokens += sum(len(node.step.token_ids) for node in self.path(wish.node))
        return grown

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

    token_ids: int32 [T], all examples one after another; loss_mask: bool [T], true where a token is to be learnt;
    offsets: int64 [n + 1]; weights: float32 [n].
    """

    token_ids: np.ndarray
    loss_mask: np.ndarray
    offsets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example: int64 [n]."""
        return np.diff(self.offsets)


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
class Round:
    """One round as a record: what went in, what came out, what it cost. Written once, as rounds/r00003.json.

    `seconds` and `tokens` are by phase (search, filter, train, update, measure).
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
