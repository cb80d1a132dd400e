import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.folder.layout import TRACE
from cluster.searcher import table
from iteration.examples import answers, order, trees
from iteration.learn.sft import Sft
from iteration.types import Expand, Problem, State, Tree, Verdict
from tests.worlds import step
from tests.worlds import unit as made_unit


def forest() -> pa.Table:
    """Two trees: one of whole answers, one of steps with siblings."""
    flat = Tree.root(Problem("a", "p", "x", 3), step("p p p", False), 1)
    for node in flat.grow([Expand(0, 2, True)], [[step("x", tokens=2, model="m00000"), step("y", tokens=1)]]):
        node.verdict = Verdict(State.CORRECT if node.step.text == "x" else State.WRONG, node.step.text)
    deep = Tree.root(Problem("b", "q", "x", 4), step("q", False), 2)
    deep.grow([Expand(0, 2)], [[step("s", False, 2), step("t", False, 3)]])
    (end,) = deep.grow([Expand(2, 1)], [[step("u", tokens=4)]])
    end.verdict = Verdict(State.CORRECT, "u", 1.0)
    unit = made_unit(flat.problem, deep.problem, round=2, number=5, model="m00001")
    return table(unit, [flat, deep])


def test_rows_have_the_schema_and_ids_say_where_they_lie():
    rows = forest()
    assert rows.schema == TRACE
    assert rows["id"].to_pylist()[0] == "r00002/train/u00005/t000/n0000"
    assert rows["id"].to_pylist()[-1] == "r00002/train/u00005/t001/n0003"
    assert rows["model_version"].to_pylist()[:2] == ["m00001", "m00000"]  # the prompt was shown to, the answer came from


def test_trees_of_a_unit_and_of_one_that_was_set_aside():
    assert trees(forest()) == [(0, 3), (3, 7)] and trees(TRACE.empty_table()) == []


def test_answers_join_the_steps_on_their_path():
    found = answers(forest()).to_pylist()
    assert [(row["problem_id"], row["state"], row["answer_text"], row["tokens"]) for row in found] == [
        ("a", "correct", "x", 5),
        ("a", "wrong", "y", 4),
        ("b", "correct", "tu", 8),
    ]


def examples(nodes, ids):
    return Sft().examples(nodes, [(name, "") for name in ids])


def test_answers_know_their_prompt_and_their_problem_s_solve_rate():
    found = answers(forest()).to_pylist()
    assert [(row["prompt"], row["rate"]) for row in found] == [("p p p", 0.5), ("p p p", 0.5), ("q", 1.0)]


def test_examples_hold_the_path_and_learn_only_the_answer():
    data = examples(forest(), ["r00002/train/u00005/t001/n0003", "r00002/train/u00005/t000/n0001"])
    assert data.lengths.tolist() == [8, 5]
    assert data.token_ids.tolist() == [0, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert data.weights.tolist() == [0, *[1] * 7, *[0] * 3, 1, 1]
    assert data.positions.tolist() == [*range(8), *range(5)] and not data.labels.any()


def test_examples_of_a_slice_start_at_its_own_offsets():
    rows = forest()
    part = examples(rows.slice(3), ["r00002/train/u00005/t001/n0003"])
    assert part.token_ids.tolist() == [0, 0, 1, 2, 0, 1, 2, 3]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 2000), st.integers(0, 99))
def test_an_epoch_uses_each_example_once(tokens, budget, seed):
    indices, epochs = order(np.array(tokens), budget, np.random.default_rng(seed))
    spent = np.array(tokens)[indices]
    assert spent.sum() >= min(budget, spent.sum()) and spent[:-1].sum() < budget
    for epoch in range(epochs.max()):
        assert sorted(indices[epochs == epoch]) == list(range(len(tokens)))
    last = indices[epochs == epochs.max()]
    assert len(set(last.tolist())) == len(last)


def test_nothing_to_order():
    assert len(order(np.zeros(0), 100, np.random.default_rng(0))[0]) == 0
    with pytest.raises(KeyError):
        examples(forest(), ["r00002/train/u00005/t009/n0001"])
