"""The store at a place: a folder on a disk, or an object store; and the runs that a folder holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cluster.folder.layout import CONFIG
from cluster.folder.store import Store
from iteration.errors import UserError


def store_at(place: str | Path) -> Store:
    """The store at a path, or at s3://, gs:// or az:// (cluster/folder/objects.py). Raises UserError."""
    if "://" in str(place):
        from cluster.folder.objects import CloudStore

        return CloudStore(str(place))
    return Store(place)


def open_run(place: str) -> Store:
    """The store of an existing run. Raises UserError where there is none."""
    store = store_at(place)
    if "://" in place:
        store.open()
    if not store.begun():
        below = [str(Path(place, each.root.relative_to(store.root))) for each in runs_below(store.root)]
        hint = f"there are runs in it: {', '.join(below[:3])}" if below else "expected a run folder, e.g. runs/quickstart"
        raise UserError(f"{place}: no run there (no {CONFIG}); {hint}")
    return store


def runs_below(folder: str | Path) -> list[Store]:
    """The stores of the runs in a folder on a disk, and of the seeds of its comparisons; the oldest first."""
    configs = [*Path(folder).glob(f"*/{CONFIG}"), *Path(folder).glob(f"*/*/{CONFIG}")]
    return [Store(path.parent) for path in sorted(configs, key=lambda path: path.stat().st_mtime)]


@contextlib.contextmanager
def writing(place: str | Path, hint: str = "") -> Iterator[None]:
    """What cannot be written (or read) inside is a UserError that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or place}: {error.strerror or error}{hint}") from None
