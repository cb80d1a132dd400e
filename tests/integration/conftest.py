"""Real runs: the real command in a process of its own, with its own Ray and vLLM."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cluster.cli import main
from cluster.metrics import METRICS
from tests.ports import free_port, wait_for_port

TOP = Path(__file__).parents[2]
long = pytest.mark.skipif(not os.environ.get("FLYWHEEL_LONG"), reason="takes a minute or more: FLYWHEEL_LONG=1 runs it")
LIMIT = 900  # seconds, for one run on a slow machine
READING = ("doctor", "report", "regrade", "runs", "status", "traces", "why")


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
    """Run the command to its end and return what it printed. Verbs that only read a folder are run in this process."""
    if words[0] in READING and cwd == TOP:
        said = io.StringIO()
        with contextlib.chdir(TOP), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            assert main(list(words)) == status, said.getvalue()
        return said.getvalue()
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


@contextlib.contextmanager
def prometheus(folder: Path):
    """A real Prometheus, pointed at runs as `flywheel metrics` says. Yields a query function, None where there is none."""
    if not shutil.which("prometheus"):
        yield None
        return
    flywheel("metrics", "--to", str(folder))
    port = free_port()
    where = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command = ["prometheus", *where, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(query: str) -> list[dict]:
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(url, timeout=30) as reply:
            return json.load(reply)["data"]["result"]

    try:
        wait_for_port(port)
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The quickstart at reduced size, once: its folder and what it printed. Prometheus, where there is one, looks on, and what
    it has seen at the end lies in seen.json beside the folder."""
    folder = tmp_path_factory.mktemp("small") / "run"
    with prometheus(folder.parent / "prometheus") as ask:
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
            "model.warm_start.tokens=1200000",
            "track.tensorboard={}",
        )
        if ask:
            seen = {each.exported: ask(f'max_over_time({each.exported}{{run="quickstart"}}[30m])') for each in METRICS}
            (folder.parent / "seen.json").write_text(json.dumps(seen))
    return folder, said
