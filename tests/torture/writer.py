"""A process that commits files when it is told to.

    python -m tests.torture.writer PUT            PUT: module:function, e.g. cluster.folder.store:put

One line on standard input, FOLDER NAME: a child is forked, says its process id, waits for a byte, commits FOLDER/NAME and
says "ack".
FOLDER *: commits file after file without end, and says "ack NAME" after each.
"""

import hashlib
import importlib
import os
import sys
from pathlib import Path

from tests.cluster.protocol import writer


def content(name: str) -> bytes:
    """What a file of this name holds: 20 kB that nobody could guess half of."""
    return b"".join(hashlib.sha256(f"{name}-{i}".encode()).digest() for i in range(640))


def writes(name: str):
    return writer(content(name))


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    put = getattr(importlib.import_module(module), function)
    for line in sys.stdin:
        folder, name = line.split()
        folder = Path(folder)
        if name == "*":
            for i in range(10**9):
                put(folder / f"f{i:06d}", folder / "_tmp" / f"{os.getpid()}-{i}", writes(f"f{i:06d}"))
                print(f"ack f{i:06d}", flush=True)
        child = os.fork()
        if not child:
            os.write(1, f"{os.getpid()}\n".encode())
            os.read(0, 1)
            put(folder / name, folder / "_tmp" / f"{os.getpid()}", writes(name))
            os.write(1, b"ack\n")
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"over\n")


if __name__ == "__main__":
    main()
