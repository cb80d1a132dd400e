"""A problem that kills its verifier, and a searcher that hangs: the round continues without the one, and past the other."""

import json
import signal

import psutil
import pyarrow.parquet as pq

from cluster.config import load
from cluster.folder.store import Store
from cluster.run import Run
from iteration import tiny
from iteration.tasks.expressions import VOCABULARY
from tests.integration.conftest import flywheel, start, wait_for

OPTIONS = [
    "rounds=1",
    "problems=64",
    "unit=4",
    "search.n=4",
    "model.warm_start.tokens=60000",
    "measure.levels=[3]",
    "measure.problems=24",
    "train.tokens=6000",
    "train.threads=1",
    "placement={searchers: 2, verifiers: 2, deadline: 4, dashboard: false}",
]


def poison(folder) -> tuple[int, str]:
    """A unit of the plan of round 1 and a problem in it: plans depend on the seed alone."""
    run = Run(load("configs/quickstart.yaml", [*OPTIONS, f"run.dir={folder}"]))
    tiny.build(folder / "models/m00000", VOCABULARY, tiny.Shape(hidden_size=32, layers=1), 0)
    run.planning.round(1)
    unit = run.planning.units(run.train, 1, "m00000", "")[7]
    return unit.number, unit.problems[2].id


def test_poison_is_set_aside_with_the_reason_and_who_hangs_is_passed_by(tmp_path):
    unit, problem = poison(tmp_path / "plan")
    folder = tmp_path / "run"
    verify = f"verify={{name: tests.torture.fragile, poison: {problem}}}"
    process = start("run", "configs/quickstart.yaml", f"run.dir={folder}", *OPTIONS, verify)
    assert wait_for(lambda: any(folder.glob("traces/r00001/train/*.parquet")), process)
    family = psutil.Process(process.pid).children(recursive=True)
    searchers = [child for child in family if "ray::Searcher" in "".join(child.cmdline())]
    searchers[0].send_signal(signal.SIGSTOP)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said

    reasons = Store(folder).asides("traces/r00001/train")
    assert set(reasons) == {unit} and "died 3 times while nothing else ran" in reasons[unit]
    assert f"WARNING: traces/r00001/train/u{unit:05d} is set aside with its 4 problems" in said
    record = json.loads((folder / "rounds/r00001.json").read_text())
    assert record["counts"]["units_aside"] == 1 and record["counts"]["problems"] == 64
    assert record["counts"]["answers"] == (64 - 4) * 4 and record["counts"]["failed"] == 0, "not wrong, not failed: not there"
    assert f"set aside: traces/r00001/train/u{unit:05d}: its actors died" in flywheel("doctor", str(folder))
    ids = [
        name for path in folder.glob("traces/r00001/train/*") for name in pq.read_table(path, columns=["id"])["id"].to_pylist()
    ]
    assert len(ids) == len(set(ids)) == 60 * 5
    assert "has not answered for 30 s" in said or "is also given to other actors" in said, said
