"""The actor that makes models: the first one, and from each round's manifest the next."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.store import Store, model_key, round_key, unit_key
from iteration import tiny
from iteration.config import UserError, part_class
from iteration.examples import examples
from iteration.packing import Batch, batches
from iteration.respond import seed_of
from iteration.types import Examples


@dataclass
class Optimise:
    """AdamW with a short warm-up and a cosine down to a twentieth."""

    lr: float = 1e-3  # highest learning rate
    rows: int = 8  # packed rows in one optimiser step
    row_tokens: int = 128  # slots of one row; no example may be longer
    micro_rows: int = 8  # rows in one forward pass (gradients are accumulated over `rows`)
    warmup: float = 0.02  # share of the steps
    betas: tuple[float, float] = (0.9, 0.98)  # AdamW's
    weight_decay: float = 0.05  # of matrices; not of norms and biases
    clip: float = 1.0  # largest norm of the gradient


@dataclass
class WarmStart(Optimise):
    """How the first model learns the task's own flawed corpus, where no `model.path` is given."""

    lr: float = 2e-3
    tokens: int = 2_000_000  # of the corpus, each seen once


@dataclass
class Model:
    path: str = ""  # a Hugging Face folder or id to start from; without one, a small model warm-started on the task's corpus
    shape: tiny.Shape = field(default_factory=tiny.Shape)
    warm_start: WarmStart = field(default_factory=WarmStart)


@dataclass
class Train(Optimise):
    tokens: int = 160_000  # trained on in each round
    threads: int = 0  # CPU threads; 0: all cores
    gpus: int = 0  # 0: train on the CPU


