"""The commit on a real kernel: SIGKILL at each system call, power cuts, a full disk, a read-only folder, a clock that jumps.

Each check is also shown to catch mutants of the protocol that look reasonable.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.folder.store import Store, put
from iteration.errors import UserError
from tests.torture.writer import content, writes

TOP = Path(__file__).parents[2]
CALLS = ("openat", "write", "fsync", "linkat", "link", "rename", "unlink", "close", "newfstatat", "fstat", "mkdir")
OURS = "cluster.folder.store:put"


class Writer:
    """A writer's process, and what it said."""

    def __init__(self, put: str):
        command = [sys.executable, "-m", "tests.torture.writer", put]
        self.process = subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def tell(self, words: str) -> None:
        self.process.stdin.write(f"{words}\n".encode())

    def line(self) -> str:
        return self.process.stdout.readline().decode().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def commit(self, folder: Path, name: str, *inject: str, log: Path) -> bool:
        """Let a child commit a file under strace. Returns whether it acknowledged."""
        self.tell(f"{folder} {name}")
        child = int(self.line())
        command = ["strace", "-f", "-p", str(child), "-o", str(log), "-e", f"trace={','.join(CALLS)}", *inject]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not re.search(r"TracerPid:\s+[1-9]", Path(f"/proc/{child}/status").read_text()):
            time.sleep(0.005)
        self.process.stdin.write(b"g")
        said = self.line()
        if said == "ack":
            assert self.line() == "over"
        tracer.wait(10)
        return said == "ack"


@pytest.fixture
def commits():
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    found: list[Writer] = []

    def start(put: str) -> Writer:
        found.append(Writer(put))
        return found[-1]

    yield start
    for each in found:
        each.close()


def room(folder: Path) -> Path:
    (folder / "_tmp").mkdir(parents=True)
    return folder


def killed_everywhere(writer: Writer, folder: Path) -> list[str]:
    """SIGKILL at each system call of a commit in turn. Returns what was wrong."""
    log = folder.parent / "log"
    assert writer.commit(room(folder / "calm"), "calm", log=log)
    names = [match[1] for match in re.finditer(r"^\d+\s+(\w+)\(", log.read_text(), re.M)]
    assert {"openat", "write", "fsync"} <= set(names), names
    wrong = []
    for i, name in enumerate(names):
        here = room(folder / f"kill{i}")
        inject = ["-e", f"inject={name}:signal=KILL:when={names[: i + 1].count(name)}"]
        acknowledged = writer.commit(here, "file", *inject, log=log)
        there = here / "file"
        if acknowledged and not there.exists():
            wrong.append(f"acknowledged and not there, killed at {name} ({i})")
        if there.exists() and there.read_bytes() != content("file"):
            wrong.append(f"torn, killed at {name} ({i})")
        put(there, here / "_tmp" / "again", writes("file"))
        if there.read_bytes() != content("file"):
            wrong.append(f"not mended by the same commit again, killed at {name} ({i})")
    return wrong


def test_killed_at_each_system_call_nothing_is_torn(commits, tmp_path):
    assert killed_everywhere(commits(OURS), tmp_path / "ours") == []


def test_writing_in_place_is_caught(commits, tmp_path):
    assert any("torn" in each for each in killed_everywhere(commits("tests.cluster.protocol:in_place"), tmp_path / "mutant"))


# power cuts


@contextlib.contextmanager
def mounted(image: Path, at: Path, *options: str):
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", ",".join(["loop", *options]), image, at], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.skip(f"this machine cannot mount an image: {done.stderr.strip()}")
    try:
        yield at
    finally:
        for _ in range(50):
            if subprocess.run(["umount", at], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)


