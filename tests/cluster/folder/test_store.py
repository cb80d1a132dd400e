import multiprocessing
import os
import stat

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from cluster.folder import store as rooms
from cluster.folder.layout import TRACE
from cluster.folder.store import Store, put
from iteration.errors import UserError
from tests.cluster import protocol
from tests.iteration.test_examples import forest


def test_put_keeps_the_protocol(tmp_path, monkeypatch):
    protocol.check(put, tmp_path, monkeypatch)


@pytest.mark.parametrize("mutant", protocol.MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_checks_catch_every_mutant(mutant, tmp_path, monkeypatch):
    with pytest.raises((AssertionError, FileNotFoundError)):
        protocol.check(mutant, tmp_path, monkeypatch)


def _race(root, number, start, results):
    start.wait()
    rows = pa.table({"writer": [number] * 100})
    results.put((number, Store(root).put_table("traces/r00001/train/u00000", rows)))


def test_real_processes_race_and_one_wins(tmp_path):
    Store(tmp_path).open()
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    workers = [context.Process(target=_race, args=(tmp_path, i, start, results)) for i in range(6)]
    for worker in workers:
        worker.start()
    start.set()
    said = dict(results.get(timeout=30) for _ in workers)
    for worker in workers:
        worker.join()
    (winner,) = [number for number, won in said.items() if won]
    assert set(Store(tmp_path).table("traces/r00001/train/u00000")["writer"].to_pylist()) == {winner}
    assert os.listdir(tmp_path / "_tmp") == []


def test_traces_come_back_as_they_were(tmp_path):
    rows = forest()
    store = Store(tmp_path).open()
    assert store.put_table("traces/r00002/train/u00005", rows)
    assert not store.put_table("traces/r00002/train/u00005", rows.slice(0, 1))
    back = store.table("traces/r00002/train/u00005")
    assert back.schema == TRACE and back.equals(rows)
    assert store.units("traces/r00002/train") == {5} and store.units("traces/r00009/train") == set()


def test_others_read_the_files_as_they_are(tmp_path):
    rows = forest()
    store = Store(tmp_path).open()
    store.put_table("traces/r00002/train/u00005", rows)
    store.put_table("traces/r00003/train/u00000", rows)
    files = [str(path) for path in (tmp_path / "traces").rglob("*.parquet")]
    assert pyarrow.dataset.dataset(files).to_table().num_rows == 2 * len(rows)
    meta = pq.ParquetFile(files[0]).metadata.row_group(0)
    by_name = {meta.column(i).path_in_schema: meta.column(i) for i in range(meta.num_columns)}
    assert by_name["text"].compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in by_name["logprobs.list.element"].encodings
    assert any("DICTIONARY" in encoding for encoding in by_name["token_ids.list.element"].encodings)


def test_folders_are_whole_or_absent(tmp_path):
    store = Store(tmp_path).open()

    def write(folder):
        (folder / "a").write_text("1")
        (folder / "b").mkdir()
        (folder / "b" / "c").write_text("2")

    def broken(folder):
        write(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.put_folder("models/m00000", broken)
    assert not store.has("models/m00000", "")
    assert store.put_folder("models/m00000", write)
    assert not store.put_folder("models/m00000", lambda folder: (folder / "a").write_text("other"))
    assert (tmp_path / "models/m00000/a").read_text() == "1" and (tmp_path / "models/m00000/b/c").read_text() == "2"


def test_run_folders_are_private(tmp_path):
    Store(tmp_path / "runs" / "x").open()
    assert stat.S_IMODE((tmp_path / "runs" / "x").stat().st_mode) == 0o700


def test_a_folder_that_cannot_hold_a_run_is_refused(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(rooms.os, "link", no_links)
    with pytest.raises(UserError, match=r"run\.dir .*hard links"):
        Store(tmp_path / "x").open()


def test_records(tmp_path):
    store = Store(tmp_path).open()
    assert store.put_json("rounds/r00001", {"number": 1, "why": "größer"})
    assert not store.put_json("rounds/r00001", {"number": 2})
    assert store.json("rounds/r00001") == {"number": 1, "why": "größer"}
    assert store.has("rounds/r00001", ".json")


def test_what_killed_writers_left_is_swept(tmp_path):
    store = Store(tmp_path).open()
    (tmp_path / "_tmp" / "half.parquet").write_text("torn")
    (tmp_path / "_tmp" / "model" / "deep").mkdir(parents=True)
    store.put_json("rounds/r00000", {})
    store.sweep()
    assert not list((tmp_path / "_tmp").iterdir()) and store.has("rounds/r00000", ".json")
