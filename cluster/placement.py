"""Which actors there are, and where they run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from asyncio import FIRST_EXCEPTION
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import AuthenticationError, RaySystemError
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from cluster.crew import Crew, Member, Spread, busy, lost, ping
from cluster.engine import Generate, Ledger, environment
from cluster.folder.layout import model_key
from cluster.folder.store import Store
from cluster.generator import Generator, Judge
from cluster.sandbox.walls import SandboxOptions
from cluster.searcher import Done, Partners, Searcher, Unit, Waiting
from cluster.train.options import Model, Train, TrainJudge
from cluster.train.ranks import Group
from cluster.train.trainer import Progress, Trainer
from cluster.verifier import Verifier, tag
from cluster.view import View
from iteration.errors import UserError
from iteration.parts import Part, at_least
from iteration.types import Span

UNITS_IN_FLIGHT = 3  # per engine: while one unit ends, the next ones keep the engine full
START_SECONDS = 300
GROUPED = ("train", "judge")  # methods of the trainer that all its ranks work on together
TOLD_SECONDS = 30  # in which Ray tells that a rank is dead, where others have felt it already
TRAINER_DEATHS = 5  # in one call, without a step done in between
NODES_SECONDS = 5  # between two looks at which nodes there are
LOST_SECONDS = 60  # after which a head that does not answer is taken for dead


@dataclass
class Placement:
    generators: int = 1  # engines; 0: on every node, also on those that join late, one for two cores or for generate.gpus GPUs
    judges: int = 1  # engines of value models, where there are any
    searchers: int = 1  # processes that drive units
    verifiers: int = 1  # processes that judge
    deadline: float = 600.0  # seconds of a unit, after which others get it too, and actors that do not answer are started anew
    silence: float = 60.0  # seconds without anything committed, after which a line says what is pending
    dashboard: bool = True  # Ray's dashboard, on loopback

    def __post_init__(self) -> None:
        at_least(self, generators=0, judges=1, searchers=1, verifiers=1, deadline=1)


class Sections(Protocol):
    """The sections of a run's config that decide on its actors."""

    seed: int
    model: Model
    generate: Generate
    train: Train
    train_judge: TrainJudge
    sandbox: SandboxOptions
    placement: Placement


