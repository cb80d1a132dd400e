"""A node that is cut off in the middle of a search and comes back: a network namespace as the second machine."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import kill_all, start, wait_for
from tests.ports import free_port, wait_for_port

OPTIONS = [
    "rounds=1",
    "problems=1200",
    "unit=4",
    "search.n=8",
    "model.warm_start.tokens=60000",
    "verify={name: tests.torture.easy}",
    "measure.levels=[3]",
    "measure.problems=24",
    "train.tokens=6000",
    "train.threads=1",
    "placement={generators: 0, searchers: 2, verifiers: 2, deadline: 20, dashboard: false}",
]
HERE, THERE = "10.213.77.1", "10.213.77.2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stderr=subprocess.PIPE)


@pytest.fixture
def there():
    """(name of a namespace, the host's end of its only wire)."""
    if not os.environ.get("FLYWHEEL_LONG"):
        pytest.skip("takes two minutes and a half: FLYWHEEL_LONG=1 runs it")
    name, wire = f"fw{os.getpid()}", f"fw{os.getpid() % 10**6}"
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("needs root and iproute2")
    try:
        ip("netns", "add", name)
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no network namespaces: {error.stderr.decode().strip()}")
    try:
        ip("addr", "add", f"{HERE}/24", "dev", wire)
        ip("link", "set", wire, "up")
        ip("-n", name, "addr", "add", f"{THERE}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name, wire
    finally:
        ip("netns", "del", name)


class Cluster:
    def __init__(self, name: str):
        self.processes, self.name, self.port = [], name, free_port()
        self.environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_health_check_period_ms": "1000"}
        self.node("--head", f"--port={self.port}", f"--node-ip-address={HERE}", "--include-dashboard=false")

    def node(self, *words: str, prefix: tuple = ()) -> None:
        command = [*prefix, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=2", *words]
        self.processes.append(
            subprocess.Popen(
                command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
        )

    def join(self) -> None:
        words = (f"--address={HERE}:{self.port}", f"--node-ip-address={THERE}")
        self.node(*words, prefix=("ip", "netns", "exec", self.name))

    def close(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def works_there(name: str) -> bool:
    """Has an engine on the other side begun to answer?"""
    pids = subprocess.run(["ip", "netns", "pids", name], stdout=subprocess.PIPE, text=True).stdout.split()
    lines = []
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
            lines.append(file.read())
    return any("ray::Generator.generate" in line for line in lines)


def test_a_node_that_is_cut_off_is_done_without_and_used_again(there, tmp_path, monkeypatch):
    name, wire = there
    cluster, run, process = Cluster(name), tmp_path / "run", None
    try:
        wait_for_port(cluster.port, HERE)
        cluster.join()
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        log = tmp_path / "log"
        process = start("run", "configs/quickstart.yaml", f"run.dir={run}", *OPTIONS, "--address", f"{HERE}:{cluster.port}")
        assert wait_for(lambda: works_there(name) and any(run.glob("traces/r00001/train/*")), process), process.stdout.read()
        ip("link", "set", wire, "down")
        time.sleep(45)  # how long it is cut off
        ip("link", "set", wire, "up")
        cluster.join()
        said, _ = process.communicate(timeout=600)
        log.write_text(said)
    finally:
        if process and process.poll() is None:
            kill_all(process.pid)
        cluster.close()
    assert process.returncode == 0, said
    assert "asks for no token" in said, "it is said that this cluster is open"
    assert "is lost with its node" in said and said.count("has joined") >= 1, said
    record = json.loads((run / "rounds/r00001.json").read_text())
    assert record["counts"]["units_aside"] == 0 and record["counts"]["answers"] == 1200 * 8
    ids = [i for path in run.glob("traces/r00001/train/*") for i in pq.read_table(path, columns=["id"])["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 1200 * 9
