"""The tables of a comparison, on answers that a test made up."""

import numpy as np
import pytest

from cluster.folder.measured import Answered, Measured
from cluster.report import comparison
from cluster.report.comparison import Rule, baseline, played, rate
from iteration import choose
from iteration.choose import Pool
from iteration.types import Problem


def answered(name: str, *ends: tuple[str, int], visits=(), tokens: int = 0) -> Answered:
    """ends: (answer, tokens); "7" is right."""
    right = np.array([answer == "7" for answer, _ in ends], bool)
    spent = np.array([n for _, n in ends], np.int64)
    pool = Pool([a for a, _ in ends], right, right, spent, [np.ones(1)] * len(ends), np.array(visits or [0] * len(ends)))
    texts = [f"{answer}.{i % 2}" for i, (answer, _) in enumerate(ends)]
    return Answered(Problem(name, "", "7", 4), pool, texts, [], [], tokens or int(spent.sum()), 0, [0] if visits else [])


class Seed:
    class options:  # noqa: N801
        seed = 0

        class compare:  # noqa: N801
            samples = 8


def test_the_baseline_takes_the_best_vote_at_no_fewer_tokens(monkeypatch):
    wrong = [("1", 10)] * 3
    sampled = Measured([answered("a", ("7", 10), *wrong), answered("b", ("7", 10), ("7", 10), ("1", 10), ("1", 10))])
    rules = {
        "majority": Rule("", choose.majority, True),
        "PRM vote, last": Rule("", lambda pool, of: float(pool.right[of].any()), True),
        "PRM best, last": Rule("", lambda pool, of: 2.0, False),  # not a vote
        "stale PRM vote, product": Rule("", lambda pool, of: 3.0, False),
    }
    monkeypatch.setattr(comparison, "rules", lambda run: rules)
    rule, n, right = baseline([{"": sampled}], [Seed], 4, 11.0)
    assert (rule, n) == ("PRM vote, last", 2), "11 tokens are more than one answer, so the baseline may have two"
    assert right.tolist() == [0.5, 0.5]
    assert baseline([{"": sampled}], [Seed], 4, 1e9)[1] == 8, "there are no more samples than that"


def test_solutions_count_once_and_cost_all_tokens():
    trees = [answered("a", ("7", 10), ("1", 10), ("7", 10)), answered("b", ("7", 10), ("7", 10), tokens=70)]
    # a: two equal right answers (7.0 at places 0 and 2); b: two different ones
    assert rate(trees) == pytest.approx(1000 * 3 / 100)
    assert rate([]) == 0


def test_what_visits_lead_to():
    assert played([answered("a", ("7", 1))]) is None
    assert played([answered("a", ("7", 1), visits=[3]), answered("b", ("1", 1), visits=[3])]) == 0.5
