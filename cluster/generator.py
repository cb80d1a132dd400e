"""The actors that own an engine: generators (policy) and judges (value model)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.engine import Engine, Generate, Ledger, Scorer, Served
from cluster.folder.layout import model_folder
from cluster.folder.place import store_at
from cluster.verifier import here

LOG_BYTES = 20_000  # of the end of an actor's log that are searched for the last message


class Server:
    """Async Ray actor: concurrent batches on one engine. A call names the weights that it needs, so a restarted actor can
    answer it. The weights are in the store `root`, by version."""

    kind: type[Served]

    def __init__(self, number: int, root: str, options: Generate):
        self._number, self._options, self._store = number, options, store_at(root)
        self._engine: Served | None = None
        self._updating = asyncio.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self._number}"

    async def ready(self) -> str:
        """The node that the actor runs on."""
        return here()

    async def started(self) -> bool:
        """Is the engine running, so that its weights can be updated?"""
        return self._engine is not None

    async def doing(self) -> str:
        """What the engine does while it starts, as its log tells; "" where it tells nothing."""
        return "" if self._engine else await asyncio.to_thread(last_line, Path("/proc/self/fd/1"))

    async def update(self, version: str, senders: Sequence[Any] = ()) -> None:
        """Serve these weights; starts the engine if it does not run yet. senders: handles of the trainer's ranks that send them
        together, empty where the engine reads the folder."""
        folder = str(self._store.folder(model_folder(version)))
        async with self._updating:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self.kind, folder, version, self._options)
                return
            with alive():
                await self._engine.wake()
                if self._engine.version != version:
                    await self._engine.update(folder, version, partial(self._pushed, version, senders) if senders else None)

    async def _pushed(self, version: str, senders: Sequence[Any]) -> None:
        """Ask the trainer's ranks to send weights: rank 0 calls the five methods below, which have vLLM's names."""
        import ray

        me, gpus = ray.get_runtime_context().current_actor, max(1, int(self._options.gpus))
        await asyncio.gather(*(each.send.remote(version, me, self._options.transfer, gpus, len(senders)) for each in senders))

    async def init_weight_transfer_engine(self, request: object) -> None:
        await self._engine.transferring("init_weight_transfer_engine", request)

    async def start_weight_update(self) -> None:
        await self._engine.transferring("start_weight_update")

    async def update_weights(self, request: object) -> None:
        await self._engine.transferring("update_weights", request)

    async def finish_weight_update(self) -> None:
        await self._engine.transferring("finish_weight_update")

    async def shutdown_weight_transfer_engine(self) -> None:
        await self._engine.transferring("shutdown_weight_transfer_engine")

    async def sleep(self) -> None:
        """Free the GPU's memory until the next request."""
        if self._engine is not None:
            with alive():
                await self._engine.sleep()

    async def _serving(self, version: str) -> Served:
        """The engine, serving these weights. Raises RuntimeError where it serves others."""
        if self._engine is None:
            await self.update(version)
        if self._engine.version != version:
            raise RuntimeError(f"{version} was asked for, but {self!r} serves {self._engine.version}")
        await self._engine.wake()
        return self._engine

    async def ledger(self) -> Ledger:
        """The engine's counters since it started."""
        return self._engine.ledger if self._engine else Ledger()

    async def close(self) -> None:
        if self._engine:
            self._engine.close()
            self._engine = None


class Generator(Server):
    """Serves the policy."""

    kind = Engine

    async def generate(self, wishes: pa.Table, version: str) -> pa.Table:
        engine = await self._serving(version)
        with alive():
            return await engine.generate(wishes)

    async def greedy(self, prompt: np.ndarray, version: str) -> tuple[np.ndarray, np.ndarray]:
        engine = await self._serving(version)
        with alive():
            return await engine.greedy(prompt)


class Judge(Server):
    """Serves the value model."""

    kind = Scorer

    async def score(self, prefixes: pa.Table, version: str) -> np.ndarray:
        engine = await self._serving(version)
        with alive():
            return await engine.score(prefixes)


def last_line(log: Path) -> str:
    """The last message in a log of vLLM's lines "INFO 11-27 19:40:27 [loader.py:1] message"; "" where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:  # no file: a terminal, a pipe
        return ""
    found = (re.search(r"\b(?:INFO|WARNING) [\d: -]+\[[\w./]+:\d+\] (.+)", line) for line in reversed(lines))
    return next((match[1].strip() for match in found if match), "")


@contextlib.contextmanager
def alive():
    """Exit the actor when its engine dies: Ray restarts both."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError:
        os._exit(1)  # not ray.actor.exit_actor, after which Ray does not restart it
