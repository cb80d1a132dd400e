"""The commit protocol as a list of checks that any `put(final, tmp, write) -> bool` must pass, and mutants that must not.

`crash_points` runs one put again and again and stops it before its k-th system call, as a SIGKILL would (nothing after it
happens, no handler runs). `race` interleaves two writers at each of these points.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

CALLS = ("open", "write", "link", "rename", "replace", "fsync", "unlink")


class Killed(BaseException):
    """A process that stops here. Not an Exception: no handler may catch it."""


class Watched:
    """Replaces the system calls of `os` and counts them; `before(k, name)` runs ahead of the k-th."""

    def __init__(self, monkeypatch, before: Callable[[int, str], None]):
        self.names: list[str] = []
        self.active = True
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name), before))

    def _wrap(self, name, real, before):
        def call(*args, **kwargs):
            if self.active:
                before(len(self.names), name)
                self.names.append(name)
            return real(*args, **kwargs)

        return call


def writer(content: bytes) -> Callable[[Path], None]:
    """Writes in two system calls, so that there is a moment at which the file is torn."""

    def write(path: Path) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        half = len(content) // 2
        os.write(fd, content[:half])
        os.write(fd, content[half:])
        os.close(fd)

    return write


def check(put, folder: Path, monkeypatch) -> None:
    """Raises AssertionError where `put` breaks the protocol."""
    whole, other = b"the first writer's content", b"another writer's content!!"
    steps = count_calls(put, folder / "count", monkeypatch, whole)
    for k in range(steps):
        _crash(put, folder / f"crash{k}", monkeypatch, k, whole)
        _race(put, folder / f"race{k}", monkeypatch, k, whole, other)
    _order(put, folder / "order", monkeypatch, whole)


def count_calls(put, folder: Path, monkeypatch, content: bytes) -> int:
    folder.mkdir()
    with monkeypatch.context() as patch:
        watched = Watched(patch, lambda k, name: None)
        assert put(folder / "final", folder / "tmp", writer(content)) is True
        watched.active = False
    assert (folder / "final").read_bytes() == content
    return len(watched.names)


def _crash(put, folder: Path, monkeypatch, k: int, content: bytes) -> None:
    """Killed before system call k: the name is absent or whole; and the same put again gives the content."""
    folder.mkdir()

    def before(n, name):
        if n >= k:
            raise Killed

    with monkeypatch.context() as patch:
        watched = Watched(patch, before)
        try:
            put(folder / "final", folder / "tmp", writer(content))
            raise AssertionError(f"acknowledged before its {k}-th system call")
        except Killed:
            pass
        watched.active = False
    if (folder / "final").exists():
        assert (folder / "final").read_bytes() == content, f"torn after a kill before system call {k}"
    put(folder / "final", folder / "tmp2", writer(content))
    assert (folder / "final").read_bytes() == content


def _race(put, folder: Path, monkeypatch, k: int, mine: bytes, theirs: bytes) -> None:
    """Another writer does its whole put before our k-th call: one winner, whose content stays."""
    folder.mkdir()
    result = {}

    def before(n, name):
        if n == k and "theirs" not in result:
            result["theirs"] = None
            watched.active = False
            result["theirs"] = put(folder / "final", folder / "other", writer(theirs))
            watched.active = True

    with monkeypatch.context() as patch:
        watched = Watched(patch, before)
        result["mine"] = put(folder / "final", folder / "tmp", writer(mine))
        watched.active = False
    assert [result["mine"], result["theirs"]].count(True) == 1, f"winners in a race at call {k}: {result}"
    assert (folder / "final").read_bytes() == (mine if result["mine"] else theirs), f"the winner's content was lost at {k}"


def _order(put, folder: Path, monkeypatch, content: bytes) -> None:
    """Power cut: the content is synced before the name appears, and the name before the put returns."""
    folder.mkdir()
    final = folder / "final"
    seen: list[tuple[str, bool]] = []
    with monkeypatch.context() as patch:
        watched = Watched(patch, lambda k, name: seen.append((name, final.exists())))
        put(final, folder / "tmp", writer(content))
        watched.active = False
    assert ("fsync", False) in seen, "the content is not synced before its name appears"
    assert ("fsync", True) in seen, "the name is not synced before the put returns"


# Mutants: each looks reasonable, and each must be caught.


def check_then_rename(final: Path, tmp: Path, write) -> bool:
    write(tmp)
    sync(tmp)
    if final.exists():
        return False
    os.rename(tmp, final)
    sync(final.parent)
    return True


def in_place(final: Path, tmp: Path, write) -> bool:
    if final.exists():
        return False
    write(final)
    sync(final)
    sync(final.parent)
    return True


def acknowledge_first(final: Path, tmp: Path, write) -> bool:
    import threading

    won = not final.exists()

    def later():
        write(tmp)
        sync(tmp)
        try:
            os.link(tmp, final)
        except FileExistsError:
            return
        sync(final.parent)

    thread = threading.Timer(0.05, later)
    thread.daemon = True
    thread.start()
    return won


def no_sync(final: Path, tmp: Path, write) -> bool:
    return no_folder_sync(final, tmp, write, sync_file=False)


def no_folder_sync(final: Path, tmp: Path, write, sync_file: bool = True) -> bool:
    write(tmp)
    if sync_file:
        sync(tmp)
    try:
        os.link(tmp, final)
    except FileExistsError:
        return False
    os.unlink(tmp)
    return True


def loser_says_it_won(final: Path, tmp: Path, write) -> bool:
    write(tmp)
    sync(tmp)
    if not final.exists():
        with contextlib.suppress(FileExistsError):
            os.link(tmp, final)
    sync(final.parent)
    return True


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


MUTANTS = [check_then_rename, in_place, acknowledge_first, no_sync, no_folder_sync, loser_says_it_won]
