"""What a report reads from a run folder, on a store that a test filled; no actors."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from omegaconf import OmegaConf

from cluster.folder.layout import TRACE, record_key
from cluster.folder.store import Store
from cluster.report.evidence import Results, Tried
from cluster.report.gather import challengers, devices, gather, read_results, work
from cluster.report.page import page
from cluster.report.trees import DEEP, IN_TRAINING, Trees, branch
from cluster.searcher import Unit, table
from iteration import measuring, tiny
from iteration.cost import Size
from iteration.errors import UserError
from iteration.tasks.expressions import VOCABULARY
from iteration.types import Expand, History, Problem, State, Tree, Verdict
from tests.cluster.folder.folders import BEAM, SAMPLE, TEST, TRAIN, plan, record, search, young
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
    return table(Unit(TRAIN, 1, 0, [PROBLEM], [""], "m00000", [History()]), [tree])


def test_a_search_tree_is_shown_as_it_is():
    found = branch(rows_of(a_tree()), "\n")
    assert (found.text, found.answers, found.correct) == ("1 + 2 + 3", 2, 1)
    good, bad = found.children
    assert (good.text, good.value, good.visits, good.answers) == ("3 + 3\n", pytest.approx(0.8), 5, 2)
    assert [(leaf.text, leaf.state, leaf.why) for leaf in good.children] == [
        ("6", "correct", ""),
        ("7", "wrong", "3 + 3 is 6"),
    ]
    assert (bad.text, bad.answers, bad.state, bad.children) == ("4 + 3\n", 0, "", ()), "no step follows it"


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
    tree = Tree.root(PROBLEM, step("1 + 2 + 3", False), 0)
    (node,) = tree.grow([Expand(0, 1, True)], [[step("".join(f"line {i}\n" for i in range(5000)))]])
    node.verdict = Verdict(State.WRONG, "x")
    found, depth = branch(rows_of(tree), "\n"), 0
    json.dumps(found.plain())
    while found.children:
        (found,), depth = found.children, depth + 1
    assert depth == DEEP and found.text.count("\n") == 5000 - DEEP + 1 and found.state == "wrong"


CONFIG = OmegaConf.create(
    {
        "judge": {"name": "process"},
        "placement": {"generators": 3, "judges": 2},
        "train": {"gpus": 0, "ranks": 1},
        "generate": {"gpus": 0},
    }
)


def test_what_a_round_costs_counts_ranks_shares_of_gpus_judges_and_arms():
    assert devices(CONFIG, {}, "search") == 5 and devices(CONFIG, {}, "measure") == 3 and devices(CONFIG, {}, "filter") == 0
    config = OmegaConf.merge(CONFIG, {"train": {"ranks": 4, "gpus": 1}, "generate": {"gpus": 0.5}})
    assert devices(config, {}, "train") == 4 and devices(config, {}, "beam") == 2.5
    arm = Results("beam", 0, "m00000", (Tried("p", 4, 1, 1, (1, 0), (True, False), 10, 100, 40, 1),), 60)
    record = {"number": 0, "tokens": {}, "counts": {}, "seconds": {"beam": 10.0}}
    found = work(config, Size(1000, 1, 8), record, [], [], [arm])
    assert found.tokens == 140 and found.device_seconds == 25.0 and set(found.flops) == {"beam 60"}


@pytest.fixture
def book(tmp_path):
    """A run with its first model, untrained, and two searches of its held-out problems."""
    book = young(tmp_path / "run", BEAM, replace(BEAM, name="plain", title="sample", search=SAMPLE, budget=100, budgeted=False))
    tiny.build(book.model("m00000"), VOCABULARY, tiny.Shape(hidden_size=32, layers=1), 0)
    return book


def test_a_folder_without_a_model_and_one_without_rounds(book, tmp_path):
    empty = Store(tmp_path / "empty").open()
    empty.put_text("config.yaml", "name: empty\n")
    with pytest.raises(UserError, match="nothing to report yet"):
        gather(empty, "empty")
    found = gather(book.store, "runs/young")
    assert found.rounds == [] and "No held-out answers yet" in page([found], "x")


def test_held_out_answers_are_counted_problem_by_problem(book):
    plan(book, TEST, 0)
    search(book, TEST, 0, 0, (State.CORRECT, State.WRONG))
    search(book, TEST, 0, 1, (State.CORRECT, State.FAILED, State.CORRECT))
    trees = Trees("\n", book.problems(TEST, 0))
    found = read_results(book, TEST, 0, trees)
    assert found.model == "m00000" and [each.graded for each in found.tried] == [2, 2, 2, 2]
    assert [each.answers for each in found.tried] == [2, 2, 3, 3]
    own = measuring.Results.of(book.nodes(TEST, 0, ["problem_id", "state"]), book.problems(TEST, 0))
    assert found.rates() == own.rates() == {"p0": 0.5, "p1": 0.5, "p2": 1.0, "p3": 1.0}, "as the run's own scores"
    shown = trees.chosen(found.rates(), found.rates(), 10**6)
    assert len(shown) == 4 and all("round 0" in each.trees for each in shown)
    assert 0 < len(trees.chosen(found.rates(), found.rates(), 200)) < 4, "as many as there is room for"


def test_arms_are_told_apart_by_what_they_are(book):
    book.store.put_json(record_key(0), record(0))
    plan(book, TEST, 0)
    search(book, TEST, 0, 0)
    assert gather(book.store, "x").arms == [], "nothing is searched by them yet"
    for name in ("beam-60", "plain"):
        search(book, book.arm(name), 0, 0)
    book.store.set_aside("traces/r00000/plain/u00001", TRACE, "it kills")
    found = gather(book.store, "x")
    assert [(arm.name, arm.budget, len(arm)) for arm in found.arms] == [("beam", 60, 2), ("sample", 0, 2)]
    assert [each.name for each in found.held_out] == ["round 0"] and found.searched == [] and found.asides == 1


def test_measurements_of_a_source_s_model_are_no_way_to_answer(book):
    other = replace(TEST, name="of-source", round=0, model="m00001-sample")
    book.store.put_json("arms/of-source", other.record())
    plan(book, TEST, 0)
    search(book, other, 0, 0)
    assert challengers(book) == []


def test_trees_of_training_and_held_out_problems_are_counted_apart(book):
    trees, nodes = Trees("\n", ["p0"]), rows_of(a_tree())
    trees.see("round 1", True, nodes, {"p": PROBLEM})
    assert trees.chosen({}, {}, 10**6) == [], "not among the held-out problems that may be shown"
    for _ in range(IN_TRAINING + 3):
        trees.see("round 1", False, nodes, {"p": PROBLEM})
    (shown,) = trees.chosen({}, {}, 10**6)
    assert shown.kind == "searched" and set(shown.trees) == {"round 1"}


def test_variants_of_a_question_have_one_tree_under_its_name():
    """Rates and lists are by question: what is clicked there is found here."""
    problems = {f"q/{i}": replace(PROBLEM, id=f"q/{i}", question="q") for i in range(2)}
    trees, nodes = Trees("\n", list(problems)), rows_of(a_tree())
    for name in problems:
        column = nodes.schema.get_field_index("problem_id")
        trees.see("round 0", True, nodes.set_column(column, "problem_id", pa.array([name] * len(nodes))), problems)
    assert [each.problem for each in trees.chosen({"q": 0.0}, {"q": 1.0}, 10_000)] == ["q"]
