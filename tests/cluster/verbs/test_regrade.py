"""Grading again, from a stored run alone: counts, side files, and what later rounds train on."""

import numpy as np
import pytest

from cluster.folder.layout import verdict_key
from cluster.folder.verdicts import apply, check_set
from cluster.searcher import Unit, table
from cluster.verbs.regrade import regrade, set_name
from cluster.verifier import Grader, Verifier
from iteration.errors import UserError
from iteration.examples import answers, decide
from iteration.filters.correct import Correct
from iteration.parts import VERIFY, Part
from iteration.types import History, Node, Problem, State, Tree, Verdict
from tests.cluster.folder.folders import TRAIN, plan, young
from tests.worlds import step

EXACT = Part(VERIFY, "exact", {"read": "number"})
PROBLEMS = [Problem(f"p{i}", f"{i}?", str(i)) for i in range(4)]


@pytest.fixture
def book(tmp_path):
    """One unit of four problems, two answers each: one right, one with the right number in the wrong place; one was cut."""
    book = young(tmp_path / "run")
    plan(book, TRAIN, 1, PROBLEMS, size=4)
    trees = []
    for problem in PROBLEMS:
        tree = Tree.root(problem, step(problem.prompt, final=False), 0)
        for text, state in ((f"it is {problem.answer}", State.CORRECT), (f"{problem.answer}\nit is 9", State.CORRECT)):
            tree.nodes.append(Node(len(tree.nodes), 0, 1, step(text), verdict=Verdict(state, problem.answer, 1.0)))
        cut = step("it is", final=False)
        verdict = Verdict(State.UNPARSEABLE, why="cut short by the token limit")
        tree.nodes.append(Node(len(tree.nodes), 0, 1, cut, verdict=verdict))
        trees.append(tree)
    unit = Unit(TRAIN, 1, 0, PROBLEMS, ["?"] * 4, "m00000", [History()] * 4)
    book.store.put_table(unit.key, table(unit, trees, "old 1 {}"))
    return book


def test_what_changed_is_counted_and_named(book):
    grader, said = Grader(EXACT), []
    name = set_name("exact", grader.tag)
    changes = regrade(book, grader, name, lambda *done: said.append(done))
    assert changes.counts == {("correct", "correct"): 4, ("correct", "wrong"): 4} and changes.changed == 4
    assert changes.examples["correct", "wrong"][0] == ("r00001/train/u00000/t000/n0002", "9, not 0")
    assert said == [(1, 1)] and book.store.json(f"verdicts/{name}/verifier") == {"verifier": 'exact 4 {"read": "number"}'}
    rows = book.store.table(verdict_key(name, "traces/r00001/train/u00000"))
    assert len(rows) == 8, "what a limit cut was never an answer"
    assert set(rows["verifier"].to_pylist()) == {'exact 4 {"read": "number"}'}
    assert regrade(book, grader, name, lambda *done: None).counts == changes.counts, "again it only reads"
    check_set(book.store, name)
    with pytest.raises(UserError, match=f"has no such verdicts \\(there: {name}\\)"):
        check_set(book.store, "none")


def test_later_rounds_use_the_new_verdicts(book):
    grader = Grader(EXACT)
    regrade(book, grader, "new", lambda *done: None)
    nodes = book.store.table("traces/r00001/train/u00000")
    new = apply(nodes, book.store.table("verdicts/new/r00001/train/u00000"))
    for rows, kept in ((nodes, 8), (new, 4)):
        decisions = decide(answers(rows), answers(rows).slice(0, 0), {"correct": Correct()})
        assert decisions["reason"].to_pylist().count("") == kept
    assert new["state"].to_pylist().count("unparseable") == 4, "what was not graded again stays as it is"
    assert new.schema.equals(nodes.schema) and new["token_ids"].equals(nodes["token_ids"])


def test_the_verifier_goes_with_every_verdict(book):
    nodes = book.store.table("traces/r00001/train/u00000")
    by = np.array(nodes["verifier"].to_pylist(), object)
    assert set(by[np.array(nodes["state"].is_valid())]) == {"old 1 {}"} and by[0] is None


def test_another_part_in_the_same_actor():
    actor, line = Verifier(0, Part(VERIFY, "exact", {})), Part(VERIFY, "exact", {"read": "line"})
    key, (by_line,) = actor.audit(3, [PROBLEMS[1]], ["5, so 1"], line)
    (by_number,) = actor.verify([PROBLEMS[1]], ["5, so 1"])
    assert key == 3 and by_line.state == State.WRONG and by_number.state == State.CORRECT


def test_thinking_that_the_prompt_opened_is_missed_where_it_does_not_end(tmp_path):
    book = young(tmp_path / "run")
    plan(book, TRAIN, 1, PROBLEMS[:1], size=1)
    tree = Tree.root(PROBLEMS[0], step("0? <think>", final=False), 0)
    for text in ("0 or not", "not 1</think> 0"):
        tree.nodes.append(Node(len(tree.nodes), 0, 1, step(text), verdict=Verdict(State.CORRECT, "0", 1.0)))
    unit = Unit(TRAIN, 1, 0, PROBLEMS[:1], ["0?"], "m00000", [History()])
    book.store.put_table(unit.key, table(unit, [tree], "old 1 {}"))
    changes = regrade(book, Grader(EXACT), "new", lambda *done: None)
    assert changes.counts == {("correct", "unparseable"): 1, ("correct", "correct"): 1}
