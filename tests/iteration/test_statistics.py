import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteration.statistics import (
    auc,
    bootstrap,
    coverage_fit,
    difficulty_bins,
    elo,
    elo_intervals,
    maj_at_k,
    paired_bootstrap,
    pass_at_k,
    reliability,
    two_fold_choice,
)


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


@pytest.mark.parametrize(("a", "b"), [(-2.0, -0.5), (-5.0, -0.3), (-0.7, -0.9), (-8.0, -0.15)])
def test_the_law_of_coverage_gives_planted_values_back(a, b):
    k = 2.0 ** np.arange(11)
    fit = coverage_fit(k, np.exp(a * k**b))
    assert (fit.a, fit.b, fit.error) == pytest.approx((a, b, 0), abs=1e-6)
    assert fit.at(np.array([1.0]))[0] == pytest.approx(np.exp(a))


def test_the_law_of_coverage_from_noisy_answers():
    """A power law of pass rates has a coverage of this form; with binomial noise the law is found again, within its error."""
    k = np.array([1, 2, 4, 8, 16, 32, 64])
    truth = np.exp(-3.0 * k**-0.4)
    noisy = np.random.default_rng(0).binomial(2000, truth) / 2000
    fit = coverage_fit(k, noisy)
    assert fit.a == pytest.approx(-3.0, rel=0.08) and fit.b == pytest.approx(-0.4, rel=0.08) and 0 < fit.error < 0.02


def test_no_law_from_too_little():
    assert coverage_fit(np.array([1, 2, 4]), np.array([0.5, 1.0, 1.0])) is None
    assert coverage_fit(np.array([1, 2, 4]), np.array([0.0, 0.0, 0.0])) is None


@given(st.lists(st.integers(0, 3), min_size=2, max_size=4).filter(lambda votes: sum(votes) > 0), st.data())
def test_majority_of_subsets(votes, data):
    """Against every subset of k answers, counted out. The last kind of answer could not be read."""
    k = data.draw(st.integers(1, sum(votes)))
    right = [i == 0 and len(votes) > 1 for i in range(len(votes))]
    answers = [i for i, n in enumerate(votes) for _ in range(n)]
    credit = []
    for subset in itertools.combinations(range(len(answers)), k):
        counts = np.bincount([answers[i] for i in subset], minlength=len(votes))[:-1]
        leaders = np.flatnonzero((counts == counts.max()) & (counts > 0)) if len(counts) else []
        credit.append(sum(right[i] for i in leaders) / max(1, len(leaders)))
    found = maj_at_k(np.array(votes), np.array(right), k, draws=4000)
    assert found == pytest.approx(float(np.mean(credit)), abs=0.05)


def test_majority_of_all_answers_is_exact_and_ties_share():
    assert maj_at_k(np.array([3, 2, 9]), np.array([True, False, False]), 14) == 1.0, "9 that could not be read do not vote"
    assert maj_at_k(np.array([2, 2, 0]), np.array([True, False, False]), 4) == 0.5
    assert maj_at_k(np.array([0, 0, 5]), np.array([True, False, False]), 5) == 0.0
    with pytest.raises(ValueError, match="maj@6 needs at least 6"):
        maj_at_k(np.array([3, 2]), np.array([True, False]), 6)


def test_difficulty_is_cut_in_quantiles_and_equal_rates_stay_together():
    assert difficulty_bins(np.array([0.9, 0.1, 0.5, 0.3, 0.7])).tolist() == [0, 4, 2, 3, 1]
    bins = difficulty_bins(np.array([0.0] * 6 + [1.0] * 4))
    assert set(bins[:6]) == {3} and set(bins[6:]) == {1}


def test_strategies_chosen_on_the_other_half():
    bins = np.array([0] * 40 + [1] * 40)
    first, second = np.r_[np.ones(40), np.zeros(40)], np.r_[np.zeros(40), np.ones(40)]
    found, chosen = two_fold_choice(np.stack([first, second]), bins)
    assert found.mean() == 1.0 and chosen == {0: [0, 0], 1: [1, 1]}
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, (200, 100)).astype(float)  # 200 strategies that are all the same
    found, _ = two_fold_choice(noise, np.zeros(100, int))
    assert abs(found.mean() - 0.5) < 0.1 < noise.mean(axis=1).max() - 0.5, "the best of many looks better than it is"


def test_elo_of_known_scores():
    assert elo(np.array([[0, 100], [1000, 0]]))[1] == pytest.approx(400, abs=1), "ten of eleven games"
    even = elo(np.array([[0, 7, 0], [7, 0, 3], [0, 3, 0]]))
    assert np.allclose(even, 0), "equal scores, also along a chain"
    assert np.isfinite(elo(np.array([[0, 0], [50, 0]]))).all() and elo(np.array([[0, 0], [50, 0]]))[1] > 700
    with pytest.raises(ValueError, match="not all players are linked"):
        elo(np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]))


def test_elo_intervals_cover_the_strengths_that_games_were_drawn_from():
    rng, strengths, covered = np.random.default_rng(0), np.array([0.0, 150.0, 320.0, 500.0]), 0
    one, other = np.repeat([0, 0, 1, 2], 200), np.repeat([1, 2, 2, 3], 200)
    for _ in range(15):
        won = rng.random(800) < 1 / (1 + 10 ** ((strengths[other] - strengths[one]) / 400))
        rated = elo_intervals(one, other, won, 4, 60)
        assert rated[0].mean == rated[0].low == rated[0].high == 0
        covered += sum(each.low < strength < each.high for each, strength in zip(rated[1:], strengths[1:], strict=True))
        assert all(each.high - each.low < 250 for each in rated)
    assert 37 <= covered <= 45
