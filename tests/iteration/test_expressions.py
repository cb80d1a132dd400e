import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from iteration.tasks import expressions as world
from iteration.tasks.expressions import Expressions
from iteration.types import Problem, State
from iteration.verify import replay
from iteration.verify.replay import Replay

EXAMPLE = Problem("x", "2 + 3 - 2 + 4 * 5", "3", 4)
RIGHT = "2 + 3 - 2 + 0\n5 - 2 + 0\n3 + 0\n3"


def right_answer(line):
    lines = []
    while len(line) > 1:
        line = world.reduce_at(line, world.first_operator(line))
        lines.append(world.show(line))
    return "\n".join(lines)


@given(st.integers(1, 8), st.integers(0, 2**32))
def test_the_right_answer_is_accepted_and_has_n_squared_plus_n_tokens(level, seed):
    line = world.draw_line(level, np.random.default_rng(seed))
    answer = right_answer(line)
    problem = Problem("x", world.show(line), str(world.value(line)), level)
    assert Replay().one(problem, answer).state == State.CORRECT
    assert len(answer.replace("\n", " \n ").split(" ")) + 1 == level**2 + level


@given(st.integers(2, 7), st.integers(0, 2**32))
def test_every_step_that_is_graded_legal_keeps_the_value(level, seed):
    line = world.draw_line(level, np.random.default_rng(seed))
    while len(line) > 1:
        after = [world.reduce_at(line, at) for at in range(1, len(line), 2)]
        legal = [each for at, each in zip(range(1, len(line), 2), after, strict=True) if replay.legal(line, at)]
        assert legal, "there is always a legal step"
        assert all(world.value(each) == world.value(line) for each in legal)
        assert all(replay.step(line, each) == "" for each in legal)
        line = legal[seed % len(legal)]


