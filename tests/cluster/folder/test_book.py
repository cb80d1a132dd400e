"""The one reader of a run folder, on small folders in today's layout."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.folder.layout import TRACE, filter_key, manifest_key, record_key, unit_key
from iteration.errors import UserError
from iteration.types import State
from tests.cluster.folder.folders import BEAM, PROBLEMS, SOURCE, TEST, TRAIN, plan, record, search, verdicts, young

ROOT = Path(__file__).parents[3]


def test_arms_are_read_as_data_whatever_their_names(tmp_path):
    book = young(tmp_path, BEAM)
    assert book.arms() == {"train": TRAIN, "test": TEST, "beam-60": BEAM}
    assert (book.train, book.test) == (TRAIN, TEST)
    with pytest.raises(UserError, match=r"no answers of 'mcts' \(there are: beam-60, test, train\)"):
        book.arm("mcts")


def test_a_run_is_finished_with_its_last_round(tmp_path):
    book = young(tmp_path)
    plan(book, TEST, 0)
    assert book.left() == ["round 0 of 1 is not finished"] and book.newest() == -1
    book.store.put_json(record_key(0), record(0))
    assert book.left() == ["round 1 of 1 is not finished"] and not book.finished()
    book.store.put_json(record_key(1), record(1))
    assert book.finished() and book.wanted() == 1 and not book.finished(2), "the driver may want more"
    plan(book, TRAIN, 2)
    assert book.wanted() == 2 and book.left() == ["round 2 of 2 is not finished"], "rounds has grown since the run began"


def test_an_evaluation_is_finished_with_all_of_its_arms_and_its_record(tmp_path):
    book = young(tmp_path, BEAM, rounds=0, eval={"arms": {}})
    plan(book, TEST, 0)
    book.store.put_json(record_key(0), record(0))
    search(book, BEAM, 0, 0)
    assert book.left() == ["arm beam-60 has 1 of 2 units of round 0", "evaluated.json is missing"]
    search(book, BEAM, 0, 1)
    assert book.left() == ["evaluated.json is missing"] and book.closing() == {}
    book.store.put_json("evaluated", {"seconds": {"beam": 1.0}})
    assert book.finished() and book.closing() == {"seconds": {"beam": 1.0}}


def test_a_comparison_plans_a_round_for_its_sources_that_no_run_waits_for(tmp_path):
    book = young(tmp_path / "seed0", SOURCE, compare={})
    for number in (0, 1):
        book.store.put_json(record_key(number), record(number))
    plan(book, TRAIN, 2)
    assert book.wanted() == 1 and [each.arm.name for each in book.progress()] == ["from-sample"]
    for unit in (0, 1):
        search(book, SOURCE, 2, unit)
    book.store.put_json("compared", {})
    assert book.finished() and not book.tabled()
    (tmp_path / "tables.json").write_text("{}")
    assert book.tabled() and young(tmp_path / "run").tabled(), "other runs have none"


def test_a_comparison_without_sources_waits_for_no_further_round_either(tmp_path):
    """One made before 2026-11-27 planned it all the same."""
    book = young(tmp_path / "seed0", compare={})
    for number in (0, 1):
        book.store.put_json(record_key(number), record(number))
    plan(book, TRAIN, 2)
    book.store.put_json("compared", {})
    assert book.wanted() == 1 and book.finished()


def test_files_of_others_in_a_run_folder_are_ignored(tmp_path):
    book = young(tmp_path)
    plan(book, TEST, 0)
    search(book, TEST, 0, 0)
    for name in ("rounds/.DS_Store", "rounds/notes.json", "traces/old", "plans/.hidden", "arms/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert book.newest() == -1 and book.wanted() == 1 and book.rounds_of(TEST) == [0] and set(book.arms()) == {"train", "test"}


def test_arms_that_a_killed_driver_wrote_in_part_hide_no_others(tmp_path):
    """The arm of the training problems is written last."""
    book = young(tmp_path, BEAM)
    (tmp_path / "arms/train.json").unlink()
    (tmp_path / "arms/test.json").unlink()
    assert set(book.arms()) == {"train", "test", "beam-60"} and book.arms()["beam-60"] == BEAM


def test_progress_is_of_what_is_begun(tmp_path):
    book = young(tmp_path)
    plan(book, TEST, 0)
    assert book.progress() == []
    search(book, TEST, 0, 1)
    (each,) = book.progress()
    assert (each.arm, each.round, each.committed, each.planned) == (TEST, 0, 1, 2)
    book.store.put_json(record_key(0), record(0))
    plan(book, TRAIN, 1)
    (each,) = book.progress()
    assert (each.arm, each.round, each.committed, each.planned) == (TRAIN, 1, 0, 2)


def test_problems_and_nodes_of_an_arm(tmp_path):
    book = young(tmp_path, BEAM)
    assert book.problems(TRAIN, 1) == {} and book.shown(TRAIN, 1) == {} and book.rounds_of(TRAIN) == []
    plan(book, TRAIN, 1)
    assert book.problems(TRAIN, 1) == {problem.id: problem for problem in PROBLEMS} and book.shown(TRAIN, 1)["p0"] == "0?"
    with pytest.raises(FileNotFoundError, match="no units"):
        book.nodes(TRAIN, 1)
    for unit in (1, 0):
        search(book, TRAIN, 1, unit)
    assert book.units(TRAIN, 1) == ["traces/r00001/train/u00000", "traces/r00001/train/u00001"]
    assert book.nodes(TRAIN, 1, ["problem_id", "state"]).drop_null()["problem_id"].to_pylist()[::2] == ["p0", "p1", "p2", "p3"]
    assert book.rounds_of(TRAIN) == [1]


def test_what_was_set_aside_is_seen_in_every_arm(tmp_path):
    book = young(tmp_path, BEAM)
    for arm, number in ((TRAIN, 1), (TEST, 0), (BEAM, 0)):
        plan(book, arm, number)
        book.store.set_aside(unit_key(number, arm.name, 1), TRACE, f"it kills {arm.name}")
    units = ["traces/r00000/beam-60/u00001", "traces/r00000/test/u00001", "traces/r00001/train/u00001"]
    assert sorted(book.every_aside()) == units
    assert book.asides(BEAM, 0) == {"traces/r00000/beam-60/u00001": "it kills beam-60"}


def test_a_trace_is_found_by_its_id(tmp_path):
    book = young(tmp_path)
    plan(book, TRAIN, 1)
    trace = search(book, TRAIN, 1, 0)[0]
    assert book.find(trace) == (TRAIN, 1, "traces/r00001/train/u00000")
    for wrong, said in (("x", "'x' is no trace id"), ("r00001/train/u00009/t000/n0001", "no unit traces/r00001/train/u00009")):
        with pytest.raises(UserError, match=said):
            book.find(wrong)


def decisions(ids, reason="") -> pa.Table:
    return pa.table({"id": ids, "reason": [reason] * len(ids), "state": [str(State.CORRECT)] * len(ids)})


def test_decisions_are_those_that_training_follows(tmp_path):
    book = young(tmp_path, SOURCE)
    plan(book, TRAIN, 1)
    assert book.decisions_key(TRAIN, 1) == "filters/r00001" and book.decisions(TRAIN, 1) is None
    assert book.decisions_key(SOURCE, 2) == "filters/r00002-from-sample"
    book.store.put_table(filter_key(1), decisions(["x"]))
    book.store.put_json(record_key(1), record(1))
    book.store.put_json(record_key(2), record(2, verdicts="math-1"))
    assert book.decisions_key(TRAIN, 1) == "filters/r00001", "the regrading has not decided on it"
    book.store.put_table("verdicts/math-1/filters/r00001", decisions(["x"], "correct: wrong"))
    assert book.decisions_key(TRAIN, 1) == "verdicts/math-1/filters/r00001", "the newest round trained by it"
    assert book.reasons(TRAIN, 1) == {"x": "correct: wrong"}
    assert book.decisions_key(TRAIN, 1, "") == "filters/r00001"
    assert book.decisions(TRAIN, 1, ["reason"], "")["reason"].to_pylist() == [""]


def test_held_out_answers_have_no_decisions_though_training_has(tmp_path):
    book = young(tmp_path)
    book.store.put_table(filter_key(1), decisions(["x"]))
    assert book.decisions(TEST, 1) is None and book.reasons(TEST, 1) is None and book.reasons(TRAIN, 1) == {"x": ""}


def test_manifests_say_what_each_model_is_trained_on(tmp_path):
    book = young(tmp_path)
    for model, traces in (("m00001", ["a", "b", "a"]), ("m00002-sample", ["c"])):
        book.store.put_table(manifest_key(model), pa.table({"trace_id": traces}))
    assert dict(book.manifests()) == {"m00001": ["a", "b", "a"], "m00002-sample": ["c"]}
    assert book.manifest("m00001") == ["a", "b", "a"] and book.manifest("m00009") == []


def test_verdicts_of_a_regrading(tmp_path):
    book, unit = young(tmp_path), unit_key(1, "train", 0)
    assert book.verdicts("exact-1", unit) is None
    book.put_verdicts("exact-1", unit, verdicts(["a"]))
    assert book.verdicts("exact-1", unit)["state"].to_pylist() == ["wrong"]
    assert book.store.has("verdicts/exact-1/r00001/train/u00000")


@pytest.mark.parametrize("module", ["folder.book", "verbs.runs", "verbs.doctor", "verbs.status", "verbs.why", "verbs.traces"])
def test_looking_loads_neither_ray_nor_vllm_nor_torch(module):
    asked = f"import sys, cluster.{module}; print([name for name in ('ray', 'vllm', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_doctor_and_runs_do_their_work_without_ray(tmp_path):
    book = young(tmp_path / "run")
    asked = (
        "import argparse, sys; from cluster.verbs import doctor, runs; "
        f"doctor.act(argparse.Namespace(run={book.store.place!r})); "
        f"runs.act(argparse.Namespace(folder={str(tmp_path)!r}, json=True)); "
        "print([name for name in ('ray', 'vllm', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "nobody works on it" in done.stdout and '"state": "stopped"' in done.stdout and done.stdout.endswith("[]\n")
