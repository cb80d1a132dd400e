"""Actors that answer from a script, so that the real driver runs without engines and without Ray."""

import asyncio
import functools
import json
import os
import shutil
import tempfile
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import cluster.run as driver
from cluster.crew import Member
from cluster.folder.layout import SCORE
from cluster.planning import Planning
from cluster.remote import adopt
from cluster.searcher import Done, table
from iteration import tiny
from iteration.tasks.expressions import VOCABULARY
from iteration.types import Expand, State, Tree, Verdict
from tests.worlds import step

SKILL = {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0}  # share of a model's answers that are correct


async def soon(value=None):
    return value


@functools.cache
def first_model() -> str:
    """A folder with a first model, made once."""
    folder = tempfile.mkdtemp()
    tiny.build(folder, VOCABULARY, tiny.Shape(hidden_size=32, layers=1), 0)
    return folder


@functools.cache
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(first_model())


class Actors:
    """Scripted: models are folders with a record, and a model's answers are correct as its skill says."""

    skill = SKILL
    calls: list[tuple]  # of the whole test: (what, ...)

    def __init__(self, options, task, verify, judge, store, address, view):
        self.options, self.store, self.started, self.version, self.judged = options, store, False, "", ""
        self.generators = self.judges = self

    async def __aenter__(self):
        if not self.store.has("models/m00000", ""):
            self.put_folder("models/m00000", first_model())
        return self

    async def __aexit__(self, *_):
        pass

    def put_folder(self, key, source=None, **record):
        def write(folder):
            shutil.copytree(source, folder, dirs_exist_ok=True) if source else None
            (folder / "training.json").write_text(json.dumps(record))

        self.store.put_folder(key, write)
        return self.store.json(f"{key}/training")

    async def make_ready(self, prepare):
        greedy, score = (
            SimpleNamespace(remote=lambda *_, value=value: soon(value)) for value in ((None, np.zeros(1)), np.zeros(1))
        )
        await prepare(Member("engine", SimpleNamespace(greedy=greedy, score=score)))

    async def give(self, engine, version):
        self.calls.append(("give", version))

    async def train(self, method, model, *arguments):
        if method in ("logprobs", "scores"):
            return np.zeros(1)
        await asyncio.sleep(0.001)  # others have a turn
        self.calls.append((method, model, arguments[0]))
        if method == "judge":
            return self.put_folder(f"judges/j{model:05d}-{arguments[1].name}", base=arguments[0])
        examples = len(self.store.table(f"manifests/r{model[1:]}"))
        return self.put_folder(f"models/{model}", base=arguments[0], examples=examples, steps=1, tokens=examples)

    async def search(self, title, units, done, aside):
        for unit in units:
            self.calls.append((title, unit.round, unit.model))
            trees = []
            for problem in unit.problems:
                n = unit.arm.search.options.get("n", 4)
                tree = Tree.root(problem, step(problem.prompt, False), 0, unit.history[0])
                answers = [step(f"{problem.id} answer {i}", model=unit.model) for i in range(n)]
                right = round(n * self.skill.get(int(unit.model[1:6]), 1.0))
                for i, node in enumerate(tree.grow([Expand(0, n, True)], [answers])):
                    node.verdict = Verdict(State.CORRECT if i < right else State.WRONG, str(i), float(i < right))
                    node.values = [0.5] if unit.judge else None
                trees.append(tree)
            won = self.store.put_table(unit.key, table(unit, trees))
            done(Done(unit.key, n * len(trees), won=won))
            await asyncio.sleep(0)

    async def adopt(self, title, units, done, aside):
        for unit in units:
            self.calls.append((title, unit.round, unit.model))
            trees = []
            for problem, given in zip(unit.problems, unit.given, strict=True):
                trees.append(Tree.root(problem, step(problem.prompt, False), 0))
                adopt(trees[-1], given, tokenizer(), self.options.generate)
                for node in trees[-1].nodes[1:]:
                    right = problem.answer in node.step.text
                    node.verdict = node.verdict or Verdict(State.CORRECT if right else State.WRONG, "", float(right))
            won = self.store.put_table(unit.key, table(unit, trees))
            done(Done(unit.key, won=won))

    async def score(self, todo, judge, version, done, aside):
        for key, target in todo.items():
            self.calls.append(("score", key, version))
            nodes = self.store.table(key, ["id", "state"]).filter(pc.field("state").is_valid())
            self.store.put_table(target, pa.table([nodes["id"], [[0.5]] * len(nodes)], schema=SCORE))
            done(Done(target))
            await asyncio.sleep(0)


def play_on_script(monkeypatch) -> None:
    """Give every run of this process scripted actors. Nothing is synced to disk."""
    monkeypatch.setattr(driver.Run, "staff", Actors)
    monkeypatch.setattr(Actors, "calls", [], raising=False)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(Planning, "tokenizer", tokenizer())
