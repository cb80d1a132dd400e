"""Problems and generated tokens per second of beam and mcts over 64 problems, against raw LLM.generate.

    python -m tests.bench.bench_search [--smoke]

The baseline makes as many tokens in as many sequential rounds, with as many sequences a round, from the same prompts, in one
process and without a judge, a verifier or a store. Also: the prefix cache's hit rate, and the share of the time in which the
policy's engine had nothing to do. The value model is untrained: only its time counts here.
"""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time

from cluster.config import load
from cluster.engine import environment
from cluster.run import Run
from cluster.view import View
from iteration.parts import SEARCH, Part
from tests.bench.bench_generation import Raw, model

SMOKE = "--smoke" in sys.argv
PROBLEMS, BUDGET = (4, 40) if SMOKE else (64, 1200)
SEARCHES = {"beam": {"keep": 4, "width": 4, "times": 1000}, "mcts": {"simulations": 2000, "width": 4}}


def config(folder: str):
    options = [f"{key}={value}" for key, value in {"run.dir": f"{folder}/run", "problems": PROBLEMS, "unit": 32}.items()]
    options += ["model.warm_start.tokens=400000", "task.first_level=4", "placement.dashboard=false", "judge.name=process"]
    options += [f"model.path={folder}/model", "unit=4", "generate.max_tokens=16"] if SMOKE else []
    return load("configs/quickstart.yaml", [*options, "measure.problems=8"])


def raw(folder: str, rounds: int, sequences: int, tokens: int) -> None:
    """The baseline, in a process of its own: prints tokens per second."""
    from vllm import SamplingParams

    engine = Raw(folder, config)
    engine.rate(8)
    llm, prompts = engine.llm, engine.prompts
    each, made, start = max(1, sequences // (rounds * len(prompts))), 0, time.perf_counter()
    length = max(1, round(tokens / (rounds * len(prompts) * each)))
    for number in range(rounds):
        sampling = [
            SamplingParams(n=each, seed=1000 * i + number, max_tokens=length, logprobs=0, flat_logprobs=True, ignore_eos=True)
            for i in range(len(prompts))
        ]
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        made += sum(len(answer.token_ids) for output in outputs for answer in output.outputs)
    print("tokens/s", made / (time.perf_counter() - start))


async def system(folder: str) -> dict[str, dict]:
    run = Run(config(folder), view=View())
    async with run.actors:
        run.planning.held_out(run.test)
        run.planning.round(1)
        return await searched(run)


async def searched(run: Run) -> dict[str, dict]:
    """What each search takes in a run whose actors have started: {search: numbers}."""
    from transformers import AutoModelForSequenceClassification

    found, models = {}, run.store.root / "models/m00000"

    def head(path) -> None:
        AutoModelForSequenceClassification.from_pretrained(models, num_labels=1).save_pretrained(path)
        run.planning.tokenizer.save_pretrained(path)

    run.store.put_folder("judges/j00001-process", head)
    await run.judging.serve(1, "j00001-process", run.test)
    generator, planned = run.actors.generators.members[0].handle, run.planning.units(run.train, 1, "m00000", "")
    for turn, (name, options) in enumerate(SEARCHES.items()):
        arm = dataclasses.replace(run.train, budget=BUDGET, search=Part(SEARCH, name, options))
        for number, few in enumerate((planned[:1], planned)):  # the first warms up
            at = {"round": 600 + 10 * turn + number, "arm": arm, "judge": "j00001-process"}
            units = [dataclasses.replace(unit, **at) for unit in few]
            before, start, done = await generator.ledger.remote(), time.perf_counter(), []
            await run.actors.search("search", units, done.append, run.set_aside)
            seconds, after = time.perf_counter() - start, await generator.ledger.remote()
        spent = {key: value - dataclasses.asdict(before)[key] for key, value in dataclasses.asdict(after).items()}
        nodes = sum(len(run.store.table(unit.key, ["id"])) - len(unit.problems) for unit in units)
        found[name] = spent | {"seconds": seconds, "waves": max(d.waves for d in done), "sequences": nodes}
    return found


def against_raw(folder: str, name: str, spent: dict) -> None:
    """Print a search's numbers beside those of as many tokens of raw generation, in a process of its own."""
    words = [folder, str(spent["waves"]), str(spent["sequences"]), str(spent["tokens"])]
    command = [sys.executable, "-m", "tests.bench.bench_search", *words, *["--smoke"] * SMOKE]
    said = subprocess.run(command, env=os.environ | environment(0), stdout=subprocess.PIPE, text=True, check=True).stdout
    theirs, ours = float(said.split("tokens/s ")[1]), spent["tokens"] / spent["seconds"]
    print(
        f"{name}: {PROBLEMS / spent['seconds']:.1f} problems/s, {ours:,.0f} tokens/s in {spent['waves']} rounds; "
        f"raw LLM.generate {theirs:,.0f} tokens/s: ratio {ours / theirs:.2f}; prefix cache "
        f"{spent['cached_tokens'] / spent['prompt_tokens']:.0%} of prompt tokens; engine idle "
        f"{1 - spent['busy'] / spent['seconds']:.0%} of the time",
        flush=True,
    )


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--smoke"]
    if words:
        return raw(words[0], *map(int, words[1:]))
    with tempfile.TemporaryDirectory() as folder:
        if SMOKE:
            model(folder)
        found = asyncio.run(system(folder))
        for name, spent in found.items():
            against_raw(folder, name, spent)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
