from hypothesis import given
from hypothesis import strategies as st

from iteration.curriculum import shares

LEVELS = range(3, 10)


def test_without_a_history_the_first_levels_are_asked():
    assert shares(LEVELS, {}, 300) == {3: 100, 4: 100, 5: 100}


def test_the_level_above_the_hardest_solved_one_is_always_prompted():
    assert 6 in shares(LEVELS, {3: 0.9, 4: 0.5, 5: 0.01}, 320)
    assert 7 not in shares(LEVELS, {3: 0.9, 4: 0.5, 5: 0.01}, 320)
    assert 7 in shares(LEVELS, {3: 0.9, 4: 0.5, 5: 0.3, 6: 0.001}, 320)


def test_what_is_half_solved_counts_most_and_the_mastered_little():
    found = shares(LEVELS, {3: 0.99, 4: 0.5, 5: 0.05}, 320)
    assert found[4] > found[5] > found[3] > 0


def test_a_task_of_one_level_gets_all():
    assert shares([0], {}, 7) == shares([0], {0: 0.0}, 7) == {0: 7}


@given(st.dictionaries(st.integers(3, 9), st.floats(0, 1)), st.integers(1, 1000))
def test_exactly_as_many_as_asked(solved, n):
    found = shares(LEVELS, solved, n)
    assert sum(found.values()) == n and set(found) <= set(LEVELS) and min(found.values()) > 0
