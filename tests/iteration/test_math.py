"""Mathematical equivalence: a table of pairs, each with its reason, and what is read from an answer."""

from pathlib import Path

import pytest

from cluster.sandbox.walls import Sandbox, SandboxOptions
from iteration.types import Outcome, Problem, State
from iteration.verify import math
from iteration.verify.math import Math, boxed, plain, stated

PAIRS = [line.split("\t") for line in (Path(__file__).parent / "golden/math_pairs.tsv").read_text().splitlines()[1:]]


def test_the_table_is_large_and_half_of_it_is_not_equal():
    assert len(PAIRS) >= 300 and len({tuple(pair[:2]) for pair in PAIRS}) == len(PAIRS)
    equal = sum(pair[2] == "1" for pair in PAIRS)
    assert 0.45 < equal / len(PAIRS) < 0.55
    assert all(len(pair) == 4 and pair[3] for pair in PAIRS)


@pytest.mark.parametrize("reason", sorted({pair[3] for pair in PAIRS}))
def test_pairs(reason):
    for gold, answer, equal, _ in (pair for pair in PAIRS if pair[3] == reason):
        found = math.compare(gold, answer, "auto")
        assert found["state"] != State.FAILED, (gold, answer, found)
        assert (found["state"] == State.CORRECT) == (equal == "1"), (gold, answer, found)


def test_equal_answers_vote_as_one():
    votes = {math.compare("\\frac{1}{2}", each, "auto")["answer"] for each in ("0.5", "1/2", "\\boxed{\\frac{2}{4}}", "50\\%")}
    assert len(votes) == 1
    assert math.compare("1", "0.50", "auto")["answer"] == math.compare("1", "\\frac12", "auto")["answer"], "also wrong ones"


def test_which_answer_is_read():
    text = "\\boxed{1} or rather \\boxed{\\frac{2}{3}}. The answer is 5."
    assert stated(text, "auto") == "\\frac{2}{3}" and stated(text, "boxed") == "\\frac{2}{3}" and stated(text, "last") == "5."
    assert stated("no box", "boxed") == "" and boxed("\\boxed{open") is None
    assert stated("#### 12\n\nThanks", "auto") == "12"
    assert plain("**\\$1,000.**") == "1,000" and plain("12 \\text{ cm}^2.") == "12" and plain("$x + 1$") == "x + 1"
    with pytest.raises(ValueError, match="auto, boxed or last"):
        Math(read="first")


def test_gold_that_cannot_be_read_is_not_the_answer_s_fault():
    assert math.compare("", "5", "auto")["state"] == State.FAILED
    assert math.compare("5", "", "auto")["state"] == State.UNPARSEABLE


def test_a_comparison_that_hangs_is_cut_off_and_fails_alone():
    box = Sandbox(SandboxOptions(name="rlimits"), False, 1.0)
    try:
        problems = [Problem(str(i), "", "3") for i in range(4)]
        verdicts = Math().verify(problems, ["3", "\\boxed{9^{9^{9^{9}}}}", "4", "\\boxed{(((" * 400], box)
    finally:
        box.close()
    assert [verdict.state for verdict in verdicts[:3:2]] == [State.CORRECT, State.WRONG]
    assert verdicts[1].state in (State.FAILED, State.WRONG) and verdicts[3].state != State.CORRECT


@pytest.mark.parametrize("state", ["late", "raised", "broke"])
def test_what_the_sandbox_could_not_do_is_failed(state):
    assert Math().verdict(Outcome(state, why="x")).state == State.FAILED
