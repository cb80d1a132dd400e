"""What driver, searchers and store cost for each trace, from a hundred traces to a million, with 4 to 256 searcher coroutines
in each of several actors: the curve has to be flat. And what the size of a unit costs.

    python -m tests.bench.bench_scale [MOST]        MOST traces at most; default 100000
    python -m tests.bench.bench_scale --smoke       one row of a few traces

Real actors, searches, verdicts and commits; in place of an engine an actor that answers from a script. CPU seconds of the
driver's process and of all searchers, in microseconds a trace, in units of 4 problems with 16 answers each. Baseline: 10,000
traces, 64 coroutines in one actor. Few traces are searched again and again, until there were 10,000.
"""

import asyncio
import dataclasses
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import ray

from cluster.crew import Crew, Spread, answers
from cluster.engine import STEP, Generate
from cluster.head import start_actor, start_ray
from cluster.placement import partners
from cluster.searcher import Searcher, Unit
from cluster.verifier import Verifier, here
from iteration import tiny
from iteration.parts import SEARCH, VERIFY, Part
from iteration.tasks.expressions import VOCABULARY
from iteration.types import Problem
from tests.worlds import TRAIN, unit

ANSWERS, TOKENS = 16, 40  # to each problem; of each answer
ARM = dataclasses.replace(TRAIN, search=Part(SEARCH, "sample", {"n": ANSWERS}), budget=10**6)
GENERATE = Generate(gpus=0, dtype="float32")


class Script:
    """Answers every wish at once, with the same tokens."""

    def ready(self) -> str:
        return here()

    def generate(self, wishes: pa.Table, version: str) -> pa.Table:
        counts = wishes["n"].to_numpy()
        rows = int(counts.sum())
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * TOKENS)
        tokens = pa.array(np.resize(np.arange(2, 14, dtype=np.int32), rows * TOKENS))
        logprobs = pa.array(np.full(rows * TOKENS, -0.1, np.float32))
        return pa.table(
            [
                pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts)),
                pa.ListArray.from_arrays(offsets, tokens),
                pa.ListArray.from_arrays(offsets, logprobs),
                pa.array([True] * rows),
                pa.array([False] * rows),
                pa.array([version] * rows),
            ],
            schema=STEP,
        )


def units(traces: int, problems: int, turn: int) -> list[Unit]:
    found = []
    for number in range(max(1, traces // (problems * ANSWERS))):
        ids = [f"p{number}-{i}" for i in range(problems)]
        each = [Problem(name, "1+2", "3") for name in ids]
        plain = unit(*each, round=turn, number=number, model="m0")
        found.append(dataclasses.replace(plain, arm=ARM, prompts=["1 + 2"] * problems))
    return found


def cpu(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


async def measure(
    folder: Path, actors: int, traces: int, problems: int, coroutines: int, least: int = 10_000
) -> tuple[float, float, float, int]:
    """(driver us, searchers us, traces/s, traces) a trace, in units of so many problems, with so many coroutines an actor, over
    `least` traces or more."""
    changed, turn = asyncio.Event(), next(TURNS)
    crews = {kind: Crew(answers, changed, print, 600) for kind in ("generator", "searcher", "verifier")}
    name = f"{turn}-{{}}-{{}}"
    for i in range(actors):
        crews["generator"].hire(start_actor(Script, name.format("script", i), ()))
        crews["verifier"].hire(start_actor(Verifier, name.format("verifier", i), (i, Part(VERIFY, "exact", {}))))
        searcher = i, str(folder / "run"), 0, GENERATE
        crews["searcher"].hire(start_actor(Searcher, name.format("searcher", i), searcher, concurrency=1000))
    for crew in crews.values():
        while not all(each.ready for each in crew.members):
            await asyncio.sleep(0.1)
    call = lambda team, unit: team["searcher"].handle.search.remote(unit, partners(team))  # noqa: E731
    most = {"generator": max(1, coroutines // problems)}
    spread = lambda: Spread(crews, most, changed, 600, print)  # noqa: E731
    await spread().run(units(least // 5, problems, next(TURNS)), call, lambda done: None, print)  # warm
    everyone = [p.pid for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::Searcher")]
    work = [units(traces, problems, next(TURNS)) for _ in range(max(1, least // traces))]
    done: list = []
    before, own, start = cpu(everyone), time.process_time(), time.perf_counter()
    for each in work:
        await spread().run(each, call, done.append, print)
    seconds, spent, mine = time.perf_counter() - start, cpu(everyone) - before, time.process_time() - own
    assert len(done) == sum(map(len, work))
    for crew in crews.values():
        for each in crew.members:
            ray.kill(each.handle)
        crew.close()
    found = len(done) * problems * ANSWERS
    return 1e6 * mine / found, 1e6 * spent / found, found / seconds, found // len(work)


TURNS = itertools.count(1)  # rounds that units are of, each with names of its own


def prepare(folder: Path) -> Path:
    """A run folder with a first model."""
    tiny.build(folder / "run/models/m00000", VOCABULARY, tiny.Shape(hidden_size=32, layers=1), 0)
    (folder / "run/_tmp").mkdir()
    return folder


def main() -> None:
    smoke = "--smoke" in sys.argv
    most = int(sys.argv[1]) if len(sys.argv) > 1 and not smoke else 100_000
    base: list[float] = []

    def row(label: str, traces: int = 10_000, coroutines: int = 64, actors: int = 1, problems: int = 4) -> None:
        driver, searchers, rate, found = asyncio.run(measure(folder, actors, traces, problems, coroutines))
        base.extend([] if base else [driver, searchers])
        print(
            f"{label or f'{found:,} traces':>28}: driver {driver:5.1f} us a trace ({driver / base[0]:.2f} of the baseline), "
            f"searchers {searchers:5.1f} us ({searchers / base[1]:.2f}), {rate:,.0f} traces/s",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as temporary:
        folder = prepare(Path(temporary))
        start_ray("", dashboard=False)
        if smoke:
            print(asyncio.run(measure(folder, 1, 128, 4, 8, least=128)))
            return ray.shutdown()
        for traces in (10_000, 100, 1000, *(10**i for i in (5, 6) if 10**i <= most)):
            row("", traces)
        for actors in (1, 4):
            for coroutines in (4, 16, 64, 256):
                row(f"{coroutines} coroutines x {actors} actors", coroutines=coroutines, actors=actors)
        for problems in (4, 16, 64, 256):
            row(f"units of {problems} problems", coroutines=256, problems=problems)
        return ray.shutdown()


if __name__ == "__main__":
    main()
