"""A trace's story, on small folders in today's layout; old folders: tests/cluster/folder/test_old.py."""

import argparse

import pyarrow as pa
import pytest

from cluster.folder.layout import TRACE, filter_key, manifest_key, record_key, unit_key
from cluster.verbs import why
from iteration.errors import UserError
from tests.cluster.folder.folders import BEAM, SOURCE, TRAIN, plan, record, search, young


@pytest.fixture
def book(tmp_path):
    return young(tmp_path / "run", BEAM, SOURCE)


def decide(book, arm, number, reasons: dict[str, str]) -> None:
    table = pa.table({"id": list(reasons), "reason": list(reasons.values())})
    book.store.put_table(filter_key(number, "" if arm.round is None else arm.name), table)


def test_the_whole_story_of_an_answer_that_was_trained_on(book):
    plan(book, TRAIN, 1)
    good, bad, *_ = search(book, TRAIN, 1, 0)
    assert why.story(book, good)[-1] == "filter    not yet decided"
    decide(book, TRAIN, 1, {good: "", bad: "correct: wrong"})
    book.store.put_table(manifest_key("m00001"), pa.table({"trace_id": ["x", good, good]}))
    story = why.story(book, good)
    assert story[:3] == [f"trace     {good}", "problem   p0 (level 4)", "          | 0?"]
    assert "verdict   correct" in story and story[-2] == "filter    kept"
    assert story[-1] == "trained   manifest r00001, 2 times (first at place 1)", "its model is not measured yet"
    book.store.put_json(record_key(1), record(1, promoted=False))
    assert why.story(book, good)[-1].endswith(" -> m00001, not promoted")
    assert why.story(book, bad)[-1] == "filter    left out by correct: wrong"
    prompt = good.replace("n0001", "n0000")
    assert why.story(book, prompt)[-1] == "filter    none: not an answer"


def test_an_answer_of_an_evaluation_is_for_measuring_only(book):
    plan(book, BEAM, 0)
    trace = search(book, BEAM, 0, 0)[0]
    assert why.story(book, trace)[-1] == "filter    none: held-out, for measuring only, never trained on"


def test_an_answer_of_a_source_has_its_source_s_decisions(book):
    plan(book, SOURCE, 2)
    good, bad, *_ = search(book, SOURCE, 2, 0)
    assert why.story(book, good)[-1] == "filter    not yet decided"
    decide(book, SOURCE, 2, {good: "", bad: "correct: wrong"})
    book.store.put_table(manifest_key("m00002-sample"), pa.table({"trace_id": [good]}))
    assert why.story(book, good)[-2:] == ["filter    kept", "trained   manifest r00002-sample, 1 times (first at place 0)"]
    assert why.story(book, bad)[-1] == "filter    left out by correct: wrong"


def test_what_is_no_trace_of_this_run_is_refused(book):
    plan(book, TRAIN, 1)
    search(book, TRAIN, 1, 0)
    book.store.set_aside(unit_key(1, "train", 1), TRACE, "it kills")
    for trace, said in (
        ("r1/train", "is no trace id; expected e.g. r00002/"),
        ("r00001/train/u00005/t000/n0000", "no unit traces/r00001/train/u00005.parquet"),
        ("r00001/train/u00000/t009/n0000", "has no trace .*; its last is r00001/train/u00000/t001/n0002"),
        ("r00001/train/u00001/t000/n0000", "the unit was set aside"),
    ):
        with pytest.raises(UserError, match=said):
            why.story(book, trace)


def test_the_newest_run_is_taken_where_none_is_named(book, tmp_path, monkeypatch, capsys):
    plan(book, TRAIN, 1)
    trace = search(book, TRAIN, 1, 0)[0]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no run in runs/; type --run RUN"):
        why.act(argparse.Namespace(trace=trace, run=""))
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "one")
    assert why.act(argparse.Namespace(trace=trace, run="")) == 0
    said = "run       runs/one, the newest in runs/ (--run RUN takes another)", f"trace     {trace}"
    assert tuple(capsys.readouterr().out.splitlines()[:2]) == said
    assert why.act(argparse.Namespace(trace=trace, run="runs/one")) == 0 and capsys.readouterr().out.startswith("trace")
