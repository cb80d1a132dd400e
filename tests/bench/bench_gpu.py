"""What is claimed about GPUs, in one table, within eight minutes on one GPU.

    python -m tests.bench.bench_gpu [--smoke] [--out FOLDER] [ROW ...]

Each row runs in a process of its own: a failure or a time-out costs that row only. The models have random weights. MFU is
6 x parameters x tokens a second over the card's dense bfloat16 peak. The bare loop: transformers, sdpa, autocast to bfloat16,
clipping, fused AdamW, rows that are each one causal sequence. --smoke: the rows that can run on a CPU, in tiny sizes. FOLDER
(default: bench_gpu in the folder for temporary files) gets a profile of five steps of each trainer row, and the output of rows
that failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch

from iteration import tiny
from iteration.tasks.expressions import VOCABULARY

MINUTES = 8
MARK = "found: "
Found = Iterator[tuple[str, str]]  # (what, value)


@dataclass(frozen=True)
class Sizes:
    """A model with random weights, and the rows of a step."""

    vocabulary: int
    shape: tiny.Shape
    rows: int = 8
    row_tokens: int = 2048
    micro_rows: int = 8
    steps: int = 12

    def config(self):
        return tiny.config(self.shape, self.vocabulary)

    def save(self, folder: Path) -> Path:
        tiny.build(folder, [*VOCABULARY, *(f"w{i}" for i in range(self.vocabulary - len(VOCABULARY)))], self.shape, 0)
        return folder


MODELS = {
    "135M": Sizes(49_152, tiny.Shape(576, 30, 9, 3, 64, 1536, 2048)),
    "1.5B": Sizes(151_936, tiny.Shape(1536, 28, 12, 2, 128, 8960, 2048), micro_rows=4, steps=9),
    "0.45M": Sizes(26, tiny.Shape(128, 3, 4, 2, 32, 256, 2048), row_tokens=128, steps=60),
    "smoke": Sizes(300, tiny.Shape(64, 2, 2, 1, 32, 128, 2048), rows=2, row_tokens=64, micro_rows=1, steps=9),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def timed(steps: Iterator, warm: int) -> tuple[float, int]:
    """Seconds of the steps after the first `warm`, and their number."""
    for _ in range(warm):
        next(steps)
    wait()
    start, count = time.perf_counter(), sum(1 for _ in steps)
    wait()
    return time.perf_counter() - start, count


# the trainer


def work(sizes: Sizes) -> list:
    """Full batches of packed random sequences: a sixteenth to half a row long, the first quarter of each is its prompt."""
    from iteration.packing import batches
    from iteration.types import Examples

    rng = np.random.default_rng(0)
    lengths = rng.integers(sizes.row_tokens // 16, sizes.row_tokens // 2, 40 * sizes.rows * (sizes.steps + 1))
    lengths = lengths[: int(np.searchsorted(lengths.cumsum(), sizes.rows * sizes.row_tokens * (sizes.steps + 1)))]
    tokens = [[rng.integers(2, sizes.vocabulary, length).astype(np.int32)] for length in lengths]
    weights = [np.repeat([0.0, 1.0], [length // 4, length - length // 4]) for length in lengths]
    data = Examples.of(tokens, weights)
    return list(batches(data, np.arange(len(data)), sizes.rows, sizes.row_tokens, rng))[: sizes.steps]


def made(sizes: Sizes, attention: str) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    with torch.device(DEVICE):
        return AutoModelForCausalLM.from_config(sizes.config(), attn_implementation=attention, dtype=torch.float32).train()


def bare(sizes: Sizes, model: torch.nn.Module) -> Iterator[None]:
    adam = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(2, sizes.vocabulary, (sizes.rows, sizes.row_tokens), device=DEVICE)
    for _ in range(sizes.steps):
        for micro in ids.split(sizes.micro_rows):
            with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
                loss = model(input_ids=micro, labels=micro, use_cache=False).loss
            (loss * len(micro) / len(ids)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        yield


def released() -> float:
    """The peak in GB since the last call, after which the GPU is empty."""
    import gc

    from cluster.train import ranks

    peak = torch.cuda.max_memory_allocated() / 1e9 if DEVICE == "cuda" else 0.0
    gc.collect()
    ranks.release(DEVICE)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return peak


def trainer(name: str, out: Path, half: bool = True, compile: bool = False) -> Found:
    from cluster.memory import shape_of
    from cluster.memory import trainer as expected
    from cluster.train.attention import VARLEN
    from cluster.train.fit import fit
    from cluster.train.options import Train
    from iteration.learn.sft import Sft

    sizes, half = MODELS[name], half and DEVICE == "cuda"
    names = ("rows", "row_tokens", "micro_rows")
    options = Train(
        lr=1e-5, compile=compile, gpus=int(DEVICE == "cuda"), bf16=half, **{key: getattr(sizes, key) for key in names}
    )
    plan, warm = work(sizes), 3
    model = made(sizes, "sdpa")
    parameters = sum(p.numel() for p in model.parameters())
    seconds, count = timed(bare(sizes, model), warm)
    theirs = count * sizes.rows * sizes.row_tokens / seconds
    del model
    peak = released()
    yield "bare loop", f"{theirs:,.0f} tokens/s, {1e3 * seconds / count:.1f} ms a step{used(theirs, parameters)}"
    yield "its peak memory", f"{peak:.1f} GB"
    train = lambda model, plan: fit(model, plan, options, Sft(), half=half)  # noqa: E731
    seconds, count = timed(train(made(sizes, VARLEN if half else "sdpa"), plan), warm)
    ours = sum(batch.tokens for batch in plan[warm:]) / seconds
    peak = released()
    yield "trainer, packed rows", f"{ours:,.0f} tokens/s, {1e3 * seconds / count:.1f} ms a step{used(ours, parameters)}"
    yield "ratio to the bare loop", f"{ours / theirs:.2f} (wanted: 0.95 or more)"
    if DEVICE == "cuda":
        holds = expected(shape_of(sizes.config()), options, torch.cuda.get_device_properties(0).total_memory)
        yield "peak memory", f"{peak:.1f} GB, `plan` expects {holds.total / 1e9:.1f}"
    steps = train(made(sizes, VARLEN if half else "sdpa"), plan)
    for _ in range(warm):
        next(steps)
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * (DEVICE == "cuda")
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(5):
            next(steps)
        wait()
    file = out / f"profile-{name}{'-compiled' * compile}{'-float32' * (not half)}"
    profile.export_chrome_trace(f"{file}.json.gz")
    key = f"self_{DEVICE if DEVICE == 'cpu' else 'device'}_time_total"
    Path(f"{file}.txt").write_text(profile.key_averages().table(sort_by=key, row_limit=40))
    yield "profile of five steps", f"{file}.txt and .json.gz"


def used(speed: float, parameters: int) -> str:
    from cluster.train import ranks

    card = torch.cuda.get_device_name() if DEVICE == "cuda" else ""
    peak = next((flops for part, flops in ranks.PEAKS.items() if part in card), None)
    return f", MFU {6 * parameters * speed / peak:.1%}" if peak else ""


# engines


@contextlib.contextmanager
def engine_world(name: str, transfer: str, gpus: float) -> Iterator[tuple]:
    """(start an engine, start a trainer): a private Ray, and a run folder with the same model as two versions."""
    import ray

    from cluster.engine import Generate, environment
    from cluster.generator import Generator
    from cluster.head import start_actor, start_ray
    from cluster.train.options import Model, Train, TrainJudge
    from cluster.train.trainer import Trainer

    with tempfile.TemporaryDirectory() as made_here:
        models = Path(made_here) / "models"
        MODELS[name].save(models / "m00000")
        (models / "m00001").symlink_to(models / "m00000")
        own = not ray.is_initialized()
        if own:
            start_ray("", dashboard=False)
        sizes = {"context": 1024, "max_tokens": 256, "dtype": "bfloat16" if gpus else "float32"}
        options = Generate(**sizes, gpus=gpus, transfer=transfer, sleep=bool(gpus) and transfer == "host")
        variables = environment(gpus, transfer)
        engine = lambda name: start_actor(Generator, name, (0, made_here, options), variables, gpus, 100).handle  # noqa: E731
        arguments = made_here, Model(), Train(gpus=gpus), TrainJudge(), 0
        train = lambda: start_actor(Trainer, "trainer", arguments, None, gpus, 10).handle  # noqa: E731
        try:
            yield engine, train
        finally:
            if own:
                ray.shutdown()


def called(call: Callable) -> float:
    """Seconds of a remote call."""
    import ray

    start = time.perf_counter()
    ray.get(call())
    return time.perf_counter() - start


def engine(name: str, out: Path) -> Found:
    import ray

    prompt = np.array([8, 3, 9, 2], np.int32)
    with engine_world(name, "host", 0.5 if DEVICE == "cuda" else 0) as (start, _):
        for what in ("first start", "second start")[: 1 if name == "smoke" else 2]:
            handle = start(what.split()[0])
            seconds = called(lambda handle=handle: handle.update.remote("m00000"))
            answer = called(lambda handle=handle: handle.greedy.remote(prompt, "m00000"))
            yield f"{what} of an engine", f"{seconds:.1f} s, and {answer:.1f} s to its first answer (wanted: 45 s in all)"
            if what == "first start" and name != "smoke":
                ray.get(handle.close.remote())
                ray.kill(handle)
        spent = [called(lambda turn=turn: handle.update.remote(f"m0000{1 - turn % 2}")) for turn in range(4)]
        yield "update by host", f"{1e3 * min(spent):.0f} ms"
        if DEVICE == "cuda":
            spent = called(lambda: handle.sleep.remote())
            free, whole = torch.cuda.mem_get_info()
            yield "sleep", f"{spent:.2f} s; {free / 1e9:.1f} of {whole / 1e9:.1f} GB are free then"
            yield "wake", f"{called(lambda: handle.update.remote('m00000')):.2f} s"
        ray.get(handle.close.remote())


def pushed(name: str, out: Path, transfer: str) -> Found:
    import ray

    if transfer == "nccl" and torch.cuda.device_count() < 2:
        yield f"update by {transfer}", "not run: it needs two GPUs"
        return
    with engine_world(name, transfer, 1 if transfer == "nccl" else 0.45) as (start, train):
        handle, sender = start("engine"), train()
        ray.get([handle.update.remote("m00000"), sender.ready.remote()])
        spent = [called(lambda turn=turn: handle.update.remote(f"m0000{1 - turn % 2}", [sender])) for turn in range(4)]
        yield f"update by {transfer}", f"{1e3 * min(spent):.0f} ms (the first {spent[0]:.1f} s)"
        ray.get(handle.close.remote())


def config(folder: str, problems: int, n: int, max_tokens: int, seqs: int):
    """The run of the row `generation`."""
    from cluster.config import load

    words = [f"run.dir={folder}/run", f"model.path={folder}/model", f"problems={problems}", f"search.n={n}", "drift=100"]
    words += [f"generate.max_tokens={max_tokens}", f"generate.context={2 * max_tokens}", f"generate.max_seqs={seqs}"]
    words += [f"generate.gpus={int(DEVICE == 'cuda')}", "train.gpus=0", f"train.row_tokens={2 * max_tokens}"]
    return load("configs/quickstart.yaml", [*words, "measure.problems=8", "task.first_level=4", "placement.dashboard=false"])


def generation(name: str, out: Path, problems: int, n: int, max_tokens: int, seqs: int) -> Found:
    """The running system in its search phase against LLM.generate without seeds, logprobs and texts."""
    from cluster.engine import environment
    from tests.bench import bench_generation

    sizes = problems, n, max_tokens, seqs
    with tempfile.TemporaryDirectory() as folder:
        MODELS[name].save(Path(folder) / "model")
        ours, _, seconds = asyncio.run(bench_generation.system(folder, 0, lambda folder: config(folder, *sizes)))
        yield "search phase", f"{ours:,.0f} tokens/s in {seconds:.1f} s"
        command = [sys.executable, "-m", "tests.bench.bench_gpu", "--raw", folder, *map(str, sizes)]
        own = environment(int(DEVICE == "cuda")) | {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}  # torch was asked for a GPU here
        raw = subprocess.run(command, env=os.environ | own, stdout=subprocess.PIPE, text=True, check=True).stdout
    theirs = float(raw.split(MARK)[1])
    yield "LLM.generate", f"{theirs:,.0f} tokens/s"
    yield "ratio", f"{ours / theirs:.2f} (wanted: 0.95 or more)"


def raw(folder: str, *sizes: int) -> None:
    """In a process of its own: prints the tokens a second of `LLM.generate` on the same prompts."""
    from tests.bench.bench_generation import Raw

    problems, n, *_ = sizes
    engine = Raw(folder, lambda folder: config(folder, *sizes))
    engine.rate(8, n=n)
    print(MARK, engine.rate(problems, n=n))


# the table

# Each row: what measures it, the most seconds that it may take. ASKED are those that run only when named: they take minutes.
ROWS: dict[str, tuple[Callable[[Path], Found], int]] = {
    "trainer 135M": (partial(trainer, "135M"), 60),
    "trainer 1.5B": (partial(trainer, "1.5B"), 100),
    "trainer 0.45M": (partial(trainer, "0.45M"), 45),
    "trainer 0.45M float32": (partial(trainer, "0.45M", half=False), 45),
    "trainer 0.45M compiled": (partial(trainer, "0.45M", compile=True), 60),
    "engine 135M": (partial(engine, "135M"), 200),
    "generation 135M": (partial(generation, "135M", problems=256, n=8, max_tokens=256, seqs=1024), 200),
    "ipc 135M": (partial(pushed, "135M", transfer="ipc"), 120),
    "nccl 135M": (partial(pushed, "135M", transfer="nccl"), 120),
    "trainer 1.5B compiled": (partial(trainer, "1.5B", compile=True), 150),
}
ASKED = {"generation 1.5B": (partial(generation, "1.5B", problems=256, n=8, max_tokens=256, seqs=1024), 480)}
SMOKE: dict[str, tuple[Callable[[Path], Found], int]] = {
    "trainer": (partial(trainer, "smoke"), 300),
    "engine": (partial(engine, "smoke"), 240),
    "generation": (partial(generation, "smoke", problems=32, n=4, max_tokens=64, seqs=64), 240),
}


def measured(row: str, smoke: bool, out: Path, limit: float) -> list[tuple[str, str]]:
    """A row, in a process of its own that ends after `limit` seconds with all that it started."""
    command = [sys.executable, "-m", "tests.bench.bench_gpu", "--row", row, "--out", str(out), *["--smoke"] * smoke]
    log, end, family, ended = out / f"{row.replace(' ', '-')}.log", time.monotonic() + limit, set(), ""
    with log.open("w") as output:
        child = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while child.poll() is None and time.monotonic() < end:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                family |= {child, *child.children(recursive=True)}
                child.wait(0.5)
        if child.poll() != 0:
            ended = f"failed with status {child.poll()}: {log}" if child.poll() else f"stopped after {limit:.0f} s: {log}"
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        child.wait()
    lines = [line.removeprefix(MARK) for line in log.read_text(errors="replace").splitlines() if line.startswith(MARK)]
    return [tuple(json.loads(line)) for line in lines] + ([("", ended)] if ended else [])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_gpu")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="; ".join([*ROWS, *ASKED]))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, also on a CPU: " + "; ".join(SMOKE))
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "bench_gpu")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--raw", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.raw:
        raw(asked.raw[0], *map(int, asked.raw[1:]))
        return 0
    rows = SMOKE if asked.smoke else ROWS | ASKED
    if asked.row:
        torch.set_num_threads(1 if asked.smoke else os.cpu_count() or 1)
        for what, value in rows[asked.row][0](out=asked.out):
            print(MARK + json.dumps((what, value)), flush=True)
        return 0
    if DEVICE == "cpu" and not asked.smoke:
        print("no GPU here; --smoke runs the rows that a CPU can run, in tiny sizes")
        return 1
    asked.out.mkdir(parents=True, exist_ok=True)
    print(torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU", f"torch {torch.__version__}", sep=", ", flush=True)
    end, failed = time.monotonic() + 60 * MINUTES, False
    for row in asked.rows or [row for row in rows if row not in ASKED]:
        start, left = time.monotonic(), end - time.monotonic()
        found = measured(row, asked.smoke, asked.out, min(rows[row][1], left)) if left > 10 else [("", "not run: no time left")]
        failed |= not found or not found[-1][0]
        for what, value in found:
            print(f"{row:23} {what:24} {value}")
        print(f"{row:23} {'seconds':24} {time.monotonic() - start:.0f}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
