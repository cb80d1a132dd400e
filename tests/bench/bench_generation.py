"""Tokens per second of the running system in its search phase, against raw LLM.generate.

    python -m tests.bench.bench_generation

Same model, prompts, seeds and engine settings. The system: Ray actors, searcher, verifier, Arrow tables and committed units
included. The baseline: vLLM's own offline loop in one process, which does nothing with the answers. They take turns. Where
the rest goes: CPU seconds of each process during the phase, and wall time from the first wish to the last commit.
"""

import asyncio
import dataclasses
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil

from cluster.config import load
from cluster.engine import engine_arguments, environment
from cluster.run import Run
from cluster.view import View

PROBLEMS, N, TURNS = 768, 16, 3


def config(folder: str):
    options = [f"run.dir={folder}/run", f"problems={PROBLEMS}", f"search.n={N}", "model.warm_start.tokens=400000"]
    return load("configs/quickstart.yaml", [*options, "task.first_level=4", "placement.dashboard=false", "measure.problems=8"])


def raw(folder: str) -> None:
    """The baseline, in a process of its own."""
    from vllm import LLM, SamplingParams

    run = Run(config(folder))
    options = run.options.generate
    llm = LLM(**engine_arguments(str(run.store.root / "models/m00000"), options))
    tokenizer = run.planning.tokenizer
    units = run.planning.units(run.train, 1, "m00000", "")
    prompts = [{"prompt_token_ids": tokenizer(prompt).input_ids} for unit in units for prompt in unit.prompts]
    sampling = [
        SamplingParams(
            n=N,
            seed=1000 * i,
            temperature=1.0,
            max_tokens=options.max_tokens,
            logprobs=0,
            flat_logprobs=True,
            stop_token_ids=[1],
        )
        for i in range(len(prompts))
    ]
    llm.generate(prompts[:32], sampling[:32], use_tqdm=False)
    start = time.perf_counter()
    outputs = llm.generate(prompts, sampling, use_tqdm=False)
    seconds = time.perf_counter() - start
    print("tokens/s", sum(len(answer.token_ids) for output in outputs for answer in output.outputs) / seconds)


def processes() -> dict[str, float]:
    """CPU seconds so far of everything below this process, by name."""
    found: dict[str, float] = {"driver": time.process_time()}
    for child in psutil.Process().children(recursive=True):
        try:
            name, times = " ".join(child.cmdline())[:40].split(":Trainer")[0], child.cpu_times()
        except psutil.Error:
            continue
        name = name if name.startswith("ray::") or "Engine" in name else "ray itself"
        found[name] = found.get(name, 0.0) + times.user + times.system
    return found


async def system(folder: str, turn: int) -> tuple[float, dict[str, float], float]:
    run = Run(config(folder), view=View())
    async with run.actors:
        run.planning.held_out(run.test)
        run.planning.round(1)
        units = run.planning.units(run.train, 1, "m00000", "")
        warm = [dataclasses.replace(unit, round=900 + turn) for unit in units[:2]]
        await run.actors.search("search", warm, lambda done: None, run.set_aside)
        before, start, tokens = processes(), time.perf_counter(), 0

        def done(unit):
            nonlocal tokens
            tokens += unit.tokens

        await run.actors.search("search", [dataclasses.replace(unit, round=800 + turn) for unit in units], done, run.set_aside)
        seconds = time.perf_counter() - start
        after = processes()
    spent = {name: (after[name] - before.get(name, 0.0)) / seconds for name in after}
    return tokens / seconds, spent, seconds


def main() -> None:
    if len(sys.argv) > 1:
        return raw(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, spent = [], [], {}
        for turn in range(TURNS):
            rate, spent, seconds = asyncio.run(system(folder, turn))
            ours.append(rate)
            command = [sys.executable, "-m", "tests.bench.bench_generation", folder]
            said = subprocess.run(
                command, env=os.environ | environment(0), stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            theirs.append(float(said.split("tokens/s ")[1]))
            print(
                f"turn {turn + 1}: system {rate:,.0f} tokens/s in {seconds:.1f} s, raw LLM.generate {theirs[-1]:,.0f}",
                flush=True,
            )
    ratios = np.array(ours) / np.array(theirs)
    print(f"ratio {np.median(ratios):.2f} (median of {TURNS}; {ratios.min():.2f} to {ratios.max():.2f})")
    print("CPU seconds a second: " + ", ".join(f"{name} {share:.2f}" for name, share in sorted(spent.items()) if share > 0.005))


if __name__ == "__main__":
    main()
