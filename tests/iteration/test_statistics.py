import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteration.statistics import auc, bootstrap, paired_bootstrap, pass_at_k, reliability


@pytest.mark.parametrize(
    ("n", "c", "k", "known"),
    [
        (10, 3, 1, 0.3),
        (10, 0, 5, 0.0),
        (10, 10, 1, 1.0),
        (4, 2, 2, 5 / 6),
        (5, 1, 5, 1.0),
        (200, 1, 100, 0.5),
        (3, 1, 2, 2 / 3),
    ],
)
def test_pass_at_k_known_values(n, c, k, known):
    assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(known)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_correct_one(case):
    n, c, k = case
    subsets = list(itertools.combinations(range(n), k))
    share = sum(any(i < c for i in subset) for subset in subsets) / len(subsets)
    assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(share)


def test_pass_at_k_needs_k_answers():
    with pytest.raises(ValueError, match="pass@5 needs at least 5"):
        pass_at_k(np.array([8, 4]), np.array([1, 1]), 5)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        found = bootstrap(rng.random(100) < 0.3)
        inside += found.low <= 0.3 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_bootstrap_is_not_blind_where_all_are_equal():
    none = bootstrap(np.zeros(100))
    assert (none.mean, none.low) == (0, 0) and none.high == pytest.approx(0.03)


def test_paired_bootstrap_sees_what_pairs_show():
    rng = np.random.default_rng(1)
    before = rng.random(200)
    after = before + 0.02 + rng.normal(0, 0.02, 200)
    gain = paired_bootstrap(before, after)
    assert gain.low > 0 and gain.mean == pytest.approx(0.02, abs=0.005)
    noise = paired_bootstrap(before, before + rng.normal(0, 0.1, 200))
    assert noise.low < 0 < noise.high


def test_auc_known_values():
    assert auc(np.array([0.1, 0.9]), np.array([False, True])) == 1.0
    assert auc(np.array([0.9, 0.1]), np.array([False, True])) == 0.0
    assert auc(np.array([0.5, 0.5]), np.array([False, True])) == 0.5
    assert auc(np.array([1, 2, 3, 4]), np.array([False, True, False, True])) == 0.75
    assert auc(np.array([0.5]), np.array([True])) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows):
    scores, labels = np.array([s for s, _ in rows], float), np.array([good for _, good in rows])
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    found = auc(scores, labels)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_reliability_in_bins():
    assert reliability(np.array([0.05, 0.07, 1.0]), np.array([False, True, True])) == [
        (pytest.approx(0.06), 0.5, 2),
        (1.0, 1.0, 1),
    ]
