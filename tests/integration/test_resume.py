"""Everything is killed at five random moments; the same command goes on and ends as if nothing had happened."""

import random
import time

import pyarrow.parquet as pq
from safetensors.numpy import load_file

from cluster.view import records
from tests.integration.conftest import flywheel, kill_all, start, wait_for

OPTIONS = [
    "rounds=3",
    "lag=1",
    "problems=48",
    "unit=8",
    "search.n=4",
    "model.warm_start.tokens=60000",
    "verify={name: tests.torture.easy}",  # there has to be something to train on
    "train.checkpoint=0.1",
    "measure.levels=[3]",
    "measure.problems=24",
    "train.tokens=6000",
    "placement.dashboard=false",
]
KILLS = 5


def files(folder):
    """Every committed file, by name."""
    names = (path for path in folder.rglob("*") if path.is_file() and "_tmp" not in path.parts)
    return {str(path.relative_to(folder)): path for path in names if path.name != "driver.lock"}


def test_killed_at_random_moments_it_ends_like_an_undisturbed_run(tmp_path):
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    flywheel("run", "configs/quickstart.yaml", f"run.dir={calm}", *OPTIONS)
    expected = files(calm)
    units = [name for name in expected if name.startswith("traces/")]
    assert len([name for name in units if "/train/" in name]) == 3 * 6

    seed = random.randrange(2**32)
    print(f"seed of the kills: {seed}")
    dice = random.Random(seed)
    # One moment in each fifth of the first seven tenths of the commits: commits come in bursts, and a life must leave some
    # for the next.
    share = 0.7 * len(expected) / KILLS
    moments = [int((i + dice.random()) * share) for i in range(KILLS)]
    killed = 0
    for moment in moments:
        least = max(moment, len(files(stormy)))  # at least one more commit than the life before
        process = start("run", "configs/quickstart.yaml", f"run.dir={stormy}", *OPTIONS)
        if wait_for(lambda least=least: len(files(stormy)) > least, process):
            time.sleep(dice.random() / 2)
            if process.poll() is None:
                kill_all(process.pid)
                killed += 1
        assert "Traceback" not in (process.stdout.read() or "")
    assert killed >= KILLS - 1, "only the last life may have ended by itself"
    flywheel("run", "configs/quickstart.yaml", f"run.dir={stormy}", *OPTIONS)

    found = files(stormy)
    assert set(found) == set(expected), "exactly the planned units, each once"
    assert not list((stormy / "_tmp").iterdir()), "nothing is left of what was killed"
    before = {name: path.stat().st_mtime_ns for name, path in found.items()}
    again = flywheel("run", "configs/quickstart.yaml", f"run.dir={stormy}", *OPTIONS)
    assert "engines" not in again and "its last model is" in again, "a finished run starts nothing"
    assert {name: path.stat().st_mtime_ns for name, path in files(stormy).items()} == before
    for name in expected:
        if name.endswith(".parquet"):
            one, other = (pq.ParquetFile(path).read() for path in (expected[name], found[name]))
            if "created_at" in one.column_names:
                one, other = one.drop(["created_at"]), other.drop(["created_at"])
            assert one.equals(other), f"{name}: the same seeds give the same rows, whatever was killed"
        if name.endswith("model.safetensors"):
            one, other = load_file(expected[name]), load_file(found[name])
            assert all((one[key] == other[key]).all() for key in one), f"{name}: no training step was lost or doubled"
    import cluster.store

    for one, other in zip(*(records(cluster.store.Store(folder)) for folder in (calm, stormy)), strict=True):
        assert (one["counts"], one["scores"], one["model_out"]) == (other["counts"], other["scores"], other["model_out"])


def test_sigterm_exits_with_75_and_the_same_command_goes_on(tmp_path):
    folder = tmp_path / "run"
    options = [*OPTIONS, "rounds=1"]
    process = start("run", "configs/quickstart.yaml", f"run.dir={folder}", *options)
    assert wait_for(lambda: (folder / "traces/r00000/test").is_dir(), process)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "stopped by SIGTERM" in said and "Traceback" not in said
    flywheel("run", "configs/quickstart.yaml", f"run.dir={folder}", *options)
    assert (folder / "rounds/r00001.json").exists()
    # rounds may grow, also in a fork with other options
    fork = tmp_path / "fork"
    grown = [*OPTIONS, "rounds=2", "train.lr=5e-4", f"run.fork={folder}@1"]
    assert "round 2" in flywheel("run", "configs/quickstart.yaml", f"run.dir={fork}", *grown)
    assert (fork / "rounds/r00001.json").samefile(folder / "rounds/r00001.json")
