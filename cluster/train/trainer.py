"""The actor that makes models: the first one, each round's model from its manifest, and the value models."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.engine import end_tokens
from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.folder.layout import TRAINING, judge_key, model_folder, model_key, model_number, round_key
from cluster.folder.place import store_at
from cluster.train import ranks
from cluster.train.checkpoint import Checkpoints
from cluster.train.examples import StepLabels, labelled, of_manifest
from cluster.train.fit import Objective, fit
from cluster.train.options import Model, Optimise, Train, TrainJudge
from cluster.train.ranks import ALONE, POLICY, VALUE, Group, Head
from cluster.verifier import here
from iteration import tiny
from iteration.errors import UserError
from iteration.examples import order
from iteration.packing import Batch, batches
from iteration.parts import LEARN, Part
from iteration.protocols import Corpus
from iteration.respond import seed_of
from iteration.steps import step_ends
from iteration.types import Examples

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Progress:
    """Of the current training, or of the last one."""

    of: str = ""  # the model or value model that is being made
    done: int = 0  # optimiser steps
    steps: int = 0  # in all
    loss: float = 0.0  # of the last step
    tokens: int = 0  # trained on so far


@dataclass(frozen=True, slots=True)
class Training:
    """The inputs that determine one training."""

    name: str  # version of the model that it makes; its checkpoints are stored under it
    source: Path  # Hugging Face folder that it starts from
    data: Examples
    order: np.ndarray  # int64 [items], indices of `data`
    options: Optimise
    learn: Objective
    head: Head = POLICY
    lora: int = 0  # rank of the adapters; 0: all weights are trained
    dtype: str = "float32"  # of the weights that are committed
    record: dict = field(default_factory=dict)  # further entries of training.json


@dataclass(frozen=True, slots=True)
class Resident:
    """The model that stays in memory after its training, so that engines can be sent its weights: this rank's share."""

    version: str
    module: torch.nn.Module
    group: Group
    end: contextlib.ExitStack  # leaves the ranks' process group


