"""A wall clock that jumps under a whole run, by days ahead and back: clock.c stands between its processes and the system's."""

import contextlib
import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.folder.book import Book
from cluster.folder.store import Store
from tests.integration.conftest import LIMIT, flywheel, kill_all, long, start, wait_for
from tests.torture.storm import CONFIG, OPTIONS, Storm

DAY = 86400
JUMPS = [2 * DAY, -DAY, 0, -3 * DAY, 3600]  # seconds, ahead and back
FEW = "placement={generators: 1, searchers: 1, verifiers: 1, dashboard: false}"
RUN = [*OPTIONS, "rounds=1", "problems=32", "measure.problems=8", "model.warm_start.tokens=20000", "train.tokens=6000", FEW]


@long
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler (cc); on Debian: apt-get install gcc libc6-dev")
def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    flywheel("run", CONFIG, *RUN, f"run.dir={tmp_path / 'calm'}")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    with monkeypatch.context() as within:
        within.setenv("LD_PRELOAD", str(library))
        within.setenv("CLOCK_OFFSET", str(offset))
        process = start("run", CONFIG, *RUN, f"run.dir={tmp_path / 'run'}")
    assert wait_for(lambda: (tmp_path / "run/traces").is_dir(), process), process.stdout.read()
    until = time.monotonic() + LIMIT
    for jump in itertools.cycle(JUMPS):
        (tmp_path / "next").write_text(str(jump))
        os.replace(tmp_path / "next", offset)
        with contextlib.suppress(subprocess.TimeoutExpired):
            said, _ = process.communicate(timeout=0.3)  # how long the clock stays so
            break
        if time.monotonic() > until:
            kill_all(process.pid)
    assert process.returncode == 0, said
    tables = [pq.ParquetFile(path).read() for path in (tmp_path / "run").glob("traces/**/*.parquet")]
    written = [time for table in tables for time in table["created_at"].to_pylist()]
    assert (max(written) - min(written)).days >= 1, "the clock did jump"
    books = Storm(tmp_path, tmp_path / "calm", None, 0)
    books.equal(tmp_path / "run")
    assert not books.books.wrong, books.books.wrong
    for record in Book(Store(tmp_path / "run")).records():
        assert all(0 <= seconds < LIMIT for seconds in record["seconds"].values()), "what took how long is told right"