class Actors:
    """The actors of one run: `async with` starts them and stops what was started. Ray starts those anew that die."""

    def __init__(self, options: Sections, task: Part, verify: Part, judge: Part | None, store: Store, address: str, view: View):
        self._options, self._store, self._address, self._view = options, store, address, view
        self._task, self._verify, self._judge = task, verify, judge
        self.started = False  # there is a cluster
        self.version = ""  # of the weights that the engines were last served; "" until the first are served, and checked
        self.judged = ""  # version of the value model that was last served
        self._changed = asyncio.Event()
        crew = lambda prepare: Crew(prepare, self._changed, view.say, options.placement.deadline)  # noqa: E731
        self.generators, self.judges = crew(None), crew(None)
        self.searchers, self.verifiers, self.trainers = crew(answers), crew(answers), crew(answers)
        self._spread: Spread | None = None
        self._born = 0  # generators hired so far
        self._looked = time.monotonic()  # at the nodes
        self._training = Progress()
        self._growing: asyncio.Task | None = None
        self._turn = asyncio.Lock()  # the trainer's ranks work on one thing at a time: a training, or weights for one engine

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
            closing = [
                member.handle.close.remote() for member in [*self.generators.members, *self.judges.members] if member.ready
            ]
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
            # Ray has put its own handler for SIGTERM; ours lets the actors close and the process exit with 75.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
            self.started = True
            resident = options.generate.transfer == "nccl"  # a shared GPU has no room for the trained model
            trainer = root, options.model, options.train, options.train_judge, options.seed, resident
            for rank in range(options.train.ranks):
                name = f"trainer-{rank}" if rank else "trainer"
                self.trainers.hire(start_actor(Trainer, name, trainer, gpus=options.train.gpus, concurrency=4))
        url = dashboard_url()
        self._view.say(
            (f"Ray at {self._address}" if self._address else "Ray for this run") + (f", dashboard {url}" if url else "")
        )
        if not self._store.has(f"models/{model_key(0)}", ""):
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
            self.verifiers.hire(start_actor(Verifier, f"verifier-{i}", (i, self._verify, asdict(options.sandbox))))
        for i in range(where.searchers):
            searcher = i, root, options.seed, options.generate, tag(self._verify)
            self.searchers.hire(start_actor(Searcher, f"searcher-{i}", searcher, concurrency=1000))
        for i in range(where.judges if self._judge else 0):  # their engines start with the first value model
            self.judges.hire(self._engine(Judge, f"judge-{i}", i, "judges"))
        if not where.generators:
            self._growing = asyncio.create_task(self._grow())
        for kind in ("generator", "searcher", "verifier"):
            await self._first(kind)

    async def _first(self, kind: str) -> None:
        """Wait until there is one of a kind. Raises UserError naming what is missing where none can be placed."""
        while True:
            try:
                return await self._crews()[kind].first(START_SECONDS)
            except TimeoutError:
                late = [why for _, _, why in self.missing(kind)]
                if not any(why.endswith("is starting") for why in late):  # a large model takes its time
                    said = "; ".join(late) or f"no node of the cluster has room for a {kind}"
                    raise UserError(f"no {kind} was ready after {START_SECONDS} s: {said}") from None

    def _engine(self, kind: type, name: str, number: int, folder: str, node: str = "") -> Member:
        options = self._options.generate
        arguments = number, self._store.place, folder, options
        return start_actor(kind, name, arguments, environment(options.gpus, options.transfer), options.gpus, 1000, node)

    def _hire_generator(self, node: str) -> None:
        name = f"generator-{self._born}"
        self.generators.hire(self._engine(Generator, name, self._born, "models", node))
        self._born += 1

    async def _grow(self) -> None:
        """Keep an engine for every two cores (or for so many GPUs) of every node, while nodes come and go."""
        while True:
            nodes = await asyncio.to_thread(ray.nodes)  # where the head is gone, check_alive says so
            alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
            for gone in [each for each in self.generators.members if each.node not in alive]:
                self._view.say(f"{gone.name} is gone with its node {gone.node[:8]}")
                self.generators.dismiss(gone)
                if gone.group:
                    remove_placement_group(gone.group)
            gpus = self._options.generate.gpus
            for node, holds in alive.items():
                room = int(holds.get("GPU", 0) / gpus) if gpus else (int(holds.get("CPU", 0)) + 1) // 2
                for _ in range(room - sum(each.node == node for each in self.generators.members)):
                    if self.version:
                        self._view.say(f"node {node[:8]} has joined: generator-{self._born} starts there")
                    self._hire_generator(node)
            await asyncio.sleep(NODES_SECONDS)

    async def search(
        self,
        phase: str,
        units: list[Unit],
        done: Callable[[Done], None],
        aside: Callable[[Unit, str], None],
    ) -> None:
        """Search units, a bounded number at a time. Raises the first error; what was committed stays committed.

        phase: what it is done for, e.g. measure; aside(unit, reason): is called for a unit that kills its actors again and
        again.
        """
        call = lambda team, unit: team["searcher"].handle.search.remote(unit, self._partners(team))  # noqa: E731
        await self._hand_out(phase, units, any(unit.judge for unit in units), call, done, aside)

    async def score(
        self,
        keys: dict[str, str],
        judge: Part,
        version: str,
        done: Callable[[Done], None],
        aside: Callable[[tuple, str], None],
    ) -> None:
        """Let value model `version` score the answers of committed units: {unit's key: key of its scores}."""
        call = lambda team, each: team["searcher"].handle.score.remote(*each, self._partners(team), judge, version)  # noqa: E731
        await self._hand_out("score", list(keys.items()), True, call, done, aside)

    def _partners(self, team: dict[str, Member]) -> Partners:
        return partners(team, [each for each in self.verifiers.members if each.ready])

    async def audit(self, batches: list[tuple], part: Part, done: Callable, aside: Callable) -> None:
        """Let the verifiers judge batches (number, problems, answers) by another `part`; done((number, verdicts)) for each."""
        call = lambda team, each: team["verifier"].handle.audit.remote(*each, part)  # noqa: E731
        spread = Spread({"verifier": self.verifiers}, {}, self._changed, self._options.placement.deadline, self._view.say)
        await spread.run(batches, call, done, aside)

    async def _hand_out(self, phase: str, work: list, judged: bool, call: Callable, done: Callable, aside: Callable) -> None:
        crews = {kind: self._crews()[kind] for kind in ("generator", "searcher", "verifier", *(["judge"] if judged else []))}
        most = {"generator": UNITS_IN_FLIGHT}
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
        """Call a method of the trainer, of all its ranks where they work together (GROUPED); again where one of them died: a
        training goes on from its last checkpoint. Returns what rank 0 does."""
        if method not in GROUPED:
            return await self._train(self.trainers.members[:1], method, arguments)
        async with self._turn:
            if self._options.generate.sleep:  # the GPU is the trainer's alone until it is done
                await self._told(self._engines(), "sleep")
                return await self._train(self.trainers.members, method, arguments)
            await self._told(self.trainers.members, "release")
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
                await self._all_told(calls)
                return calls[0].result()
            except Exception as error:
                if not lost(error):
                    raise
                deaths, before = (1 if self._training.done > before else deaths + 1), self._training.done
                if deaths == TRAINER_DEATHS:
                    raise
                self._view.say(f"the trainer was lost at step {self._training.done}; Ray starts it anew")
                for each in ranks:
                    if len(ranks) > 1:  # the others wait for the dead one
                        ray.kill(each.handle, no_restart=False)
                    self.trainers.suspect(each)
            finally:
                for call in calls:
                    call.cancel()

    def _engines(self) -> list[Member]:
        return [each for each in [*self.generators.members, *self.judges.members] if each.ready]

    async def _told(self, those: Sequence[Member], method: str) -> None:
        """Call a method of all of them; one that died holds nothing either."""
        for error in await asyncio.gather(*(getattr(each.handle, method).remote() for each in those), return_exceptions=True):
            if isinstance(error, Exception) and not lost(error):
                raise error

    async def give(self, engine: Member, version: str) -> None:
        """Make an engine ready: it serves these weights. It reads them itself, or the trainer's ranks send it what they
        hold, one engine at a time; where one of them does not hold it (any more), rank 0 sends the committed folder."""
        await answers(engine)
        options = self._options.generate
        sent = options.transfer != "host" and await engine.handle.started.remote()  # one that starts reads the folder
        if not (sent or options.sleep):
            await engine.handle.update.remote(version)
            return
        await asyncio.shield(asyncio.ensure_future(self._sent(engine, version)))  # not left in the middle

    async def _sent(self, engine: Member, version: str) -> None:
        async with self._turn:
            ranks = self.trainers.members if self._options.generate.transfer != "host" else []
            try:
                async with asyncio.timeout(max(START_SECONDS, self._options.placement.deadline)):
                    held = await asyncio.gather(*(each.handle.is_resident.remote(version) for each in ranks))
                    senders = [each.handle for each in (ranks if all(held) else ranks[:1])]
                    await engine.handle.update.remote(version, senders)
            except Exception as error:
                for each in [*ranks, engine]:  # who was in the midst of it would wait for the others; all is committed
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
        groups = [Group(rank, len(ranks), address) for rank in range(len(ranks))]
        return [getattr(each.handle, method).remote(*arguments, group) for each, group in zip(ranks, groups, strict=True)]

    async def _all_told(self, calls: list[asyncio.Future]) -> None:
        """Raise what went wrong: the loss of a rank before what others say of it, who notice it first."""
        await asyncio.wait(calls, timeout=TOLD_SECONDS if any(c.done() and c.exception() for c in calls) else None)
        errors = [call.exception() for call in calls if call.done() and call.exception()]
        for error in sorted(errors, key=lambda error: not lost(error)):
            raise error

    async def progress(self) -> tuple[dict[str, Ledger], Progress]:
        """({engine's name: what it has done since it started}, the training under way)."""

        async def ask(call: Any, otherwise: Any) -> Any:
            try:
                async with asyncio.timeout(5):  # not wait_for, which may lose a cancellation
                    return await asyncio.ensure_future(call)
            except Exception as error:
                if not (lost(error) or isinstance(error, TimeoutError)):
                    raise
                return otherwise

        ready = [each for each in self.generators.members if each.ready]
        ledgers = await asyncio.gather(*(ask(each.handle.ledger.remote(), Ledger()) for each in ready))
        if self.trainers.members and self.trainers.members[0].ready:
            self._training = await ask(self.trainers.members[0].handle.progress.remote(), self._training)
        return {each.name: ledger for each, ledger in zip(ready, ledgers, strict=True)}, self._training

    async def check_alive(self) -> None:
        """Raises RuntimeError where this process has lost its cluster: nothing would ever end."""
        if time.monotonic() - self._looked < NODES_SECONDS:
            return
        self._looked, own = time.monotonic(), ray.get_runtime_context().get_node_id()
        try:
            async with asyncio.timeout(LOST_SECONDS):
                nodes = await asyncio.to_thread(ray.nodes)
        except TimeoutError:
            raise RuntimeError(f"Ray's head has not answered for {LOST_SECONDS} s") from None
        if not any(node["Alive"] for node in nodes if node["NodeID"] == own):
            raise RuntimeError("Ray has lost the node of this process (its raylet died)")

    # who waits for what

    def missing(self, kind: str = "") -> list[tuple[str, float, str]]:
        """(actor, seconds, why) of every actor that is not ready."""
        crews = [crew for name, crew in self._crews().items() if kind in ("", name)]
        late = [each for crew in crews for each in crew.members if each.task and not each.ready]
        if not late:
            return []
        free, nodes = ray.available_resources(), [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [(each.name, time.monotonic() - each.since, why_late(each, free, nodes)) for each in late]

    async def pending(self) -> dict:
        """What is under way and for how long, as plain data: units with their actors and problems, and actors that are late."""
        attempts = list(self._spread.going.values()) if self._spread else []
        searchers = {attempt.team["searcher"] for attempt in attempts}

        async def ask(searcher: Member) -> list:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    return await asyncio.ensure_future(searcher.handle.waiting.remote())
            return []

        waiting = {each.unit: each for found in await asyncio.gather(*map(ask, searchers)) for each in found}
        nothing = Waiting("", {}, [])
        now = time.monotonic()
        units = [
            {
                "unit": str(attempt.job.each),
                "seconds": now - attempt.since,
                "deaths": attempt.job.deaths,
                "actors": {kind: each.name for kind, each in attempt.team.items()},
                "node": attempt.team["generator"].where,
                "counts": waiting.get(str(attempt.job.each), nothing).counts,
                "slowest": waiting.get(str(attempt.job.each), nothing).slowest,
            }
            for attempt in attempts
        ]
        late = [{"actor": name, "seconds": seconds, "why": why} for name, seconds, why in await asyncio.to_thread(self.missing)]
        return {"units": units, "actors": late, "steps": [self._training.done, self._training.steps]}


async def answers(each: Member) -> None:
    """Makes an actor ready that needs nothing more: it answers, and says on which node."""
    each.where = await each.handle.ready.remote()


def partners(team: dict[str, Member], verifiers: Sequence[Member] = ()) -> Partners:
    """What a unit is searched with; the other verifiers are asked again what the team's own failed at."""
    others = tuple(each.handle for each in verifiers if each is not team["verifier"])
    judge = team["judge"].handle if "judge" in team else None
    return Partners(team["generator"].handle, team["verifier"].handle, judge, others)


def why_late(each: Member, free: dict[str, float], nodes: list[dict[str, float]]) -> str:
    """What an actor waits for that has not started."""
    if each.group and placement_group_table(each.group)["state"] == "CREATED":  # what it needs is kept for it
        return f"{each.name} is starting"
    for name, wanted in each.needs.items():
        most = max((node.get(name, 0) for node in nodes), default=0)
        if most < wanted:
            return f"{each.name} needs {wanted:g} {name} on one node, but the largest of {len(nodes)} nodes has {most:g}"
        if free.get(name, 0) < wanted:
            return f"{each.name} waits for {wanted:g} {name}; {free.get(name, 0):g} of the cluster's are free"
    return f"{each.name} is starting"


def start_ray(address: str, dashboard: bool, say: Callable[[str], None] = print) -> None:
    """Join the cluster at `address`, or start a private one that ends with this process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        join(address, say)
        return
    ray.init(
        address="local",
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level="ERROR",
        namespace="flywheel",
    )
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file():
        token.chmod(0o600)  # Ray writes 0644


def join(address: str, say: Callable[[str], None]) -> None:
    from ray._raylet import AuthenticationMode, get_authentication_mode

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", namespace=f"flywheel-{os.getpid()}")
    except ConnectionError as error:
        raise UserError(f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]})") from None
    except AuthenticationError:
        raise UserError(
            f"--address {address}: the cluster asks for a token; put it in ~/.ray/auth_token, type export RAY_AUTH_MODE=token"
        ) from None
    if ray.get(ray.remote(without_token).options(num_cpus=0).remote()):
        if get_authentication_mode() != AuthenticationMode.DISABLED:  # its messages to us would be refused, without a word
            raise UserError(
                f"--address {address}: the cluster asks for no token, but this process does; start the cluster's nodes with "
                "RAY_AUTH_MODE=token, or type export RAY_AUTH_MODE=disabled"
            )
        say(
            f"WARNING: the Ray cluster at {address} asks for no token: whoever reaches its ports can run code on it. "
            "Start its nodes with RAY_AUTH_MODE=token"
        )


def without_token() -> bool:
    """Runs on the cluster: does it let in whoever comes?"""
    from ray._raylet import AuthenticationMode, get_authentication_mode

    return get_authentication_mode() == AuthenticationMode.DISABLED


def dashboard_url() -> str:
    url = getattr(ray._private.worker._global_node, "webui_url", "") or ""
    return f"http://{url}" if url else ""


def start_actor(
    kind: type,
    name: str,
    arguments: tuple,
    environment: dict[str, str] | None = None,
    gpus: float = 0,
    concurrency: int = 1,
    node: str = "",
) -> Member:
    """Start a named actor of `kind`; Ray restarts it when it dies. CPU cores are not reserved: the operating system
    shares them out better. node: where it has to be; "" spreads actors over the nodes that there are."""
    options = {"name": name, "num_cpus": 0, "num_gpus": gpus, "max_concurrency": concurrency, "max_restarts": -1}
    options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False) if node else "SPREAD"
    group = None
    if gpus > 1:  # reserved together on one node, whose GPUs see each other fastest
        where = [{"ray.io/node-id": node}] if node else None
        group = placement_group([{"GPU": gpus}], "STRICT_PACK", name, bundle_label_selector=where)
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, 0)
    if environment:
        options["runtime_env"] = {"env_vars": environment}
    handle = ray.remote(kind).options(**options).remote(*arguments)
    return Member(name, handle, node, needs={"GPU": gpus} if gpus else {}, group=group)
