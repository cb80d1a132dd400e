"""A run as a job on a Ray cluster that was there before."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.integration.conftest import flywheel
from tests.ports import free_port, wait_for_port


@pytest.fixture(scope="module")
def cluster():
    """A head of our own, stopped by its own process id."""
    port, dashboard, agent, grpc = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        command += [f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}"]
        command += [f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={grpc}"]  # another Ray has its own
        head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{dashboard}"
            wait_for_port(dashboard)
            yield address
        finally:
            head.send_signal(signal.SIGTERM)
            try:
                head.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)


def test_a_submitted_run_is_followed_to_its_end(cluster, tmp_path):
    options = [
        "rounds=0",
        "model.warm_start.tokens=20000",
        "measure.problems=16",
        "measure.levels=[3]",
        "unit=8",
        "train.threads=1",
    ]
    said = flywheel("submit", "configs/quickstart.yaml", f"run.dir={tmp_path / 'run'}", *options, "--address", cluster)
    assert "(quickstart), dashboard http://127.0.0.1" in said and "SUCCEEDED" in said
    assert "held-out pass@1" in said, "the log is followed"
    assert (tmp_path / "run/rounds/r00000.json").exists()

    assert "lag: 1" in (tmp_path / "run/config.yaml").read_text(), "the default of a cluster"

    listing = [sys.executable, "-m", "ray.scripts.scripts", "job", "list", f"--address={cluster}"]
    token = (Path.home() / ".ray" / "auth_token").is_file()
    environment = os.environ | ({"RAY_AUTH_MODE": "token"} if token else {})
    jobs = subprocess.run(
        listing, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    ).stdout
    assert "'job_name': 'quickstart'" in jobs, "the Name column of the dashboard's jobs page"


def test_no_cluster_is_one_line():
    address = f"http://127.0.0.1:{free_port()}"
    said = flywheel("submit", "configs/quickstart.yaml", "--address", address, status=2)
    assert "no Ray dashboard answers there" in said and "Traceback" not in said
