"""Judging again, from a stored run alone: counts, side files, and what later rounds go by."""

import numpy as np
import pyarrow as pa
import pytest

from cluster.regrade import apply, check_set, regrade, set_name, verdict_key
from cluster.run import kept
from cluster.searcher import Unit, table
from cluster.store import Store
from cluster.verifier import Grader, Verifier
from iteration.config import UserError
from iteration.examples import answers, decide
from iteration.filters.correct import Correct
from iteration.types import History, Node, Problem, State, Tree, Verdict
from tests.worlds import step

PROBLEMS = [Problem(f"p{i}", f"{i}?", str(i)) for i in range(4)]


@pytest.fixture
def store(tmp_path):
    """One unit of four problems, two answers each: one right, one with the right number in the wrong place; one was cut."""
    store = Store(tmp_path / "run").open()
    plan = {name: [getattr(p, name) for p in PROBLEMS] for name in ("id", "prompt", "answer", "level")}
    store.put_table("plans/r00001/train", pa.table(plan | {"unit": [0] * 4}))
    trees = []
    for problem in PROBLEMS:
        tree = Tree.root(problem, step(problem.prompt, final=False), 0)
        for text, state in ((f"it is {problem.answer}", State.CORRECT), (f"{problem.answer} or 9", State.CORRECT)):
            tree.nodes.append(Node(len(tree.nodes), 0, 1, step(text), verdict=Verdict(state, problem.answer, 1.0)))
        cut = step("it is", final=False)
        verdict = Verdict(State.UNPARSEABLE, why="cut short by the token limit")
        tree.nodes.append(Node(len(tree.nodes), 0, 1, cut, verdict=verdict))
        trees.append(tree)
    unit = Unit(1, "train", 0, PROBLEMS, ["?"] * 4, "m00000", [History()] * 4, 100)
    store.put_table(unit.key, table(unit, trees, "old 1 {}"))
    return store


def test_what_changed_is_counted_and_named(store):
    grader, said = Grader("exact", {"read": "number"}), []
    name = set_name("exact", grader.tag)
    changes = regrade(store, grader, name, lambda *done: said.append(done))
    assert changes.counts == {("correct", "correct"): 4, ("correct", "wrong"): 4} and changes.changed == 4
    assert changes.examples["correct", "wrong"][0] == ("r00001/train/u00000/t000/n0002", "9, not 0")
    assert said == [(1, 1)] and store.json(f"verdicts/{name}/verifier") == {"verifier": 'exact 2 {"read": "number"}'}
    rows = store.table(verdict_key(name, "traces/r00001/train/u00000"))
    assert len(rows) == 8, "what a limit cut was never an answer"
    assert set(rows["verifier"].to_pylist()) == {'exact 2 {"read": "number"}'}
    assert regrade(store, None or grader, name, lambda *done: None).counts == changes.counts, "again it only reads"
    check_set(store, name)
    with pytest.raises(UserError, match=f"has no such verdicts \\(there: {name}\\)"):
        check_set(store, "none")


def test_later_rounds_go_by_the_new_verdicts(store):
    grader = Grader("exact", {"read": "number"})
    regrade(store, grader, "new", lambda *done: None)
    nodes = store.table("traces/r00001/train/u00000")
    new = apply(nodes, store.table("verdicts/new/r00001/train/u00000"))
    assert len(kept(decide(answers(nodes), answers(nodes).slice(0, 0), {"correct": Correct()}))) == 8
    assert len(kept(decide(answers(new), answers(nodes).slice(0, 0), {"correct": Correct()}))) == 4
    assert new["state"].to_pylist().count("unparseable") == 4, "what was not judged again stays as it is"
    assert new.schema.equals(nodes.schema) and new["token_ids"].equals(nodes["token_ids"])


def test_the_verifier_goes_with_every_verdict(store):
    nodes = store.table("traces/r00001/train/u00000")
    by = np.array(nodes["verifier"].to_pylist(), object)
    assert set(by[np.array(nodes["state"].is_valid())]) == {"old 1 {}"} and by[0] is None


def test_another_part_in_the_same_actor():
    actor = Verifier(0, "exact", {})
    assert actor.audit(3, [PROBLEMS[1]], ["5, so 1"], ("exact", {"read": "line"}))[0] == 3
    by_line, by_number = (
        actor.audit(0, [PROBLEMS[1]], ["5, so 1"], ("exact", {"read": "line"}))[1],
        actor.verify([PROBLEMS[1]], ["5, so 1"]),
    )
    assert by_line[0].state == State.WRONG and by_number[0].state == State.CORRECT


def test_decisions_are_those_that_training_goes_by(tmp_path):
    from cluster.regrade import decisions_key

    store = Store(tmp_path).open()
    assert decisions_key(store, 1) == "filters/r00001"
    store.put_json("rounds/r00001", {"verdicts": ""})
    store.put_json("rounds/r00002", {"verdicts": "math-1"})
    assert decisions_key(store, 1) == "filters/r00001", "the regrading has not decided on it"
    store.put_table("verdicts/math-1/filters/r00001", pa.table({"id": ["x"]}))
    assert decisions_key(store, 1) == "verdicts/math-1/filters/r00001", "the newest round trained by it"
    assert decisions_key(store, 1, "") == "filters/r00001"
