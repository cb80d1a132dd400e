"""Verifiers in a real run: an audit of false positives, a grading again, later rounds by its verdicts, code behind walls."""

import json

import pyarrow.parquet as pq
import pytest

from cluster.folder.store import Store
from cluster.sandbox.walls import why_no_walls
from tests.integration.conftest import flywheel

SMALL = ["problems=96", "unit=16", "measure.levels=[3,4]", "measure.problems=100", "train.tokens=20000", "train.threads=1"]
SMALL += ["placement.dashboard=false"]


@pytest.fixture(scope="module")
def lenient(small, tmp_path_factory):
    """One round with a verifier that lucky guesses pass, looked after by one that they do not pass."""
    folder = tmp_path_factory.mktemp("lenient") / "run"
    options = ["rounds=1", "verify.name=exact", "audit.name=replay", "audit_share=0.5", "placement.verifiers=2", *SMALL]
    said = flywheel("run", "configs/quickstart.yaml", f"run.dir={folder}", f"run.fork={small[0]}@0", *options)
    return folder, said


def test_false_positives_are_hunted(lenient):
    folder, said = lenient
    audit = Store(folder).json("rounds/r00001")["audit"]
    assert audit["checked"] > 20 and audit["rejected"] > 0 and audit["low"] < audit["rate"] < audit["high"]
    assert f"the second verifier rejects {audit['rejected']} of {audit['checked']} accepted answers" in said
    rows = pq.read_table(folder / "audits/r00001.parquet").to_pylist()
    assert len(rows) == audit["checked"] + audit["refused"] and {row["verifier"] for row in rows} == {"replay 1 {}"}
    assert audit["refused"] > 20 and audit["accepted"] == 0, "the stricter one accepts nothing more"
    traces = pq.read_table(folder / "traces/r00001/train/u00000.parquet", columns=["state", "verifier"]).to_pylist()
    assert {row["verifier"] for row in traces if row["state"]} == {'exact 4 {"read": "number"}'}


def test_judged_again_and_trained_by_the_new_verdicts(lenient):
    folder, _ = lenient
    said = flywheel("regrade", str(folder), "--verifier", "replay")
    name = next(word for word in said.split() if word.startswith("verdicts=")).partition("=")[2]
    assert "verdicts changed; by replay 1 {}" in said and "correct -> wrong: r0000" in said
    assert flywheel("regrade", str(folder), "--verifier", "replay") == said, "the same again, from the side files"
    before = pq.read_table(folder / "filters/r00001.parquet").to_pylist()
    flywheel("resume", str(folder), f"verdicts={name}", "verify.name=replay", "rounds=2")
    after = pq.read_table(folder / f"verdicts/{name}/filters/r00001.parquet").to_pylist()
    kept = [{row["id"] for row in rows if not row["reason"]} for rows in (before, after)]
    assert kept[1] and len(kept[1]) < len(kept[0]), "lucky guesses are no longer kept"
    trained = set(pq.read_table(folder / "manifests/r00002.parquet")["trace_id"].to_pylist())
    assert not {name for name in trained if name.startswith("r00001/")} & (kept[0] - kept[1])
    record = Store(folder).json("rounds/r00002")
    assert record["verdicts"] == name
    assert pq.read_table(folder / "filters/r00001.parquet").to_pylist() == before, "what was decided then stays"


@pytest.mark.skipif(bool(why_no_walls()), reason=f"bubblewrap: {why_no_walls()}")
def test_model_written_code_is_run_behind_walls(lenient, tmp_path):
    """A tiny model writes no Python: every answer is malformed or wrong, none is failed, and the run goes on to its end."""
    rows = [
        {
            "task_id": f"t/{i}",
            "prompt": f"{i} + {i}\n",
            "entry_point": "f",
            "test": f"def check(candidate):\n    assert candidate() == {2 * i}\n",
        }
        for i in range(1, 10)
    ]
    (tmp_path / "code.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = flywheel(
        "run",
        "configs/quickstart.yaml",
        f"run.dir={tmp_path / 'run'}",
        "rounds=0",
        "task.name=humaneval",
        f"task.test={tmp_path / 'code.jsonl'}",
        "verify.name=code",
        f"model.path={lenient[0] / 'models/m00000'}",
        "measure.levels=[0]",
        "measure.problems=9",
        "placement.dashboard=false",
    )
    states = pq.read_table(tmp_path / "run/traces/r00000/test/u00000.parquet")["state"].to_pylist()
    assert set(states) - {None} <= {"unparseable", "wrong"} and states.count(None) == 9, said