class Trainer:
    """Ray actor. A round's training is a function of model, manifest and seed: redone from the start if it was killed."""

    def __init__(self, root: str, model: Model, train: Train, seed: int):
        import torch

        self._store, self._model, self._train, self._seed = Store(root), model, train, seed
        self._device = "cuda" if train.gpus else "cpu"
        self._progress = 0, 0
        torch.set_num_threads(train.threads or os.cpu_count() or 1)

    def __repr__(self) -> str:
        return "Trainer"

    def progress(self) -> tuple[int, int]:
        """(steps done, steps in all) of the training under way."""
        return self._progress

    def begin(self, task: tuple[str, dict]) -> dict:
        """Commit models/m00000: the model of `model.path`, or a small one trained on the task's own corpus."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        key = f"models/{model_key(0)}"
        if self._model.path:
            try:
                tokenizer = AutoTokenizer.from_pretrained(self._model.path)
                # The model's own dtype: a run starts from the very weights that it was given.
                model = AutoModelForCausalLM.from_pretrained(self._model.path, dtype="auto")
            except (OSError, ValueError) as error:
                what = str(error).splitlines()[0]
                raise UserError(f"model.path {self._model.path}: no Hugging Face model there ({what})") from None

            def write(folder: Path) -> None:
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
                write_record(folder, {"from": self._model.path})

            self._store.put_folder(key, write)
            return self._store.json(f"{key}/training")
        part = part_class("task", "iteration.tasks", task[0])(**task[1])
        if not hasattr(part, "corpus"):
            raise UserError(
                f"model.path is missing: task {task[0]} has no corpus to warm-start a model on; type model.path=FOLDER"
            )
        options = self._model.warm_start
        rng = np.random.default_rng(seed_of(self._seed, "corpus"))
        corpus = part.corpus(options.tokens, rng)

        def write(folder: Path) -> None:
            tiny.build(folder, part.vocabulary, self._model.shape, seed_of(self._seed, "weights") % 2**31)
            self._fit(folder, folder, corpus, np.random.default_rng(self._seed).permutation(len(corpus)), options, {})

        self._store.put_folder(key, write)
        return self._store.json(f"{key}/training")

    def train(self, number: int, base: int) -> dict:
        """Train model `base` on manifests/r<number> and commit it as models/m<number>. Returns its training record."""
        key = f"models/{model_key(number)}"
        if not self._store.has(key, ""):
            manifest = self._store.table(f"manifests/{round_key(number)}")
            unique, index = np.unique(np.array(manifest["trace_id"].to_pylist(), str), return_inverse=True)
            data = load_examples(self._store, unique.tolist())
            record = {"base": model_key(base), "manifest": round_key(number), "examples": len(manifest)}
            source = self._store.root / "models" / model_key(base)
            self._store.put_folder(
                key, lambda folder: self._fit(source, folder, data, index.astype(np.int64), self._train, record)
            )
        return self._store.json(f"{key}/training")

    def _fit(self, source: Path, target: Path, data: Examples, order: np.ndarray, options: Optimise, record: dict) -> None:
        """Train the model of folder `source` and save it, with its tokenizer and training.json, to `target`."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        start = time.monotonic()
        torch.manual_seed(self._seed)
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
        model.to(self._device).train()
        plan = list(batches(data, order, options.rows, options.row_tokens, np.random.default_rng(self._seed)))
        self._progress = 0, len(plan)
        losses = []
        for step, loss in enumerate(fit(model, plan, options), 1):
            if not math.isfinite(loss):  # such a model is never committed
                raise UserError(
                    f"training diverged: the loss is {loss} at step {step}; lower train.lr in a fork (run.fork=RUN@ROUND)"
                )
            losses.append(loss)
            self._progress = step, len(plan)
        edge = max(1, len(losses) // 20)
        tokens, slots = sum(batch.tokens for batch in plan), sum(batch.token_ids.size for batch in plan)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        details = {
            "steps": len(plan),
            "tokens": tokens,
            "packing": round(tokens / slots, 4) if slots else 1.0,
            "loss_first": float(np.mean(losses[:edge])) if losses else 0.0,
            "loss_last": float(np.mean(losses[-edge:])) if losses else 0.0,
            "seconds": round(time.monotonic() - start, 2),
        }
        write_record(target, record | {"options": asdict(options)} | details)

    def logprobs(self, number: int, prompt: np.ndarray, answer: np.ndarray) -> np.ndarray:
        """Logprobs that model `number` gives to the tokens of `answer` behind `prompt`: float32 [t], in float32."""
        import torch
        from transformers import AutoModelForCausalLM

        folder = self._store.root / "models" / model_key(number)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokens = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))[None]
        with torch.no_grad():
            scores = model(input_ids=tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return scores.gather(1, tokens[0, len(prompt) :, None])[:, 0].numpy()


def fit(model, plan: list[Batch], options: Optimise) -> Iterator[float]:
    """One optimiser step a batch; yields each step's loss in nats per target token.

    Cross-entropy on the targets, weighted by example and normalised by the weight of the whole batch, so accumulation
    over micro-batches does not change it. Sequences packed in one row do not see each other: transformers builds the
    block mask from positions that begin again at 0.
    """
    import torch
    import torch.nn.functional as F

    device = model.device
    plain = [p for p in model.parameters() if p.dim() < 2]
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    groups = [{"params": matrices}, {"params": plain, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=options.lr, betas=tuple(options.betas), weight_decay=options.weight_decay, fused=True)
    warmup = max(1, round(options.warmup * len(plan)))
    for step, batch in enumerate(plan):
        for group in adam.param_groups:
            group["lr"] = options.lr * min(1.0, (step + 1) / warmup) * (0.525 + 0.475 * math.cos(math.pi * step / len(plan)))
        total = 0.0
        for at in range(0, len(batch.token_ids), options.micro_rows):
            rows = slice(at, at + options.micro_rows)
            ids, positions, targets, weights = (
                torch.from_numpy(array[rows]).to(device)
                for array in (batch.token_ids, batch.positions, batch.targets, batch.weights)
            )
            logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits.float()
            each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
            loss = (each * weights.flatten()).sum() / max(batch.targets_weight, 1e-9)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        adam.step()
        adam.zero_grad(set_to_none=True)
        yield total


def load_examples(store: Store, ids: list[str]) -> Examples:
    """The examples of the named traces, in that order, read unit by unit."""
    by_unit: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        by_unit.setdefault("/".join(name.split("/")[:3]), []).append(index)
    parts = {}
    for unit, indices in by_unit.items():
        round_name, split, number = unit.split("/")
        nodes = store.table(unit_key(int(round_name[1:]), split, int(number[1:])), ["id", "node", "parent", "token_ids"])
        found = examples(nodes, [ids[i] for i in indices])
        for k, index in enumerate(indices):
            span = slice(found.offsets[k], found.offsets[k + 1])
            parts[index] = found.token_ids[span], found.loss_mask[span]
    tokens = [parts[i][0] for i in range(len(ids))]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in tokens])]).astype(np.int64)
    if not ids:
        return Examples(np.zeros(0, np.int32), np.zeros(0, bool), offsets, np.zeros(0, np.float32))
    mask = np.concatenate([parts[i][1] for i in range(len(ids))])
    return Examples(np.concatenate(tokens), mask, offsets, np.ones(len(ids), np.float32))


def write_record(folder: Path, record: dict) -> None:
    import json

    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def manifest_table(ids: list[str], epochs: np.ndarray) -> pa.Table:
    """What is trained on, in order."""
    return pa.table({"trace_id": pa.array(ids, pa.string()), "epoch": pa.array(epochs, pa.int32())})
