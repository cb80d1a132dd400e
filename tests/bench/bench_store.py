"""Rows per second and CPU per row of a committed unit, against plain pyarrow.parquet.write_table of the same table.

    python -m tests.bench.bench_store [--smoke]

Also the CPU of one commit when the folder holds 2,000 files, against the first: the listing must not cost more and more.
"""

import datetime
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.folder.layout import TRACE, unit_key
from cluster.folder.store import Store
from cluster.searcher import lists

TOKENS = 40  # of one answer


def rows(n: int, rng: np.random.Generator) -> pa.Table:
    tokens = [rng.integers(0, 26, TOKENS).astype(np.int32) for _ in range(n)]
    columns = {
        "token_ids": lists(tokens, pa.int32()),
        "logprobs": lists([rng.random(TOKENS).astype(np.float32) for _ in range(n)], pa.float32()),
        "id": [f"r00001/train/u00000/t{i // 13:03d}/n{i % 13:04d}" for i in range(n)],
        "text": [" ".join(map(str, t)) for t in tokens],
        "problem_id": [f"expr{i // 13}" for i in range(n)],
        "created_at": [datetime.datetime.now(datetime.UTC)] * n,
        "why": [f"line {i % 5}: slip" for i in range(n)],
    }
    arrays = []
    for field in TRACE:
        found = columns.get(field.name)
        if found is None and pa.types.is_list(field.type):
            found = pa.nulls(n, field.type)
        elif found is None:
            found = (
                ["correct" if i % 3 else "wrong" for i in range(n)]
                if pa.types.is_string(field.type)
                else [i % 7 for i in range(n)]
            )
            found = [bool(x) for x in found] if pa.types.is_boolean(field.type) else found
        arrays.append(found if isinstance(found, pa.Array) else pa.array(found).cast(field.type))
    return pa.table(arrays, schema=TRACE)


def write_plain(folder: Path, turn: int, table: pa.Table, number: int) -> None:
    pq.write_table(table, folder / f"{turn}-{number}.parquet")


def write_unit(store: Store, turn: int, table: pa.Table, number: int) -> None:
    store.put_table(unit_key(turn, "train", number), table)


def timed(write, files: int) -> tuple[float, float]:
    """(wall, CPU) seconds of `files` writes."""
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(files):
        write(i)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    smoke = "--smoke" in sys.argv
    turns, most = (1, 120) if smoke else (3, 2000)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        plain = Path(folder) / "plain"
        plain.mkdir()
        for n, files in ((100, 3), (1000, 1)) if smoke else ((100, 100), (1000, 30)):
            table, store = rows(n, rng), Store(Path(folder) / f"run{n}").open()
            store.put_table("traces/r00000/train/u00000", table)  # the first call imports and creates folders
            pq.write_table(table, plain / "warm.parquet")
            results = {"commit": [], "write_table": []}
            for turn in range(turns):
                results["write_table"].append(timed(partial(write_plain, plain, turn, table), files))
                results["commit"].append(timed(partial(write_unit, store, turn + 1, table), files))
            wall, cpu = ({name: np.median([run[k] for run in runs]) for name, runs in results.items()} for k in (0, 1))
            rate = {name: n * files / seconds for name, seconds in wall.items()}
            each = {name: 1e6 * seconds / n / files for name, seconds in cpu.items()}
            print(
                f"batches of {n}: {rate['commit']:,.0f} rows/s committed, {rate['write_table']:,.0f} by write_table: ratio "
                f"{rate['commit'] / rate['write_table']:.2f}; CPU {each['commit']:.0f} us a row against "
                f"{each['write_table']:.0f}: ratio {each['commit'] / each['write_table']:.2f}"
            )
        table, store = rows(100, rng), Store(Path(folder) / "many").open()
        spent = [timed(lambda _, k=k: store.put_table(unit_key(1, "train", k), table), 1)[1] for k in range(most)]
        first, last = np.median(spent[1:51]), np.median(spent[-50:])
        print(
            f"CPU of a commit: {1e3 * first:.2f} ms with 50 files, {1e3 * last:.2f} ms with {most:,}: ratio {last / first:.2f}"
        )


if __name__ == "__main__":
    main()
