"""Whole runs of self-play on Hex, with the real actors in this process: no Ray. A killed driver's run is resumed to the same
files."""

import asyncio
import os
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

import cluster.play as play
import cluster.run as driver
from cluster.config import load
from cluster.crew import Member
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.play import Games, Play, PlayEvaluation
from cluster.run import Run
from cluster.searcher import Partners
from cluster.selfplay import SelfPlay
from cluster.train.nets import Coach, Player
from cluster.verbs.driving import evaluation_of, run_of
from cluster.verifier import Grader, tag
from cluster.view import View
from iteration.errors import UserError
from iteration.games.hex import Hex
from iteration.games.play import finish, positions
from iteration.games.play import play as games
from iteration.learn.selfplay import COLUMNS, Selfplay
from iteration.search.puct import Puct
from iteration.types import State
from tests.cluster.test_loop import Killed, Mortal, content

OPTIONS = [
    "task.size=3",
    "task.opening=1",
    "problems=6",
    "unit=3",
    "search.simulations=6",
    "rounds=2",
    "train.tokens=300",
    "train.rows=64",
]
OPTIONS += ["model.net.width=8", "model.net.depth=1", "measure.levels=[0,2]", "measure.problems=12"]


class Remote:
    """An actor of this process: `method.remote(...)` returns an awaitable."""

    def __init__(self, actor):
        self._actor = actor

    def __getattr__(self, name):
        async def call(*arguments):
            result = getattr(self._actor, name)(*arguments)
            return await result if asyncio.iscoroutine(result) else result

        return SimpleNamespace(remote=call)


