"""A run that starts with the first rounds of another run."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil

from cluster.folder.layout import OF_ROUNDS, TASK_RECORD, TMP, record_key
from cluster.folder.store import Store, make_folder, put
from iteration.errors import UserError


def fork(store: Store, source: str) -> None:
    """Begin with rounds 0 to N of another run ("OTHER@N"): its files are immutable, so they are linked or copied."""
    folder, _, last = source.rpartition("@")
    if "://" in folder or "://" in store.place:
        raise UserError(f"run.fork is {source!r} and run.dir {store.place}; both have to be folders on a disk")
    other = Store(folder)
    if not folder or not last.isdigit() or not other.has(record_key(int(last)), ".json"):
        raise UserError(f"run.fork is {source!r}; expected FOLDER@ROUND with a finished round, e.g. runs/quickstart@3")
    numbers = [f"{letter}{number:05d}" for number in range(int(last) + 1) for letter in "rmj"]
    for path in sorted(other.root.rglob("*")):
        parts = path.relative_to(other.root).parts
        of_round = parts[0] in OF_ROUNDS and len(parts) > 1 and path.is_file() and parts[1][:6] in numbers
        if not of_round and parts != (f"{TASK_RECORD}.json",):  # held-out problems stay held out
            continue
        target = store.root.joinpath(*parts)
        make_folder(target.parent)
        with contextlib.suppress(FileExistsError):
            try:
                os.link(path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:  # another filesystem
                    raise
                put(target, store.root / TMP / f"fork-{os.getpid()}", lambda tmp, path=path: shutil.copyfile(path, tmp))
