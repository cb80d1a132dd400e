"""Tokens per second of the trainer against a bare PyTorch loop over the same batches, and how full the rows are.

    python -m tests.bench.bench_trainer

The bare loop: forward, cross-entropy, backward, AdamW; no weights, no accumulation, no schedule, no clipping. A second
baseline pads every batch to its longest example instead of packing.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from cluster.trainer import Optimise, fit
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


def main() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    data = Expressions().corpus(TOKENS, np.random.default_rng(0))
    options = Optimise()
    start = time.perf_counter()
    plan = list(batches(data, np.arange(len(data)), options.rows, options.row_tokens, np.random.default_rng(0)))
    packing = time.perf_counter() - start
    tokens = sum(batch.tokens for batch in plan)
    slots = sum(batch.token_ids.size for batch in plan)
    examples = round(len(data) / len(plan))  # as many optimiser steps for the padded baseline
    with tempfile.TemporaryDirectory() as folder:
        tiny.build(Path(folder), VOCABULARY, tiny.Shape(), 0)
        bare(load(folder), plan[:5])
        seconds = {"trainer": [], "bare": [], "padded": []}
        for _ in range(3):
            for name, run in {
                "bare": lambda: bare(load(folder), plan),
                "trainer": lambda: list(fit(load(folder), plan, options, Sft())),
                "padded": lambda: padded(load(folder), data, np.arange(len(data)), examples),
            }.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    rate = {name: tokens / np.median(spent) for name, spent in seconds.items()}
    print(f"packing: {tokens / slots:.1%} of the slots used, {1e6 * packing / tokens:.2f} us a token to pack")
    ratio, gain = rate["trainer"] / rate["bare"], rate["trainer"] / rate["padded"]
    print(f"trainer {rate['trainer']:,.0f} tokens/s, bare loop on the same batches {rate['bare']:,.0f}: ratio {ratio:.2f}")
    print(f"padded instead of packed {rate['padded']:,.0f} tokens/s: the trainer is {gain:.2f} times as fast")


if __name__ == "__main__":
    main()
