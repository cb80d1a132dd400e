"""The benches that need Ray, engines or processes of their own, in tiny sizes (the others: tests/bench/test_benches.py)."""

import subprocess
import sys

from tests.integration.conftest import TOP


def printed(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=TOP, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_benches_on_engines():
    said = printed("tests.bench.smoke", "--smoke")
    for words in (
        "bench_generation: ",
        "bench_scale: ",
        "reading the safetensors once: ",
        "first start of an engine",
        "update by host",
        "beam: ",
        "; raw LLM.generate ",
    ):
        assert words in said, said


def test_the_trainer_s_bench_with_two_ranks():
    said = printed("tests.bench.bench_trainer", "--smoke")
    assert "of the slots used" in said and "two ranks of half the cores each" in said
