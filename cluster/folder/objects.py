"""A run in an object store (S3, GCS, Azure): `run.dir=s3://BUCKET/FOLDER`, with the extra `cloud`.

The protocol is the same as on a disk.

A file is one object, put only if the name is free (If-None-Match). If a reply is lost, the put is repeated: the name is then
taken, and the object's content tells which writer was first. A folder is a set of files under the id of an attempt, plus
`whole.json`, which names the attempt that counts; it is put last and only if the name is free. Everything is immutable, so each
machine caches what it has read or written in its own folder and works on that as on a local run. Credentials and endpoint are
the usual variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP ...). Source: Amazon S3, conditional writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.folder.layout import TRAINING
from cluster.folder.store import Store, driver_record, put
from iteration.errors import UserError

RETRY_SECONDS = 300  # how long a store may be unreachable
BEAT_SECONDS = 10.0  # between two heartbeats of a driver
LEASE_BEATS = 4  # a driver without a heartbeat for this many beats counts as dead


class CloudStore(Store):
    def __init__(self, place: str):
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise UserError(f"run.dir {place}: needs the library obstore; type .venv/bin/pip install obstore") from None
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flywheel"
        super().__init__(cache / hashlib.sha256(place.encode()).hexdigest()[:16])
        self.place, self._obs = place.rstrip("/"), obstore
        try:
            self._bucket = from_url(self.place)
        except Exception as error:
            raise UserError(f"run.dir {place}: {first_line(error)}") from None

    def open(self) -> Store:
        try:
            super().open()
            self._try(lambda: self._obs.list_with_delimiter(self._bucket), seconds=30)
        except Exception as error:
            raise UserError(
                f"run.dir {self.place}: cannot be reached ({first_line(error)}); AWS_ENDPOINT_URL, AWS_REGION, "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY give its address and credentials"
            ) from None
        return self

    def _try(self, call: Callable[[], Any], seconds: float = RETRY_SECONDS) -> Any:
        """Retry until the store answers. Raises the store's error, e.g. FileNotFoundError, or the last failure."""
        from obstore.exceptions import GenericError, NotFoundError

        until, pause = time.monotonic() + seconds, 0.05
        while True:
            try:
                return call()
            except NotFoundError:
                raise FileNotFoundError from None
            except GenericError:  # no answer, or the store is busy; other errors are raised at once
                if time.monotonic() > until:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))  # not all clients at the same moment
            pause = min(5.0, 2 * pause)

    def _put_object(self, name: str, content: bytes) -> bool:
        """Put an object if its name is free. False: another writer was first."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._try(lambda: self._obs.put(self._bucket, name, content, mode="create"))
            return True
        except (AlreadyExistsError, PreconditionError):  # perhaps our own, whose reply was lost
            return self._get(name) == content

    def _get(self, name: str) -> bytes:
        return self._try(lambda: bytes(self._obs.get(self._bucket, name).bytes()))

    # what a Store offers

    def _put(self, name: str, write: Callable[[Path], None]) -> bool:
        tmp = self._tmp()
        write(tmp)
        won = self._put_object(name, tmp.read_bytes())
        if won:
            put(self.root / name, tmp, lambda tmp: None)
        else:
            tmp.unlink()
        return won

    def local(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            content = self._get(name)
            put(path, self._tmp(), lambda tmp: tmp.write_bytes(content) and None)
        return path

    def has(self, key: str, suffix: str = ".parquet") -> bool:
        name = f"{key}{suffix}" if suffix else f"{key}/whole.json"
        if (self.root / name).exists():
            return True
        try:
            self._try(lambda: self._obs.head(self._bucket, name))
            return True
        except FileNotFoundError:
            return False

    def names(self, folder: str) -> list[str]:
        listed = self._try(lambda: self._obs.list_with_delimiter(self._bucket, prefix=folder))
        paths = [each["path"] for each in listed["objects"]] + list(listed["common_prefixes"])
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def commit_folder(self, key: str, tmp: Path) -> bool:
        attempt = uuid.uuid4().hex
        files = [str(path.relative_to(tmp)) for path in sorted(tmp.rglob("*")) if path.is_file()]
        for name in files:
            self._try(lambda name=name: self._obs.put(self._bucket, f"{key}/{attempt}/{name}", tmp / name))
        whole = json.dumps({"attempt": attempt, "files": files}).encode()
        won = self._put_object(f"{key}/whole.json", whole)
        if won:
            (tmp / "whole.json").write_bytes(whole)
            super().commit_folder(key, tmp)
        else:
            shutil.rmtree(tmp)
        return won

    def folder(self, key: str) -> Path:
        final = self.root / key
        if not (final / "whole.json").exists():
            whole, tmp = self._get(f"{key}/whole.json"), self.new_folder()
            record = json.loads(whole)
            for name in record["files"]:
                (tmp / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp / name).write_bytes(self._get(f"{key}/{record['attempt']}/{name}"))
            (tmp / "whole.json").write_bytes(whole)
            super().commit_folder(key, tmp)
        return final

    def json(self, key: str) -> Any:
        folder, _, name = key.rpartition("/")
        if name == TRAINING:  # inside a committed folder
            return json.loads((self.folder(folder) / f"{TRAINING}.json").read_text(encoding="utf-8"))
        return super().json(key)

    # who works on it

    def _driver(self) -> tuple[dict, str]:
        """(record, version) of the object that names the driver."""
        stored = self._try(lambda: self._obs.get(self._bucket, "driver.json"))
        return json.loads(bytes(stored.bytes())), stored.meta["e_tag"]

    def _alive(self, version: str) -> bool:
        """Whether the driver is alive: waits for a heartbeat. Raises FileNotFoundError where the driver exits."""
        until = time.monotonic() + LEASE_BEATS * BEAT_SECONDS
        while time.monotonic() < until:
            time.sleep(BEAT_SECONDS / 5)
            if self._driver()[1] != version:
                return True
        return False

    def driver(self) -> dict | None:
        try:
            record, version = self._driver()
            alive = self._alive(version)
        except FileNotFoundError:
            return None
        return {name: record[name] for name in driver_record()} if alive else None

    @contextlib.contextmanager
    def claim(self):
        """A lease: an object that its driver rewrites at every beat. A lease that is no longer rewritten is taken over."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        mine = driver_record() | {"attempt": uuid.uuid4().hex, "beat": 0}
        version = ""
        try:
            other, version = self._driver()
            print(f"{other['who']} had claimed {self.place}; waiting up to {LEASE_BEATS * BEAT_SECONDS:.0f} s for a heartbeat")
            if self._alive(version):
                raise UserError(f"run.dir {self.place}: {other['who']} is running this run")
        except FileNotFoundError:
            version = ""
        try:
            version = self._beat(mine, version)
        except (AlreadyExistsError, PreconditionError):
            raise UserError(f"run.dir {self.place}: {self._driver()[0]['who']} is running this run") from None
        over = threading.Event()

        def beat() -> None:
            held = version
            while not over.wait(BEAT_SECONDS):
                mine["beat"] += 1
                try:
                    held = self._beat(mine, held)
                except (BaseError, FileNotFoundError) as error:  # taken over or unreachable: a driver without a claim stops
                    print(f"the claim on {self.place} is lost ({first_line(error)}); stopping", file=sys.stderr)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with contextlib.suppress(BaseError, FileNotFoundError):  # otherwise the lease expires and is taken over
                if self._driver()[0]["attempt"] == mine["attempt"]:
                    self._obs.delete(self._bucket, "driver.json")

    def _beat(self, mine: dict, version: str) -> str:
        """Replace version `version` of the driver's object ("": create it). Returns the new version; raises if it is gone."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        content = json.dumps(mine).encode()
        try:
            mode = {"e_tag": version} if version else "create"
            return self._try(lambda: self._obs.put(self._bucket, "driver.json", content, mode=mode))["e_tag"]
        except (AlreadyExistsError, PreconditionError):
            there, now = self._driver()
            if there == mine:  # our own, whose reply was lost
                return now
            raise


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
