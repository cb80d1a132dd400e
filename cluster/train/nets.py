"""The actors of a game that hold its net: one plays with it, one trains it."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cluster.engine import Generate, Ledger
from cluster.folder.layout import manifest_key, model_folder, model_key, model_number, round_key, unit_key, unit_of
from cluster.folder.place import store_at
from cluster.train.fit import pace
from cluster.train.ranks import ALONE, Group
from cluster.train.trainer import Progress, Trainer, check_finite, curve, write_record
from cluster.verifier import here
from iteration.errors import UserError
from iteration.games.hex import Hex
from iteration.games.model import OWN, build
from iteration.games.play import Games, finish, logprobs, play, straight
from iteration.learn.selfplay import COLUMNS
from iteration.parts import Part
from iteration.respond import seed_of
from iteration.search.puct import Evaluated, Puct

HELD = 4  # nets in memory: a match needs two


class Player:
    """Async Ray actor in place of an engine: it plays many games at once with the versions asked for, one batch of boards for
    each wave of their searches. The trees are here, beside the net: a message for each wave would take longer than the wave.
    """

    def __init__(self, number: int, root: str, options: Generate):
        import torch

        torch.set_num_threads(1)  # two threads on small matrices are far slower
        self._number, self._store, self._ledger = number, store_at(root), Ledger()
        self._nets: OrderedDict[str, Any] = OrderedDict()
        self._playing, self._loading = asyncio.Lock(), threading.Lock()  # the games of one unit at a time

    def __repr__(self) -> str:
        return f"Generator {self._number}"

    async def ready(self) -> str:
        return here()

    async def started(self) -> bool:
        return bool(self._nets)

    async def doing(self) -> str:
        return ""

    async def update(self, version: str, senders: Sequence[Any] = ()) -> None:
        self._net(version)

    def _net(self, version: str) -> Any:
        from iteration.games.net import Net

        with self._loading:
            if version not in self._nets:
                self._nets[version] = Net.load(self._store.folder(model_folder(version)))
            self._nets.move_to_end(version)
            while len(self._nets) > HELD:
                self._nets.popitem(last=False)
            return self._nets[version]

    async def play(self, openings: list[list[int]], search: Puct, seed: int, seats: np.ndarray | None, version: str) -> Games:
        """Play games (iteration.games.play.play) with net `version`, against net `search.against` if it names one."""
        async with self._playing:
            return await asyncio.to_thread(self._played, openings, search, seed, seats, version)

    def _played(self, openings: list[list[int]], search: Puct, seed: int, seats: np.ndarray | None, version: str) -> Games:
        nets = [self._net(each) for each in (version, search.against) if each]
        game, began = Hex(math.isqrt(nets[0].cells)), time.monotonic()

        def counted(net: Any, boards: np.ndarray) -> Evaluated:
            self._ledger.tokens += len(boards)
            return net.evaluate(boards)

        played = finish(
            play(game, openings, search, np.random.default_rng(seed), seats), *(partial(counted, net) for net in nets)
        )
        self._ledger.busy += time.monotonic() - began
        return played

    async def greedy(self, prompt: np.ndarray, version: str) -> tuple[np.ndarray, np.ndarray]:
        """(the net's best moves to the end of the game, int32 [t]; their log-probabilities, float32 [t])"""
        net = self._net(version)
        game, line = Hex(math.isqrt(net.cells)), cells_of(prompt)
        moves = straight(game, line, net.evaluate)
        return np.array(moves, np.int32) + OWN, logprobs(game, line, moves, net.evaluate)

    async def ledger(self) -> Ledger:
        return self._ledger

    async def close(self) -> None:
        self._nets.clear()


class Coach(Trainer):
    """Ray actor: trains the net of each round from the positions of its manifest. A killed training starts again."""

    def begin(self, task: Part) -> dict:
        """Commit models/m00000: the folder `model.path`, or an untrained net."""
        name, path, game = model_key(0), self._model.path, task.make().rules()
        if path and cells(Path(path)) != game.cells:
            raise UserError(
                f"model.path {path}: no net for a board of {game.size} x {game.size} there; expected RUN/models/mNNNNN"
            )

        def write(folder: Path) -> None:
            if path:
                shutil.copytree(path, folder, dirs_exist_ok=True)
            else:
                build(folder, game, self._model.net, seed_of(self._seed, "weights") % 2**31)
            write_record(folder, {"from": path})

        self._store.put_folder(model_folder(name), write)
        return self._committed(name)

    def train(self, model: str, base: str, learn: Part, group: Group = ALONE) -> dict:
        """Train net `base` on the manifest of `model` and commit the result as `model`. Returns its training record."""
        if not self._store.has(model_folder(model), ""):
            self._store.put_folder(model_folder(model), lambda folder: self._fitted(folder, model, base, learn))
        return self._committed(model)

    def _fitted(self, folder: Path, model: str, base: str, learn: Part) -> None:
        from iteration.games.net import Net, fit

        start, options, source = time.monotonic(), self._train, self._store.folder(model_folder(base))
        net = Net.load(source)
        data, indices = self._positions(model, learn, Hex(math.isqrt(net.cells)))
        steps = math.ceil(len(indices) / options.rows)
        warmup = max(1, round(options.warmup * steps))
        rates = np.array([options.lr * pace(options.schedule, step, steps, warmup) for step in range(steps)])
        losses: list[float] = []
        for loss in fit(net, data, indices, options.rows, rates, seed_of(self._seed, model)):
            losses.append(loss)
            check_finite(loss, len(losses))
            self._progress = Progress(model, len(losses), steps, loss, min(len(losses) * options.rows, len(indices)))
        for name in source.glob("*token*"):
            shutil.copy(name, folder)
        net.save(folder)
        seconds = time.monotonic() - start
        record = {"base": base, "manifest": round_key(model_number(model)), "examples": len(indices), "learn": learn.name}
        record |= curve(losses, []) | {"steps": steps, "tokens": len(indices), "packing": 1.0, "seconds": round(seconds, 2)}
        write_record(folder, record | {"tokens_per_second": round(len(indices) / max(seconds, 1e-9), 1), "lives": [steps]})

    def _positions(self, model: str, learn: Part, game: Hex) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """(the distinct positions of a manifest, which of them to train on in order: int64 [items])"""
        ids = self._store.table(manifest_key(model), ["trace_id"])["trace_id"].to_pylist()
        by_unit: dict[str, list[str]] = {}
        for name in dict.fromkeys(ids):
            by_unit.setdefault(unit_key(*unit_of(name)), []).append(name)
        part = learn.make()
        parts = [part.positions(self._store.table(key, COLUMNS), names, game) for key, names in by_unit.items()]
        place = {name: i for i, name in enumerate(name for names in by_unit.values() for name in names)}
        data = tuple(np.concatenate(each) for each in zip(*parts, strict=True))
        return data, np.array([place[name] for name in ids], np.int64)

    def logprobs(self, model: str, prompt: np.ndarray, answer: np.ndarray) -> np.ndarray:
        """Log-probabilities of the moves `answer` after `prompt` under a net: float32 [t]."""
        from iteration.games.net import Net

        net = Net.load(self._store.folder(model_folder(model)))
        return logprobs(Hex(math.isqrt(net.cells)), cells_of(prompt), cells_of(answer), net.evaluate)


def cells(folder: Path) -> int:
    """The cells of the board that the net in a folder is for; 0 where there is no net."""
    config = folder / "config.json"
    return json.loads(config.read_text(encoding="utf-8")).get("cells", 0) if config.is_file() else 0


def cells_of(token_ids: np.ndarray) -> list[int]:
    """The cells among tokens, as the first player sees them."""
    return [token - OWN for token in token_ids.tolist() if token >= OWN]
