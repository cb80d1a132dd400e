"""The actor that makes models: the first one, from each round's manifest the next, and the value models that judge it."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cluster.engine import share_of_gpus
from cluster.folder.layout import judge_key, model_key, round_key, unit_key
from cluster.folder.place import store_at
from cluster.folder.store import Store
from cluster.train import ranks
from cluster.train.checkpoint import Checkpoints
from cluster.train.ranks import ALONE, Group
from cluster.verifier import here
from iteration import losses, tiny
from iteration.errors import UserError
from iteration.examples import order
from iteration.packing import Batch, batches
from iteration.parts import LEARN, Part, at_least, one_of
from iteration.protocols import Corpus, Ends, GradesSteps, Learn
from iteration.respond import seed_of
from iteration.steps import step_ends
from iteration.types import Examples, Problem

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh


@dataclass
class Optimise:
    """AdamW with a short warm-up."""

    lr: float = 1e-3  # highest learning rate
    schedule: str = "cosine"  # after the warm-up: cosine or linear down to a twentieth, or constant
    rows: int = 8  # packed rows in one optimiser step
    row_tokens: int = 128  # slots of one row; no example may be longer
    micro_rows: int = 8  # rows in one forward pass (gradients are accumulated over `rows`)
    warmup: float = 0.02  # share of the steps
    betas: tuple[float, float] = (0.9, 0.98)  # AdamW's
    weight_decay: float = 0.05  # of matrices; not of norms and biases
    clip: float = 1.0  # largest norm of the gradient
    recompute: bool = False  # activations are computed again in the backward pass: less memory, a third more time

    def __post_init__(self) -> None:
        at_least(self, rows=1, row_tokens=1, micro_rows=1, warmup=0, weight_decay=0)
        one_of(self, schedule=("cosine", "linear", "constant"))


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
    start: str = "previous"  # each round trains on from the best model so far (previous), or anew from the first one (base)
    pool: str = "all"  # what is trained on: what all rounds kept, or only the last one
    checkpoint: float = 60.0  # seconds between two checkpoints of a training under way
    threads: int = 0  # CPU threads of each rank; 0: all cores
    gpus: float = 0  # of each rank: 0 trains on the CPU, 1 on a GPU, 0.5 on a GPU that an engine shares
    ranks: int = 1  # processes that share the model (FSDP2); with gpus=1 so many GPUs
    bf16: bool = True  # on GPUs: compute in bfloat16, with weights and moments in float32
    lora: int = 0  # rank of low-rank adapters that are trained instead of the weights, and merged into them; 0: all weights

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, tokens=1, checkpoint=0, threads=0, ranks=1, lora=0)
        one_of(self, start=("previous", "base"), pool=("all", "last"))
        share_of_gpus(self.gpus, 1)


@dataclass
class TrainJudge(Optimise):
    """How a value model is taught, each round anew on a copy of the policy's trunk."""

    tokens: int = 400_000  # taught in each round, on the answers of the newest rounds


@dataclass(frozen=True, slots=True)
class Progress:
    """Of the training under way, or of the last one."""

    of: str = ""  # the model or value model that is being made
    done: int = 0  # optimiser steps
    steps: int = 0  # in all
    loss: float = 0.0  # of the last step
    tokens: int = 0  # trained on so far


@dataclass(frozen=True, slots=True)
class Kept:
    """What was trained last, as it lies on this rank."""

    version: str
    module: torch.nn.Module
    group: Group
    end: contextlib.ExitStack  # leaves the ranks' process group


