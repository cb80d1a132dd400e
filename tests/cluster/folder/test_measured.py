"""Reading an arm's answers back, on units that a test wrote."""

import numpy as np
import pyarrow as pa
import pytest

from cluster.folder.layout import SCORE, TRACE, score_key
from cluster.folder.measured import Measured
from cluster.remote import lists
from cluster.searcher import Unit, table
from iteration.types import Expand, History, Problem, State, Tree, Verdict
from tests.cluster.folder.folders import TEST, plan, young
from tests.worlds import step


def a_tree(name: str, level: int) -> Tree:
    """Two whole answers, and a path of two steps whose end is right; values as a judge left them."""
    tree = Tree.root(Problem(name, "q", "7", level), step("q q", False), 0)
    tree.cost.judge_tokens = 50
    tree.grow([Expand(0, 2, True), Expand(0, 1)], [[step("7", tokens=3), step("8", tokens=2)], [step("so ", False, 4)]])
    tree.grow([Expand(3, 1)], [[step("7", tokens=1)]])
    for index, verdict in {1: (State.WRONG, "7"), 2: (State.WRONG, "8"), 4: (State.CORRECT, "7")}.items():
        tree.nodes[index].verdict = Verdict(*verdict)
    for index, values in {1: [0.25], 2: [0.5], 3: [0.75], 4: [0.5]}.items():
        tree.nodes[index].values, tree.nodes[index].value = values, values[-1]
    for node, visits in zip(tree.nodes, (9, 2, 1, 6, 6), strict=True):
        node.visits = visits
    return tree


@pytest.fixture
def book(tmp_path):
    book = young(tmp_path)
    trees = [a_tree("b", 4), a_tree("a", 5)]
    problems = [tree.problem for tree in trees]
    plan(book, TEST, 0, problems)
    unit = Unit(TEST, 1, 0, problems, ["q", "q"], "m00001", [History()] * 2, "j00001-process")
    book.store.put_table(unit.key, table(unit, trees))
    return book


def test_answers_in_the_order_in_which_they_were_found(book):
    first, second = Measured.read(book, TEST, 1).answered
    assert (first.problem.id, second.problem.id) == ("a", "b")
    pool = first.pool
    assert pool.answers == ["7", "8", "7"] and first.texts == ["7", "8", "so 7"]
    assert pool.right.tolist() == [True, False, True], "an answer is right however it was derived"
    assert pool.verified.tolist() == [False, False, True], "only one was accepted"
    assert pool.tokens.tolist() == [3, 2, 5] and first.tokens == 10 and first.judge_tokens == 50
    assert [values.tolist() for values in pool.values] == [[0.25], [0.5], [0.75, 0.5]]
    assert first.played == [2], "the visits lead through the third child to its end"


def test_scores_of_another_judge_are_joined_by_trace(book):
    ids = ["r00001/test/u00000/t001/n0004", "r00001/test/u00000/t001/n0001"]
    values = lists([np.array([0.9, 0.8], np.float32), np.array([0.1], np.float32)], pa.float32())
    book.store.put_table(score_key("j00002-x", "traces/r00001/test/u00000"), pa.table([pa.array(ids), values], schema=SCORE))
    (first, _) = Measured.read(book, TEST, 1, "j00002-x").answered
    assert [each.tolist() for each in first.pool.values] == [pytest.approx([0.1]), [], pytest.approx([0.9, 0.8])]


def test_calibration_by_level_and_by_step(book):
    def steps(problem, answer):
        return [Verdict(State.CORRECT if answer.startswith("so") else State.WRONG)] * (1 + answer.startswith("so"))

    found = Measured.read(book, TEST, 1).calibration(4, "product", steps)
    assert (found.level, found.answers) == (4, 3)
    assert found.auc == 0.5, "0.375 lies between 0.25 and 0.5"
    assert found.step_auc == pytest.approx((2 + 1.5) / 4)
    assert sum(n for _, _, n in found.reliability) == 3
    assert found.vote == 1 and found.majority == 1
    assert Measured.read(book, TEST, 1).calibration(9, "product", None).auc is None


def test_a_unit_that_was_set_aside_has_no_answers(book):
    book.store.set_aside("traces/r00001/test/u00001", TRACE, "it kills")
    assert len(Measured.read(book, TEST, 1).answered) == 2
