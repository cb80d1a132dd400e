"""A run that is stopped is resumed. (Forks: test_quickstart. Runs that are killed: tests/torture.)"""

from tests.integration.conftest import flywheel, start, wait_for

OPTIONS = [
    "rounds=1",
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
    "train.threads=1",
    "placement.dashboard=false",
]


def test_a_run_is_looked_into_stopped_and_resumed_from_its_folder_alone(tmp_path):
    folder = tmp_path / "run"
    process = start("run", "configs/quickstart.yaml", f"run.dir={folder}", "placement.silence=2", *OPTIONS)
    assert wait_for(lambda: (folder / "_tmp/now.json").is_file(), process)
    said = flywheel("doctor", str(folder))
    assert f"process {process.pid} on" in said and "round 0: first model" in said and "last committed or trained" in said
    second = flywheel("run", "configs/quickstart.yaml", f"run.dir={folder}", "placement.silence=2", *OPTIONS, status=2)
    assert f"process {process.pid} on" in second and "is running this run" in second, "refused by the name of the first"
    assert wait_for(lambda: (folder / "traces/r00000/test").is_dir(), process)
    said = flywheel("stop", str(folder))
    assert "was asked to stop" in said and f"resume with: ./launch.sh resume {folder}" in said
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "stopped by SIGTERM" in said and "nothing committed or trained for" in said and "Traceback" not in said
    assert "nobody works on it" in flywheel("doctor", str(folder))
    assert "nobody works on it" in flywheel("stop", str(folder), status=2)
    assert f"resuming {folder}: " in flywheel("resume", str(folder), "placement.searchers=2")
    assert (folder / "rounds/r00001.json").exists() and flywheel("doctor", str(folder)).startswith("finished")
