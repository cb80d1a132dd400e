"""A value model in the loop: MCTS led by it, visits learnt, unsolved problems tried again; killed once, and compared."""

import json
import os

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import TOP, flywheel, kill_all, long, start, wait_for

OPTIONS = [
    "configs/quickstart.yaml",
    "search={name: mcts, simulations: 60, width: 4}",
    "judge.name=process",
    "learn.name=visits",
    "rounds=2",
    "problems=48",
    "unit=12",
    "retry=0.25",
    "budget=250",
    "model.warm_start.tokens=500000",
    "measure.levels=[3]",
    "measure.problems=40",
    "train.tokens=20000",
    "train_judge.tokens=40000",
    "placement.dashboard=false",
]


def rows(folder, pattern):
    return [row for path in sorted(folder.glob(pattern)) for row in pq.ParquetFile(path).read().to_pylist()]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged") / "run"
    return folder, flywheel("run", *OPTIONS, f"run.dir={folder}")


def test_the_second_round_is_led_by_the_first_round_s_judge(judged):
    folder, said = judged
    assert "scores of j00001-process within" in said and "j00002-process at level 3:" in said
    first, second = rows(folder, "traces/r00001/train/*"), rows(folder, "traces/r00002/train/*")
    assert not any(row["values"] for row in first), "the first round has no judge yet"
    assert {row["judge_version"] for row in second if row["values"]} == {"j00001-process"}
    scored = [row for row in second if row["node"] and (row["final"] or row["text"].endswith("\n"))]
    assert scored and all(len(row["values"]) == 1 and 0 < row["value"] <= row["values"][0] for row in scored)
    assert sum(row["judge_tokens"] or 0 for row in second) > 0
    record = json.loads((folder / "rounds/r00002.json").read_text())
    assert record["judge"] == "j00002-process" and record["tokens"]["judge"] > 0
    assert record["diversity"]["k"] >= 1 and record["diversity"]["entropy"] > 0
    (calibration,) = record["calibration"]
    assert calibration["answers"] > 50 and sum(n for _, _, n in calibration["reliability"]) == calibration["answers"]
    assert 0 <= calibration["step_auc"] <= 1


def test_a_value_is_the_product_of_the_scores_on_its_path(judged):
    folder, _ = judged
    nodes = rows(folder, "traces/r00002/train/u00000.parquet")
    for row in nodes:
        product, at = 1.0, row
        while at["parent"] >= 0:
            product *= np.prod(at["values"] or [1.0])
            at = next(other for other in nodes if other["tree"] == row["tree"] and other["node"] == at["parent"])
        if row["value"] is not None:
            assert row["value"] == pytest.approx(product, rel=1e-4)


def test_visits_are_kept_and_trained_on(judged):
    folder, _ = judged
    nodes = rows(folder, "traces/r00002/train/u00000.parquet")
    roots = [row for row in nodes if row["node"] == 0]
    assert all(root["visits"] >= 4 for root in roots) and any(row["prior"] for row in nodes)
    manifest = rows(folder, "manifests/r00002.parquet")
    visits = {row["id"]: row["visits"] for row in rows(folder, "traces/*/train/*")}
    assert manifest and all(visits[row["trace_id"]] > 0 for row in manifest)


def test_unsolved_problems_are_tried_again_with_their_history(judged):
    folder, _ = judged
    first, second = rows(folder, "traces/r00001/train/*"), rows(folder, "plans/r00002/train.parquet")
    solved = {row["problem_id"] for row in first if row["state"] == "correct"}
    again = [row for row in second if row["tried"]]
    assert 0 < len(again) <= 12 and not {row["id"] for row in again} & solved
    assert all(row["solved"] == 0 for row in again)


def test_held_out_answers_are_scored_beside_the_traces(judged):
    folder, _ = judged
    scores = rows(folder, "scores/j00002-process/r00002/test/*")
    measured = {row["id"]: row for row in rows(folder, "traces/r00002/test/*") if row["state"]}
    assert {row["id"] for row in scores} == set(measured)
    for row in scores:
        trace = measured[row["id"]]
        assert len(row["values"]) == trace["text"].count("\n") + trace["final"]


@long
def test_a_judge_that_dies_is_replaced_and_the_trees_are_the_same(judged, tmp_path):
    """The second round again, in a fork led by the same judge, whose engine is killed."""
    calm, _ = judged
    folder = tmp_path / "stormy"
    process = start("run", *OPTIONS, f"run.dir={folder}", f"run.fork={calm}@1")
    assert wait_for(lambda: any(folder.glob("traces/r00002/train/*.parquet")), process)
    family = psutil.Process(process.pid).children(recursive=True)
    (judge,) = [child for child in family if "ray::Judge" in "".join(child.cmdline())]
    judge.kill()
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0 and "is retried" in said, said
    one, other = (sorted(f.glob("traces/r00002/train/*")) for f in (calm, folder))
    assert [path.name for path in one] == [path.name for path in other]
    for left, right in zip(one, other, strict=True):
        a, b = (pq.ParquetFile(path).read(["id", "token_ids", "parent", "visits", "state"]) for path in (left, right))
        assert a.equals(b), f"{left.name}: the same seeds give the same trees, whatever was killed"