class Trainer:
    """Ray actor. A training is a function of model, manifest and seed; after a kill it resumes from its last checkpoint and
    makes the same model.

    resident: the trained model stays in memory until `release`, so that its weights can be sent from there.
    """

    def __init__(self, root: str, model: Model, train: Train, train_judge: TrainJudge, seed: int, resident: bool = False):
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401 not later:
        # two threads cannot import them at once

        self._store, self._model, self._train, self._train_judge, self._seed = store_at(root), model, train, train_judge, seed
        self._book = Book(self._store)
        self._device = train.device
        self._progress = Progress()
        self._stays, self._resident = resident, None
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

    # the model that stays in memory

    def is_resident(self, version: str) -> bool:
        """Is this model or value model still in this rank's memory?"""
        return self._resident is not None and self._resident.version == version

    def release(self) -> None:
        """Free the memory of the model that was trained last."""
        if self._resident:
            resident, self._resident = self._resident, None
            resident.end.close()
            del resident
            ranks.release(self._device)

    def send(self, version: str, engine: Any, how: str, gpus: int, senders: int = 1) -> None:
        """Send an engine the weights of a model or value model (cluster/train/transfer.py): from memory where all ranks are
        asked, else from the committed folder. gpus: of the engine. Raises RaySystemError where they are not in this rank's
        memory any more."""
        from ray.exceptions import RaySystemError

        from cluster.train import transfer

        resident = self._resident if self.is_resident(version) else None
        if resident is None and senders > 1:
            raise RaySystemError(f"{version} is not in the memory of this rank any more")
        whole = resident is not None and resident.group.ranks == senders
        rank, module = (resident.group.rank, resident.module) if whole else (0, None)
        weights = transfer.source(self._store.folder(model_folder(version)), module, "cpu" if how == "host" else "cuda")
        transfer.send(weights, engine, how, gpus, self.rendezvous().removeprefix("tcp://"), rank)

    # what is made

    def begin(self, task: Part) -> dict:
        """Commit models/m00000: the model of `model.path`, or a small one trained on the task's own corpus."""
        name = model_key(0)
        if self._model.path:
            self._store.put_folder(model_folder(name), self._given)
            return self._committed(name)
        part = task.make()
        if not isinstance(part, Corpus):
            raise UserError(
                f"model.path is missing: task {task.name} has no corpus to warm-start a model on; type model.path=FOLDER"
            )
        options = self._model.warm_start
        data = part.corpus(options.tokens, np.random.default_rng(seed_of(self._seed, "corpus")))
        indices = np.random.default_rng(self._seed).permutation(len(data))

        def write(folder: Path) -> None:
            tiny.build(folder, part.vocabulary, self._model.shape, seed_of(self._seed, "weights") % 2**31)
            self._make(Training(name, folder, data, indices, options, Part(LEARN, "sft", {}).make()), folder)

        self._store.put_folder(model_folder(name), write)
        return self._committed(name)

    def _given(self, folder: Path) -> None:
        """Copy the model of `model.path` in its own dtype: a run starts from exactly these weights."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = self._model.path
        try:
            tokenizer = AutoTokenizer.from_pretrained(path)
            model = AutoModelForCausalLM.from_pretrained(path, dtype="auto", use_safetensors=True)
        except (OSError, ValueError) as error:
            what = str(error).splitlines()[0]
            raise UserError(f"model.path {path}: no Hugging Face model with safetensors there ({what})") from None
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if not end_tokens(folder):
            raise UserError(
                f"model.path {path}: no end-of-text token there, so no answer would end; name it as eos_token in "
                "tokenizer_config.json, or as eos_token_id in generation_config.json"
            )
        write_record(folder, {"from": path})

    def train(self, model: str, base: str, learn: Part, group: Group = ALONE) -> dict:
        """Train model `base` on the manifest of `model` and commit the result as `model`. Returns its training record.

        In a group every rank is called with the same arguments; rank 0 commits.
        """
        if not self._store.has(model_folder(model), ""):
            part = learn.make()
            data, indices = of_manifest(self._book, model, part)
            record = {"base": base, "manifest": round_key(model_number(model)), "examples": len(indices), "learn": learn.name}
            source = self._store.folder(model_folder(base))
            options = self._train
            dtype = ranks.dtype_of(source) if options.save_dtype == "same" else options.save_dtype
            self._commit(Training(model, source, data, indices, options, part, POLICY, options.lora, dtype, record), group)
        return self._committed(model, group)

    def judge(self, number: int, base: int, judge: Part, verify: Part, step_end: str, arm: Arm, group: Group = ALONE) -> dict:
        """Train a value model and commit it as judges/j<number>-<name>: a scalar head on a copy of the weights of model `base`.

        It learns from the answers of `arm` in the newest rounds up to `number`, so on the levels that it will score.
        Returns its training record, empty where there is no answer to learn from.
        """
        from transformers import AutoTokenizer

        name = judge_key(number, judge.name)
        if not self._store.has(model_folder(name), ""):
            options, trunk = self._train_judge, model_key(base)
            source = self._store.folder(model_folder(trunk))
            ends = step_ends(AutoTokenizer.from_pretrained(source), step_end)
            data = labelled(self._book, arm, number, judge.make(), ends, verify.make(), options.tokens)
            if not len(data):
                return {}
            indices, _ = order(
                data.lengths, options.tokens, np.random.default_rng(seed_of(self._seed, "judge", judge.name, number))
            )
            steps = data.weights > 0
            record = {"trunk": trunk, "answers": len(data), "steps_labelled": int(steps.sum())}
            record |= {"share_positive": float(data.labels[steps].mean())}
            self._commit(Training(name, source, data, indices, options, StepLabels(), VALUE, record=record), group)
        return self._committed(name, group)

    def _commit(self, training: Training, group: Group) -> None:
        """Rank 0 commits the model; the others only take part in training it."""
        if group.first:
            self._store.put_folder(model_folder(training.name), lambda folder: self._make(training, folder, group))
        else:
            self._make(training, None, group)
        ranks.release(self._device)

    def _committed(self, name: str, group: Group = ALONE) -> dict:
        """Remove the checkpoints of a committed model. Returns its training record."""
        if not group.first:
            return {}
        Checkpoints(self._store, name, 0).clear()
        return self._store.json(f"{model_folder(name)}/{TRAINING}")

    def _make(self, training: Training, target: Path | None, group: Group = ALONE) -> None:
        """Train, and save the model with its tokenizer and training.json to `target` (None: on another rank)."""
        import torch
        from transformers import AutoTokenizer

        start, options = time.monotonic(), training.options
        torch.manual_seed(self._seed)
        rng = np.random.default_rng(self._seed)
        plan = list(batches(training.data, training.order, options.rows, options.row_tokens, rng))
        tokenizer = AutoTokenizer.from_pretrained(training.source)
        with contextlib.ExitStack() as end:
            mesh = end.enter_context(ranks.joined(group, self._device))
            half = self._train.bf16 and self._device == "cuda"
            with self._loading:
                model = ranks.load(training.head, training.source, group, mesh, half, training.lora, self._device)
            model.train()
            if options.recompute:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            checkpoints = Checkpoints(self._store, training.name, self._train.checkpoint, mesh)
            norms, before = [], time.monotonic()
            steps = fit(model, plan, options, training.learn, checkpoints, group, mesh, norms, half)
            losses = self._watched(training.name, plan, steps)
            spent = time.monotonic() - before
            ranks.save(model, training.head, training.source, target, mesh, training.lora, training.dtype)
            if self._stays and not training.lora:  # an engine takes no adapters
                self._resident = Resident(training.name, model, group, end.pop_all())
        if target is None:
            return
        tokenizer.save_pretrained(target)
        speed = sum(batch.tokens for batch in plan[len(plan) - len(norms) :]) / max(spent, 1e-9)  # of this attempt
        record = training.record | {"options": asdict(options)} | curve(losses, norms)
        record |= {"tokens_per_second": round(speed, 1)} | ranks.used(model, speed, options.row_tokens / 2, group)
        record |= filling(plan) | {
            "seconds": round(time.monotonic() - start, 2),  # of the last attempt
            "lives": [*checkpoints.attempts, len(plan)],  # the steps at which each attempt's share of the training ends
        }
        write_record(target, record)

    def _watched(self, name: str, plan: list[Batch], steps: Iterator[float]) -> list[float]:
        """Take all steps. Returns their losses. Raises UserError where one is not finite: such a model is never committed."""
        self._progress, losses = Progress(name, 0, len(plan)), []
        for step, loss in enumerate(steps, 1):
            check_finite(loss, step)
            losses.append(loss)
            self._progress = Progress(name, step, len(plan), loss, self._progress.tokens + plan[step - 1].tokens)
        return losses

    # what engines are compared with

    def scores(self, judge: str, prefixes: list[np.ndarray]) -> np.ndarray:
        """The score of value model `judge` after each prefix (int32 [p] each): float32 [prefixes], probabilities."""
        import torch

        model = self._loaded(VALUE, judge)
        with torch.no_grad():
            logits = [model(input_ids=torch.from_numpy(each.astype(np.int64))[None]).logits[0, 0] for each in prefixes]
        return torch.stack(logits).sigmoid().numpy()

    def logprobs(self, model: str, prompt: np.ndarray, answer: np.ndarray) -> np.ndarray:
        """Logprobs of the tokens of `answer` after `prompt` under a model: float32 [t], computed in float32."""
        import torch

        policy = self._loaded(POLICY, model)
        tokens = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))[None]
        with torch.no_grad():
            scores = policy(input_ids=tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return scores.gather(1, tokens[0, len(prompt) :, None])[:, 0].numpy()

    def _loaded(self, head: Head, version: str) -> torch.nn.Module:
        import torch

        with self._loading:
            folder = self._store.folder(model_folder(version))
            return head.model_class.from_pretrained(folder, dtype=torch.float32, **head.options).eval()


def check_finite(loss: float, step: int) -> None:
    """Raises UserError where a loss is not finite."""
    if not math.isfinite(loss):
        raise UserError(f"training diverged: the loss is {loss} at step {step}; lower train.lr in a fork (run.fork=RUN@ROUND)")


def curve(losses: list[float], norms: list[float]) -> dict[str, float]:
    """Mean loss over the first and the last twentieth of the steps, and mean gradient norm over the last."""
    edge = max(1, len(losses) // 20)
    means = {"gradient_norm": norms[-edge:], "loss_first": losses[:edge], "loss_last": losses[-edge:]}
    return {name: float(np.mean(values)) if values else 0.0 for name, values in means.items()}


def filling(plan: list[Batch]) -> dict[str, float]:
    """Steps, tokens, and the share of the slots that hold a token."""
    tokens, slots = sum(batch.tokens for batch in plan), sum(batch.token_ids.size for batch in plan)
    return {"steps": len(plan), "tokens": tokens, "packing": round(tokens / slots, 4) if slots else 1.0}


def write_record(folder: Path, record: dict) -> None:
    (folder / f"{TRAINING}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
