"""What is said of a run that stands still."""

import argparse
import json
import os
import subprocess
import sys
import time

import pytest

from cluster import pending
from cluster.cli import main
from cluster.crew import Member
from cluster.folder.layout import TRACE
from cluster.folder.store import Store
from cluster.head import why_late
from cluster.verbs import doctor
from tests.cluster.folder.folders import TRAIN, plan, record, search, young

NOW = {
    "phases": [{"number": 3, "name": "search", "seconds": 75.0}],
    "silent": 61.0,
    "steps": [4, 10],
    "actors": [{"actor": "generator-1", "seconds": 80.0, "why": "generator-1 needs 2 GPU on one node, but ..."}],
    "units": [
        {
            "unit": "traces/r00003/train/u00007",
            "seconds": 70.0,
            "deaths": 1,
            "actors": {"searcher": "searcher-0", "generator": "generator-0"},
            "node": "abcdef0123456789",
            "counts": {"generator": 2, "verifier": 1},
            "slowest": [["p1", 69.0], ["p2", 3.0], ["p3", 1.0]],
        },
        *(
            {"unit": f"u{i}", "seconds": 1.0, "deaths": 0, "actors": {}, "node": "", "counts": {}, "slowest": []}
            for i in range(5)
        ),
    ],
}


def test_unit_problem_actor_node_since_when_and_what_for():
    lines = pending.lines(NOW)
    assert lines[0] == "generator-1 needs 2 GPU on one node, but ... (for 1 min 20 s)"
    assert lines[1] == (
        "traces/r00003/train/u00007 for 1 min 10 s with searcher-0, generator-0 on node abcdef01; its actors died 1 times; "
        "waits: 2 problems for the generator, 1 problems for the verifier (p1 since 1 min 9 s, p2 since 3 s, p3 since 1 s)"
    )
    assert lines[-1] == "and 3 more units", "the longest are named, the rest counted"
    training = NOW | {"phases": [{"number": 3, "name": "train", "seconds": 5.0}], "units": []}
    assert pending.lines(training)[-1] == "the trainer is at step 4 of 10"


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"GPU": 2}, "needs 2 GPU on one node, but the largest of 2 nodes has 1"),
        ({"GPU": 1}, "waits for 1 GPU; 0 of the cluster's are free"),
        ({}, "is starting"),
    ],
)
def test_what_an_actor_that_has_not_started_waits_for(needs, said):
    worker = Member("generator-1", None, needs=needs)
    assert why_late(worker, {"CPU": 4.0}, [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}]) == f"generator-1 {said}"


def test_from_the_folder_alone(tmp_path, capsys):
    book = young(tmp_path / "run", rounds=4)
    store = book.store
    (store.root / "error.log").write_text("Traceback\nValueError: what went wrong\n")
    store.set_aside("traces/r00003/train/u00002", TRACE, "its actors died 3 times")
    assert doctor.act(argparse.Namespace(run=str(store.root))) == 0
    said = capsys.readouterr().out
    assert f"nobody works on it; resume with: ./launch.sh resume {store.root}" in said and "what went wrong" in said
    assert "round 0 of 4 is not finished" in said
    assert "set aside: traces/r00003/train/u00002: its actors died 3 times" in said
    pending.note(store, NOW)
    with store.claim():
        said = "\n".join(doctor.examine(book))
        assert f"process {os.getpid()} on" in said and "round 3: search for 1 min 15 s" in said
        assert "last committed or trained 1 min" in said and "generator-1 needs 2 GPU" in said and "hangs" not in said
        noted = json.loads((store.root / "_tmp/now.json").read_text())
        (store.root / "_tmp/now.json").write_text(json.dumps(noted | {"at": time.time() - 300}))
        assert "it has written no note for 5 min" in "\n".join(doctor.examine(book))
    store.put_json("rounds/r00004", record(4))
    assert doctor.examine(book)[0] == "finished"


def test_a_run_whose_rounds_have_grown_is_not_finished(tmp_path):
    book = young(tmp_path, rounds=1)
    book.store.put_json("rounds/r00001", record(1))
    assert doctor.examine(book) == ["finished"]
    plan(book, TRAIN, 2)
    search(book, TRAIN, 2, 0)
    assert doctor.examine(book)[1] == "  round 2 of 2 is not finished"


def test_stop_asks_the_driver_and_waits_until_it_is_gone(tmp_path, capsys):
    store = Store(tmp_path / "run").open()
    store.put_text("config.yaml", "name: x\nrounds: 4\n")
    assert main(["stop", str(store.root)]) == 2 and "nobody works on it" in capsys.readouterr().err
    holds = f"""
import signal, sys, time
from cluster.folder.store import Store
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
with Store({str(store.root)!r}).claim():
    print("claimed", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "claimed\n"
    assert main(["stop", str(store.root)]) == 0
    assert process.wait(10) == 75
    said = capsys.readouterr().out
    assert f"process {process.pid} on" in said and "stopped; resume with: ./launch.sh resume" in said
