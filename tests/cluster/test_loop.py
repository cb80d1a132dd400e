"""Whole runs of the real driver on scripted actors: no engine, no Ray. A killed driver's run is resumed to the same files."""

import asyncio
import functools
import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

import cluster.run as driver
from cluster.config import load
from cluster.crew import Member
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.searcher import Done, table
from cluster.view import View
from iteration import tiny
from iteration.tasks.expressions import VOCABULARY
from iteration.types import Expand, State, Tree, Verdict
from tests.worlds import step

ROUNDS, UNITS = 3, 2
OPTIONS = [
    f"rounds={ROUNDS}",
    "problems=8",
    "unit=4",
    "search.n=4",
    "measure.levels=[4]",
    "measure.problems=8",
    "measure.samples=4",
]
SKILL = {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0}  # share of a model's answers that are correct


async def soon(value=None):
    return value


class Actors:
    """Scripted: models are folders with a record, and a model's answers are correct as its skill says."""

    skill = SKILL
    calls: list[tuple]  # of the whole test: (what, ...)

    def __init__(self, options, task, verify, judge, store, address, view):
        self.options, self.store, self.started, self.version, self.judged = options, store, False, "", ""
        self.generators = self

    async def __aenter__(self):
        if not self.store.has("models/m00000", ""):
            shape = tiny.Shape(hidden_size=32, layers=1)
            self.store.put_folder("models/m00000", lambda folder: tiny.build(folder, VOCABULARY, shape, 0))
        return self

    async def __aexit__(self, *_):
        pass

    async def make_ready(self, prepare):
        await prepare(Member("engine", SimpleNamespace(greedy=SimpleNamespace(remote=lambda *_: soon((None, np.zeros(1)))))))

    async def give(self, engine, version):
        self.calls.append(("give", version))

    async def train(self, method, model, *arguments):
        if method == "logprobs":
            return np.zeros(1)
        base, _ = arguments
        examples = len(self.store.table(f"manifests/r{model[1:]}"))
        await asyncio.sleep(0.01)  # others have a turn
        self.calls.append(("train", model, base))
        record = {"base": base, "examples": examples, "steps": 1, "tokens": examples}
        self.store.put_folder(
            f"models/{model}", lambda folder: (folder / "training.json").write_text(json.dumps(record)) and None
        )
        return self.store.json(f"models/{model}/training")

    async def search(self, title, units, done, aside):
        for unit in units:
            self.calls.append((title, unit.round, unit.model))
            trees = []
            for problem in unit.problems:
                n = unit.arm.search.options["n"]
                tree = Tree.root(problem, step(problem.prompt, False), 0, unit.history[0])
                answers = [step(f"{problem.id} answer {i}", model=unit.model) for i in range(n)]
                right = round(n * self.skill[int(unit.model[1:])])
                for i, node in enumerate(tree.grow([Expand(0, n, True)], [answers])):
                    node.verdict = Verdict(State.CORRECT if i < right else State.WRONG, str(i), float(i < right))
                trees.append(tree)
            won = self.store.put_table(unit.key, table(unit, trees))
            done(Done(unit.key, n * len(trees), won=won))
            await asyncio.sleep(0)


