"""What is learnt from trees, on trees written out by hand."""

import numpy as np
import pytest

from cluster.searcher import Unit, table
from iteration.examples import answers, decide
from iteration.filters.correct import Correct
from iteration.learn.dpo import Dpo
from iteration.learn.grpo import Grpo
from iteration.learn.sft import Sft
from iteration.learn.visits import Visits
from iteration.types import Expand, History, Problem, State, Tree, Verdict
from tests.cluster.folder.folders import TRAIN
from tests.worlds import step


def graded(node, good: bool):
    node.verdict = Verdict(State.CORRECT if good else State.WRONG, node.step.text, float(good))


def forest():
    """t000: root -> a (-> c right, d wrong), b (-> e wrong); visits as a search left them. t001: nothing right, unvisited."""
    first = Tree.root(Problem("p", "q", "x", 3), step("q q", False), 0)
    a, b = first.grow([Expand(0, 2)], [[step("a", False), step("b b", False)]])
    c, d, e = first.grow([Expand(1, 2), Expand(2, 1)], [[step("c"), step("d d d")], [step("e")]])
    for node, good in ((c, True), (d, False), (e, False)):
        graded(node, good)
    for node, visits in zip((first.nodes[0], a, b, c, d, e), (9, 6, 2, 4, 1, 1), strict=True):
        node.visits = visits
    second = Tree.root(Problem("r", "q", "x", 3), step("q", False), 0)
    for node in second.grow([Expand(0, 2, True)], [[step("f"), step("g")]]):
        graded(node, False)
    unit = Unit(TRAIN, 1, 0, [first.problem, second.problem], ["q", "q"], "m00000", [History(), History()])
    return table(unit, [first, second])


def kept(nodes):
    decisions = decide(answers(nodes), answers(nodes).slice(0, 0), {"correct": Correct()})
    return decisions.filter([not reason for reason in decisions["reason"].to_pylist()])


def test_sft_learns_the_kept_answers_whole():
    nodes = forest()
    items = Sft().items(kept(nodes), lambda: nodes).to_pylist()
    assert items == [{"id": "r00001/train/u00000/t000/n0003", "against": "", "tokens": 4}]
    data = Sft().examples(nodes, [(items[0]["id"], "")])
    assert data.lengths.tolist() == [4] and data.weights.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("hardness", "weight"), [(0, 1.0), (1, 3.0), (2, 9.0)])
def test_sft_may_weigh_an_answer_by_its_problem_s_solve_rate(hardness, weight):
    nodes = forest()  # the first problem: one of three answers is right
    data = Sft(hardness=hardness).examples(nodes, [("r00001/train/u00000/t000/n0003", "")])
    assert data.weights.tolist() == pytest.approx([0, 0, weight, weight])
    with pytest.raises(ValueError, match="hardness is -1; expected at least 0"):
        Sft(hardness=-1)


def test_visits_weigh_each_step_by_its_share_among_siblings_and_only_once():
    nodes = forest()
    items = Visits().items(kept(nodes), lambda: nodes).to_pylist()
    assert [(row["id"][-5:], row["tokens"]) for row in items] == [("n0003", 4), ("n0004", 6), ("n0005", 5)]
    data = Visits().examples(nodes, [(row["id"], "") for row in items])
    by_path = [data.weights[a:b].tolist() for a, b in zip(data.offsets, data.offsets[1:], strict=False)]
    assert by_path[0] == pytest.approx([0, 0, 6 / 8, 4 / 5])
    assert by_path[1] == pytest.approx([0, 0, 0, 1 / 5, 1 / 5, 1 / 5]), "a was learnt on the first path"
    assert by_path[2] == pytest.approx([0, 0, 2 / 8, 2 / 8, 1])


def test_dpo_prefers_the_best_sibling_to_the_worst_behind_the_same_prefix():
    nodes = forest()
    items = Dpo().items(kept(nodes), lambda: nodes).to_pylist()
    pairs = [(row["id"][-5:], row["against"][-5:], row["tokens"]) for row in items]
    assert pairs == [("n0003", "n0004", 4 + 6), ("n0001", "n0002", 3 + 4)], "the deepest first; b leads to nothing right"
    data = Dpo().examples(nodes, [(row["id"], row["against"]) for row in items])
    assert data.lengths.tolist() == [10, 7]
    assert data.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3]
    assert data.weights.tolist() == [0, 0, 0, 1, 0, 0, 0, -1, -1, -1, 0, 0, 1, 0, 0, -1, -1]
    assert len(Dpo(per_tree=1).items(kept(nodes), lambda: nodes)) == 1


def test_nothing_kept_teaches_nothing():
    nodes = forest().slice(6)
    for part in (Sft(), Visits(), Dpo(), Grpo()):
        assert len(part.items(kept(nodes), lambda: nodes)) == 0
        assert len(part.examples(nodes, [])) == 0


def test_examples_of_several_units_follow_each_other():
    from iteration.types import Examples

    nodes = forest()
    one = Sft().examples(nodes, [("r00001/train/u00000/t000/n0003", "")])
    two = Sft().examples(nodes, [("r00001/train/u00000/t001/n0001", ""), ("r00001/train/u00000/t000/n0005", "")])
    both = Examples.concat([one, two])
    assert both.offsets.tolist() == [0, 4, 6, 11] and np.array_equal(both.token_ids[4:], two.token_ids)
    assert len(Examples.concat([])) == 0
