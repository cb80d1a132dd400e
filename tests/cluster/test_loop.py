"""Whole runs of the real driver on scripted actors: no engine, no Ray. A killed driver's run is resumed to the same files."""

import asyncio
import functools
import gc
import hashlib
import json
import re
import shutil
import time

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

import cluster.run as driver
from cluster import comparison, evaluation
from cluster.config import load
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.view import View
from iteration import config as settings
from tests.scripted import SKILL, Actors, play_on_script

ROUNDS = 3
OPTIONS = ["problems=4", "unit=2", "search.n=4", "measure.levels=[4]", "measure.problems=8", "measure.samples=4"]
KINDS = {"": driver.Run, "compare": comparison.Comparison, "eval": evaluation.Evaluation}
COMPARE = [
    *("compare.levels=[4]", "compare.problems=2", "compare.samples=4", "compare.budgets=[50]", "compare.source_problems=2"),
    *("compare.arms.beam.search.name=beam", "compare.sources.more.search.name=sample", "judge.name=process"),
]
EVERY = 7  # so many commits lie between two resumed runs that are left to their end
EVAL = ["eval.arms.beam.name=beam", "eval.budgets=[40,80]", "judge.name=process"]


@functools.cache
def loaded(kind: str, options: tuple[str, ...]):
    read = {"": load, "compare": comparison.read, "eval": evaluation.read}[kind]
    return read("configs/quickstart.yaml", [*OPTIONS, f"rounds={0 if kind == 'eval' else ROUNDS}", *options])


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Play a run to its end: play(name, *options, kind=..., skill=..., store=..., trusted=...) -> (folder, calls).

    What does not change between the lives of a run is made once: typed options, tokenizer, first model. Nothing is synced.
    """
    configs, options_of, check_unchanged, typed = {}, {}, driver.check_unchanged, settings.typed
    play_on_script(monkeypatch)
    monkeypatch.setattr(View, "say", lambda self, line: None)

    def play(name, *options, kind="", skill=SKILL, store=Store, trusted=False):
        monkeypatch.setattr(Actors, "skill", skill)
        monkeypatch.setattr(Actors, "calls", [], raising=False)
        monkeypatch.setattr(driver, "store_at", store)
        key = name, kind, options
        if key not in configs:
            configs[key] = loaded(kind, options).copy()
            OmegaConf.set_readonly(configs[key], False)
            configs[key].run.dir = str(tmp_path / name)
            options_of[key] = typed(configs[key], KINDS[kind].schema)
        monkeypatch.setattr(settings, "typed", lambda *_: options_of[key])
        known = lambda store, *rest: store.begun() or check_unchanged(store, *rest)  # noqa: E731
        if trusted:  # its config is not read again
            monkeypatch.setattr(driver, "check_unchanged", known)
            monkeypatch.setattr(Book, "config", configs[key])
        asyncio.run(KINDS[kind](configs[key]).turn())
        return tmp_path / name, Actors.calls

    play.folder = tmp_path
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


@pytest.mark.parametrize("learn", ["sft", "grpo"])
def test_wrong_answers_and_logprobs_are_there_where_learning_reads_them(play, learn):
    """Models 0, 1, 2 answer 1, 2, 3 of 4 right: `cap` keeps all of them, and the last round's groups are trained on."""
    folder, _ = play("run", f"learn={learn}", "train.pool=last", "train.tokens=10000", "filters.distinct=null")
    book = Book(Store(folder))
    for number in range(1, ROUNDS + 1):
        nodes = book.nodes(book.train, number, ["id", "unit", "state", "logprobs"])
        states = dict(zip(nodes["id"].to_pylist(), nodes["state"].to_pylist(), strict=True))
        manifest = book.store.table(f"manifests/r{number:05d}").filter(pc.field("epoch") == 0)
        trained = [states[name] for name in manifest["trace_id"].to_pylist()]
        assert trained.count("correct") == 4 * number and trained.count("wrong") == (learn == "grpo") * 4 * (4 - number)
    assert Book(Store(folder)).arms()["train"].logprobs == (learn == "grpo")


def test_a_finished_run_does_nothing_and_more_rounds_continue_it(play):
    folder, _ = play("run", "rounds=2")
    before = content(folder)
    assert play("run", "rounds=2")[1] == [] and content(folder) == before
    _, calls = play("run")
    assert {call[1] for call in calls if call[0] == "search"} == {3}
    assert content(folder) == content(play("whole")[0]) | {"config.yaml": before["config.yaml"]}


