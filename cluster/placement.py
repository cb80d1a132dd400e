"""Which actors there are, where they run, and how work is handed to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import ray
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayActorError

from cluster.engine import environment
from cluster.generator import Generator, Judge
from cluster.searcher import Done, Searcher, Settings, Unit
from cluster.store import Store, model_key
from cluster.trainer import Trainer
from cluster.verifier import Verifier
from iteration.config import UserError

if TYPE_CHECKING:
    from cluster.run import Config
    from cluster.view import View

UNITS_IN_FLIGHT = 3  # per engine: while one unit ends, the next ones keep the engine full
START_SECONDS = 300


@dataclass
class Placement:
    generators: int = 1  # engines; on CPU one for every two cores
    judges: int = 1  # engines of value models, where there are any
    searchers: int = 1  # processes that drive units
    verifiers: int = 1  # processes that judge
    dashboard: bool = True  # Ray's dashboard, on loopback


class Actors:
    """The actors of one run: `async with` starts them and stops what was started."""

    def __init__(self, options: Config, config: DictConfig, store: Store, address: str, phase: Callable, view: View):
        self._options, self._config, self._store, self._address = options, config, store, address
        self._phase, self._view = phase, view
        self.version = ""  # of the weights that the engines were last served; "" until the first are served, and checked
        self.judged = ""  # version of the value model that was last served
        self.judges: list = []  # started when there is a value model to serve
        self._number = 0  # the next free searcher

    async def __aenter__(self) -> Actors:
        try:
            await self._start()
        except BaseException:
            ray.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        closing = [engine.close.remote() for engine in [*self.generators, *self.judges]]
        await asyncio.to_thread(ray.wait, closing, num_returns=len(closing), timeout=10)
        ray.shutdown()

    async def _start(self) -> None:
        options = self._options
        with self._phase(0, "start"):
            if not ray.is_initialized():
                start_ray(self._address, options.placement.dashboard)
            self.trainer = actor(Trainer, "trainer", {}, options.train.gpus, 2).remote(
                str(self._store.root), options.model, options.train, options.train_judge, options.seed
            )
        url = dashboard_url()
        self._view.say(
            (f"Ray at {self._address}" if self._address else "Ray for this run") + (f", dashboard {url}" if url else "")
        )
        if not self._store.has(f"models/{model_key(0)}", ""):
            with self._phase(0, "first model"):
                begin = self.trainer.begin.remote(named(self._config.task))
                while not (await asyncio.to_thread(ray.wait, [begin], timeout=1))[0]:
                    self._view.tick(0, await self.trainer.progress.remote())
                await begin
        with self._phase(0, "engines"):
            await self._start_engines()

    async def _start_engines(self) -> None:
        options, where = self._options, self._options.placement
        folder = str(self._store.root / "models" / model_key(0))
        verify = named(self._config.verify)
        self.generators = [
            actor(Generator, f"generator-{i}", environment(options.generate.gpus), options.generate.gpus, 1000).remote(
                i, folder, model_key(0), options.generate
            )
            for i in range(where.generators)
        ]
        self.verifiers = [actor(Verifier, f"verifier-{i}").remote(i, *verify) for i in range(where.verifiers)]
        others = {"generators": self.generators, "verifiers": self.verifiers}
        settings = Settings(options.seed, options.generate)
        self.searchers = [
            actor(Searcher, f"searcher-{i}", {}, 0, 1000).remote(i, str(self._store.root), folder, settings, others)
            for i in range(where.searchers)
        ]
        await self._ready([*self.generators, *self.searchers])

    async def _ready(self, actors: list) -> None:
        """Wait until actors have started. Raises UserError naming what is missing."""
        options = self._options
        ready = [each.ready.remote() for each in actors]
        _, late = await asyncio.to_thread(ray.wait, ready, num_returns=len(ready), timeout=START_SECONDS)
        if late:
            free = {name: n for name, n in ray.available_resources().items() if name in ("CPU", "GPU")}
            raise UserError(
                f"{len(late)} of {len(ready)} actors did not start in {START_SECONDS} s; asked for "
                f"{options.placement.generators} x {options.generate.gpus} GPU for generate and {options.train.gpus} GPU for "
                f"train, free in the cluster: {free}"
            )
        await asyncio.gather(*ready)

    async def search(
        self, units: list[Unit], search: tuple[str, dict], judge: tuple[str, dict] | None, done: Callable[[Done], None]
    ) -> None:
        """Search units, a bounded number at a time. Raises the first error; what was committed stays committed."""
        await self._spread(units, lambda searcher, unit: searcher.search.remote(unit, search, judge), done)

    async def score(self, keys: dict[str, str], judge: tuple[str, dict], done: Callable[[Done], None]) -> None:
        """Let the value model score the answers of committed units: {unit's key: key of its scores}."""
        await self._spread(list(keys.items()), lambda searcher, each: searcher.score.remote(*each, judge), done)

    async def _spread(self, work: list, call: Callable, done: Callable[[Done], None]) -> None:
        slots = asyncio.Semaphore(UNITS_IN_FLIGHT * len(self.generators))

        async def one(each) -> None:
            async with slots:
                self._number += 1
                done(await call(self.searchers[self._number % len(self.searchers)], each))

        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(one(each))

    async def serve(self, version: str) -> None:
        """Load the weights of a model into every engine."""
        folder = str(self._store.root / "models" / version)
        await asyncio.gather(*(generator.update.remote(folder, version) for generator in self.generators))
        self.version = version

    async def serve_judge(self, version: str) -> None:
        """Load a value model into the judges' engines, which start with the first one."""
        folder, options = str(self._store.root / "judges" / version), self._options.generate
        if self.judges:
            await asyncio.gather(*(judge.update.remote(folder, version) for judge in self.judges))
        else:
            kind = [
                actor(Judge, f"judge-{i}", environment(options.gpus), options.gpus, 1000)
                for i in range(self._options.placement.judges)
            ]
            self.judges = [each.remote(i, folder, version, options) for i, each in enumerate(kind)]
            await self._ready(self.judges)
            await asyncio.gather(*(searcher.meet.remote(self.judges) for searcher in self.searchers))
        self.judged = version

    async def greedy(self, prompt: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each engine's greedy answer: (token_ids, logprobs)."""
        return await asyncio.gather(*(generator.greedy.remote(prompt) for generator in self.generators))

    async def progress(self) -> tuple[int, tuple[int, int]] | None:
        """(tokens generated since the engines started, (steps done, steps in all) of the training under way).

        None where an actor has died: who waits for its work reports that.
        """
        try:
            ledgers = await asyncio.gather(*(generator.ledger.remote() for generator in self.generators))
            return sum(ledger["tokens"] for ledger in ledgers), await self.trainer.progress.remote()
        except RayActorError:
            return None


def start_ray(address: str, dashboard: bool) -> None:
    """Join the cluster at `address`, or start a private one that ends with this process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        try:
            ray.init(address=address, log_to_driver=False, namespace=f"flywheel-{os.getpid()}")
        except ConnectionError as error:
            raise UserError(f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]})") from None
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


def dashboard_url() -> str:
    url = getattr(ray._private.worker._global_node, "webui_url", "") or ""
    return f"http://{url}" if url else ""


def actor(kind: type, name: str, environment: dict[str, str] | None = None, gpus: int = 0, concurrency: int = 1):
    """A named Ray actor class of `kind`. CPU cores are not reserved: the operating system shares them out better."""
    options = {"name": name, "num_cpus": 0, "num_gpus": gpus, "max_concurrency": concurrency}
    if environment:
        options["runtime_env"] = {"env_vars": environment}
    return ray.remote(kind).options(**options)


def named(section: DictConfig) -> tuple[str, dict]:
    """(name, options) of a part's section."""
    options = OmegaConf.to_container(section, resolve=True)
    return options.pop("name"), options
