"""The run folder is the state: immutable files, each put under its name once. There is no progress file and no log.

The work that is left is the plan minus the listing. A file that exists is whole: it was written elsewhere, synced, and
then linked to its name, which fails if the name is taken. Source of the protocol: link(2), fsync(2), rename(2).
File names: cluster/folder/layout.py.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.folder.layout import CATEGORIES, CONFIG, TMP, TRACE
from iteration.errors import COMMAND, UserError

_ROW_GROUP = 256
ASIDE_BYTES = 32_768  # more than an empty table takes


def sync(path: Path) -> os.stat_result:
    """Make a file's content, or the names in a folder, survive a power cut. Returns its status."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        return os.fstat(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each synced into its parent before anything is put inside."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync(folder.parent)


def put(final: Path, tmp: Path, write: Callable[[Path], None]) -> bool:
    """Put a file under its name, once. Returns False if another writer was first; its file is then kept.

    `write` fills the temporary file, which is on the same filesystem. When this returns, the name and the content
    under it survive a power cut, also when another writer was first.
    """
    make_folder(final.parent)
    write(tmp)
    mine = sync(tmp)
    try:
        os.link(tmp, final)
        won = True
    except FileExistsError:
        # Some network filesystems repeat a link that succeeded: the same inode is our own success.
        there = os.stat(final)
        won = (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
    sync(final.parent)
    os.unlink(tmp)
    return won


class Store:
    """A run folder. Every method may be called from any process at any time, and repeated."""

    def __init__(self, root: str | Path):
        self.root = Path(root).absolute()  # where its files are on this machine
        self.place = str(self.root)  # what it is called everywhere

    def open(self) -> Store:
        """Create the folder if need be and check that it can hold a run. Raises UserError where it cannot."""
        try:
            make_folder(self.root)
            make_folder(self.root / TMP)
            probe = self._tmp()
            probe.touch()
            try:
                os.link(probe, probe.with_suffix(".linked"))
            finally:
                probe.with_suffix(".linked").unlink(missing_ok=True)
                probe.unlink()
        except OSError as error:
            raise UserError(
                f"run.dir {self.root}: cannot hold a run ({error.strerror}); a local or NFS folder that you can write to "
                "and that has hard links is needed. Type: run.dir=FOLDER"
            ) from error
        return self

    def _tmp(self) -> Path:
        """A new name for an unfinished file. A copy of a run may lack the folder."""
        (self.root / TMP).mkdir(mode=0o700, exist_ok=True)
        return self.root / TMP / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"

    def sweep(self) -> None:
        """Remove unfinished files of killed writers. Only for the claiming driver: a late writer then fails harmlessly."""
        for path in (self.root / TMP).iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    # Parquet tables

    def put_table(self, key: str, table: pa.Table) -> bool:
        """Commit a table as KEY.parquet. False: another writer was first, and its table counts."""
        trace = table.schema.equals(TRACE)
        schema = {
            "use_dictionary": CATEGORIES if trace else True,
            "column_encoding": {"logprobs.list.element": "BYTE_STREAM_SPLIT"} if trace else None,
        }

        def write(path: Path) -> None:
            pq.write_table(
                table, path, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP, version="2.6", **schema
            )

        return self._put(f"{key}.parquet", write)

    def set_aside(self, key: str, schema: pa.Schema, reason: str) -> bool:
        """Put an empty table, with the reason in its metadata, under a name. False: somebody has committed it after all."""
        return self.put_table(key, schema.with_metadata({"aside": reason}).empty_table())

    def asides(self, folder: str) -> dict[int, str]:
        """Units of a folder that were set aside, each with its reason. They hold no rows, so they are small."""
        reasons = {}
        for unit in sorted(self.units(folder)):
            path = self.local(f"{folder}/u{unit:05d}.parquet")
            metadata = pq.read_schema(path).metadata if path.stat().st_size < ASIDE_BYTES else None
            if metadata and b"aside" in metadata:
                reasons[unit] = metadata[b"aside"].decode()
        return reasons

    def table(self, key: str, columns: list[str] | None = None) -> pa.Table:
        # ParquetFile, not read_table: the latter takes folder names for partitions.
        with pq.ParquetFile(self.local(f"{key}.parquet")) as file:
            return file.read(columns)

    def has(self, key: str, suffix: str = ".parquet") -> bool:
        return (self.root / f"{key}{suffix}").exists()

    def begun(self) -> bool:
        """A run was started here: its config is the first file."""
        return self.has(*os.path.splitext(CONFIG))

    def units(self, folder: str) -> set[int]:
        """Numbers of the units committed in e.g. traces/r00003/train. The listing is the truth."""
        names = self.names(folder)
        return {int(name[1:-8]) for name in names if name.startswith("u") and name.endswith(".parquet")}

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty if the folder does not exist. Listed names survive a power cut."""
        try:
            names = os.listdir(self.root / folder)
        except FileNotFoundError:
            return []
        sync(self.root / folder)
        return sorted(names)

    def local(self, name: str) -> Path:
        """The local path of a committed file, e.g. config.yaml."""
        return self.root / name

    def folder(self, key: str) -> Path:
        """The local path of a committed folder, e.g. models/m00003."""
        return self.root / key

    def _put(self, name: str, write: Callable[[Path], None]) -> bool:
        return put(self.root / name, self._tmp(), write)

    # small records

    def put_text(self, key: str, text: str) -> bool:
        """Commit a small file under its full name, e.g. config.yaml."""
        return self._put(key, lambda path: path.write_text(text, encoding="utf-8") and None)

    def put_json(self, key: str, record: Any) -> bool:
        return self.put_text(f"{key}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    def json(self, key: str) -> Any:
        return json.loads(self.local(f"{key}.json").read_text(encoding="utf-8"))

    def replace(self, name: str, text: str) -> None:
        """Write a file that is no part of the run's state, e.g. a note or a table, over an earlier one."""
        tmp = self._tmp()
        tmp.write_text(text, encoding="utf-8")
        os.replace(tmp, self.root / name)

    # folders

    def new_folder(self) -> Path:
        """An empty folder to write into, before `commit_folder`."""
        tmp = self._tmp()
        tmp.mkdir(mode=0o700)
        return tmp

    def put_folder(self, key: str, write: Callable[[Path], None]) -> bool:
        """Commit a folder of files: it appears whole or not at all. False: another writer was first."""
        tmp = self.new_folder()
        write(tmp)
        return self.commit_folder(key, tmp)

    def commit_folder(self, key: str, tmp: Path) -> bool:
        """The same for a `new_folder` that has been written."""
        final = self.root / key
        make_folder(final.parent)
        for path in sorted(tmp.rglob("*"), reverse=True):
            sync(path)
        sync(tmp)
        try:
            os.rename(tmp, final)
            won = True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(tmp)
            won = False
        sync(final.parent)
        return won

    # who works on it

    @contextlib.contextmanager
    def claim(self):
        """Only one driver works on a run. Raises UserError naming the other; the process's exit releases the claim."""
        with open(self.root / "driver.lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                other = json.loads(file.read() or "{}").get("who", "another process")
                raise UserError(
                    f"run.dir {self.root}: {other} is running this run; stop it with: {COMMAND} stop {self.root}"
                ) from None
            file.truncate(0)
            file.write(json.dumps(driver_record()))
            file.flush()
            yield

    def driver(self) -> dict | None:
        """The driver that works on the run, as `driver_record` describes it; None if there is none."""
        try:
            with open(self.root / "driver.lock", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return None
                except OSError:
                    return json.loads(file.read() or "{}")
        except FileNotFoundError:
            return None


def driver_record() -> dict:
    """Who this process is: {"who", "pid", "host", "job"}; job: NAME@ADDRESS where it is a Ray job."""
    who = {"pid": os.getpid(), "host": os.uname().nodename, "job": os.environ.get("FLYWHEEL_JOB", "")}
    job = f" (job {who['job'].partition('@')[0]})" if who["job"] else ""
    return who | {"who": f"process {who['pid']} on {who['host']}{job}"}
