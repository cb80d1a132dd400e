"""Memory that a training takes at its peak, against what `flywheel plan` expects of it.

    python -m tests.bench.bench_memory FOLDER [KEY=VALUE ...]
    python -m tests.bench.bench_memory --smoke [KEY=VALUE ...]     one variant of the quickstart's model, in this process

FOLDER: a Hugging Face model; KEY=VALUE: options of the section `train` (gpus=1 measures on a GPU). Three steps on random
tokens, a checkpoint after each, every variant in a process of its own. On a GPU what torch has allocated, on CPU the whole
process.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from omegaconf import OmegaConf

from iteration import tiny
from iteration.tasks.expressions import VOCABULARY

VARIANTS = ("", "recompute=true", "micro_rows=2", "lora=16")
BASE = ("rows=4", "row_tokens=256", "micro_rows=1", "checkpoint=0", "gpus=0")


def peak() -> float:
    """Peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: str, words: list[str]) -> None:
    """In a process of its own: prints (expected, measured) in GB, and the parts."""
    import os

    import numpy as np
    import torch
    from transformers import AutoConfig

    from cluster.folder.store import Store
    from cluster.memory import shape_of, trainer
    from cluster.train import ranks
    from cluster.train.checkpoint import Checkpoints
    from cluster.train.fit import fit
    from cluster.train.options import Train
    from iteration.learn.sft import Sft
    from iteration.packing import batches
    from iteration.types import Examples

    options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Train), OmegaConf.from_dotlist([*BASE, *words])))
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    config = AutoConfig.from_pretrained(folder)
    device = "cuda" if options.gpus else "cpu"
    rng = np.random.default_rng(0)
    rows = [[rng.integers(0, config.vocab_size, options.row_tokens)] for _ in range(3 * options.rows)]
    data = Examples.of(rows, [np.ones(options.row_tokens, np.float32)] * len(rows))
    plan = list(batches(data, np.arange(len(data)), options.rows, options.row_tokens, rng))
    with tempfile.TemporaryDirectory() as made, ranks.joined(ranks.ALONE, device) as mesh:
        half = bool(options.bf16 and options.gpus)
        model = ranks.load(ranks.POLICY, Path(folder), ranks.ALONE, mesh, half, options.lora, device).train()
        if options.recompute:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        store = Store(Path(made)).open()
        checkpoints = Checkpoints(store, "m00001", options.checkpoint, mesh)
        list(fit(model, plan, options, Sft(), checkpoints, ranks.ALONE, mesh, None, half))
        checkpoints.close()
        found = float(torch.cuda.max_memory_allocated()) if device == "cuda" else peak()
    holding = trainer(shape_of(config), options, 0)
    print(f"measured {holding.total / 1e9:.3f} {found / 1e9:.3f}")
    print({name: round(size / 1e9, 2) for name, size in holding.parts.items()})


def main() -> None:
    folder, words = sys.argv[1], sys.argv[2:]
    if folder == "--smoke":
        with tempfile.TemporaryDirectory() as made:
            tiny.build(Path(made), VOCABULARY, tiny.Shape(), 0)
            return measure(made, words)
    if "--here" in words:
        return measure(folder, [word for word in words if word != "--here"])
    for variant in VARIANTS:
        more = [*words, *([variant] if variant else [])]
        command = [sys.executable, "-m", "tests.bench.bench_memory", folder, *more, "--here"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith("measured"))
        expected, found = map(float, line.split()[1:])
        name = " ".join(more) or "as it is"
        print(f"{name:24} expected {expected:6.2f} GB, measured {found:6.2f}: ratio {found / expected:.2f}")
        print("    " + done.stdout.splitlines()[-1])
    return None


if __name__ == "__main__":
    main()
