"""Hex as a task: its problems, and the verifier's verdicts on them."""

import numpy as np
import pytest

from iteration.games.solver import of
from iteration.tasks.hex import Hex as Task
from iteration.types import Problem, State
from iteration.verify.hex import Hex as Verifier


def grade(prompt, answer, seat="first"):
    (verdict,) = Verifier().verify([Problem("p", prompt, seat)], [answer])
    return verdict


@pytest.mark.parametrize(
    ("prompt", "answer", "seat", "state"),
    [
        ("3x3 game b1 a1", " a2 c1 a3", "first", State.CORRECT),
        ("3x3 game b1 a1", " a2 c1 a3", "second", State.WRONG),
        ("3x3 match a1 a2", " a3 b2 c3 c2", "second", State.CORRECT),
        ("3x3 move", " b2", "first", State.CORRECT),  # it wins, with perfect play
        ("3x3 move", " a1", "first", State.WRONG),  # it does not
        ("3x3 move b2", " a1", "second", State.WRONG),
        ("11x11 match a1 b1", " k11", "first", State.UNPARSEABLE),  # not over, and not solved
        ("3x3 game b1 a1", " a1", "first", State.UNPARSEABLE),  # taken
        ("3x3 game b1 a1", " z9", "first", State.UNPARSEABLE),
        ("3x3 game b1 a1", "", "first", State.UNPARSEABLE),
        ("3x3 game b1 a1", " a2 c1 a3 b3", "first", State.UNPARSEABLE),  # a move after the end
    ],
)
def test_verdicts(prompt, answer, seat, state):
    verdict = grade(prompt, answer, seat)
    assert verdict.state == state and verdict.reward == float(state == State.CORRECT)
    assert bool(verdict.why) == (state == State.UNPARSEABLE)


def test_measured_positions_are_those_that_can_be_won():
    task, rng = Task(size=3), np.random.default_rng(0)
    game = task.rules()
    for level in range(4):
        drawn = task.draw("test", level, 10_000, rng)
        assert len({problem.id for problem in drawn}) == len(drawn) > 0
        for problem in drawn:
            line = [game.cell(name) for name in problem.prompt.split()[2:]]
            assert len(line) == level and problem.answer == ("first", "second")[level % 2]
            board = game.played(line)[0]
            assert of(3).wins(board) and of(3).moves(board).any()
    assert len(task.draw("test", 3, 5, rng)) == 5


def test_matches_hold_every_opening_from_both_seats_and_training_draws_games():
    task, rng = Task(size=4), np.random.default_rng(0)
    drawn = task.draw("validation", 0, 10_000, rng)
    assert len(drawn) == 480 and len({(each.prompt, each.answer) for each in drawn}) == 480
    train = task.draw("train", 0, 600, rng)
    assert len({each.id for each in train}) == 600 and {each.answer for each in train} == {"first"}
    assert len({each.prompt for each in train}) > 180, "of 240 openings"
    large = Task(size=5)
    assert not large.solved and len(large.draw("test", 0, 10_000, rng)) == 1200


def test_options_are_checked():
    for options, said in (({"size": 12}, "size is 12"), ({"size": 1}, "size"), ({"opening": -1}, "opening")):
        with pytest.raises(ValueError, match=said):
            Task(**options)