@given(st.integers(2, 6), st.integers(0, 2**32))
@example(3, 3603)  # 4 - 2 * 6 * 4: a changed 4 - 12 * 4 is 4 - 2 * 4, which is another right step
def test_one_changed_number_is_never_accepted(level, seed):
    rng = np.random.default_rng(seed)
    line = world.draw_line(level, rng)
    lines = [row.split() for row in right_answer(line).split("\n")]
    row = int(rng.integers(len(lines)))
    at = 2 * int(rng.integers((len(lines[row]) + 1) // 2))
    before = [int(word) if word.isdigit() else word for word in lines[row - 1]] if row else line
    lines[row][at] = str((int(lines[row][at]) + int(rng.integers(1, 20))) % 20)
    assume(" ".join(lines[row]) not in [world.show(world.reduce_at(before, at)) for at in range(1, len(before), 2)])
    problem = Problem("x", world.show(line), str(world.value(line)), level)
    assert Replay().one(problem, "\n".join(map(" ".join, lines))).state == State.WRONG


WRONG = {
    "left to right": ("5 - 2 + 4 * 5\n3 + 4 * 5\n7 * 5\n15", State.WRONG, "does not come first"),
    "a slip": ("2 + 3 - 2 + 1\n5 - 2 + 1\n3 + 1\n4", State.WRONG, "4 * 5 is 0, not 1"),
    "two reductions in a line": ("5 - 2 + 0\n3 + 0\n3", State.WRONG, "2 reductions"),
    "a line repeated": ("2 + 3 - 2 + 0\n2 + 3 - 2 + 0\n5 - 2 + 0\n3 + 0\n3", State.WRONG, "0 reductions"),
    "a line longer than the one before": ("2 + 3 - 2 + 4 * 5 + 1", State.WRONG, "reductions"),
    "a number miscopied": ("2 + 3 - 1 + 0\n5 - 1 + 0\n4 + 0\n4", State.WRONG, "not copied"),
    "an operator miscopied": ("2 - 3 - 2 + 0", State.WRONG, "not copied"),
    "behind a minus": ("2 + 3 - 2 + 0\n2 + 3 - 2", State.WRONG, "does not come first"),
    "stops early": ("2 + 3 - 2 + 0\n5 - 2 + 0", State.WRONG, "stops"),
    "only the right end": ("3", State.WRONG, "4 reductions"),
    "something after the end": (RIGHT + "\n3", State.WRONG, "0 reductions"),
    "nothing": ("", State.UNPARSEABLE, "no expression"),
    "two numbers in a row": ("2 3 - 2", State.UNPARSEABLE, "no expression"),
    "an operator at the end": ("2 + 3 - 2 +", State.UNPARSEABLE, "no expression"),
    "a number too large": ("2 + 3 - 2 + 20\n5 - 2 + 20", State.UNPARSEABLE, "no expression"),
    "other digits": ("2 + 3 - 2 + ٠", State.UNPARSEABLE, "no expression"),
    "words": ("the answer is 3", State.UNPARSEABLE, "no expression"),
    "an empty line between": ("2 + 3 - 2 + 0\n\n5 - 2 + 0\n3 + 0\n3", State.UNPARSEABLE, "no expression"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_traces_of_every_kind(name):
    answer, state, why = WRONG[name]
    verdict = Replay().one(EXAMPLE, answer)
    assert verdict.state == state and why in verdict.why and verdict.reward == 0


def test_white_space_and_legal_orders_do_not_matter():
    assert Replay().one(EXAMPLE, " \n " + RIGHT.replace("\n", " \n ") + " \n ").state == State.CORRECT
    assert Replay().one(EXAMPLE, "2 + 3 - 2 + 0\n5 - 2 + 0\n3 + 0\n3").answer == "3"
    two = Problem("x", "1 + 2 * 3 + 4 * 5", "7")  # either product may come first
    assert Replay().one(two, "1 + 2 * 3 + 0\n1 + 6 + 0\n7 + 0\n7").state == State.CORRECT


def test_a_step_alone():
    judge = Replay().grade_step
    assert judge("2 + 4 * 5", "2 + 0").state == State.CORRECT
    assert judge("2 + 4 * 5", "6 * 5").state == State.WRONG
    assert judge("2 + 4 * 5", "2 +").state == State.UNPARSEABLE


def test_a_problem_that_is_broken_itself_is_failed_not_wrong():
    assert Replay().one(Problem("x", "two plus two", "4"), "4").state == State.FAILED


def test_problems_are_usable_distinct_and_the_splits_do_not_meet():
    task = Expressions()
    train = task.draw("train", 4, 300, np.random.default_rng(0))
    test = task.draw("test", 4, 300, np.random.default_rng(0))
    assert len({p.id for p in train + test}) == 600
    for problem in train + test:
        line = replay.parse(problem.prompt)
        assert world.value(line) != world.hasty_value(line) and problem.answer == str(world.value(line))


def test_drawing_more_than_there_are_ends():
    assert 0 < len(Expressions().draw("test", 1, 100, np.random.default_rng(0))) < 100


def test_the_corpus_is_flawed_as_said_and_holds_nothing_held_out():
    corpus = Expressions().corpus(60_000, np.random.default_rng(0))
    right = {level: [] for level in range(1, 8)}
    for begin, end in zip(corpus.offsets, corpus.offsets[1:], strict=False):
        words = [world.VOCABULARY[i] for i in corpus.token_ids[begin:end]]
        assert words[-1] == "<eos>"
        prompt, _, answer = " ".join(words[:-1]).partition(" \n ")
        assert not world.is_test(prompt)
        assert corpus.weights[begin:end].sum() == len(answer.split(" ")) + 1
        line = replay.parse(prompt)
        problem = Problem("x", prompt, str(world.value(line)))
        right[len(line) // 2].append(Replay().one(problem, answer).state == State.CORRECT)
    assert not any(any(right[level]) for level in (5, 6, 7))
    assert 0.15 < np.mean(right[4]) < 0.4
    assert len(right[4]) + len(right[3]) > 2 * (len(right[1]) + len(right[2]))


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (RIGHT, "3"),
        ("5 - 2 + 4 * 5\n3 + 4 * 5\n7 * 5\n15", "15"),
        ("3", "3"),
        ("2 + 3 - 2 + 0", ""),
        ("what?\n3", "3"),
        ("", ""),
    ],
)
def test_what_an_answer_votes_for_is_what_it_ends_in_whether_right_or_wrong(answer, end):
    """Else a vote could tell a right answer from a wrong one by asking who has an answer at all."""
    assert Replay().one(EXAMPLE, answer).answer == end


def test_every_step_of_an_unfinished_answer_has_its_verdict():
    def states(answer):
        return [verdict.state for verdict in Replay().steps(EXAMPLE, answer)]

    assert states("2 + 3 - 2 + 0 \n5 - 2 + 0\n") == [State.CORRECT] * 2
    assert states("2 + 3 - 2 + 0\n5 - 1 + 0\n4 + 0\n5") == [State.CORRECT, State.WRONG, State.CORRECT, State.WRONG]
    assert states("") == []


def test_a_level_without_operators_has_no_problems():
    assert Expressions().draw("test", 0, 3, np.random.default_rng(0)) == []
