import argparse
import io
import json

import pytest
from rich.console import Console

from cluster.console import fitting
from cluster.verbs import runs, status
from iteration.errors import UserError
from tests.cluster.folder.folders import TRAIN, plan, record, search, young


def test_a_table_of_runs(tmp_path, capsys):
    young(tmp_path / "new")
    done = young(tmp_path / "done")
    for number in (0, 1):
        done.store.put_json(f"rounds/r0000{number}", record(number))
    with done.store.claim():
        by_name = {run.folder.rpartition("/")[2]: run for run in runs.runs_in(tmp_path)}
        assert by_name["done"].state.startswith("running, process ")
    by_name = {run.folder.rpartition("/")[2]: run for run in runs.runs_in(tmp_path)}
    assert by_name["done"].state == "finished" and by_name["done"].pass_1 == {4: 0.5}
    assert (by_name["new"].state, by_name["new"].finished, by_name["new"].wanted) == ("stopped", 0, 1)
    assert runs.act(argparse.Namespace(folder=str(tmp_path), json=False)) == 0
    said = capsys.readouterr().out
    assert "50.0" in said and "1 of 1" in said and "finished" in said
    console = Console(file=io.StringIO(), width=80)
    long = runs.Listed("runs/quickstart", "expressions", "sample", "replay", 5, 5, {4: 0.852, 6: 0.244}, "finished", 0.0)
    fitting(console, runs.runs_table([long]), runs.runs_table([long], stacked=True))
    for words in ("runs/quickstart", "expressions", "level 4: 85.2", "level 6: 24.4", "1970-01-01"):
        assert words in console.file.getvalue(), "whole on a terminal of 80 columns"
    assert runs.act(argparse.Namespace(folder=str(tmp_path), json=True)) == 0
    assert {json.loads(line)["task"] for line in capsys.readouterr().out.splitlines()} == {"t"}


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run there"):
        runs.runs_in(str(tmp_path))


def test_the_best_model_s_scores_are_shown_where_a_round_was_not_promoted(tmp_path):
    book = young(tmp_path / "run")
    worse = record(1, promoted=False, model_out="m00000")
    worse["scores"] = [worse["scores"][0] | {"pass_1": 0.1}]
    for number, each in ((0, record(0)), (1, worse)):
        book.store.put_json(f"rounds/r0000{number}", each)
    assert runs.listed(book).pass_1 == {4: 0.5}


def test_status_of_a_run_under_way(tmp_path, capsys):
    book = young(tmp_path / "run", rounds=2)
    book.store.put_json("rounds/r00000", record(0))
    plan(book, TRAIN, 1)
    search(book, TRAIN, 1, 0)
    assert status.act(argparse.Namespace(run=book.store.place, json=False)) == 0
    said = capsys.readouterr().out
    assert "small: 0 of 2 rounds finished" in said and "round 1  search: 1 of 2 units committed" in said
    assert "resume with: ./launch.sh resume" in said
    assert status.act(argparse.Namespace(run=book.store.place, json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["under_way"] == [{"round": 1, "phase": "search", "committed": 1, "planned": 2}]
    assert (told["name"], told["wanted"], told["finished"], told["driver"]) == ("small", 2, 0, None)
    assert [each["number"] for each in told["rounds"]] == [0]