class Actors:
    """In place of cluster.play.Players: the same actors, in this process."""

    def __init__(self, options, task, verify, judge, store, address, view):
        self.options, self.task, self.store, self.started, self.version = options, task, store, False, ""
        self.boards = Player(0, store.place, options.generate)
        self.coach = Coach(store.place, options.model, options.train, options.train_judge, options.seed)
        self.table = SelfPlay(0, store.place, options.seed, options.generate, tag(verify))
        self.table._store = self.coach._store = store  # so that a test's store sees every commit
        self.partners = Partners(Remote(self.boards), Remote(Grader(verify)))
        self.generators = self

    async def __aenter__(self):
        if not self.store.has("models/m00000", ""):
            await self.train("begin", self.task)
        return self

    async def __aexit__(self, *_):
        pass

    async def make_ready(self, prepare):
        await prepare(Member("generator-0", Remote(self.boards)))

    async def give(self, engine, version):
        await engine.handle.update.remote(version)

    async def train(self, method, *arguments):
        return getattr(self.coach, method)(*arguments)

    async def search(self, title, units, done, aside):
        for unit in units:
            done(await self.table.search(unit, self.partners))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Play a run to its end: run(name, *options, store=...) -> Book."""
    monkeypatch.setattr(Games, "staff", Actors)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(View, "say", lambda self, line: None)

    def run(name, *options, store=Store, read=run_of):
        monkeypatch.setattr(driver, "store_at", store)
        kind, config = read("configs/hex.yaml", [*OPTIONS, *options])
        config = config.copy()
        OmegaConf.set_readonly(config, False)
        config.run.dir = str(tmp_path / name)
        asyncio.run(kind(config).turn())
        return Book(Store(tmp_path / name))

    return run


def test_a_run_measures_matches_and_trains_every_round(run):
    book = run("run")
    records = book.records()
    assert [record["trained"] for record in records] == ["", "m00001", "m00002"]
    assert records[0]["verifier"]["elo"] == 0 and records[2]["verifier"]["elo_low"] <= records[2]["verifier"]["elo"]
    for number, record in enumerate(records):
        assert record["logprob_drift"] is None or record["logprob_drift"] < 1e-5
        assert [(score["level"], score["problems"]) for score in record["scores"]] == [(0, 1), (2, 12)]
        searched = book.nodes(book.arm("with-search"), number, ["state"])["state"].drop_null().to_pylist()
        assert record["verifier"]["with_search"] == pytest.approx(searched.count(State.CORRECT) / len(searched), abs=1e-4)
        assert len(searched) == 13
    for number in (1, 2):
        champion = records[number - 1]["model_out"]
        nodes = book.nodes(book.arm("versus"), number, ["state", "model_version", "level", "parent"])
        assert len(nodes["state"].drop_null()) == 2 * 9, "every opening from both seats"
        assert set(nodes["model_version"].to_pylist()) == {f"m{number:05d}", champion}
        assert f"of the games against {champion} won" in records[number]["reason"]
    assert book.test.name == "test" and book.train.name == "train"
    moves = records[1]["tokens"]["search"] // 7
    assert 6 * 4 <= moves <= 6 * 8 and records[1]["tokens"]["measure"] == 13, "positions that the nets evaluated"
    assert run("run").records() == records, "a finished run does nothing"


def test_searchers_may_be_a_round_ahead(run):
    records = run("run", "lag=1", "rounds=3").records()
    assert [record["model_in"] for record in records[1:3]] == ["m00000", "m00000"] and records[3]["model_in"] in records[
        1
    ].values()
    assert records[3]["trained"] == "m00003" and "elo" in records[3]["verifier"]


def test_a_much_worse_net_is_not_promoted(run, monkeypatch):
    monkeypatch.setattr(Play, "share", lambda self, arm, number: play.wilson(20 if arm.name == "versus" else 5, 144))
    records = run("run").records()
    assert [record["model_out"] for record in records] == ["m00000"] * 3
    assert "not promoted, worse beyond noise: 13.9 % of the games against m00000" in records[2]["reason"]


def test_a_killed_driver_is_resumed_to_the_same_files(run):
    whole, deaths = content(run("whole").store.root), 0
    while True:
        Mortal.left = 5  # commits of each life
        try:
            book = run("killed", store=Mortal)
            break
        except Killed:
            deaths += 1
    own = lambda files: {name: each for name, each in files.items() if not name.endswith("training.json")}  # noqa: E731 seconds
    assert own(content(book.store.root)) == own(whole) and deaths > 6


def test_the_stored_games_hold_what_the_search_found(run):
    book = run("run", "rounds=1")
    for key in book.units(book.train, 1):
        nodes = book.unit(key).to_pylist()
        for row in nodes:
            below = [each for each in nodes if each["tree"] == row["tree"] and each["parent"] == row["node"]]
            assert not below or (sum(each["visits"] for each in below) == 6 and sum(each["prior"] for each in below) < 1.001)
            assert 0 <= row["value"] <= 1
        ends = [row for row in nodes if row["state"]]
        assert len(ends) == 3 and all(row["final"] and row["answer"] in ("first", "second") for row in ends)
        assert [row["text"] for row in nodes if row["parent"] < 0] == book.plan(book.train, 1).filter(
            np.array(book.plan(book.train, 1)["unit"]) == int(key[-5:])
        )["shown"].to_pylist()


def test_what_is_read_from_rows_is_what_the_search_found(run):
    game, book = Hex(3), run("run", "rounds=1", "unit=6")
    (key,) = book.units(book.train, 1)
    problems = book.plan(book.train, 1)
    openings = [[game.cell(name) for name in shown.split()[2:]] for shown in problems["shown"].to_pylist()]
    table = book.store.table(key, COLUMNS)
    items = Selfplay().items(book.decisions(book.train, 1), lambda: table)["id"].to_pylist()
    boards, policy, results = Selfplay().positions(table, items, game)
    seed = book.unit(key)["seed"][0].as_py()
    coach = Player(0, str(book.store.root), None)
    played = finish(games(game, openings, Puct(6), np.random.default_rng(seed)), coach._net("m00000").evaluate)
    wanted = positions(played)
    rows = lambda parts: sorted(tuple(np.concatenate([b, p.round(5), [r]]).tolist()) for b, p, r in zip(*parts, strict=True))  # noqa: E731
    assert rows((boards, policy, results)) == rows(wanted) and len(items) == len(wanted[0])


def test_an_evaluation_measures_a_net_with_searches_of_any_size(run):
    model = run("run", "rounds=1").model("m00001")
    arms = [f"eval.arms.s{n}={{name: puct, simulations: {n}}}" for n in (0, 300)]
    book = run("eval", f"model.path={model}", "rounds=0", *arms, "task.size=3", read=evaluation_of)
    alone, *searched = (book.nodes(book.arm(name), 0).to_pylist() for name in ("test", "eval-s0-500", "eval-s300-500"))
    answers = [[(row["problem_id"], row["text"]) for row in nodes if row["state"]] for nodes in (alone, *searched)]
    assert answers[0] == answers[1] and len(answers[0]) == 13
    right = [[row["state"] for row in nodes if row["state"]].count("correct") for nodes in (alone, *searched)]
    assert right[2] > right[1]
    assert book.left() == [] and evaluation_of("configs/hex.yaml", ["rounds=0"])[0] is PlayEvaluation


def test_a_run_may_start_from_a_net_of_the_same_board_only(run, tmp_path):
    given = f"model.path={run('run', 'rounds=1').store.root}/models/m00001"
    second = run("second", "rounds=0", given)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (second.model("m00000") / name).read_bytes() == (tmp_path / "run/models/m00001" / name).read_bytes()
    for other in ("task.size=2", "model.path=tests"):
        with pytest.raises(UserError, match=r"no net for a board of \d x \d there"):
            run(f"other-{other}".replace("/", "-"), given, other)


def test_a_round_that_trains_nothing_has_no_match(run):
    records = run("run", "filters.correct={}", "task.opening=4", "search.simulations=0").records()
    assert [record["model_out"] for record in records] == ["m00000"] * 3 and records[2]["verifier"] == {}
    assert "nothing to train on" in records[1]["reason"]


def test_games_and_language_do_not_mix(tmp_path):
    assert run_of("configs/hex.yaml", [])[0] is Play and run_of("configs/quickstart.yaml", [])[0] is Run
    for file, kind, option in [
        ("configs/quickstart.yaml", Run, "search=puct"),
        ("configs/hex.yaml", Play, "learn=visits"),
        ("configs/hex.yaml", Play, "judge=process"),
        ("configs/hex.yaml", Run, "seed=1"),  # as flywheel compare would
    ]:
        with pytest.raises(UserError, match="is for games.*task=hex search=puct verify=hex learn=selfplay"):
            kind(load(file, [option, f"run.dir={tmp_path}"]))
