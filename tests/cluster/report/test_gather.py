"""What a report reads from a run folder, on a store that a test filled; no actors."""

import numpy as np
import pytest

from cluster.folder.store import Store
from cluster.report.gather import branch, gather
from cluster.searcher import Unit, table
from iteration.errors import UserError
from iteration.types import Expand, History, Problem, State, Tree, Verdict
from tests.cluster.test_run import measure, run  # noqa: F401 run: a fixture
from tests.worlds import step

PROBLEM = Problem("p", "1 + 2 + 3", "6")


def a_tree():
    """Two first steps, one of them with two ends; values and visits as a search leaves them."""
    tree = Tree.root(PROBLEM, step("1 + 2 + 3", False), 0)
    good, bad = tree.grow([Expand(0, 2)], [[step("3 + 3\n", False), step("4 + 3\n", False)]])
    good.value, good.values, good.visits = 0.8, [0.8], 5
    bad.value, bad.values, bad.visits = 0.1, [0.1], 1
    right, wrong = tree.grow([Expand(1, 2)], [[step("6"), step("7")]])
    right.verdict, wrong.verdict = Verdict(State.CORRECT, "6", 1.0), Verdict(State.WRONG, "7", why="3 + 3 is 6")
    return tree


def rows_of(tree):
    return table(Unit(1, "train", 0, [PROBLEM], [""], "m00000", [History()], 100), [tree])


def test_a_search_tree_is_shown_as_it_is():
    found = branch(rows_of(a_tree()), "\n")
    assert (found.text, found.answers, found.correct) == ("1 + 2 + 3", 2, 1)
    good, bad = found.children
    assert (good.text, good.value, good.visits, good.answers) == ("3 + 3\n", pytest.approx(0.8), 5, 2)
    assert [(leaf.text, leaf.state, leaf.why) for leaf in good.children] == [
        ("6", "correct", ""),
        ("7", "wrong", "3 + 3 is 6"),
    ]
    assert (bad.text, bad.answers, bad.state, bad.children) == ("4 + 3\n", 0, "", ()), "not gone on with"


def test_whole_answers_are_cut_into_steps_and_their_common_beginning_stands_once():
    tree = Tree.root(PROBLEM, step("1 + 2 + 3", False), 0)
    answers = [step("3 + 3\n6"), step("3 + 3\n7"), step("3 + 3\n6")]
    for node, good in zip(tree.grow([Expand(0, 3, True)], [answers]), (True, False, True), strict=True):
        node.verdict = Verdict(State.CORRECT if good else State.WRONG, node.step.text[-1], float(good))
        node.values = [0.9, 0.5]
    (first,) = branch(rows_of(tree), "\n").children
    assert (first.text, first.answers, first.correct, first.value) == ("3 + 3\n", 3, 2, pytest.approx(0.9))
    assert [(leaf.text, leaf.answers) for leaf in first.children] == [("6", 2), ("7", 1)]


def test_an_answer_of_thousands_of_steps_is_cut():
    import json

    from cluster.report.gather import DEEP

    tree = Tree.root(PROBLEM, step("1 + 2 + 3", False), 0)
    (node,) = tree.grow([Expand(0, 1, True)], [[step("".join(f"line {i}\n" for i in range(5000)))]])
    node.verdict = Verdict(State.WRONG, "x")
    found, depth = branch(rows_of(tree), "\n"), 0
    json.dumps(found.plain())
    while found.children:
        (found,), depth = found.children, depth + 1
    assert depth == DEEP and found.text.count("\n") == 5000 - DEEP + 1 and found.state == "wrong"


def test_what_a_round_costs_counts_ranks_shares_of_gpus_judges_and_arms(run):  # noqa: F811
    from omegaconf import OmegaConf

    from cluster.report.evidence import Results, Tried
    from cluster.report.gather import devices, work
    from iteration.cost import Size

    config = OmegaConf.merge(run.config, {"judge": {"name": "process"}, "placement": {"generators": 3, "judges": 2}})
    OmegaConf.set_readonly(config, False)
    assert devices(config, {}, "search") == 5 and devices(config, {}, "measure") == 3 and devices(config, {}, "filter") == 0
    config.train.ranks, config.train.gpus, config.generate.gpus = 4, 1, 0.5
    assert devices(config, {}, "train") == 4 and devices(config, {}, "eval-beam-60") == 2.5
    arm = Results("beam", 0, "m00000", (Tried("p", 4, 1, 1, (1, 0), (True, False), 10, 100, 40, 1),), 60)
    record = {"number": 0, "tokens": {}, "counts": {}, "seconds": {"eval-beam-60": 10.0}}
    found = work(config, Size(1000, 1, 8), record, [], [], [arm])
    assert found.tokens == 140 and found.device_seconds == 25.0 and set(found.flops) == {"beam 60"}


def test_a_folder_without_a_model_and_one_without_rounds(run, tmp_path):  # noqa: F811
    empty = Store(tmp_path / "empty").open()
    empty.put_text("config.yaml", "name: empty\n")
    with pytest.raises(UserError, match="nothing to report yet"):
        gather(empty, "empty")
    from omegaconf import OmegaConf

    from cluster.report.page import page

    run.store.put_text("config.yaml", OmegaConf.to_yaml(run.config))
    found = gather(run.store, "runs/young")
    assert found.rounds == [] and "No held-out answers yet" in page([found], "x")


def test_held_out_answers_are_counted_problem_by_problem(run):  # noqa: F811
    from omegaconf import OmegaConf

    from cluster.report.gather import Texts, read_results

    run.store.put_text("config.yaml", OmegaConf.to_yaml(run.config))
    run.planning.held_out(run.test)
    measure(run, 0, 0.5)
    texts = Texts(run.store, run.config)
    found = read_results(run.store, "round 0", 0, "test", texts)
    assert len(found) == 40 and {each.judged for each in found.tried} == {2} and found.model == "m00000"
    _, _, judged, correct = run.results(0)
    assert found.pass_1().mean == pytest.approx(np.mean(correct / judged)), "as the run's own scores"
    shown = texts.chosen([found], 10**6)
    assert len(shown) == 40 and all("round 0" in each.trees for each in shown)
    assert len(texts.chosen([found], 2000)) < 40, "as many as there is room for"