def test_a_resumed_run_says_where_it_resumes(play, monkeypatch):
    said = []
    monkeypatch.setattr(View, "say", lambda self, line: said.append(line))
    folder, _ = play("run", "rounds=1")
    assert not [line for line in said if "resum" in line], "it began here"
    play("run", "rounds=2")
    (folder / "rounds/r00002.json").unlink()
    (folder / "traces/r00002/train/u00001.parquet").unlink()
    shutil.rmtree(folder / "models/m00002")
    said.clear()
    play("run", "rounds=2")
    units = ["round 2, measure: 4 of 4 units are committed", "round 2, search: 1 of 2 units are committed"]
    assert said[0] == "; ".join([f"resuming {folder}: round 1 is finished", *units])
    shutil.rmtree(folder / "rounds")
    shutil.rmtree(folder / "models/m00001")
    (folder / "checkpoints/m00001/s000120").mkdir(parents=True)
    said.clear()
    play("run", "rounds=2")
    assert said[0].startswith(f"resuming {folder}: no round is finished yet; ")
    assert said[0].endswith("; m00000 is trained; m00001 is trained up to step 120; m00002 is trained")


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_sigterm_while_the_cluster_starts_ends_quietly(play, monkeypatch, caplog, turns):
    """The cluster ends before the task that watches it, which then finds none, `turns` of the event loop before the end."""

    class Starting(Actors):
        async def __aenter__(self):
            self.started = True
            asyncio.get_running_loop().call_later(0.01, asyncio.current_task().cancel)  # as its handler of SIGTERM does
            try:
                await asyncio.sleep(60)
            finally:
                time.sleep(1.01)  # Ray ends, and the watcher's second is over
                for _ in range(turns):
                    await asyncio.sleep(0)

        async def check_alive(self):
            raise AssertionError("Node ID is not available because Ray has not been initialized.")

    monkeypatch.setattr(driver.Run, "staff", Starting)
    with pytest.raises(asyncio.CancelledError):
        play("run")
    gc.collect()
    assert not caplog.records, "no exception that nobody retrieves"


class Killed(BaseException):
    """In place of SIGKILL."""


class Mortal(Store):
    """A store whose process dies before it commits another file than the next `left`; from then on nothing is written."""

    left = 0

    def _put(self, name, write):
        return self._mortal(name, super()._put, name, write)

    def commit_folder(self, key, tmp):
        return self._mortal(key, super().commit_folder, key, tmp)

    def _mortal(self, name, commit, *arguments):
        if not (self.root / name).exists():  # else it loses, and writes nothing
            if Mortal.left == 0:
                raise Killed
            Mortal.left -= 1
        return commit(*arguments)


VETO = SKILL | {1: 0.0}
LIVES = {
    "lag 0, both models are promoted": ("", SKILL, "rounds=2"),
    "lag 1": ("", SKILL, "rounds=2", "lag=1"),
    "lag 2": ("", SKILL, "lag=2"),
    "a model is not promoted": ("", VETO, "rounds=2"),
    "a comparison": ("compare", SKILL, "rounds=1", *COMPARE),
    "an evaluation": ("eval", SKILL, *EVAL),
}


@pytest.mark.parametrize("life", LIVES)
def test_a_driver_that_is_killed_at_any_commit_is_resumed_to_the_same_files(play, tmp_path, life):
    """Every prefix of the protocol starts a resumed run that is killed again before its second commit, and each EVERY-th prefix
    starts a run that is not killed."""
    kind, skill, *options = LIVES[life]
    if kind == "eval":
        (tmp_path / "given").mkdir()
        (tmp_path / "given/config.json").write_text("{}")
        options.append(f"eval.judge={tmp_path / 'given'}")
    live = functools.partial(play, "killed", *options, kind=kind, skill=skill, trusted=True)
    whole, deaths = content(play("whole", *options, kind=kind, skill=skill)[0]), 0
    while True:
        Mortal.left = 1
        try:
            folder, _ = live(store=Mortal)
            break
        except Killed:
            deaths += 1
        if deaths % EVERY == 0:
            shutil.copytree(tmp_path / "killed", tmp_path / "resumed")
            folder, _ = play("resumed", *options, kind=kind, skill=skill, trusted=True)
            assert content(folder) == whole, f"killed after {deaths} commits"
            shutil.rmtree(folder)
    assert content(folder) == whole, "killed after each commit"
    assert deaths > 12, deaths


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
        elif name.startswith(("rounds", "evaluated")):
            record = json.loads(path.read_text())
            said = str({key: value for key, value in record.items() if key not in own})
        elif name == "config.yaml":
            said = re.sub(r"dir: .+", "dir: FOLDER", path.read_text())
        else:
            said = path.read_bytes().hex()
        found[name] = hashlib.sha256(said.encode()).hexdigest()
    return found
