"""The driver: expert iteration as a loop over rounds. All of its state is in the run folder."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa
from omegaconf import DictConfig, OmegaConf

from cluster import pending
from cluster.config import TRACK, Config, check_domain, check_unchanged
from cluster.crew import Member, ended, unless_lost
from cluster.folder import layout, verdicts
from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.folder.layout import TRACE, manifest_key, model_key, model_number, record_key
from cluster.folder.place import store_at
from cluster.given import GivenAnswers, given_arms
from cluster.judging import Judging, check_judge
from cluster.metrics import Metrics, Trackers
from cluster.paths import for_actors
from cluster.placement import Actors
from cluster.planning import Planning, check_splits
from cluster.remote import encode
from cluster.searcher import Done, Unit
from cluster.train.examples import columns, manifest_table
from cluster.verifier import check_walls
from cluster.view import View
from iteration import config as settings
from iteration.errors import UserError
from iteration.examples import DECISION, answers, decide, generated, kept, order
from iteration.measuring import Results, diversity, failed, promotion, solve_rates
from iteration.parts import FILTER, JUDGE, LEARN, SEARCH, TASK, VERIFY, Part
from iteration.protocols import FromFiles, reported
from iteration.respond import seed_of
from iteration.types import Round, State

NOTE_SECONDS = 5  # between two notes of the work under way
DIVERSE = ["node", "logprobs", "token_ids", "origin"]


class Run:
    """One run in this process. config: as `cluster.config.load` returns it."""

    schema: ClassVar[type] = Config
    plays: ClassVar[bool] = False  # a game; else language
    staff: ClassVar[type] = Actors

    def __init__(self, config: DictConfig, address: str = "", view: View | None = None):
        self.config = config
        if address and "FLYWHEEL_JOB" not in os.environ:  # actors have another working folder
            config = for_actors(config)
        self.options = settings.typed(config, self.schema)
        self.view = view or View()
        # Wrong options are reported here, not in an actor.
        task, self.searching = settings.part(config.task, TASK), settings.part(config.search, SEARCH)
        self.verify, self.auditing = settings.part(config.verify, VERIFY), settings.part(config.audit, VERIFY)
        self.judge, self.learning = settings.part(config.judge, JUDGE), settings.part(config.learn, LEARN)
        self.task, self.verifier, self.learn = task.make(), self.verify.make(), self.learning.make()
        self.searching.make()
        check_domain(self.plays, task, self.searching, self.verify, self.learning, self.auditing, self.judge)
        self.filters = {str(name): settings.part(each, FILTER, str(name)).make() for name, each in config.filters.items()}
        self.trackers = Trackers(settings.part(each, TRACK, str(name)).make() for name, each in config.track.items())
        for key, part in (("verify", self.verify), ("audit", self.auditing)):
            if part:
                check_walls(f"{key}.name={part.name}", part.make(key), self.options.sandbox)
        check_judge(self.judge, self.verify)
        self.train, self.test, *self.others = self.arms()
        check_splits(task.name, self.task.splits(), [self.test, *self.others] + [self.train] * bool(self.options.rounds))
        for line in self.task.skipped if isinstance(self.task, FromFiles) else ():
            self.view.say(f"WARNING: {line}")
        self.store = store_at(self.options.run.dir).open()
        self.book = Book(self.store)
        self.planning = Planning(self.task, self.book, self.options, self.train, self.view.say)
        self.engines = asyncio.Lock()  # searching, scoring and measuring take turns with the weights
        self.actors = self.staff(self.options, task, self.verify, self.judge, self.store, address, self.view)
        self.judging = Judging(self.book, self.options, self.actors, self.view, self.engines, self.planning)
        self.given = GivenAnswers(self.options, self.book, self.planning, self.actors, self.view, self.engines)
        self.metrics: Metrics | None = None  # once there is a cluster
        self.done: dict = {}  # the newest round's record

    def arms(self) -> list[Arm]:
        """First the arm that is trained on, then the one that measures models (by plain sampling), then others."""
        sampled, budget = Part(SEARCH, "sample", {"n": self.options.measure.samples}), self.options.budget
        logprobs = "logprobs" in columns(self.learn)
        return [
            Arm("train", "search", "train", "train", self.searching, self.judge, budget, blind=False, logprobs=logprobs),
            Arm("test", "measure", self.options.measure.split, "test", sampled, None, budget, blind=True),
            *given_arms(self.options),
        ]

    def trained_on(self, number: int) -> list[Arm]:
        """The arms whose answers a round adds to the pool, in the order in which the filters see them."""
        return [*(arm for arm in self.others if arm.round == number and not arm.blind), self.train]

    # the loop

    async def turn(self) -> None:
        """Run the rounds that are left."""
        with self.store.claim():
            begun = self.store.begun()
            check_unchanged(self.store, self.config, self.schema)
            if self.options.verdicts:
                verdicts.check_set(self.store, self.options.verdicts)
            if self.book.finished(self.options.rounds):
                return
            self.store.sweep()
            if begun:
                self.view.say(f"resuming {self.store.place}: {self.book.stands()}")
            self.planning.arms([self.train, self.test, *self.others])
            self.given.check(self.task)
            self.trackers.open(self.options.name, self.store.root, OmegaConf.to_container(self.config))
            watch = asyncio.create_task(self._watch())
            work = asyncio.create_task(self._work(watch))
            try:
                await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
                if watch.done() and not (watch.cancelled() or (work.done() and work.cancelled())):
                    watch.result()  # it only finishes where the cluster is lost; after SIGTERM there is none to lose
                await work
            finally:
                asyncio.get_running_loop().set_exception_handler(unless_lost)
                work.cancel()
                await asyncio.wait({work})
                await ended(watch)
                self.trackers.close()

    async def _work(self, watch: asyncio.Task) -> None:
        async with self.actors:
            try:
                await self._loop()
            finally:
                await ended(watch)  # before the cluster goes

    async def _loop(self) -> None:
        outcome: dict[int, asyncio.Task] = {0: asyncio.create_task(self.baseline())}
        try:
            for number in range(1, self.options.rounds + 1):
                champion = await outcome[max(0, number - 1 - self.options.lag)]
                self.planning.round(number)
                await self.given.take(number, self.committed, self.set_aside)
                # 1 the model responds, 2 in steps, 3 the search asks for more, 4 the verifier grades, 5 the search is told
                await self.search(self.train, number, model_key(champion))
                # 6 the next model is trained on the search's results, and measured
                outcome[number] = asyncio.create_task(self.improve(number, outcome[number - 1], champion))
            await outcome[self.options.rounds]
        finally:
            for task in outcome.values():
                task.cancel()

    async def baseline(self) -> int:
        """Round 0: there is a model, and it is measured."""
        self.planning.check()
        self.planning.held_out(self.test)
        if not self.book.recorded(0):
            drift, broken = await self.graded(self.test, 0, model_key(0))
            said = self.results(0).scores(self.options.measure.levels), drift, {"failed_held_out": broken}
            report = reported(self.verifier, answers(self.book.nodes(self.test, 0)))
            self.finish(Round(0, "", "", model_key(0), True, "the first model", *said, verifier=report))
        return self.shown(0)

    async def improve(self, number: int, previous: Awaitable[int], answered: int) -> int:
        """Filter, train, measure and promote. Returns the number of the best model so far."""
        champion = await previous
        if not self.book.recorded(number):
            decisions = self.filter(number)
            trained, drift, broken, training, best = "", None, 0, {}, champion
            reason = f"nothing to train on: no answer was kept, or learn.name={self.learning.name} makes nothing of them"
            if self.manifest(number):
                base = champion if self.options.train.start == "previous" else 0
                trained = model_key(number)
                with self.view.phase(number, "train"):
                    training = await self.actors.train("train", trained, model_key(base), self.learning)
                drift, broken = await self.graded(self.test, number, trained)
                best, reason = await self.promote(champion, number)
            judge = await self.judging.teach(number, best, self.judge, self.verify, self.train)
            counts = self.counts(number, decisions, training) | {"failed_held_out": broken}
            record = Round(
                number=number,
                model_in=model_key(answered),
                trained=trained,
                model_out=model_key(best),
                promoted=best == number,
                reason=reason,
                scores=self.results(number if trained else champion).scores(self.options.measure.levels),
                counts=counts,
                solve_rate=solve_rates(self.book.nodes(self.train, number, ["level", "state"])),
                tokens={"train": training.get("tokens", 0)},
                logprob_drift=drift,
                loss_first=training.get("loss_first", 0.0),
                loss_last=training.get("loss_last", 0.0),
                diversity=diversity(self.book.nodes(self.train, number, DIVERSE), decisions, counts["problems"]),
                judge=judge,
                calibration=await self.judging.calibrate(self.test, best, judge, self.judge, self.verifier),
                audit=await self.judging.audit(self.train, number, decisions, self.auditing),
                verifier=reported(self.verifier, decisions),
                verdicts=self.options.verdicts,
            )
            self.finish(record)
        return self.shown(number)

    def shown(self, number: int) -> int:
        """Show a round's record. Returns the number of its best model."""
        self.done = self.book.record(number)
        self.view.round_done(self.done)
        return model_number(self.done["model_out"])

    # searching

    async def search(self, arm: Arm, number: int, model: str, judge: str = "") -> float | None:
        """Search the units of the arm's plan that the store does not list. Returns the drift of the weight update, if any.

        judge: the version of the value model that leads; "" takes the newest that a round can count on, the first round's none.
        """
        judge = judge or self.judging.newest(arm.judge, number - 1 - self.options.lag)
        units = self.planning.units(arm, number, model, judge)
        async with self.engines:
            todo = self.planning.missing(units)
            if not todo:
                return None
            drift = await self.serve(number, model)
            if judge:
                await self.judging.serve(number, judge, self.test)
            with self.view.phase(number, arm.title, len(units), len(units) - len(todo)) as phase:
                await self.actors.search(arm.title, todo, partial(self.committed, phase.unit_done), self.set_aside)
            missing = self.planning.missing(units)
            if missing:
                raise RuntimeError(f"{len(missing)} units of round {number} were reported as done but are not in the store")
            return drift

    async def graded(self, arm: Arm, number: int, model: str, judge: str = "") -> tuple[float | None, int]:
        """Search an arm of held-out problems. Returns (drift, failed verdicts). Raises UserError where too many failed."""
        drift = await self.search(arm, number, model, judge)
        return drift, failed(self.book.nodes(arm, number, ["state", "why"]), self.options.failed_share, "held-out")

    def committed(self, done: Callable, unit: Done) -> None:
        """A unit is committed: show it, and count its verdicts."""
        done(unit)
        if self.metrics:
            self.metrics.unit(unit)

    def set_aside(self, unit: Unit, reason: str) -> None:
        """A unit that kills its actors: an empty table is committed under its name, so the round continues without it."""
        self.store.set_aside(unit.key, TRACE, reason)
        if self.metrics:
            self.metrics.asides += 1
        self.view.say(f"WARNING: {unit.key} is set aside with its {len(unit.problems)} problems: {reason}")

    async def serve(self, number: int, model: str) -> float | None:
        """Give every engine the model's weights, and compare one greedy answer with the trainer's own forward pass."""
        if self.actors.version == model:
            return None
        shown = self.book.plan(self.test, 0, ["shown"])["shown"][0].as_py()
        prompt = encode(self.planning.tokenizer, shown)
        drifts = []

        async def prepare(engine: Member) -> None:
            await self.actors.give(engine, model)
            answer, logprobs = await engine.handle.greedy.remote(prompt, model)
            own = await self.actors.train("logprobs", model, prompt, answer)
            drifts.append(float(np.max([0.0, *np.abs(own - logprobs)])))  # not a number where one of them is not
            what = f"after the update to {model} the engine's logprobs"
            self.judging.check_drift(drifts[-1], what, " nats", "its answers")

        with self.view.phase(number, "update") as phase:
            await self.actors.generators.make_ready(prepare)
            phase.note = f"logprobs of {model} within {drifts[0]:.1e} of the trainer's"
        self.actors.version = model
        return drifts[0]

    # learning

    def decisions(self, arm: Arm, number: int) -> pa.Table:
        """The decisions on an arm's answers of a round: by the first verdicts, or those of the regrading that the run uses."""
        return self.store.table(self.filter_key(arm, number))

    def kept(self, first: int, last: int) -> list[tuple[Arm, int, pa.Table]]:
        """(arm, round, its kept answers) of all that some rounds are trained on."""
        return [(arm, r, kept(self.decisions(arm, r))) for r in range(first, last + 1) for arm in self.trained_on(r)]

    def filter_key(self, arm: Arm, number: int) -> str:
        name, key = self.options.verdicts, layout.filter_key(number, "" if arm.round is None else arm.name)
        units = self.book.units(arm, number)
        regraded = name and all(self.store.has(layout.verdict_key(name, unit)) for unit in units)
        return f"{layout.set_folder(name)}/{key}" if regraded else key

    def filter(self, number: int) -> pa.Table:
        """Commit for each answer whether it is kept, or why not. Earlier rounds have that already, except in a regrading."""
        earlier: list[pa.Table] = []
        for each, arm in ((r, arm) for r in range(1, number + 1) for arm in self.trained_on(r)):
            key = self.filter_key(arm, each)
            if not self.store.has(key):
                with self.view.phase(number, "filter"):
                    nodes = self.book.nodes(arm, each)
                    if key.startswith(layout.VERDICTS):
                        nodes = verdicts.regraded(self.store, nodes, self.options.verdicts, self.book.units(arm, each))
                    self.decide(key, nodes, earlier)
            earlier.append(kept(self.decisions(arm, each)))
        return self.decisions(self.train, number)

    def decide(self, key: str, nodes: pa.Table, earlier: list[pa.Table]) -> None:
        """Commit the filters' decisions on answers, given what earlier ones kept. Raises UserError: too many failed."""
        answered = answers(nodes)
        failed(answered, self.options.failed_share, "searched")
        self.store.put_table(key, decide(answered, pa.concat_tables([DECISION.empty_table(), *earlier]), self.filters))

    def manifest(self, number: int) -> int:
        """Commit the training examples of a round, in order, epoch after epoch. Returns how many there are."""
        key = manifest_key(model_key(number))
        if not self.store.has(key):
            self.put_manifest(key, self.pool(number))
        return len(self.store.table(key))

    def pool(self, number: int) -> pa.Table:
        """The items available for training after a round: those of all rounds, of the newest ones, or of the last one."""
        first = number + 1 - (self.options.train.window or (number if self.options.train.pool == "all" else 1))
        return pa.concat_tables([self.items(chosen, arm, r) for arm, r, chosen in self.kept(max(1, first), number)])

    def items(self, chosen: pa.Table, arm: Arm, number: int) -> pa.Table:
        """The training items from the kept answers of a searched arm."""
        return self.learn.items(chosen, lambda: self.book.nodes(arm, number, columns(self.learn)))

    def put_manifest(self, key: str, pool: pa.Table) -> None:
        rng = np.random.default_rng(seed_of(self.options.seed, "order", key))
        indices, epochs = order(pool["tokens"].to_numpy(), self.options.train.tokens, rng)
        self.store.put_table(key, manifest_table(pool, indices, epochs))

    # measuring

    def results(self, model: int) -> Results:
        """A model's held-out results."""
        return Results.of(self.book.nodes(self.test, model, ["problem_id", "state"]), self.book.problems(self.test, model))

    async def promote(self, champion: int, candidate: int) -> tuple[int, str]:
        """The better of two models, and why."""
        try:
            better, reason = promotion(self.results(champion), self.results(candidate), model_key(champion))
        except ValueError as error:
            where = f"{self.store.place}/{layout.units_folder(candidate, self.test.name)}"
            raise UserError(f"{error}; see the column why in {where}") from None
        return candidate if better else champion, reason

    def counts(self, number: int, decisions: pa.Table, training: dict) -> dict[str, int]:
        states, reasons = decisions["state"].to_pylist(), decisions["reason"].to_pylist()
        return {
            "problems": len(self.book.plan(self.train, number, ["id"])),
            "answers": len(decisions),
            "correct": states.count(State.CORRECT),
            "failed": states.count(State.FAILED),
            "kept": reasons.count(""),
            "units_aside": len(self.book.asides(self.train, number)),
            "pool": sum(len(chosen) for _, _, chosen in self.kept(1, number)),
            "examples_trained": training.get("examples", 0),
            "steps": training.get("steps", 0),
        }

    def finish(self, record: Round) -> None:
        """Commit the round's record, with its seconds and tokens."""
        record.seconds = {name: round(seconds, 2) for name, seconds in self.view.seconds[record.number].items()}
        record.spans = self.view.take_spans()
        for arm in (self.train, self.test):
            if self.book.units(arm, record.number):
                record.tokens |= self.spent(arm, record.number)
        self.store.put_json(record_key(record.number), asdict(record))
        self.trackers.round(asdict(record))

    def spent(self, arm: Arm, number: int) -> dict[str, int]:
        """The tokens that an arm's models generated in a round, by phase, and those that its search sent to a judge."""
        nodes = self.book.nodes(arm, number, ["node", "token_ids", "judge_tokens", "origin"])
        sent = {"judge": sum(nodes["judge_tokens"].drop_null().to_pylist())} if arm is self.train else {}
        return {arm.title: int(generated(nodes).sum())} | sent

    async def _watch(self) -> None:
        """Update the view during the run, and check that the cluster is alive."""
        noted, said = time.monotonic(), 0.0  # the last note; the silence that was last reported
        while True:
            await asyncio.sleep(1)
            if not self.actors.started:
                continue
            await self.actors.check_alive()
            ledgers, training = await self.actors.progress()
            self.view.tick(sum(each.tokens for each in ledgers.values()), (training.done, training.steps))
            self.metrics = self.metrics or Metrics(self.options.name)
            self.metrics.look(ledgers, training, self.view, self.done)
            if time.monotonic() - noted >= NOTE_SECONDS:
                noted, now = time.monotonic(), await self.actors.pending() | self.view.now()
                self.metrics.waits(now)
                pending.note(self.store, now)
                if now["silent"] - said >= self.options.placement.silence:
                    said = now["silent"]
                    for line in [f"nothing committed or trained for {pending.span(said)}; pending:", *pending.lines(now)]:
                        self.view.say(line)
                said = min(said, now["silent"])
