"""Real runs: the real command in a process of its own, with its own Ray and vLLM."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

TOP = Path(__file__).parents[2]
LIMIT = 900  # seconds, for one run on a slow machine


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)


def start(*words: str, cwd: Path = TOP) -> subprocess.Popen:
    """Start the command `flywheel WORDS`."""
    command = [sys.executable, "-m", "cluster.cli", *words]
    environment = os.environ | {"PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def flywheel(*words: str, cwd: Path = TOP, status: int = 0) -> str:
    """Run the command to its end and return what it printed."""
    process = start(*words, cwd=cwd)
    try:
        said, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        kill_all(process.pid)
        raise
    assert process.returncode == status, said
    return said


def kill_all(pid: int) -> int:
    """SIGKILL a process and everything under it, at once. Returns how many there were."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)
    return len(family)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> bool:
    """Wait until a condition holds; False where the process ended first."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    kill_all(process.pid)
    raise TimeoutError("the run did not come so far")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The quickstart at reduced size, once: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("small") / "run"
    said = flywheel(
        "run",
        "configs/quickstart.yaml",
        f"run.dir={folder}",
        "rounds=2",
        "problems=160",
        "unit=16",
        "measure.levels=[3,4]",
        "measure.problems=100",
        "train.tokens=80000",
    )
    return folder, said
