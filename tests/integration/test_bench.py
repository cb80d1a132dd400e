"""The benchmark for GPUs: its engine row on this machine, in a tiny size (its trainer row: tests/bench/test_bench_gpu.py)."""

import subprocess
import sys

from tests.integration.conftest import TOP


def test_the_engine_row_of_the_gpu_benchmark(tmp_path):
    command = [sys.executable, "-m", "tests.bench.bench_gpu", "--smoke", "--out", str(tmp_path), "engine"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "second start of an engine" in done.stdout and "update by host" in done.stdout