@pytest.fixture
def image(tmp_path):
    if os.geteuid() or not shutil.which("mkfs.ext4"):
        pytest.skip("mounting an image needs root and mkfs.ext4")
    path = tmp_path / "disk"
    with open(path, "wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["mkfs.ext4", "-q", path], check=True)
    return path


def still(image: Path, target: Path) -> Path:
    """A copy of what the disk holds at one moment; what is in the page cache of the mounted disk only is not in it."""
    while True:
        before = image.stat().st_mtime_ns
        time.sleep(0.02)
        shutil.copyfile(image, target)
        if image.stat().st_mtime_ns == before:
            return target


def power_cuts(put: str, image: Path, folder: Path, cuts: int) -> tuple[int, int]:
    """(acknowledged, lost or torn) over several moments at which the disk alone is what is left."""
    acknowledged = lost = 0
    dice = random.Random(7)
    with mounted(image, folder / "disk-mounted") as disk:
        writers = [Writer(put) for _ in range(3)]
        outputs = [open(folder / f"acks{i}", "wb") for i in range(3)]  # noqa: SIM115
        rooms = [room(disk / f"w{i}") for i in range(3)]
        pumps = [subprocess.Popen(["cat"], stdin=w.process.stdout, stdout=out) for w, out in zip(writers, outputs, strict=True)]
        try:
            for writer, here in zip(writers, rooms, strict=True):
                writer.tell(f"{here} *")
            for _ in range(cuts):
                time.sleep(dice.uniform(0.05, 0.3))
                for writer in writers:
                    writer.process.send_signal(signal.SIGSTOP)
                acks = [(folder / f"acks{i}").read_text().splitlines() for i in range(3)]
                after = still(image, folder / "after-the-cut")
                for writer in writers:
                    writer.process.send_signal(signal.SIGCONT)
                with mounted(after, folder / "after-mounted") as left:
                    for i, lines in enumerate(acks):
                        for name in (line.removeprefix("ack ") for line in lines if line.startswith("ack f")):
                            acknowledged += 1
                            there = left / f"w{i}" / name
                            lost += not there.is_file() or there.read_bytes() != content(name)
                after.unlink()
        finally:
            for writer in writers:
                writer.close()
            for pump, out in zip(pumps, outputs, strict=True):
                pump.wait(10)
                out.close()
    return acknowledged, lost


def test_what_was_acknowledged_survives_a_power_cut(image, tmp_path):
    acknowledged, lost = power_cuts(OURS, image, tmp_path, 8)
    assert acknowledged > 50 and lost == 0


def test_without_syncs_a_power_cut_loses_what_was_acknowledged(image, tmp_path):
    acknowledged, lost = power_cuts("tests.cluster.protocol:no_sync", image, tmp_path, 3)
    assert lost > 0, f"none of {acknowledged} were lost: this check could not catch anything"


# disks and clocks


def test_a_full_disk_commits_nothing_and_says_so_and_then_goes_on(image, tmp_path):
    import numpy as np
    import pyarrow as pa

    noise = pa.table({"x": np.random.default_rng(0).integers(0, 2**62, 800_000)})  # 6 MB that do not compress
    with mounted(image, tmp_path / "small") as disk:
        store, committed = Store(disk / "run").open(), []
        with pytest.raises(OSError, match="No space left"):
            for i in range(20):
                store.put_table(f"traces/r00001/train/u{i:05d}", noise)
                committed.append(i)
        assert committed and store.units("traces/r00001/train") == set(committed)
        for i in committed:
            assert store.table(f"traces/r00001/train/u{i:05d}").equals(noise), "what was there stays whole"
        store.sweep()  # what a driver does first: half a file is room
        (disk / "run/traces/r00001/train/u00000.parquet").unlink()
        assert store.put_table("traces/r00001/train/u00000", noise)


def test_a_read_only_folder_is_said_at_the_start(image, tmp_path):
    with mounted(image, tmp_path / "disk-mounted") as disk:
        Store(disk / "run").open()
    with (
        mounted(image, tmp_path / "disk-mounted", "ro") as disk,
        pytest.raises(UserError, match="cannot hold a run.*Read-only"),
    ):
        Store(disk / "run").open()


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_no_decision_is_made_by_a_clock_that_may_jump(monkeypatch, tmp_path, jump):
    """Names come from the plan, deadlines from the monotonic clock; the wall clock is for people only."""
    import pyarrow as pa

    allowed = {"doctor.py", "pending.py", "view.py"}  # how long ago, for people
    for path in (TOP / "cluster").rglob("*.py"):
        if path.name not in allowed:
            assert "time.time()" not in path.read_text(), f"{path.name} looks at the wall clock"
    store, table = Store(tmp_path).open(), pa.table({"x": [1]})
    assert store.put_table("traces/r00001/train/u00000", table)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    assert not store.put_table("traces/r00001/train/u00000", table)
    assert store.put_table("traces/r00001/train/u00001", table) and store.units("traces/r00001/train") == {0, 1}
