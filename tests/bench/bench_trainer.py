"""Tokens per second of the trainer against a bare PyTorch loop over the same batches, and how full the rows are.

    python -m tests.bench.bench_trainer [MODEL] [--smoke]

The bare loop: forward, cross-entropy, backward, AdamW; no weights, no accumulation, no schedule, no clipping. A second
baseline pads every batch to its longest example instead of packing. Then one process with all cores against two ranks (FSDP2
over gloo) with half of them each, and, where it is installed (`pip install trl`), TRL's SFTTrainer on the same examples, as
many in a step. MODEL: a Hugging Face folder, in place of the small model of the quickstart.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from cluster.train import ranks
from cluster.train.fit import fit
from cluster.train.options import Optimise
from cluster.train.ranks import POLICY, Group
from iteration import tiny
from iteration.learn.sft import Sft
from iteration.packing import batches
from iteration.tasks.expressions import VOCABULARY, Expressions

TOKENS = 60_000


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").train()


def bare(model, plan):
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for batch in plan:
        ids, positions = torch.from_numpy(batch.token_ids), torch.from_numpy(batch.positions)
        logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        targets = torch.from_numpy(np.where(batch.weights > 0, batch.token_ids, -100))[:, 1:]
        F.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100).backward()
        adam.step()
        adam.zero_grad()


def padded(model, data, order, examples):
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for at in range(0, len(order), examples):
        rows = [slice(data.offsets[i], data.offsets[i + 1]) for i in order[at : at + examples]]
        width = max(row.stop - row.start for row in rows)
        ids, targets = torch.zeros(len(rows), width, dtype=torch.int64), torch.full((len(rows), width), -100)
        mask = torch.zeros(len(rows), width, dtype=torch.int64)
        for r, row in enumerate(rows):
            n = row.stop - row.start
            ids[r, :n] = torch.from_numpy(data.token_ids[row].astype(np.int64))
            targets[r, : n - 1] = ids[r, 1:n]
            mask[r, :n] = 1
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100).backward()
        adam.step()
        adam.zero_grad()


def part(rank, address, folder, plan, options, found):
    """One of two ranks."""
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    group = Group(rank, 2, address)
    with ranks.joined(group, "cpu") as mesh:
        model = ranks.load(POLICY, folder, group, mesh, False, 0).train()
        list(fit(model, plan[:2], options, Sft(), None, group, mesh))
        start = time.perf_counter()
        list(fit(model, plan, options, Sft(), None, group, mesh))
        found.put((rank, time.perf_counter() - start))


def shared(folder, plan, options):
    """Seconds that two ranks take."""
    context = torch.multiprocessing.get_context("spawn")
    found = context.Queue()
    torch.multiprocessing.spawn(part, (ranks.meeting_point(), folder, plan, options, found), nprocs=2)
    return max(found.get()[1] for _ in range(2))


def trl(folder, data, examples):
    """Seconds that TRL's SFTTrainer takes for the same examples, on padded batches; None where it is not installed."""
    try:
        from trl import SFTConfig, SFTTrainer
    except ImportError:
        return None
    from datasets import Dataset
    from transformers import AutoTokenizer

    rows = [slice(data.offsets[i], data.offsets[i + 1]) for i in range(len(data))]
    columns = {
        "input_ids": [data.token_ids[row].tolist() for row in rows],
        "completion_mask": [(data.weights[row] > 0).astype(int).tolist() for row in rows],
    }
    with tempfile.TemporaryDirectory() as out:
        options = {"output_dir": out, "per_device_train_batch_size": examples, "num_train_epochs": 1, "learning_rate": 1e-3}
        quiet = {"save_strategy": "no", "logging_strategy": "no", "report_to": [], "disable_tqdm": True, "bf16": False}
        quiet |= {"gradient_checkpointing": False, "use_cpu": True, "dataloader_pin_memory": False}
        trainer = SFTTrainer(
            model=load(folder),
            args=SFTConfig(**options, **quiet, max_length=None, completion_only_loss=True),
            train_dataset=Dataset.from_dict(columns),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


def main() -> None:
    smoke, words = "--smoke" in sys.argv, [word for word in sys.argv[1:] if word != "--smoke"]
    torch.set_num_threads(1 if smoke else os.cpu_count() or 1)
    own = Path(words[0]) if words else None
    data = Expressions().corpus(TOKENS // (40 if smoke else 10 if own else 1), np.random.default_rng(0))
    options = Optimise(lr=1e-5) if own else Optimise()
    start = time.perf_counter()
    plan = list(batches(data, np.arange(len(data)), options.rows, options.row_tokens, np.random.default_rng(0)))
    packing = time.perf_counter() - start
    tokens = sum(batch.tokens for batch in plan)
    slots = sum(batch.token_ids.size for batch in plan)
    examples = round(len(data) / len(plan))  # as many optimiser steps for the padded baselines
    with tempfile.TemporaryDirectory() as made:
        folder = own or Path(made)
        if not own:
            tiny.build(folder, VOCABULARY, tiny.Shape(), 0)
        bare(load(folder), plan[:5])
        seconds: dict[str, list[float]] = {}
        runs = {
            "bare": lambda model: bare(model, plan),
            "trainer": lambda model: list(fit(model, plan, options, Sft())),
            "padded": lambda model: padded(model, data, np.arange(len(data)), examples),
        }
        for _ in range(1 if own or smoke else 3):
            for name, run in runs.items():
                model = load(folder)
                start = time.perf_counter()
                run(model)
                seconds.setdefault(name, []).append(time.perf_counter() - start)
            seconds.setdefault("two ranks", []).append(
                shared(folder, plan, Optimise(**vars(options) | {"micro_rows": options.rows // 2}))
            )
            other = trl(folder, data, examples)
            if other:
                seconds.setdefault("trl", []).append(other)
    rate = {name: tokens / np.median(spent) for name, spent in seconds.items()}
    print(f"packing: {tokens / slots:.1%} of the slots used, {1e6 * packing / tokens:.2f} us a token to pack")
    ratio, gain = rate["trainer"] / rate["bare"], rate["trainer"] / rate["padded"]
    print(f"trainer {rate['trainer']:,.0f} tokens/s, bare loop on the same batches {rate['bare']:,.0f}: ratio {ratio:.2f}")
    print(f"padded instead of packed {rate['padded']:,.0f} tokens/s: the trainer is {gain:.2f} times as fast")
    two = rate["two ranks"] / rate["trainer"]
    print(f"two ranks of half the cores each {rate['two ranks']:,.0f} tokens/s: {two:.2f} of one process with all of them")
    if "trl" in rate:
        print(f"TRL's SFTTrainer {rate['trl']:,.0f} tokens/s: the trainer is {rate['trainer'] / rate['trl']:.2f} times as fast")
    else:
        print("TRL is not installed: pip install trl")


if __name__ == "__main__":
    main()
