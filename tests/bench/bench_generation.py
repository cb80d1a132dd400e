"""Tokens per second of the running system in its search phase, against raw LLM.generate.

    python -m tests.bench.bench_generation            the ratio; with --smoke in a tiny size
    python -m tests.bench.bench_generation --options  what each option of a request costs: raw LLM.generate with and without it

Same model, prompts and engine settings. The system: Ray actors, searcher, verifier, Arrow tables and committed units included.
The baseline: vLLM's own offline loop in one process, which does nothing with the answers, not even decode them: no seeds, no
logprobs, no texts. They take turns. Where the rest goes: CPU seconds of each process during the phase, and wall time from the
first wish to the last commit.
"""

import asyncio
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from cluster.config import load
from cluster.engine import engine_arguments, environment
from cluster.run import Run
from cluster.view import View
from iteration import tiny
from iteration.tasks.expressions import END, VOCABULARY

PROBLEMS, N, TURNS = 768, 16, 3
SMOKE = "--smoke" in sys.argv


def config(folder: str):
    options = [f"run.dir={folder}/run", f"problems={PROBLEMS}", f"search.n={N}", "model.warm_start.tokens=400000"]
    if SMOKE:
        options += [f"model.path={folder}/model", "problems=8", "unit=4", "search.n=2", "generate.max_tokens=16"]
    return load("configs/quickstart.yaml", [*options, "task.first_level=4", "placement.dashboard=false", "measure.problems=8"])


def model(folder: str) -> None:
    """A model that needs no warm start, for --smoke."""
    tiny.build(Path(folder) / "model", VOCABULARY, tiny.Shape(), 0)


LOGPROBS = {"logprobs": 0, "flat_logprobs": True}
STRING = {"stop": ["\n"], "include_stop_str_in_output": True, "detokenize": True}
NEWLINE = {"stop_token_ids": [END, VOCABULARY.index("\n")]}
OPTIONS = [  # of whole answers, and of single steps
    ("whole answers", {}),
    ("... with seeds", {"seed": 0}),
    ("... with logprobs", LOGPROBS),
    ("... with texts", {"detokenize": True}),
    ("... with all three", {"seed": 0, "detokenize": True} | LOGPROBS),
    ("steps to a newline's token", NEWLINE),
    ("... with texts", NEWLINE | {"detokenize": True}),
    ("steps to a newline in the text", STRING),
    ("... with seeds and logprobs", STRING | {"seed": 0} | LOGPROBS),
]


class Raw:
    """vLLM's offline loop on the prompts of round 1 of a run that `configured` describes."""

    def __init__(self, folder: str, configured: Callable = config):
        from vllm import LLM

        run = Run(configured(folder))
        self.options = run.options.generate
        self.llm = LLM(**engine_arguments(str(run.store.root / "models/m00000"), self.options))
        units = run.planning.units(run.train, 1, "m00000", "")
        tokenizer = run.planning.tokenizer
        self.prompts = [{"prompt_token_ids": tokenizer(prompt).input_ids} for unit in units for prompt in unit.prompts]

    def rate(self, problems: int, **options) -> float:
        """Tokens per second; requests with `seed` get one each."""
        from vllm import SamplingParams

        asked = {"n": N, "max_tokens": self.options.max_tokens, "detokenize": False, "stop_token_ids": [END]} | options
        prompts = self.prompts[:problems]
        sampling = [SamplingParams(**asked | ({"seed": 1000 * i} if "seed" in asked else {})) for i in range(len(prompts))]
        start = time.perf_counter()
        outputs = self.llm.generate(prompts, sampling, use_tqdm=False)
        tokens = sum(len(answer.token_ids) for output in outputs for answer in output.outputs)
        return tokens / (time.perf_counter() - start)


def raw(folder: str) -> None:
    """The baseline, in a process of its own."""
    engine = Raw(folder)
    engine.rate(32)
    print("tokens/s", engine.rate(len(engine.prompts)))


def options(folder: str) -> None:
    """What each option of a request costs, interleaved."""
    engine = Raw(folder)
    engine.rate(32)
    rates = np.array([[engine.rate(PROBLEMS // 6, **each) for _, each in OPTIONS] for _ in range(2 * TURNS)])
    for (name, _), each in zip(OPTIONS, rates.T, strict=True):
        print(f"{name:<32} {np.median(each):8,.0f} tokens/s ({each.min():,.0f} to {each.max():,.0f})")


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


async def system(folder: str, turn: int, configured: Callable = config) -> tuple[float, dict[str, float], float]:
    """(tokens per second, CPU seconds per second of each process, seconds) of a search phase."""
    run = Run(configured(folder), view=View())
    async with run.actors:
        run.planning.held_out(run.test)
        run.planning.round(1)
        return await phase(run, turn)


async def phase(run: Run, turn: int) -> tuple[float, dict[str, float], float]:
    """The same of a run whose actors have started."""
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


async def prepare(folder: str) -> None:
    """Train the model and draw the problems."""
    run = Run(config(folder), view=View())
    async with run.actors:
        run.planning.held_out(run.test)
        run.planning.round(1)


def run_apart(*words: str, **how) -> str:
    """Call this script with other words, in a process with an engine's environment. Returns what it printed, if piped."""
    command = [sys.executable, "-m", "tests.bench.bench_generation", *words, *["--smoke"] * SMOKE]
    return subprocess.run(command, env=os.environ | environment(0), text=True, check=True, **how).stdout


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--smoke"]
    if len(words) > 1:
        return (options if words[0] == "--options" else raw)(words[1])
    with tempfile.TemporaryDirectory() as folder:
        if SMOKE:
            model(folder)
        if "--options" in words:
            asyncio.run(prepare(folder))
            return run_apart("--options", folder)
        ours, theirs, spent = [], [], {}
        for turn in range(1 if SMOKE else TURNS):
            rate, spent, seconds = asyncio.run(system(folder, turn))
            ours.append(rate)
            theirs.append(float(run_apart("--raw", folder, stdout=subprocess.PIPE).split("tokens/s ")[1]))
            print(
                f"turn {turn + 1}: system {rate:,.0f} tokens/s in {seconds:.1f} s, raw LLM.generate {theirs[-1]:,.0f}",
                flush=True,
            )
    ratios = np.array(ours) / np.array(theirs)
    print(f"ratio {np.median(ratios):.2f} (median of {len(ratios)}; {ratios.min():.2f} to {ratios.max():.2f})")
    print("CPU seconds a second: " + ", ".join(f"{name} {share:.2f}" for name, share in sorted(spent.items()) if share > 0.005))


if __name__ == "__main__":
    main()
