"""The benchmark for GPUs without one: its trainer row runs in tiny sizes, and a row that fails costs nothing but itself."""

import pytest

from tests.bench import bench_gpu

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def test_the_trainer_row(tmp_path):
    found = dict(bench_gpu.trainer("smoke", tmp_path))
    assert "tokens/s" in found["trainer, packed rows"] and float(found["ratio to the bare loop"].split()[0]) > 0
    (table,) = tmp_path.glob("*.txt")
    assert "aten::mm" in table.read_text() and (tmp_path / f"{table.stem}.json.gz").stat().st_size > 1000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench_gpu"])
    assert bench_gpu.main() == 1
    assert capsys.readouterr().out == "no GPU here; --smoke runs the rows that a CPU can run, in tiny sizes\n"


def test_a_row_that_fails_or_hangs_costs_only_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(bench_gpu.SMOKE, "engine", (None, 0.5))  # stopped before it has begun
    monkeypatch.setattr("sys.argv", ["bench_gpu", "--smoke", "--out", str(tmp_path), "engine", "nonsense"])
    monkeypatch.setitem(bench_gpu.SMOKE, "nonsense", (None, 300))  # its own process does not know it
    assert bench_gpu.main() == 1
    said = capsys.readouterr().out
    assert "stopped after 0 s" in said and "failed with status 1" in said
    assert "KeyError: 'nonsense'" in (tmp_path / "nonsense.log").read_text()
