"""The actors that hold an engine."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pyarrow as pa

from cluster.engine import Engine, Generate, Scorer, Served


class Server:
    """Async Ray actor: many batches at once, one engine."""

    kind: type[Served]

    def __init__(self, number: int, folder: str, version: str, options: Generate):
        self._number = number
        self._start = folder, version, options
        self._engine: Served | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self._number}"

    async def ready(self) -> str:
        """Start the engine if it does not run yet (it needs the actor's event loop). Returns the weights' version."""
        if self._engine is None:
            self._engine = self.kind(*self._start)
        return self._engine.version

    async def update(self, folder: str, version: str) -> None:
        await self._engine.update(folder, version)

    async def ledger(self) -> dict:
        """What the engine has done since it started (cluster.engine.Ledger)."""
        return asdict(self._engine.ledger) if self._engine else {"tokens": 0}

    async def close(self) -> None:
        if self._engine:
            self._engine.close()
            self._engine = None


class Generator(Server):
    """Holds the policy."""

    kind = Engine

    async def generate(self, wishes: pa.Table) -> pa.Table:
        return await self._engine.generate(wishes)

    async def greedy(self, prompt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return await self._engine.greedy(prompt)


class Judge(Server):
    """Holds the value model."""

    kind = Scorer

    async def score(self, prefixes: pa.Table) -> np.ndarray:
        return await self._engine.score(prefixes)
