"""Seconds from a committed checkpoint to the first answer of the new weights, against reading the safetensors once.

    python -m tests.bench.bench_update [FOLDER] [--smoke]

FOLDER: a Hugging Face model (default: the quickstart's shape, 0.45M parameters). The engine runs in its actor, as in a run.
"""

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
PROMPT = np.array([8, 3, 9, 2], np.int32)


def measure(generator, models: Path, version: str, turns: int) -> None:
    """Update an engine to copies of a version in the folder `models`, and print what it takes."""
    folder = models / version
    for turn in range(turns + 1):
        (models / f"copy{turn}").symlink_to(folder)
    ray.get(generator.update.remote("copy0"))
    ray.get(generator.greedy.remote(PROMPT, "copy0"))
    reading, updating, answering = [], [], []
    for turn in range(1, turns + 1):
        start = time.perf_counter()
        for path in folder.glob("*.safetensors"):
            copies = [tensor.clone() for tensor in load_file(path).values()]  # mapped: only a copy reads it
            del copies
        reading.append(time.perf_counter() - start)
        start = time.perf_counter()
        ray.get(generator.update.remote(f"copy{turn}"))
        updating.append(time.perf_counter() - start)
        ray.get(generator.greedy.remote(PROMPT, f"copy{turn}"))
        answering.append(time.perf_counter() - start)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**20
    read, update, answer = (1e3 * float(np.median(spent)) for spent in (reading, updating, answering))
    print(f"reading the safetensors once: {read:.1f} ms ({size:.1f} MiB)")
    print(f"update {update:.1f} ms, to the end of the first answer (32 tokens) {answer:.1f} ms: ratio {answer / read:.1f}")


def main() -> None:
    smoke, words = "--smoke" in sys.argv, [word for word in sys.argv[1:] if word != "--smoke"]
    with tempfile.TemporaryDirectory() as temporary:
        models = Path(temporary) / "models"
        models.mkdir()
        if words:
            (models / "given").symlink_to(Path(words[0]).absolute())
        else:
            tiny.build(models / "given", VOCABULARY, tiny.Shape(), 0)
        start_ray("", dashboard=False)
        arguments = 0, temporary, Generate(context=256, gpus=0, dtype="float32")
        generator = start_actor(Generator, "generator", arguments, environment(0), concurrency=100).handle
        measure(generator, models, "given", 1 if smoke else TURNS)
        ray.get(generator.close.remote())
        ray.shutdown()


if __name__ == "__main__":
    main()
