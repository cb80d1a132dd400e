"""Wall time of rounds over the time of the busiest device, for lag 0 and lag 1, with simulated engines and a simulated trainer.

    python -m tests.bench.bench_overlap [--smoke]

The driver's own loop (`Run._loop`) and its `Spread`, which hands out units, run here; the work of engines and trainer is
replaced by sleep, 100 times faster. Answer lengths have a long tail (log-normal, sigma 1, median 300 tokens), and a unit
ends with its longest answer. A step of an engine takes 2.8 ms and 0.1 ms for each answer that it works on. The busiest device
is the engines (all tokens, in full batches of 256) or the trainer, whichever works longer: no order of work could be faster.
"""

import asyncio
import sys
import time
from types import SimpleNamespace

import numpy as np

from cluster.crew import Crew, Member, Spread
from cluster.run import Run

ROUNDS, UNITS, ANSWERS = 3, 16, 512
SPEED = 100.0  # of the simulation
FLOOR, EACH, BATCH, STRIDE = 2.8e-3, 1e-4, 256, 64  # seconds of a step, and of each answer in it; answers; steps at a time


class Engine:
    """Works on all its answers at once, at most BATCH."""

    def __init__(self, devices):
        self.devices, self.running, self.waiting, self.task = devices, [], [], None

    async def answer(self, lengths: np.ndarray) -> None:
        ends = [asyncio.get_running_loop().create_future() for _ in lengths]
        self.waiting += [[int(n), end] for n, end in zip(lengths, ends, strict=True)]
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.work())
        await asyncio.gather(*ends)

    async def work(self) -> None:
        self.devices.searching += 1
        while self.running or self.waiting:
            room = BATCH - len(self.running)
            self.running, self.waiting = self.running + self.waiting[:room], self.waiting[room:]
            await self.devices.sleep(STRIDE * (FLOOR + EACH * len(self.running)))
            for each in self.running:
                each[0] -= STRIDE
                if each[0] <= 0:
                    each[1].set_result(None)
            self.running = [each for each in self.running if each[0] > 0]
        self.devices.searching -= 1


class Devices:
    """Two engines and a trainer; with `shared` they are one device, and slow each other down."""

    def __init__(self, train: float, shared: bool):
        self.train_seconds, self.shared = train, shared
        self.searching = self.training = 0  # at work now
        self.engines = self.trainer = 0.0  # least busy seconds

    async def sleep(self, seconds: float) -> None:
        slow = 2.0 if self.shared and self.searching and self.training else 1.0
        await asyncio.sleep(seconds * slow / SPEED)

    async def train(self) -> None:
        self.trainer += self.train_seconds
        self.training += 1
        for _ in range(int(self.train_seconds * 4)):
            await self.sleep(0.25)
        self.training -= 1


class Simulated(Run):
    """A run whose search and training only take time."""

    def __init__(self, lag: int, devices: Devices):
        self.options = SimpleNamespace(rounds=ROUNDS, lag=lag)
        self.devices, self.engines, self.changed = devices, asyncio.Lock(), asyncio.Event()
        self.planning = SimpleNamespace(round=lambda number: None)
        self.given = SimpleNamespace(take=lambda *_: asyncio.sleep(0))  # no answers were made elsewhere
        self.train, self.test = "train", "test"
        crew = lambda: Crew(self.prepare, self.changed, print, 600)  # noqa: E731
        self.crews = {"generator": crew(), "searcher": crew()}
        self.crews["searcher"].hire(Member("searcher-0", None))
        for i in range(2):
            self.crews["generator"].hire(Member(f"generator-{i}", Engine(devices)))

    async def prepare(self, member) -> None:
        pass

    async def baseline(self) -> int:
        return 0

    async def search(self, arm: str, number: int, model: str) -> None:
        rng = np.random.default_rng([number, len(arm)])
        lengths = rng.lognormal(np.log(300), 1, (UNITS if arm == "train" else UNITS // 8, ANSWERS))
        self.devices.engines += lengths.sum() * (FLOOR / BATCH + EACH) / 2
        call = lambda team, unit: team["generator"].handle.answer(lengths[unit])  # noqa: E731
        async with self.engines:
            await Spread(self.crews, {"generator": 3}, self.changed, 600, print).run(
                list(range(len(lengths))), call, lambda done: None, print
            )

    async def improve(self, number: int, previous, answered: int) -> int:
        await previous
        await self.devices.train()
        await self.search("test", number, "")
        return number


async def turn(lag: int, train: float, shared: bool) -> tuple[float, float]:
    """(seconds of a round, seconds of the busiest device in a round)."""
    devices = Devices(train, shared)
    run, start = Simulated(lag, devices), time.perf_counter()
    await run._loop()
    both = devices.engines + devices.trainer if shared else max(devices.engines, devices.trainer)
    return (time.perf_counter() - start) * SPEED / ROUNDS, both / ROUNDS


def main() -> None:
    settings = {
        "trainer and engines apart, as long as each other": (180.0, False),
        "apart, training a fifth of the search": (36.0, False),
        "apart, training three times the search": (540.0, False),
        "on the same device": (180.0, True),
        "apart, next to no training": (2.0, False),
    }
    if "--smoke" in sys.argv:
        global SPEED, ANSWERS
        SPEED, ANSWERS, settings = 2000.0, 32, {"on the same device": (36.0, True)}
    for name, (train, shared) in settings.items():
        walls = {}
        for lag in (0, 1):
            walls[lag], busiest = asyncio.run(turn(lag, train, shared))
            print(f"{name}: lag={lag} {walls[lag]:6.1f} s a round, {walls[lag] / busiest:.2f} of the busiest device")
        print(f"{name}: lag=1 takes {walls[1] / walls[0]:.2f} of lag=0", flush=True)


if __name__ == "__main__":
    main()