class Trainer:
    """Ray actor. A training is a function of model, manifest and seed; one that was killed goes on from its last checkpoint, to
    the same model."""

    def __init__(self, root: str, model: Model, train: Train, train_judge: TrainJudge, seed: int, keeps: bool = False):
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401 not later:
        # two threads cannot import them at once

        self._store, self._model, self._train, self._train_judge, self._seed = store_at(root), model, train, train_judge, seed
        self._device = "cuda" if train.gpus else "cpu"
        self._progress = Progress()
        self._keeps, self._kept = keeps, None  # for engines that are sent it; the model, until `let_go`
        self._loading = threading.Lock()  # two models loaded at once, in two threads, get each other's weights or none
        torch.set_num_threads(train.threads or os.cpu_count() or 1)

    def __repr__(self) -> str:
        return "Trainer"

    def ready(self) -> str:
        return here()

    def progress(self) -> Progress:
        return self._progress

    def rendezvous(self) -> str:
        """Where the other ranks find this one."""
        import ray

        return ranks.meeting_point(ray.util.get_node_ip_address())

    def holds(self, version: str) -> bool:
        """Does this rank still hold the model or value model that it trained last, and is it this one?"""
        return self._kept is not None and self._kept.version == version

    def let_go(self) -> None:
        """Give up the model that was trained last."""
        if self._kept:
            kept, self._kept = self._kept, None
            kept.end.close()
            del kept
            ranks.release(self._device)

    def send(self, folder: str, engine: Any, how: str, gpus: int, senders: int = 1) -> None:
        """Give an engine the weights of a folder of the store (cluster/transfer.py): what the ranks hold of it, if all of them
        are asked. gpus: that the engine is cut over. Raises RaySystemError where this rank does not hold it any more."""
        from ray.exceptions import RaySystemError

        from cluster.train import transfer

        kept = self._kept if self.holds(folder.rpartition("/")[2]) else None
        if kept is None and senders > 1:
            raise RaySystemError(f"a rank does not hold {folder} any more")
        rank, module = (kept.group.rank, kept.module) if kept and kept.group.ranks == senders else (0, None)
        weights = transfer.source(self._store.folder(folder), module, "cpu" if how == "host" else "cuda")
        transfer.send(weights, engine, how, gpus, self.rendezvous().removeprefix("tcp://"), rank)

    def begin(self, task: Part) -> dict:
        """Commit models/m00000: the model of `model.path`, or a small one trained on the task's own corpus."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        key = f"models/{model_key(0)}"
        if self._model.path:
            try:
                tokenizer = AutoTokenizer.from_pretrained(self._model.path)
                # The model's own dtype: a run starts from the very weights that it was given.
                model = AutoModelForCausalLM.from_pretrained(self._model.path, dtype="auto", use_safetensors=True)
            except (OSError, ValueError) as error:
                what = str(error).splitlines()[0]
                raise UserError(
                    f"model.path {self._model.path}: no Hugging Face model with safetensors there ({what})"
                ) from None

            def write(folder: Path) -> None:
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
                write_record(folder, {"from": self._model.path})

            self._store.put_folder(key, write)
            return self._store.json(f"{key}/training")
        part = task.make()
        if not isinstance(part, Corpus):
            raise UserError(
                f"model.path is missing: task {task.name} has no corpus to warm-start a model on; type model.path=FOLDER"
            )
        options = self._model.warm_start
        rng = np.random.default_rng(seed_of(self._seed, "corpus"))
        corpus = part.corpus(options.tokens, rng)

        def write(folder: Path) -> None:
            tiny.build(folder, part.vocabulary, self._model.shape, seed_of(self._seed, "weights") % 2**31)
            learn = Part(LEARN, "sft", {}).make()
            order = np.random.default_rng(self._seed).permutation(len(corpus))
            self._fit(model_key(0), folder, folder, corpus, order, options, {}, learn)

        self._store.put_folder(key, write)
        return self._over(model_key(0), key)

    def train(self, model: str, base: str, learn: Part, group: Group = ALONE) -> dict:
        """Train model `base` on a manifest (m00003: r00003) and commit it as `model`. Returns its training record.

        In a group every rank is called with the same arguments; rank 0 commits.
        """
        key, number = f"models/{model}", f"r{model[1:]}"
        if not self._store.has(key, ""):
            manifest = self._store.table(f"manifests/{number}")
            part = learn.make()
            items = list(zip(manifest["trace_id"].to_pylist(), manifest["against"].to_pylist(), strict=True))
            unique = list(dict.fromkeys(items))
            place = {item: i for i, item in enumerate(unique)}
            data, where = load_examples(self._store, unique, part)
            index = where[[place[item] for item in items]]
            record = {"base": base, "manifest": number, "examples": len(manifest), "learn": learn.name}
            source = self._store.folder(f"models/{base}")
            fit = lambda folder: self._fit(model, source, folder, data, index, self._train, record, part, group)  # noqa: E731
            self._put(key, fit, group)
        return self._over(model, key, group)

    def _put(self, key: str, fit: Callable[[Path | None], None], group: Group) -> None:
        """Rank 0 commits the folder that `fit` fills; the others only take part."""
        if group.first:
            self._store.put_folder(key, fit)
        else:
            fit(None)
        ranks.release(self._device)

    def judge(self, number: int, base: int, judge: Part, verify: Part, step_end: str, group: Group = ALONE) -> dict:
        """Teach a value model and commit it as judges/j<number>-<name>: a scalar head on a copy of model `base`'s trunk.

        It learns from the answers of the newest rounds up to `number`, so on the levels that it is going to judge.
        Returns its training record, empty where there is no answer to learn from.
        """
        from transformers import AutoTokenizer

        name = judge_key(number, judge.name)
        key = f"judges/{name}"
        if not self._store.has(key, ""):
            options = self._train_judge
            source = self._store.folder(f"models/{model_key(base)}")
            part = judge.make()
            ends = step_ends(AutoTokenizer.from_pretrained(source), step_end)
            data = self._labelled(number, part, ends, verify.make())
            if not len(data):
                return {}
            rng = np.random.default_rng(seed_of(self._seed, "judge", judge.name, number))
            indices, _ = order(data.lengths, options.tokens, rng)
            of = data.weights > 0
            record = {"trunk": model_key(base), "answers": len(data), "steps_labelled": int(of.sum())}
            record |= {"share_positive": float(data.labels[of].mean())}
            fit = lambda folder: self._fit(name, source, folder, data, indices, options, record, Teach(), group)  # noqa: E731
            self._put(key, fit, group)
        return self._over(name, key, group)

    def _over(self, name: str, key: str, group: Group = ALONE) -> dict:
        """A training that is committed needs no checkpoints any more, whoever committed it. Returns its record."""
        if not group.first:
            return {}
        Checkpoints(self._store, name, 0).clear()
        return self._store.json(f"{key}/training")

    def _labelled(self, number: int, part, ends: Ends, verifier) -> Examples:
        """Labelled answers of round `number` and those before it, the newest first, until there are enough for one epoch."""
        found, tokens = [], 0
        for before in range(number, 0, -1):
            plan = self._store.table(f"plans/{round_key(before)}/train", ["id", "prompt", "answer", "level"]).to_pylist()
            problems = {row["id"]: Problem(**row) for row in plan}
            steps = None
            if isinstance(verifier, GradesSteps):
                steps = lambda problem, answer, problems=problems: verifier.steps(problems[problem], answer)  # noqa: E731
            for unit in sorted(self._store.units(f"traces/{round_key(before)}/train")):
                if tokens >= self._train_judge.tokens:
                    break
                found.append(part.examples(self._store.table(unit_key(before, "train", unit)), ends, steps))
                tokens += int(found[-1].offsets[-1])
        return Examples.concat(found)

    def _fit(
        self,
        name: str,
        source: Path,
        target: Path | None,
        data: Examples,
        order: np.ndarray,
        options: Optimise,
        record: dict,
        learn: Learn | Teach,
        group: Group = ALONE,
    ) -> None:
        """Train the model of folder `source` and save it, with its tokenizer and training.json, to `target` (None: not here).

        name: under which the training's checkpoints lie.
        """
        import torch
        import transformers

        start = time.monotonic()
        torch.manual_seed(self._seed)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        value = isinstance(learn, Teach)
        kind = transformers.AutoModelForSequenceClassification if value else transformers.AutoModelForCausalLM
        head = {"num_labels": 1} if value else {}
        lora = options.lora if isinstance(options, Train) else 0  # value models and the first model are trained whole
        plan = list(batches(data, order, options.rows, options.row_tokens, np.random.default_rng(self._seed)))
        self._progress = Progress(name, 0, len(plan))
        with contextlib.ExitStack() as end:
            mesh = end.enter_context(ranks.joined(group, self._device))
            half = self._train.bf16 and self._device == "cuda"
            with self._loading:
                model = ranks.load(kind, source, group, mesh, half, lora, **head)
            model.train()
            if options.recompute:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            checkpoints = Checkpoints(self._store, name, self._train.checkpoint, mesh)
            losses, norms, before = [], [], time.monotonic()
            for step, loss in enumerate(fit(model, plan, options, learn, checkpoints, group, mesh, norms), 1):
                if not math.isfinite(loss):  # such a model is never committed
                    raise UserError(
                        f"training diverged: the loss is {loss} at step {step}; lower train.lr in a fork (run.fork=RUN@ROUND)"
                    )
                losses.append(loss)
                self._progress = Progress(name, step, len(plan), loss, self._progress.tokens + plan[step - 1].tokens)
            spent = time.monotonic() - before
            ranks.save(model, kind, source, target, mesh, lora)
            if self._keeps and not lora:  # an engine takes no adapters
                self._kept = Kept(name, model, group, end.pop_all())
        if target is None:
            return
        edge = max(1, len(losses) // 20)
        tokens, slots = sum(batch.tokens for batch in plan), sum(batch.token_ids.size for batch in plan)
        tokenizer.save_pretrained(target)
        mine = sum(batch.tokens for batch in plan[len(plan) - len(norms) :])  # of this life
        speed = mine / max(spent, 1e-9)
        used = {"gradient_norm": float(np.mean(norms[-edge:])) if norms else 0.0, "tokens_per_second": round(speed, 1)}
        used |= ranks.used(model, speed, options.row_tokens / 2, group)
        details = used | {
            "steps": len(plan),
            "tokens": tokens,
            "packing": round(tokens / slots, 4) if slots else 1.0,
            "loss_first": float(np.mean(losses[:edge])) if losses else 0.0,
            "loss_last": float(np.mean(losses[-edge:])) if losses else 0.0,
            "seconds": round(time.monotonic() - start, 2),  # of the last life
            "lives": [*checkpoints.lives, len(plan)],  # the steps at which each life's share of the training ends
        }
        write_record(target, record | {"options": asdict(options)} | details)

    def scores(self, judge: str, prefixes: list[np.ndarray]) -> np.ndarray:
        """What value model `judge` says after each prefix (int32 [p] each): float32 [prefixes], probabilities."""
        import torch
        from transformers import AutoModelForSequenceClassification

        folder = self._store.folder(f"judges/{judge}")
        with self._loading:
            model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            logits = [model(input_ids=torch.from_numpy(each.astype(np.int64))[None]).logits[0, 0] for each in prefixes]
        return torch.stack(logits).sigmoid().numpy()

    def logprobs(self, model: str, prompt: np.ndarray, answer: np.ndarray) -> np.ndarray:
        """Logprobs that a model gives to the tokens of `answer` behind `prompt`: float32 [t], in float32."""
        import torch
        from transformers import AutoModelForCausalLM

        with self._loading:
            policy = AutoModelForCausalLM.from_pretrained(self._store.folder(f"models/{model}"), dtype=torch.float32).eval()
        tokens = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))[None]
        with torch.no_grad():
            scores = policy(input_ids=tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return scores.gather(1, tokens[0, len(prompt) :, None])[:, 0].numpy()


class Teach:
    """What a value model learns: binary cross-entropy on labelled steps."""

    def objective(self, model) -> Callable:
        """The loss as a method of the model: it asks parts of it, for which FSDP has to gather the weights too."""
        from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

        model.binary = MethodType(losses.binary, model)
        if isinstance(model, FSDPModule):
            register_fsdp_forward_method(model, "binary")
        return lambda model, batch: model.binary(batch)

    def total(self, batch: Batch) -> float:
        return float(batch.weights.sum())


def pace(schedule: str, step: int, steps: int, warmup: int) -> float:
    """Share of the highest learning rate at a step: a linear warm-up, then the schedule down to a twentieth at the end."""
    down = {"cosine": 0.525 + 0.475 * math.cos(math.pi * step / steps), "linear": 1 - 0.95 * step / steps, "constant": 1.0}
    return min(1.0, (step + 1) / warmup) * down[schedule]


def fit(
    model,
    plan: list[Batch],
    options: Optimise,
    learn: Learn | Teach,
    checkpoints: Checkpoints | None = None,
    group: Group = ALONE,
    mesh: DeviceMesh | None = None,
    norms: list[float] | None = None,
) -> Iterator[float]:
    """One optimiser step a batch; yields each step's loss, for a policy in nats per target token.

    The loss is normalised by the total of the whole batch, so accumulation over micro-batches does not change it. Sequences
    packed in one row do not see each other: transformers builds the block mask from positions that begin again at 0. With
    checkpoints, the steps of earlier lives are not done again; their losses are yielded as they were.

    In a group each rank works on its share of the rows, and the losses and the model are those of one rank alone, but for
    rounding. norms: gets the gradient's norm of each step that is done, before it is clipped.
    """
    import torch

    loss_of = learn.objective(model)  # of the weights that the training begins with
    device = model.device
    learnt = [p for p in model.parameters() if p.requires_grad]
    plain, matrices = [p for p in learnt if p.dim() < 2], [p for p in learnt if p.dim() >= 2]
    groups = [{"params": matrices}, {"params": plain, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=options.lr, betas=tuple(options.betas), weight_decay=options.weight_decay, fused=True)
    found = checkpoints.restore(model, adam, len(plan)) if checkpoints else []
    yield from found
    warmup = max(1, round(options.warmup * len(plan)))
    for step, batch in enumerate(plan[len(found) :], len(found)):
        for parameters in adam.param_groups:
            parameters["lr"] = options.lr * pace(options.schedule, step, len(plan), warmup)
        total, whole = 0.0, max(learn.total(batch), 1e-9)
        for at in range(0, len(batch.token_ids), options.micro_rows * group.ranks):
            mine = at + group.rank * options.micro_rows
            rows = slice(mine, mine + options.micro_rows)
            arrays = {name: getattr(batch, name)[rows] for name in ("token_ids", "positions", "weights", "labels", "items")}
            if not len(
                arrays["token_ids"]
            ):  # no row is left for this rank, but the others wait for it: one that counts nothing
                arrays = {name: getattr(batch, name)[:1] for name in arrays}
                arrays["weights"] = np.zeros_like(arrays["weights"])
            loss = loss_of(model, SimpleNamespace(**{k: torch.from_numpy(v).to(device) for k, v in arrays.items()})) / whole
            (loss * group.ranks).backward()  # the ranks' gradients are averaged
            total += loss.item()
        total = ranks.together(total, mesh)
        norm = torch.nn.utils.clip_grad_norm_(learnt, options.clip)
        if norms is not None:
            norms.append(float(norm.full_tensor() if mesh is not None else norm))
        adam.step()
        adam.zero_grad(set_to_none=True)
        found.append(total)
        if checkpoints:
            checkpoints.save(model, adam, len(plan), found)
        yield total
    if checkpoints:
        checkpoints.close()


def load_examples(store: Store, items: list[tuple[str, str]], learn: Learn) -> tuple[Examples, np.ndarray]:
    """The examples of the named items, read unit by unit, and where each item's is among them: int64 [items]."""
    by_unit: dict[str, list[int]] = {}
    for index, (name, _) in enumerate(items):
        by_unit.setdefault("/".join(name.split("/")[:3]), []).append(index)
    parts = []
    for unit, indices in by_unit.items():
        round_name, split, number = unit.split("/")
        key = unit_key(int(round_name[1:]), split, int(number[1:]))
        columns = ["id", "node", "parent", "depth", "token_ids", "visits", "state"]
        parts.append(learn.examples(store.table(key, columns), [items[i] for i in indices]))
    where = np.zeros(len(items), np.int64)
    where[[i for indices in by_unit.values() for i in indices]] = np.arange(len(items))
    return Examples.concat(parts), where


def write_record(folder: Path, record: dict) -> None:
    import json

    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def manifest_table(items: pa.Table, indices: np.ndarray, epochs: np.ndarray) -> pa.Table:
    """What is trained on, in order: rows `indices` of what `Learn.items` returned."""
    taken = items.take(pa.array(indices))
    return pa.table({"trace_id": taken["id"], "against": taken["against"], "epoch": pa.array(epochs, pa.int32())})