@functools.cache
def loaded(options: tuple[str, ...]):
    return load("configs/quickstart.yaml", [*OPTIONS, *options])


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Play a run to its end: play(name, *options, skill=..., store=...) -> (folder, calls)."""
    monkeypatch.setattr(driver, "Actors", Actors)
    monkeypatch.setattr(View, "say", lambda self, line: None)

    def play(name, *options, skill=SKILL, store=Store):
        monkeypatch.setattr(Actors, "skill", skill)
        monkeypatch.setattr(Actors, "calls", [], raising=False)
        monkeypatch.setattr(driver, "store_at", store)
        config = loaded(options).copy()
        OmegaConf.set_readonly(config, False)
        config.run.dir = str(tmp_path / name)
        asyncio.run(driver.Run(config).turn())
        return tmp_path / name, Actors.calls

    return play


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_which_model_searches_a_round(play, lag):
    folder, calls = play("run", f"lag={lag}")
    searched = {call[1]: call[2] for call in calls if call[0] == "search"}
    assert searched == {number: f"m{max(0, number - 1 - lag):05d}" for number in range(1, ROUNDS + 1)}
    assert [call for call in calls if call[0] == "train"] == [
        ("train", f"m{number:05d}", f"m{number - 1:05d}") for number in range(1, ROUNDS + 1)
    ], "each model is trained from the best one so far, in order, whoever searched"
    records = Book(Store(folder)).records()
    assert [record["model_in"] for record in records[1:]] == list(searched.values())
    assert [record["scores"][0]["pass_1"] for record in records] == list(SKILL.values())


def test_a_worse_model_is_not_promoted_and_the_best_one_continues(play):
    folder, calls = play("run", skill=SKILL | {2: 0.0})
    records = Book(Store(folder)).records()
    assert [record["model_out"] for record in records] == ["m00000", "m00001", "m00001", "m00003"]
    assert [record["promoted"] for record in records] == [True, True, False, True]
    assert "worse beyond noise" in records[2]["reason"] and "next round starts from m00001" in records[2]["reason"]
    assert ("search", 3, "m00001") in calls and ("train", "m00003", "m00001") in calls
    assert ("measure", 2, "m00002") in calls, "it was measured, or nobody would know"


def test_nothing_kept_trains_nothing_and_says_so(play):
    folder, calls = play("run", skill={0: 0.0})
    records = Book(Store(folder)).records()
    assert not [call for call in calls if call[0] == "train"]
    assert [record["model_out"] for record in records] == ["m00000"] * (ROUNDS + 1)
    assert all(record["reason"].startswith("nothing to train on") for record in records[1:])


def test_a_finished_run_does_nothing_and_more_rounds_continue_it(play):
    folder, _ = play("run", "rounds=2")
    before = content(folder)
    assert play("run", "rounds=2")[1] == [] and content(folder) == before
    _, calls = play("run")
    assert {call[1] for call in calls if call[0] == "search"} == {3}
    assert content(folder) == content(play("whole")[0]) | {"config.yaml": before["config.yaml"]}


class Killed(BaseException):
    """In place of SIGKILL."""


class Mortal(Store):
    """A store whose process dies after so many commits; from then on nothing is written."""

    left = 0

    def _put(self, name, write):
        return self._mortal(super()._put, name, write)

    def commit_folder(self, key, tmp):
        return self._mortal(super().commit_folder, key, tmp)

    def _mortal(self, commit, *arguments):
        if Mortal.left == 0:
            raise Killed
        Mortal.left -= 1
        return commit(*arguments)


@pytest.mark.parametrize("lag", [0, 1])
def test_a_driver_that_is_killed_at_any_commit_is_resumed_to_the_same_files(play, lag):
    """Before each commit in turn: every prefix of the protocol is a state that a resumed run begins with."""
    options = [f"lag={lag}", "rounds=2"]
    whole, kills = content(play("whole", *options)[0]), 0
    for kills in range(200):
        name, Mortal.left = f"killed-{kills}", kills
        try:
            folder, _ = play(name, *options, store=Mortal)
            break
        except Killed:
            folder, _ = play(name, *options)
        assert content(folder) == whole, f"killed before commit {kills}"
    assert kills > 20, "every commit of two rounds was a place to die at"
    assert content(folder) == whole


def test_the_comparison_sees_what_is_lost(play, tmp_path):
    folder, _ = play("run", "rounds=1")
    before = content(folder)
    (folder / "traces/r00001/train/u00001.parquet").unlink()
    assert content(folder) != before


def content(folder) -> dict[str, str]:
    """Every file with a digest of its content, without what differs from process to process: clocks, the run's own path, and
    the drift of an update, which a process that has nothing left to search does not make."""
    found, own = {}, ("seconds", "spans", "logprob_drift")
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.startswith("_tmp") or name == "driver.lock":
            continue
        if name.startswith("traces"):
            said = str(pq.ParquetFile(path).read().drop_columns(["created_at"]).to_pydict())
        elif name.startswith("rounds"):
            record = json.loads(path.read_text())
            said = str({key: value for key, value in record.items() if key not in own})
        elif name == "config.yaml":
            said = path.read_text().replace(str(folder), "FOLDER")
        else:
            said = path.read_bytes().hex()
        found[name] = hashlib.sha256(said.encode()).hexdigest()
    return found
