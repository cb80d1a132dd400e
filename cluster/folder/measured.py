"""The results of an arm's search, read from the run folder: answers by problem, with verdicts, tokens and scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cluster.folder.arm import Arm
from cluster.folder.book import Book
from iteration import choose
from iteration.choose import Pool
from iteration.examples import flat, generated, paths, trees
from iteration.statistics import auc, reliability
from iteration.steps import exact
from iteration.types import Calibration, Problem, State, Verdict


@dataclass(frozen=True, slots=True)
class Answered:
    """One problem and its search results: `texts`, `states` and `finals` of the answers in `pool`, and the tree's cost."""

    problem: Problem
    pool: Pool
    texts: list[str]
    states: list[str]
    finals: list[bool]
    tokens: int  # generated for the whole tree
    judge_tokens: int  # sent to the judge
    played: list[int]  # by_visits, greedy: the answer of `pool` that the visits lead to, if they lead to one


class Measured:
    def __init__(self, answered: list[Answered]):
        self.answered = answered

    @classmethod
    def read(cls, book: Book, arm: Arm, number: int, judge: str = "") -> Measured:
        """All problems of an arm, ordered by id. With `judge`, scores come from that value model's side files."""
        problems, answered = book.problems(arm, number), []
        for key in book.units(arm, number):
            scores = side_scores(book.scores(judge, key)) if judge else None
            answered += unit_answers(book.unit(key), problems, scores)
        return cls(sorted(answered, key=lambda each: each.problem.id))

    def of(self, level: int) -> list[Answered]:
        """The problems of one level; all of them for -1."""
        return [each for each in self.answered if level in (-1, each.problem.level)]

    def calibration(self, level: int, aggregate: str, steps: Callable[[Problem, str], list[Verdict]] | None) -> Calibration:
        """How the aggregated scores agree with the verdicts. steps: the verifier's, if it can grade steps."""
        scores, labels, step_scores, step_labels, votes, plain = [], [], [], [], [], []
        for each in self.of(level):
            weights = each.pool.scores(aggregate)
            votes.append(choose.weighted(each.pool, weights))
            plain.append(choose.majority(each.pool))
            for i, values in enumerate(each.pool.values):
                if each.states[i] == State.FAILED or not len(values) or not each.finals[i]:
                    continue
                scores.append(float(weights[i]))
                labels.append(each.states[i] == State.CORRECT)
                if steps:
                    label = exact(steps(each.problem, each.texts[i]), each.states[i], each.finals[i], len(values))
                    known = ~np.isnan(label)
                    step_scores += values[known].tolist()
                    step_labels += label[known].tolist()
        return Calibration(
            level,
            len(scores),
            auc(np.array(scores), np.array(labels, bool)),
            auc(np.array(step_scores), np.array(step_labels) > 0.5) if steps else None,
            reliability(np.array(scores), np.array(labels, bool)) if scores else [],
            float(np.mean(votes)) if votes else 0.0,
            float(np.mean(plain)) if plain else 0.0,
        )


def side_scores(table: pa.Table) -> dict[str, np.ndarray]:
    """{trace id: values} of a side file (SCORE)."""
    values, offsets = flat(table, "values")
    return {name: values[offsets[i] : offsets[i + 1]] for i, name in enumerate(table["id"].to_pylist())}


def unit_answers(nodes: pa.Table, problems: dict[str, Problem], scores: dict[str, np.ndarray] | None) -> list[Answered]:
    """The trees of one unit (TRACE), each as its answers in the order of their nodes."""
    counts = generated(nodes)
    parents = nodes["parent"].to_numpy()
    names = ("id", "problem_id", "state", "answer", "text", "final", "visits", "judge_tokens")
    ids, problem_ids, states, answers, texts, finals, visits, judge_tokens = (nodes[name].to_pylist() for name in names)
    values, offsets = flat(nodes, "values")
    answered = []
    for start, stop in trees(nodes):
        problem = problems[problem_ids[start]]
        ends = [i for i in range(start + 1, stop) if states[i] is not None]
        spent = np.concatenate([[0], np.cumsum(counts[start + 1 : stop])])  # tokens before each node after the root
        until = np.array([spent[i - start] for i in ends], np.int64)
        routes = paths(nodes, np.array(ends, np.int64))
        own = [np.concatenate([values[offsets[i] : offsets[i + 1]] for i in route]) for route in routes]
        pool = Pool(
            [answers[i] or "" for i in ends],
            np.array([states[i] == State.CORRECT or (bool(answers[i]) and answers[i] == problem.answer) for i in ends], bool),
            np.array([states[i] == State.CORRECT for i in ends], bool),
            np.diff(np.concatenate([[0], until])),
            own if scores is None else [scores.get(ids[i], np.zeros(0, np.float32)) for i in ends],
            np.array([visits[i] for i in ends], np.int64),
        )
        tree = [(int(parents[i]), visits[i]) for i in range(start, stop)]
        end = start + choose.by_visits(tree, 0.0, np.random.default_rng(0))
        whole = ["".join(texts[i] for i in route[1:]) for route in routes]
        verdicts, final = [states[i] for i in ends], [finals[i] for i in ends]
        played = [ends.index(end)] if end in ends else []
        answered.append(Answered(problem, pool, whole, verdicts, final, int(spent[-1]), judge_tokens[start] or 0, played))
    return answered
