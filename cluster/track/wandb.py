"""Weights & Biases: one W&B run per run, resumed after a restart. Needs `pip install wandb` and a login."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from iteration.errors import UserError


@dataclass
class Wandb:
    project: str = "flywheel"
    entity: str = ""  # "" for your own
    mode: str = "online"  # or offline: files in RUN/wandb, sent later by `wandb sync`

    def __post_init__(self) -> None:
        try:
            import wandb  # noqa: F401
        except ImportError:
            raise UserError("track.wandb: wandb is not installed; type .venv/bin/pip install wandb") from None

    def open(self, name: str, folder: Path, config: dict) -> None:
        import wandb

        key = hashlib.sha256(str(folder).encode()).hexdigest()[:12]  # the same folder is the same run
        where = {"project": self.project, "entity": self.entity or None, "mode": self.mode, "dir": str(folder)}
        self._run = wandb.init(name=name, id=key, resume="allow", config=config, **where)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self._run.log(numbers, step=step)

    def close(self) -> None:
        self._run.finish()
