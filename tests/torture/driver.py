"""A driver like any other that also writes down what it was told, so that the books can be checked behind its back.

    python -m tests.torture.driver ACKS CONFIG ADDRESS [KEY=VALUE ...]

ACKS gets one JSON line an event: {"ack": key of a unit, "sha": of the file as it was then} and {"lost": seconds}.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

from cluster.config import load
from cluster.run import Run
from cluster.verbs.driving import guarded, quiet
from cluster.view import Phase, View


class Witness(View):
    """Writes acknowledged units and lost work to a file of its own; what is written is on disk before the run continues."""

    def __init__(self, acks: Path, root: Path, rounds: int):
        super().__init__(rounds)
        self._acks, self._root = acks, root

    def write(self, event: dict) -> None:
        with open(self._acks, "a", encoding="utf-8") as file:
            file.write(json.dumps(event | {"at": time.time()}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def say(self, line: str) -> None:
        super().say(line)
        found = re.search(r"ran for ([\d.]+) s and is retried", line)
        if found:
            self.write({"lost": float(found[1])})

    def phase(self, *words):
        return Counting(super().phase(*words), self)


class Counting:
    """A phase whose acknowledged units are written down."""

    def __init__(self, phase, witness: Witness):
        self._phase, self._witness = phase, witness

    def __enter__(self) -> Phase:
        opened = self._phase.__enter__()
        told = opened.unit_done

        def unit_done(done) -> None:
            path = self._witness._root / f"{done.key}.parquet"
            self._witness.write({"ack": done.key, "sha": hashlib.sha256(path.read_bytes()).hexdigest()})
            told(done)

        opened.unit_done = unit_done
        return opened

    def __exit__(self, *error):
        return self._phase.__exit__(*error)


def main() -> int:
    acks, config, address, *options = sys.argv[1:]
    found = load(config, options)
    quiet()
    with Witness(Path(acks), Path(found.run.dir), found.rounds) as view:
        run = Run(found, address, view)
        return guarded(lambda: asyncio.run(run.turn()), run.store.root / "error.log", "the same")


if __name__ == "__main__":
    sys.exit(main())
