"""Keeps what the verifier accepted."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from iteration.types import State


@dataclass
class Correct:
    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        states, whys = traces["state"].to_pylist(), traces["why"].to_pylist()
        return ["" if s == State.CORRECT else f"{s}: {why}" for s, why in zip(states, whys, strict=True)]
