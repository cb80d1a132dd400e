"""The benches that need Ray and engines, in tiny sizes, on one Ray and with one engine of each kind where that does.

python -m tests.bench.smoke --smoke
"""

import asyncio
import tempfile
from pathlib import Path

from cluster.run import Run
from cluster.view import View
from tests.bench import bench_generation, bench_gpu, bench_scale, bench_search, bench_update


async def shared(folder: str) -> dict[str, dict]:
    """What runs on the actors of one run. Returns what each search took."""
    run = Run(bench_search.config(folder), view=View())
    async with run.actors:
        run.planning.held_out(run.test)
        run.planning.round(1)
        rate, *_ = await bench_generation.phase(run, 0)
        print(f"bench_generation: {rate:,.0f} tokens/s")
        found = await bench_search.searched(run)
        scale = bench_scale.prepare(Path(folder) / "scale")
        driver, searchers, *_ = await bench_scale.measure(scale, 1, 128, 4, 8, least=128)
        print(f"bench_scale: {driver:.0f} us of the driver, {searchers:.0f} us of the searchers a trace")
        generator = run.actors.generators.members[0].handle
        await asyncio.to_thread(bench_update.measure, generator, run.store.root / "models", "m00000", 1)
        for what, value in await asyncio.to_thread(lambda: list(bench_gpu.engine("smoke", Path(folder)))):
            print(f"bench_gpu: {what} {value}")
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench_generation.model(folder)
        found = asyncio.run(shared(folder))
        bench_search.against_raw(folder, "beam", found["beam"])


if __name__ == "__main__":
    main()
