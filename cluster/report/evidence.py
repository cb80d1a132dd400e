"""The data of a report, in plain types: answers problem by problem, records of rounds, costs, some search trees."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from cluster.report.trees import Shown
from iteration.choose import JUDGED, leading
from iteration.cost import Size
from iteration.statistics import Interval, bootstrap, maj_at_k, pass_at_k
from iteration.types import Reply, Span


@dataclass(frozen=True, slots=True)
class Tried:
    """One problem and the answers to it.

    `graded` answers have a verdict that did not fail, `correct` of them are; `votes` of each distinct answer, those that could
    not be read last, and which of them are `right`; `prompt_tokens` of the prompt, once; `tokens` generated in all, and
    `judge_tokens` sent to a judge; `answers` in all; `by_judge`: {rule: accuracy when it chooses among the first 1, 2, 4, ...
    answers}, where a judge scored them.
    """

    problem: str
    level: int
    graded: int
    correct: int
    votes: tuple[int, ...]
    right: tuple[bool, ...]
    prompt_tokens: int
    tokens: int
    judge_tokens: int
    answers: int
    by_judge: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def vote(self) -> float:
        """The chance that the majority of its answers is right; those that could not be read vote for nothing."""
        return leading(self.votes[:-1], self.right[:-1])

    def judged_vote(self) -> float:
        """The vote by the judge where there is one, else the plain vote."""
        return self.by_judge[JUDGED][-1] if JUDGED in self.by_judge else self.vote()


@dataclass(frozen=True, slots=True)
class Results:
    """The same problems answered by one model in one way. `budget`: generated tokens for each, 0 where answers were counted."""

    name: str
    round: int
    model: str
    tried: tuple[Tried, ...]
    budget: int = 0

    def __len__(self) -> int:
        return len(self.tried)

    def levels(self) -> list[int]:
        return sorted({each.level for each in self.tried})

    def of(self, level: int) -> Results:
        return replace(self, tried=tuple(each for each in self.tried if each.level == level))

    def rates(self) -> dict[str, float]:
        """{problem: share of its graded answers that are correct}."""
        return {each.problem: each.correct / each.graded for each in self.graded()}

    def pass_1(self) -> Interval:
        return bootstrap(np.array(list(self.rates().values())))

    def graded(self) -> list[Tried]:
        """The problems with at least one verdict that did not fail: what can be counted."""
        return [each for each in self.tried if each.graded]

    def sizes(self) -> np.ndarray:
        """Numbers of answers to look at: 1, 2, 3, 4, then by doubling, up to the fewest that any graded problem has."""
        most = min((each.graded for each in self.graded()), default=0)
        doubling = [2**i for i in range(2, 40) if 2**i < most]
        return np.array(sorted({k for k in (1, 2, 3, *doubling, most) if 1 <= k <= most}), np.int64)

    def coverage(self) -> np.ndarray:
        """pass@k for each of `sizes`, the mean over problems."""
        graded, correct = (np.array([getattr(each, name) for each in self.graded()]) for name in ("graded", "correct"))
        return np.array([pass_at_k(graded, correct, int(k)).mean() for k in self.sizes()])

    def majority(self) -> np.ndarray:
        """maj@k for each of `sizes`, ties shared."""
        sizes, tried = [int(k) for k in self.sizes()], self.graded()
        draws = 200 if len(tried) <= 1000 else 40
        each = [[maj_at_k(t.votes, t.right, k, draws) for k in sizes] for t in tried]
        return np.array(each).reshape(len(tried), len(sizes)).mean(axis=0) if tried else np.zeros(0)

    def chosen(self) -> dict[str, np.ndarray]:
        """{rule: accuracy for 1, 2, 4, ... answers} of the rules that go by a judge; of all answers where there are fewer."""
        rules = sorted({rule for each in self.tried for rule in each.by_judge})
        most = max((len(curve) for each in self.tried for curve in each.by_judge.values()), default=0)
        nothing = (0.0,)  # no answer came to its end
        curves = {rule: [each.by_judge.get(rule, nothing) for each in self.tried] for rule in rules}
        longest = {rule: [(*curve, *curve[-1:] * (most - len(curve))) for curve in several] for rule, several in curves.items()}
        return {rule: np.array(several).mean(axis=0) for rule, several in longest.items()}

    def vote(self) -> float:
        """Accuracy of the majority over all answers of each problem, however many there are."""
        return float(np.mean([each.vote() for each in self.tried]))

    def any_correct(self) -> float:
        """Share of the problems that at least one answer solves."""
        return float(np.mean([each.correct > 0 for each in self.tried]))

    def tokens_of_an_answer(self) -> float:
        """Generated tokens of an answer, the mean over problems."""
        return float(np.mean([each.tokens / max(1, each.answers) for each in self.tried]))

    def tokens_of_a_problem(self) -> float:
        return float(np.mean([each.tokens for each in self.tried]))

    def context(self) -> float:
        """Approximate tokens that a generated token attends to: the prompt and half of the answer."""
        return self.reading() + self.tokens_of_an_answer() / 2

    def reading(self) -> float:
        """Prompt tokens of a problem, read once."""
        return float(np.mean([each.prompt_tokens for each in self.tried]))


@dataclass(frozen=True, slots=True)
class Work:
    """What a round took: operations by phase (search, judge, train, measure, and arms by name), seconds of devices held."""

    round: int
    flops: dict[str, float]
    device_seconds: float
    problems: int  # searched
    tokens: int  # generated and trained on


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run. `held_out` by round, `searched` (training problems) by round, `arms`: other ways to answer held-out problems."""

    name: str
    folder: str
    facts: dict[str, str]  # task, search, verifier, model, ...
    rounds: list[dict]  # the records (iteration.types.Round) as read from JSON
    wanted_rounds: int
    size: Size
    held_out: list[Results]
    searched: list[Results]
    arms: list[Results]
    funnel: list[dict[str, int]]  # by round: sampled, graded, correct, distinct, kept, examples
    work: list[Work]
    price: float  # of a device for an hour
    shown: list[Shown]
    prompts: dict[str, str]  # of held-out problems, shortened
    asides: int = 0  # units set aside
    elsewhere: list[list[str]] = field(default_factory=list)  # (whose, arm, answers, correct, failed, kept) of what was given
    replies: list[Reply] = field(default_factory=list)  # of other models, to the verifiers' questions

    @property
    def spans(self) -> list[Span]:
        spans = [Span(**each) for record in self.rounds for each in record.get("spans") or []]
        return sorted(spans, key=lambda span: (span.actor, span.began))

    @property
    def best(self) -> Results:
        """Held-out results of the last model that was promoted."""
        model = self.rounds[-1]["model_out"] if self.rounds else ""
        return next((each for each in reversed(self.held_out) if each.model == model), self.held_out[-1])

    def spent(self) -> dict[int, float]:
        """{round: operations until its model existed}, from the first model on: search, judging and training."""
        total, until = 0.0, {}
        for work in self.work:
            total += sum(flops for phase, flops in work.flops.items() if phase in ("search", "judge", "train"))
            until[work.round] = total
        return until
