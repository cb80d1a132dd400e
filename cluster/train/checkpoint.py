"""Checkpoints of a training: after a kill it resumes from the newest one, with the same examples in the same order.

    checkpoints/m00003/s000120/    weights and optimiser as safetensors, and progress.json; whole or absent

Written by torch.distributed.checkpoint while the training continues. They are not part of the run's state: only the newest
counts, and all are removed when the model is committed. Nothing in them is ever executed (safetensors and JSON, no pickle).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.folder.layout import checkpoints_folder
from cluster.folder.store import Store
from cluster.train.ranks import agreed

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh


FILE_BYTES = 256 << 20


class Checkpoints:
    """The checkpoints of the training of `name`, e.g. m00003, at most one every `seconds`.

    With a mesh every rank writes its own shares into the same folder, and rank 0 commits it; another number of ranks can read
    them.
    """

    def __init__(self, store: Store, name: str, seconds: float, mesh: DeviceMesh | None = None):
        self._mesh, self._first = mesh, mesh is None or mesh.get_rank() == 0
        # On the trainer's own machine, wherever the run is: they are not part of its state.
        self._store, self._folder, self._seconds = Store(store.root), checkpoints_folder(name), seconds
        self._last = time.monotonic()
        self.attempts: list[int] = []  # the steps at which earlier attempts at this training ended
        self._writing: Future | None = None
        self._group: Any = None
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # a single process is intended

    def restore(self, model: torch.nn.Module, adam: torch.optim.Optimizer, steps: int) -> list[float]:
        """Load the newest. Returns the losses of the steps that it holds; none where there is no checkpoint."""
        import torch
        from torch.distributed import checkpoint

        key = agreed(self._newest(), self._mesh)
        if not key:
            return []
        progress = self._store.json(f"{key}/progress")
        if progress["steps"] != steps:  # of another sequence of batches
            return []
        for parameter in adam.param_groups[0]["params"] + adam.param_groups[1]["params"]:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            adam.state[parameter] = {"step": torch.zeros((), device=parameter.device)} | moments
        reader = checkpoint.HuggingFaceStorageReader(path=str(self._store.root / key))
        checkpoint.load(state(model, adam), storage_reader=reader, no_dist=self._mesh is None)
        self.attempts = [*progress["lives"], len(progress["losses"])]
        return progress["losses"]

    def due(self) -> bool:
        """Is it time for one, and the previous one written? The same on every rank."""
        due = time.monotonic() - self._last >= self._seconds and not (self._writing and not self._writing.done())
        return agreed(due, self._mesh)

    def save(self, model: torch.nn.Module, adam: torch.optim.Optimizer, steps: int, losses: list[float]) -> None:
        """Start writing one. The weights may change once this returns."""
        from torch.distributed import checkpoint

        self.close()
        self._last = time.monotonic()
        folder = Path(agreed(str(self._store.new_folder()) if self._first else "", self._mesh))
        progress = {"steps": steps, "losses": list(losses), "lives": self.attempts}
        tensors = state(model, adam)
        options = {"fqn_to_index_mapping": files(tensors), "save_distributed": self._mesh is not None}
        writer = checkpoint.HuggingFaceStorageWriter(path=str(folder), **options)
        written = checkpoint.async_save(tensors, storage_writer=writer, process_group=self._gloo(), no_dist=self._mesh is None)
        self._writing = Future()
        written.add_done_callback(lambda written: self._commit(written, folder, progress))

    def _gloo(self) -> Any:
        """A separate group for the thread that writes: its messages may interleave with those of the training."""
        if self._mesh is None:
            return None
        from torch import distributed

        self._group = self._group or distributed.new_group(backend="gloo")
        return self._group

    def _commit(self, written: Future, folder: Path, progress: dict) -> None:
        """Commit a checkpoint. Runs in the thread that wrote the tensors."""
        try:
            written.result()
            if not self._first:
                self._writing.set_result("")
                return
            (folder / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
            key = f"{self._folder}/s{len(progress['losses']):06d}"
            self._store.commit_folder(key, folder)
            self._remove([other for other in self._all() if other != key])
            self._writing.set_result(key)
        except BaseException as error:
            self._writing.set_exception(error)

    def close(self) -> None:
        """Wait until the checkpoint is written. Raises the error of writing it, e.g. a full disk."""
        if self._writing:
            self._writing.result()

    def clear(self) -> None:
        """Remove all: the training is over and its model committed."""
        self.close()
        self._remove(self._all())
        with contextlib.suppress(OSError):
            (self._store.root / self._folder).rmdir()

    def _all(self) -> list[str]:
        folder = self._store.root / self._folder
        return [f"{self._folder}/{path.name}" for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def _newest(self) -> str:
        return next(reversed(self._all()), "")

    def _remove(self, keys: list[str]) -> None:
        for key in keys:  # renamed first: under its own name a checkpoint is always whole
            with contextlib.suppress(FileNotFoundError):
                gone = self._store.new_folder() / "gone"
                (self._store.root / key).rename(gone)
                shutil.rmtree(gone.parent)


def files(tensors: dict[str, torch.Tensor]) -> dict[str, int]:
    """The file that each tensor goes into, counted from 1. A file is assembled in memory before it is written."""
    numbers, total = {}, 0
    for name, tensor in tensors.items():
        numbers[name] = 1 + total // FILE_BYTES
        total += tensor.numel() * tensor.element_size()
    return numbers


def state(model: torch.nn.Module, adam: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Weights and optimiser state as one flat dict of tensors: the live ones, not copies."""
    tensors = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # frozen
            continue
        tensors[f"model.{name}"] = parameter.data
        tensors |= {f"adam.{name}.{key}": value for key, value in adam.state[parameter].items()}
    return tensors
