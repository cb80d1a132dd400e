"""The actor that holds an engine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cluster.engine import Engine, Generate


class Generator:
    """Async Ray actor: many batches at once, one engine."""

    def __init__(self, number: int, folder: str, version: str, options: Generate):
        self._number = number
        self._start = folder, version, options
        self._engine: Engine | None = None

    def __repr__(self) -> str:
        return f"Generator {self._number}"

    async def ready(self) -> str:
        """Start the engine if it does not run yet (it needs the actor's event loop). Returns the weights' version."""
        if self._engine is None:
            self._engine = Engine(*self._start)
        return self._engine.version

    async def generate(self, wishes: pa.Table) -> pa.Table:
        return await self._engine.generate(wishes)

    async def update(self, folder: str, version: str) -> None:
        await self._engine.update(folder, version)

    async def greedy(self, prompt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return await self._engine.greedy(prompt)

    async def tokens(self) -> int:
        """Tokens generated since the start."""
        return self._engine.tokens if self._engine else 0

    async def close(self) -> None:
        if self._engine:
            self._engine.close()
            self._engine = None
