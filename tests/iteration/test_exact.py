import pytest

from iteration.types import Problem, State
from iteration.verify.exact import Exact, last_line, last_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 72", "72"),
        ("so 1,234,567 in all.", "1234567"),
        ("x = -3", "-3"),
        ("2.50 dollars", "2.5"),
        ("3.0", "3"),
        ("007", "7"),
        ("-0", "0"),
        ("0.5", "0.5"),
        ("5 then 6.", "6"),
        ("none", ""),
    ],
)
def test_last_number(text, number):
    assert last_number(text) == number


def test_states():
    problem = Problem("p", "?", "work ... #### 1,000")
    states = [verdict.state for verdict in Exact().verify([problem] * 3, ["it is 1000.00", "it is 1001", "no idea"])]
    assert states == [State.CORRECT, State.WRONG, State.UNPARSEABLE]
    assert Exact().one(Problem("p", "?", "none"), "5").state == State.FAILED
    assert Exact("line").one(Problem("p", "?", "a  b"), "x\n a b \n\n").state == State.CORRECT
    assert last_line(" \n") == ""


def test_a_lucky_guess_passes_here_and_not_in_replay():
    from iteration.verify.replay import Replay

    problem, lucky = Problem("x", "2 + 3 - 2 + 4 * 5", "3"), "5 - 2 + 4 * 5\n3"
    assert Exact().one(problem, lucky).state == State.CORRECT
    assert Replay().one(problem, lucky).state == State.WRONG


def test_a_wrong_option_is_said():
    with pytest.raises(ValueError, match="number or line"):
        Exact("word")