COMPARE = """
compare:
  seeds: [0]
  levels: [3, 4]
  problems: 6
  samples: 8
  budgets: [60]
  source_budget: 60
  source_problems: 16
  arms:
    mcts: {search: {name: mcts, simulations: 60}}
    adaptive: {search: {name: adaptive, tokens: 60, first: 2}, budgets: [120]}
    oracle: {search: {name: beam, keep: 1}, judge: {name: oracle}}
  sources:
    sample: {search: {name: sample, n: 4}}
    mcts: {search: {name: mcts, simulations: 60}}
"""


def test_a_comparison_s_tables_are_whole(judged, tmp_path):
    """With FLYWHEEL_LONG=1 it is killed on the way, and gone on with."""
    calm, _ = judged
    folder, file = tmp_path / "compared", tmp_path / "compare.yaml"
    file.write_text((TOP / "configs/quickstart.yaml").read_text() + COMPARE)
    words = ["compare", str(file), *OPTIONS[1:], "rounds=1", f"run.fork={calm}@1", f"run.dir={folder}"]
    if os.environ.get("FLYWHEEL_LONG"):
        process = start(*words)
        assert wait_for(lambda: any(folder.glob("seed0/traces/r00001/compare-mcts-60/*.parquet")), process)
        kill_all(process.pid)
    flywheel(*words)
    tables = json.loads((folder / "tables.json").read_text())
    rules = {row["rule"] for row in tables["choosing"]}
    assert {"majority", "ORM best", "ORM vote", "PRM vote, product", "PRM best, min", "first verified"} <= rules
    for row in tables["choosing"]:
        assert row["problems"] == 6 and 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
    ceiling = {(row["level"], row["n"]): row["mean"] for row in tables["choosing"] if row["rule"] == "first verified"}
    assert all(ceiling[level, 8] >= ceiling[level, 1] for level in (3, 4))
    assert [(row["arm"], row["level"]) for row in tables["searching"]] == [
        (arm, level) for arm in ("mcts", "adaptive", "oracle") for level in (3, 4, -1)
    ]
    for row in tables["searching"]:
        assert row["tokens"] > 0 and row["gain"] == pytest.approx(row["accuracy"] - row["baseline"])
    assert [row["source"] for row in tables["sources"]] == ["sample", "mcts"]
    assert (folder / "seed0/models/m00002-mcts/model.safetensors").exists()
    splits = {path.parent.name for path in folder.glob("seed0/traces/*/*/*.parquet")}
    assert {"compare-sample", "compare-mcts-60", "source-mcts", "test-mcts"} <= splits
    again = flywheel(*words)
    assert "engines" not in again and "tables.json" in again, "a finished comparison starts nothing"


EVAL = [
    "verify=replay",
    "measure.levels=[3]",
    "measure.problems=24",
    "measure.samples=16",
    "unit=8",
    "placement.dashboard=false",
]


def evaluation(run, folder):
    searches = ["--search", "beam:keep=2,width=3,times=1000", "--search", "mcts:simulations=500", "--budget", "60"]
    judge = ["--judge", str(run / "judges/j00002-process")]
    return ["eval", str(run / "models/m00002"), "expressions", *EVAL, *searches, "--budget", "120", f"run.dir={folder}", *judge]


def test_an_evaluation_trains_nothing_and_ends_in_a_table_and_a_report(judged, tmp_path):
    """Any model on any task: samples, and two searches at two budgets led by the run's value model."""
    run, _ = judged
    folder = tmp_path / "eval"
    said = flywheel(*evaluation(run, folder))
    for split in ("test", "eval-beam-60", "eval-beam-120", "eval-mcts-60", "eval-mcts-120"):
        assert len(list(folder.glob(f"traces/r00000/{split}/*.parquet"))) == 3
    assert "16 samples" in said and "beam, budget 60" in said and "mcts, budget 120" in said and "coverage %" in said
    assert not list(folder.glob("models/m00001")) and f"report:       {folder}/report.html" in said
    page = (folder / "report.html").read_text()
    assert "Test-time compute" in page and "best single strategy" in page
    assert "engines" not in flywheel(*evaluation(run, folder)), "a finished evaluation starts nothing"
    wrong = ["eval", str(run / "models/m00002"), "expressions", *EVAL, "--search", "beam", f"run.dir={tmp_path / 'x'}"]
    assert "search beam needs a judge; type --judge FOLDER" in flywheel(*wrong, status=2)
    assert "verify.name is missing" in flywheel("eval", "MODEL", "expressions", status=2)


@long
def test_an_evaluation_is_killed_and_gone_on_with(judged, tmp_path):
    run, _ = judged
    folder = tmp_path / "eval"
    process = start(*evaluation(run, folder))
    assert wait_for(lambda: any(folder.glob("traces/r00000/eval-beam-120/*.parquet")), process)
    kill_all(process.pid)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("traces/**/*.parquet")}
    flywheel(*evaluation(run, folder))
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was committed is not searched again"
    assert len(list(folder.glob("traces/r00000/eval-mcts-120/*.parquet"))) == 3
