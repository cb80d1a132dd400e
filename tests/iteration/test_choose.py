"""Choosing, against small tables worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteration import choose
from iteration.choose import Pool


def pool(*rows):
    """rows: (answer, right, values)."""
    right = np.array([row[1] for row in rows], bool)
    values = [np.array(row[2] if len(row) > 2 else [], np.float32) for row in rows]
    return Pool([row[0] for row in rows], right, right, np.ones(len(rows), np.int64), values, np.zeros(len(rows), np.int64))


def test_majority_counts_duplicates_and_ties_share_the_credit():
    assert choose.majority(pool(("1", True), ("2", False), ("1", True))) == 1
    assert choose.majority(pool(("1", True), ("2", False))) == 0.5
    assert choose.majority(pool(("1", True), ("2", False), ("3", False), ("3", False))) == 0
    assert choose.majority(pool(("1", True), ("", False), ("", False))) == 1, "what could not be read does not vote"
    assert choose.majority(pool(("", False))) == 0


def test_leaders_of_a_vote_share_the_credit():
    assert choose.leading([3, 2], [True, False]) == 1 and choose.leading([3, 2], [False, True]) == 0
    assert choose.leading([2, 2, 1], [True, False, True]) == 0.5 and choose.leading([], []) == 0


def test_a_vote_weighs_by_the_judge():
    found = pool(("1", True, [0.9]), ("2", False, [0.4]), ("2", False, [0.4]))
    assert choose.majority(found) == 0 and choose.weighted(found, found.scores("last")) == 1


def test_an_answer_is_right_however_one_came_to_it():
    """The class of an answer counts: one trace was lucky, another derived it."""
    assert choose.weighted(pool(("1", True), ("1", False), ("2", False)), np.ones(3)) == 1


def test_best_by_each_aggregate():
    found = pool(("1", True, [0.6, 0.6]), ("2", False, [0.2, 0.9]), ("3", False, [0.95, 0.3]))
    assert [choose.best(found, found.scores(name)) for name in ("last", "min", "product", "mean")] == [0, 1, 1, 0]
    assert choose.best(pool(("1", True, [0.5]), ("2", False, [0.5])), np.array([0.5, 0.5])) == 0.5
    assert choose.best(pool(("", False, [0.9]), ("1", True, [0.1])), np.array([0.9, 0.1])) == 1, "no answer is never chosen"


def test_curves_use_every_answer_once_for_each_size():
    found = pool(*[("1", True)] * 2, *[("2", False)] * 2)
    assert choose.curve(found, choose.first_verified, [1, 2, 4, 8]).tolist() == [0.5, 0.5, 1, 1]
    assert choose.curve(found, choose.majority, [1, 2, 4]).tolist() == [0.5, 0.5, 0.5]
    assert choose.curve(pool(), choose.majority, [1, 2]).tolist() == [0, 0]


@given(st.lists(st.tuples(st.sampled_from("123"), st.floats(0, 1)), min_size=1, max_size=12))
def test_no_rule_beats_a_verifier_and_equal_weights_are_the_majority(rows):
    found = pool(*[(answer, answer == "1", [value]) for answer, value in rows])
    ceiling = choose.first_verified(found)
    for rule in (choose.majority(found), choose.best(found, found.scores("last")), choose.weighted(found, found.scores("min"))):
        assert 0 <= rule <= ceiling
    assert choose.weighted(found, np.full(len(found), 0.3)) == pytest.approx(choose.majority(found))


def test_visits_lead_down_the_tree_by_temperature():
    tree = [(-1, 10), (0, 6), (0, 3), (1, 2), (1, 4), (0, 0)]
    rng = np.random.default_rng(0)
    assert choose.by_visits(tree, 0.0, rng) == 4
    ends = [choose.by_visits(tree, 1.0, rng) for _ in range(3000)]
    assert [ends.count(i) / 3000 for i in (2, 3, 4)] == pytest.approx([3 / 9, 6 / 9 / 3, 6 / 9 * 2 / 3], abs=0.03)
    sharp = [choose.by_visits(tree, 0.25, rng) for _ in range(1000)]
    assert sharp.count(4) > 850
    assert choose.by_visits([(-1, 0), (0, 0)], 1.0, rng) == 0, "nothing was visited"
