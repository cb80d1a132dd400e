"""TensorBoard event files in RUN/tensorboard: one point per metric and round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iteration.errors import UserError


@dataclass
class Tensorboard:
    def __post_init__(self) -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            raise UserError(
                "track.tensorboard: tensorboardX is not installed; type .venv/bin/pip install tensorboardX"
            ) from None

    def open(self, name: str, folder: Path, config: dict) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name.replace(" ", "_"), value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
