"""The actors of a run, and the nodes they run on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from asyncio import FIRST_EXCEPTION
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import ray
from ray.exceptions import RaySystemError
from ray.util.placement_group import remove_placement_group

from cluster import head
from cluster.crew import Crew, Member, Spread, answers, busy, lost, ping, raise_first
from cluster.engine import Generate, Ledger, environment
from cluster.folder.layout import model_folder, model_key
from cluster.folder.store import Store
from cluster.generator import Generator, Judge
from cluster.head import dashboard_url, placed, start_actor, start_ray, why_late
from cluster.sandbox.walls import SandboxOptions
from cluster.searcher import Done, Partners, Searcher, Unit, Waiting
from cluster.train import ranks as training
from cluster.train.options import Model, Train, TrainJudge
from cluster.train.trainer import Progress, Trainer
from cluster.verifier import Verifier, tag
from cluster.view import View
from iteration.errors import UserError
from iteration.parts import Part, above, at_least
from iteration.types import Span

UNITS_IN_FLIGHT = 3  # per engine (or searcher): the next units keep the engine full while one finishes
ENGINE = ("generator", "searcher", "verifier")  # the actors that search a unit
START_SECONDS = 300
GROUPED = ("train", "judge")  # methods of the trainer that all its ranks work on together
TRAINER_DEATHS = 5  # in one call without a completed step in between, after which the call fails
NODES_SECONDS = 5  # between two polls of the nodes


@dataclass
class Placement:
    generators: int = 1  # engines; 0: on every node, also on those that join later, one per two cores or generate.gpus GPUs
    judges: int = 1  # engines of the value model, if the run has one
    searchers: int = 1  # processes that search units
    verifiers: int = 1  # processes that grade answers
    deadline: float = 600.0  # seconds, after which a unit is also given to other actors, and unresponsive actors are restarted
    silence: float = 60.0  # seconds without a commit, after which the log lists what is pending
    dashboard: bool = True  # Ray's dashboard, on loopback

    def __post_init__(self) -> None:
        at_least(self, generators=0, judges=1, searchers=1, verifiers=1, deadline=1)
        above(self, silence=0)


class Sections(Protocol):
    """The sections of a run's config that its actors need."""

    seed: int
    model: Model
    generate: Generate
    train: Train
    train_judge: TrainJudge
    sandbox: SandboxOptions
    placement: Placement


