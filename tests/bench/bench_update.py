"""Seconds from a committed checkpoint to the first answer of the new weights, against reading the safetensors once.

    python -m tests.bench.bench_update [FOLDER]

FOLDER: a Hugging Face model (default: the quickstart's shape, 0.45M parameters). The engine runs in its actor, as in a run.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
from safetensors.torch import load_file

from cluster.engine import Generate, environment
from cluster.generator import Generator
from cluster.head import start_actor, start_ray
from iteration import tiny
from iteration.tasks.expressions import VOCABULARY

TURNS = 7


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        versions = Path(temporary)
        folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else versions / "small"
        if len(sys.argv) < 2:
            tiny.build(folder, VOCABULARY, tiny.Shape(), 0)
        start_ray("", dashboard=False)
        for turn in range(TURNS + 1):  # versions are names in one folder
            (versions / f"m{turn}").symlink_to(folder)
        arguments = 0, str(versions.parent), versions.name, Generate(context=256)
        generator = start_actor(Generator, "generator", arguments, environment(0), concurrency=100).handle
        ray.get(generator.update.remote("m0"))
        prompt = np.array([8, 3, 9, 2], np.int32)
        ray.get(generator.greedy.remote(prompt, "m0"))
        reading, updating, answering = [], [], []
        for turn in range(TURNS):
            start = time.perf_counter()
            for path in folder.glob("*.safetensors"):
                copies = [tensor.clone() for tensor in load_file(path).values()]  # mapped: only a copy reads it
                del copies
            reading.append(time.perf_counter() - start)
            start = time.perf_counter()
            ray.get(generator.update.remote(f"m{turn + 1}"))
            updating.append(time.perf_counter() - start)
            ray.get(generator.greedy.remote(prompt, f"m{turn + 1}"))
            answering.append(time.perf_counter() - start)
        ray.get(generator.close.remote())
        ray.shutdown()
    size = os.path.getsize(next(folder.glob("*.safetensors"))) / 2**20 if folder.exists() else 0
    read, update, answer = (1e3 * float(np.median(spent)) for spent in (reading, updating, answering))
    print(f"reading the safetensors once: {read:.1f} ms{f' ({size:.1f} MiB)' if size else ''}")
    print(f"update {update:.1f} ms, to the end of the first answer (32 tokens) {answer:.1f} ms: ratio {answer / read:.1f}")


if __name__ == "__main__":
    main()
