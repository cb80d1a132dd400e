"""Every bench has a size that takes seconds (--smoke), so that none rots. With engines: tests/integration/test_bench.py."""

import gzip
import importlib
import json
import sys
from pathlib import Path

import pytest

from cluster.sandbox.walls import why_no_walls
from tests.scripted import play_on_script

HERE = Path(__file__).parent
ENGINES = {"generation", "search", "update", "scale", "trainer", "gpu"}  # gpu: also test_bench_gpu.py
OTHERS = {"store", "overlap", "memory", "answers", "verify", "verifier"}
OWN = {"hex", "hex_compute", "recipes"}  # in files of their own: test_bench_*.py


def run(monkeypatch, capsys, bench: str, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", [bench, *words])
    importlib.import_module(f"tests.bench.bench_{bench}").main()
    return capsys.readouterr().out


def test_every_bench_is_run():
    assert {path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")} == ENGINES | OTHERS | OWN
    engines = (HERE.parent / "integration/test_bench.py").read_text() + (HERE / "smoke.py").read_text()
    assert all(f"bench_{name}" in engines for name in ENGINES)


def test_store(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = run(monkeypatch, capsys, "store", "--smoke")
    assert "batches of 1000: " in said and "ms with 120: ratio" in said and not list(tmp_path.iterdir())


def test_overlap(monkeypatch, capsys):
    from tests.bench import bench_overlap

    for name in ("SPEED", "ANSWERS"):
        monkeypatch.setattr(bench_overlap, name, getattr(bench_overlap, name))  # --smoke sets them; they are put back
    assert "lag=1 takes" in run(monkeypatch, capsys, "overlap", "--smoke")


def test_memory(monkeypatch, capsys):
    words = run(monkeypatch, capsys, "memory", "--smoke", "lora=4", "threads=1").split()
    assert words[0] == "measured" and float(words[1]) > 0 < float(words[2])


def test_answers(monkeypatch, capsys, tmp_path):
    rows = [json.dumps({"question": "?", "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"}) for i in range(1, 9)]
    for part in ("train", "test"):
        (tmp_path / f"{part}.jsonl.gz").write_bytes(gzip.compress("".join(f"{row}\n" for row in rows).encode()))
    models = {"ground_truth": "4", "small": {"solution": "So it is 4.", "is_correct": True}}
    models |= {"large": {"solution": "So it is 5.", "is_correct": False}}
    (tmp_path / "labelled.jsonl").write_text(json.dumps(models))
    said = run(monkeypatch, capsys, "answers", str(tmp_path), str(tmp_path / "labelled.jsonl"), "--smoke")
    assert "exact, GSM8K solutions against their own answers: 16 of 16 agree" in said
    assert "math, labelled solutions of models: 2 of 2 agree, 0 wrong accepted" in said


@pytest.mark.skipif(bool(why_no_walls()), reason=f"bubblewrap: {why_no_walls()}")
def test_verify(monkeypatch, capsys, tmp_path):
    said = run(monkeypatch, capsys, "verify", "--smoke")
    assert "math: with 1 of 52 hanging: the others" in said and "by subprocess per test" in said
    row = {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x + 1\n"}
    row["test"] = "def check(candidate):\n    assert candidate(1) == 2\n"
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    said = run(monkeypatch, capsys, "verify", "humaneval", str(tmp_path / "rows.jsonl.gz"), "--smoke")
    assert "1 completions" in said and "(1 correct), " in said and "two workers (1 correct)" in said


def test_verifier(monkeypatch, capsys, tmp_path):
    """Scripted answers end in no value: the other verifier accepts none of those that the run's own believes."""
    from cluster.cli import main

    play_on_script(monkeypatch)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    options = ["rounds=1", "problems=4", "unit=4", "measure.problems=4", "measure.samples=4", f"run.dir={tmp_path / 'run'}"]
    assert main(["run", "configs/quickstart.yaml", *options]) == 0
    capsys.readouterr()
    first, second = run(monkeypatch, capsys, "verifier", str(tmp_path / "run")).splitlines()
    assert first == "round 0  level 4: own verifier 25.0%, replay 0.0%   level 6: own verifier 25.0%, replay 0.0%"
    assert second.startswith("round 1  level 4: own verifier 50.0%, replay 0.0%")