class Actors:
    """The actors of one run: `async with` starts and stops them. Ray restarts actors that die."""

    generator, searcher, trainer = Generator, Searcher, Trainer

    def __init__(self, options: Sections, task: Part, verify: Part, judge: Part | None, store: Store, address: str, view: View):
        self._options, self._store, self._address, self._view = options, store, address, view
        self._task, self._verify, self._judge = task, verify, judge
        self.started = False  # the cluster is up
        self.version = ""  # of the weights that the engines serve; "" until the first weights are served and checked
        self.judged = ""  # version of the value model that the judges serve
        self._changed = asyncio.Event()
        crew = lambda prepare: Crew(prepare, self._changed, view.say, options.placement.deadline)  # noqa: E731
        self.generators, self.judges = crew(None), crew(None)
        self.searchers, self.verifiers, self.trainers = crew(answers), crew(answers), crew(answers)
        self._spread: Spread | None = None
        self._born = 0  # generators started so far
        self._looked = time.monotonic()  # when the nodes were last polled
        self._training = Progress()
        self._growing: asyncio.Task | None = None
        self._turn = asyncio.Lock()  # the trainer's ranks do one thing at a time: train, or send weights to one engine

    async def __aenter__(self) -> Actors:
        try:
            await self._start()
        except BaseException:
            ray.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._growing:
            self._growing.cancel()
        for crew in self._crews().values():
            crew.close()
        with contextlib.suppress(Exception):  # the cluster may be gone
            closing = [engine.handle.close.remote() for engine in self._engines()]
            if closing:
                await asyncio.to_thread(ray.wait, closing, num_returns=len(closing), timeout=10)
        ray.shutdown()

    def _crews(self) -> dict[str, Crew]:
        return {
            "generator": self.generators,
            "searcher": self.searchers,
            "verifier": self.verifiers,
            "judge": self.judges,
            "trainer": self.trainers,
        }

    async def _start(self) -> None:
        options, root = self._options, self._store.place
        with self._view.phase(0, "start"):
            if not ray.is_initialized():
                start_ray(self._address, options.placement.dashboard, self._view.say)
            # Replaces Ray's handler for SIGTERM: the actors close, and the process exits with 75.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
            self.started = True
            resident = options.generate.transfer == "nccl"  # a shared GPU has no room for the trained model
            trainer = root, options.model, options.train, options.train_judge, options.seed, resident
            for rank in range(options.train.ranks):
                name = f"trainer-{rank}" if rank else "trainer"
                self.trainers.hire(start_actor(self.trainer, name, trainer, training.environment(), options.train.gpus, 4))
        url, where = dashboard_url(), f"Ray at {self._address}" if self._address else "Ray for this run"
        self._view.say(where + (f", dashboard {url}" if url else ""))
        if not self._store.has(model_folder(model_key(0)), ""):
            with self._view.phase(0, "first model"):
                await self.train("begin", self._task)
        with self._view.phase(0, "engines"):
            await self._start_engines()

    async def _start_engines(self) -> None:
        options, where, root = self._options, self._options.placement, self._store.place
        await self.generators.make_ready(partial(self.give, version=model_key(0)), wait=False)
        for _ in range(where.generators):
            self._hire_generator("")
        for i in range(where.verifiers):
            self.verifiers.hire(start_actor(Verifier, f"verifier-{i}", (i, self._verify, asdict(options.sandbox), root)))
        for i in range(where.searchers):
            searcher = i, root, options.seed, options.generate, tag(self._verify)
            self.searchers.hire(start_actor(self.searcher, f"searcher-{i}", searcher, concurrency=1000))
        for i in range(where.judges if self._judge else 0):  # their engines start with the first value model
            self.judges.hire(self._engine(Judge, f"judge-{i}", i))
        if not where.generators:
            self._growing = asyncio.create_task(self._grow())
        for kind in ("generator", "searcher", "verifier"):
            await self._first(kind)

    async def _first(self, kind: str) -> None:
        """Wait until one actor of a kind is ready. Raises UserError naming the missing resource where none can be placed."""
        while True:
            try:
                return await self._crews()[kind].first(START_SECONDS)
            except TimeoutError:
                late = [why for _, _, why in self.missing(kind)]
                if not any(why.endswith("is starting") for why in late):  # a large model loads slowly
                    reason = "; ".join(late) or f"no node of the cluster has room for a {kind}"
                    raise UserError(f"no {kind} was ready after {START_SECONDS} s: {reason}") from None

    def _engine(self, kind: type, name: str, number: int, node: str = "") -> Member:
        options = self._options.generate
        given, process = (number, self._store.place, options), environment(options.gpus, options.transfer)
        return start_actor(kind, name, given, process, options.gpus, 1000, node)

    def _hire_generator(self, node: str) -> None:
        self.generators.hire(self._engine(self.generator, f"generator-{self._born}", self._born, node))
        self._born += 1

    async def _grow(self) -> None:
        """Keep one engine per two cores (or per generate.gpus GPUs) on every node as nodes join and leave."""
        while True:
            nodes = await asyncio.to_thread(ray.nodes)  # check_alive reports a lost head
            alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
            for lost_engine in [each for each in self.generators.members if each.node not in alive]:
                self._view.say(f"{lost_engine.name} is lost with its node {lost_engine.node[:8]}")
                self.generators.dismiss(lost_engine)
                if lost_engine.group:
                    remove_placement_group(lost_engine.group)
            gpus = self._options.generate.gpus
            for node, holds in alive.items():
                room = int(holds.get("GPU", 0) / gpus) if gpus else (int(holds.get("CPU", 0)) + 1) // 2
                for _ in range(room - sum(each.node == node for each in self.generators.members)):
                    if self.version:
                        self._view.say(f"node {node[:8]} has joined: generator-{self._born} starts there")
                    self._hire_generator(node)
            await asyncio.sleep(NODES_SECONDS)

    async def search(
        self, phase: str, units: list[Unit], done: Callable[[Done], None], aside: Callable[[Unit, str], None]
    ) -> None:
        """Search units, a bounded number at a time. Raises the first error; committed units stay committed.

        phase: what the search is for, e.g. measure; done(result): called once per committed unit; aside(unit, reason):
        called for a unit that keeps killing its actors.
        """
        call = lambda team, unit: team["searcher"].handle.search.remote(unit, self._partners(team))  # noqa: E731
        await self._hand_out(phase, units, ENGINE + ("judge",) * any(unit.judge for unit in units), call, done, aside)

    async def adopt(self, phase: str, units: list[Unit], done: Callable, aside: Callable) -> None:
        """The same for units that bring their answers: no engine is needed."""
        call = lambda team, unit: team["searcher"].handle.adopt.remote(unit, self._partners(team))  # noqa: E731
        await self._hand_out(phase, units, ENGINE[1:], call, done, aside)

    async def score(self, keys: dict[str, str], judge: Part, version: str, done: Callable, aside: Callable) -> None:
        """Score the answers of committed units with value model `version`. keys: {unit's key: key of its scores}."""
        call = lambda team, each: team["searcher"].handle.score.remote(*each, self._partners(team), judge, version)  # noqa: E731
        await self._hand_out("score", list(keys.items()), (*ENGINE, "judge"), call, done, aside)

    def _partners(self, team: dict[str, Member]) -> Partners:
        return partners(team, [each for each in self.verifiers.members if each.ready])

    async def audit(self, batches: list[tuple], part: Part, done: Callable, aside: Callable) -> None:
        """Grade batches (number, problems, answers) with another verifier `part`; calls done((number, verdicts)) for each."""
        call = lambda team, each: team["verifier"].handle.audit.remote(*each, part)  # noqa: E731
        spread = Spread({"verifier": self.verifiers}, {}, self._changed, self._options.placement.deadline, self._view.say)
        await spread.run(batches, call, done, aside)

    async def _hand_out(self, phase: str, work: list, kinds: tuple, call: Callable, done: Callable, aside: Callable) -> None:
        crews, most = {kind: self._crews()[kind] for kind in kinds}, {kinds[0]: UNITS_IN_FLIGHT}
        self._spread = Spread(crews, most, self._changed, self._options.placement.deadline, self._view.say)
        try:
            await self._spread.run(work, call, done, aside)
        finally:
            for name, worked in busy(self._spread.spans).items():
                self._view.spans += [
                    Span(name, phase, round(self._view.wall(began), 2), round(seconds, 2)) for began, seconds in worked
                ]
            self._spread = None

    async def train(self, method: str, *arguments: Any) -> Any:
        """Call a method of the trainer, on all ranks if it is in GROUPED. Retried when a rank dies: training resumes from its
        last checkpoint. Returns the result of rank 0."""
        if method not in GROUPED:
            return await self._train(self.trainers.members[:1], method, arguments)
        async with self._turn:
            if self._options.generate.sleep:  # the trainer has the GPU to itself until it is done
                await self._call_all(self._engines(), "sleep")
                return await self._train(self.trainers.members, method, arguments)
            await self._call_all(self.trainers.members, "release")
        return await self._train(self.trainers.members, method, arguments)

    async def _train(self, ranks: Sequence[Member], method: str, arguments: tuple) -> Any:
        deaths, before = 0, 0
        while True:
            await self.trainers.all()
            calls: list[asyncio.Future] = []
            try:
                calls = [asyncio.ensure_future(each) for each in await self._together(ranks, method, arguments)]
                while (await asyncio.wait(calls, timeout=self._options.placement.deadline, return_when=FIRST_EXCEPTION))[1]:
                    if any(call.done() and call.exception() for call in calls):
                        break
                    for each in ranks:
                        await ping(each, self._view.say)
                await raise_first(calls)
                return calls[0].result()
            except Exception as error:
                if not lost(error):
                    raise
                deaths, before = (1 if self._training.done > before else deaths + 1), self._training.done
                if deaths == TRAINER_DEATHS:
                    raise
                self._view.say(f"the trainer was lost at step {self._training.done}; Ray restarts it")
                for each in ranks:
                    if len(ranks) > 1:  # the other ranks wait for the dead one
                        ray.kill(each.handle, no_restart=False)
                    self.trainers.suspect(each)
            finally:
                for call in calls:
                    call.cancel()

    def _engines(self) -> list[Member]:
        return [each for each in [*self.generators.members, *self.judges.members] if each.ready]

    async def _call_all(self, members: Sequence[Member], method: str) -> None:
        """Call a method of each member. Dead members are ignored: they hold no memory."""
        calls = (getattr(each.handle, method).remote() for each in members)
        for error in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(error, Exception) and not lost(error):
                raise error

    async def give(self, engine: Member, version: str) -> None:
        """Make an engine serve these weights. It reads them from the folder, or the trainer's ranks send the weights they hold,
        one engine at a time; if a rank does not hold them (any more), rank 0 sends the committed folder."""
        await answers(engine)
        options = self._options.generate
        sent = options.transfer != "host" and await engine.handle.started.remote()  # a starting engine reads the folder
        if not (sent or options.sleep):
            await engine.handle.update.remote(version)
            return
        await asyncio.shield(asyncio.ensure_future(self._sent(engine, version)))  # runs to its end when this call is cancelled

    async def _sent(self, engine: Member, version: str) -> None:
        async with self._turn:
            ranks = self.trainers.members if self._options.generate.transfer != "host" else []
            try:
                async with asyncio.timeout(max(START_SECONDS, self._options.placement.deadline)):
                    held = await asyncio.gather(*(each.handle.is_resident.remote(version) for each in ranks))
                    senders = [each.handle for each in (ranks if all(held) else ranks[:1])]
                    await engine.handle.update.remote(version, senders)
            except Exception as error:
                for each in [*ranks, engine]:  # ranks in the collective call would wait forever; the weights are committed
                    ray.kill(each.handle, no_restart=False)
                for each in ranks:
                    self.trainers.suspect(each)
                if isinstance(error, TimeoutError):
                    raise RaySystemError(f"{engine.name} did not get {version} in time") from None
                raise

    async def _together(self, ranks: Sequence[Member], method: str, arguments: tuple) -> list:
        """Call a method of each rank."""
        if len(ranks) == 1:
            return [getattr(ranks[0].handle, method).remote(*arguments)]
        address = await ranks[0].handle.rendezvous.remote()
        groups = [training.Group(rank, len(ranks), address) for rank in range(len(ranks))]
        return [getattr(each.handle, method).remote(*arguments, group) for each, group in zip(ranks, groups, strict=True)]

    async def progress(self) -> tuple[dict[str, Ledger], Progress]:
        """({engine's name: its counters since it started}, the current training)."""
        ready = [each for each in self.generators.members if each.ready]
        ledgers = await asyncio.gather(*(within(5, each.handle.ledger.remote(), Ledger()) for each in ready))
        if self.trainers.members and self.trainers.members[0].ready:
            self._training = await within(5, self.trainers.members[0].handle.progress.remote(), self._training)
        return {each.name: ledger for each, ledger in zip(ready, ledgers, strict=True)}, self._training

    async def check_alive(self) -> None:
        """Poll the cluster every NODES_SECONDS. Raises RuntimeError where this process has lost it."""
        if time.monotonic() - self._looked < NODES_SECONDS:
            return
        self._looked = time.monotonic()
        await head.check_alive()

    # what is pending

    def missing(self, kind: str = "") -> list[tuple[str, float, str]]:
        """(actor, seconds, why) of every actor that is not ready."""
        crews = [crew for name, crew in self._crews().items() if kind in ("", name)]
        late = [each for crew in crews for each in crew.members if each.task and not each.ready]
        if not late:
            return []
        free, nodes = ray.available_resources(), [node["Resources"] for node in ray.nodes() if node["Alive"]]
        why = {each.name: f"{each.name} is starting" if placed(each) else why_late(each, free, nodes) for each in late}
        return [(each.name, time.monotonic() - each.since, why[each.name]) for each in late]

    async def pending(self) -> dict:
        """What is running and for how long, as plain data: units with their actors and problems, and actors that are late."""
        attempts = list(self._spread.going.values()) if self._spread else []
        searchers = {attempt.team["searcher"] for attempt in attempts}
        asked = await asyncio.gather(*(within(2, each.handle.waiting.remote(), []) for each in searchers))
        waiting = {each.unit: each for units in asked for each in units}
        nothing, now = Waiting("", {}, []), time.monotonic()
        units = [
            {
                "unit": str(attempt.job.each),
                "seconds": now - attempt.since,
                "deaths": attempt.job.deaths,
                "actors": {kind: each.name for kind, each in attempt.team.items()},
                "node": next(iter(attempt.team.values())).where,
                "counts": waiting.get(str(attempt.job.each), nothing).counts,
                "slowest": waiting.get(str(attempt.job.each), nothing).slowest,
            }
            for attempt in attempts
        ]
        late = [{"actor": name, "seconds": seconds, "why": why} for name, seconds, why in await asyncio.to_thread(self.missing)]
        await asyncio.gather(*(self._add_doing(each) for each in late))
        return {"units": units, "actors": late, "steps": [self._training.done, self._training.steps]}

    async def _add_doing(self, late: dict) -> None:
        """What an engine does that has a process and starts."""
        for each in [*self.generators.members, *self.judges.members]:
            if each.where and each.name == late["actor"] and (doing := await within(2, each.handle.doing.remote(), "")):
                late["why"] += f": {doing}"


async def within(seconds: float, call: Any, otherwise: Any) -> Any:
    """The result of a call; `otherwise` where its actor is lost or does not answer in time."""
    try:
        async with asyncio.timeout(seconds):  # not wait_for, which may lose a cancellation
            return await asyncio.ensure_future(call)
    except Exception as error:
        if not (lost(error) or isinstance(error, TimeoutError)):
            raise
        return otherwise


def partners(team: dict[str, Member], verifiers: Sequence[Member] = ()) -> Partners:
    """The actors that search a unit. The other verifiers retry the answers that the team's own verifier failed on."""
    others = tuple(each.handle for each in verifiers if each is not team["verifier"])
    generator, judge = (team[kind].handle if kind in team else None for kind in ("generator", "judge"))
    return Partners(generator, team["verifier"].handle, judge, others)
