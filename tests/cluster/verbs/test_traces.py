import argparse
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.folder.layout import TRACE, filter_key, unit_key
from cluster.verbs import traces
from cluster.verbs.traces import Wanted, export
from iteration.errors import UserError
from iteration.types import State
from tests.cluster.folder.folders import TEST, TRAIN, plan, search, young


@pytest.fixture
def book(tmp_path):
    """Twelve answers of round 1, the first is kept; two held-out ones; a unit that was set aside."""
    book = young(tmp_path / "run")
    plan(book, TRAIN, 1)
    states = (State.CORRECT, State.WRONG, State.UNPARSEABLE)
    ids = [name for unit in (0, 1) for name in search(book, TRAIN, 1, unit, states)]
    reasons = ["" if name == ids[0] else "correct: wrong" for name in ids]
    book.store.put_table(filter_key(1), pa.table({"id": ids, "reason": reasons}))
    plan(book, TEST, 0)
    search(book, TEST, 0, 0, (State.CORRECT,))
    book.store.set_aside(unit_key(0, "test", 1), TRACE, "it kills")
    return book


def ids(book, tmp_path, **wanted) -> list[str]:
    export(book, Wanted(**wanted), tmp_path / "out.parquet")
    return pq.read_table(tmp_path / "out.parquet")["id"].to_pylist()


def test_answers_are_chosen_by_state_problem_round_arm_and_what_was_kept(book, tmp_path):
    assert len(ids(book, tmp_path)) == 12
    assert ids(book, tmp_path, kept=True) == ["r00001/train/u00000/t000/n0001"]
    assert len(ids(book, tmp_path, state="wrong")) == 4
    assert len(ids(book, tmp_path, problem="p1")) == 3 and len(ids(book, tmp_path, problem="3?")) == 3
    assert len(ids(book, tmp_path, arm="test")) == 2 and len(ids(book, tmp_path, round=1)) == 12
    with pytest.raises(UserError, match=r"no train answers of round 2 \(there are: \[1\]\)"):
        ids(book, tmp_path, round=2)
    with pytest.raises(UserError, match="no answers of 'beam'"):
        ids(book, tmp_path, arm="beam")
    with pytest.raises(UserError, match="found the ending '.csv'"):
        export(book, Wanted(), tmp_path / "out.csv")


def test_an_export_holds_messages_and_whether_an_answer_was_kept(book, tmp_path):
    export(book, Wanted(), tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0]["messages"] == [{"role": "user", "content": "0?"}, {"role": "assistant", "content": "0 answer"}]
    assert [row["kept"] for row in rows[:3]] == [True, False, False] and rows[0]["model"] == "m00000"
    export(book, Wanted(arm="test"), tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["kept"] for row in rows] == [None, None], "held-out answers are not decided on"


def test_pages(book, capsys):
    every = {"problem": "", "state": None, "kept": False, "round": None, "split": "train", "to": ""}
    assert traces.act(argparse.Namespace(run=book.store.place, page=1, **every)) == 0
    said = capsys.readouterr().out
    assert said.count("r00001/train/") == 10 and "next page" in said and "n0001, kept" in said
    assert traces.act(argparse.Namespace(run=book.store.place, page=2, **every)) == 0
    said = capsys.readouterr().out
    assert said.count("r00001/train/") == 2 and "12 answers fit" in said
    assert traces.act(argparse.Namespace(run=book.store.place, page=3, **every)) == 0
    assert "no more answers fit" in capsys.readouterr().out


def test_messages_of_a_prompt_are_exported_as_messages():
    chat = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1?"}]
    assert traces.asked(json.dumps({"messages": chat})) == chat
    assert traces.asked("1?") == [{"role": "user", "content": "1?"}]
