"""Problems and generated tokens per second of beam and mcts over 64 problems, against raw LLM.generate.

    python -m tests.bench.bench_search

The baseline makes as many tokens in as many sequential rounds, with as many sequences a round, from the same prompts, in one
process and without a judge, a verifier or a store. Also: the prefix cache's hit rate, and the share of the time in which the
policy's engine had nothing to do. The value model is untrained: only its time counts here.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time

from cluster.config import load
from cluster.engine import engine_arguments, environment
from cluster.run import Run
from cluster.view import View
from iteration.parts import SEARCH, Part

PROBLEMS, BUDGET = 64, 1200
SEARCHES = {"beam": {"keep": 4, "width": 4, "times": 1000}, "mcts": {"simulations": 2000, "width": 4}}


def config(folder: str):
    options = [f"{key}={value}" for key, value in {"run.dir": f"{folder}/run", "problems": PROBLEMS, "unit": 32}.items()]
    options += ["model.warm_start.tokens=400000", "task.first_level=4", "placement.dashboard=false", "judge.name=process"]
    return load("configs/quickstart.yaml", [*options, "measure.problems=8"])


def raw(folder: str, rounds: int, sequences: int, tokens: int) -> None:
    """The baseline, in a process of its own: prints tokens per second."""
    from vllm import LLM, SamplingParams

    run = Run(config(folder))
    llm = LLM(**engine_arguments(str(run.store.root / "models/m00000"), run.options.generate))
    tokenizer = run.planning.tokenizer
    units = run.planning.units(run.train, 1, "m00000", "")
    prompts = [{"prompt_token_ids": tokenizer(prompt).input_ids} for unit in units for prompt in unit.prompts]
    llm.generate(prompts[:8], SamplingParams(n=4, max_tokens=8), use_tqdm=False)
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
    import dataclasses

    from transformers import AutoModelForSequenceClassification

    run = Run(config(folder), view=View())
    found = {}
    async with run.actors:
        run.planning.held_out(run.test)
        run.planning.round(1)
        models = run.store.root / "models/m00000"

        def head(path) -> None:
            AutoModelForSequenceClassification.from_pretrained(models, num_labels=1).save_pretrained(path)
            run.planning.tokenizer.save_pretrained(path)

        run.store.put_folder("judges/j00001-process", head)
        await run.judging.serve(1, "j00001-process", run.test)
        generator = run.actors.generators.members[0].handle
        for turn, (name, options) in enumerate(SEARCHES.items()):
            for number, units in enumerate(
                (run.planning.units(run.train, 1, "m00000", "")[:1], run.planning.units(run.train, 1, "m00000", ""))
            ):  # the first warms up
                arm = dataclasses.replace(run.train, budget=BUDGET, search=Part(SEARCH, name, options))
                led = {"arm": arm, "judge": "j00001-process"}
                units = [dataclasses.replace(unit, round=800 + 10 * turn + number, **led) for unit in units]
                before, start, done = await generator.ledger.remote(), time.perf_counter(), []
                await run.actors.search("search", units, done.append, run.set_aside)
                seconds, after = time.perf_counter() - start, await generator.ledger.remote()
            spent = {key: value - dataclasses.asdict(before)[key] for key, value in dataclasses.asdict(after).items()}
            nodes = sum(len(run.store.table(unit.key, ["id"])) - len(unit.problems) for unit in units)
            found[name] = spent | {"seconds": seconds, "waves": max(d.waves for d in done), "sequences": nodes}
    return found


def main() -> None:
    if len(sys.argv) > 1:
        return raw(sys.argv[1], *map(int, sys.argv[2:]))
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(system(folder))
        for name, spent in found.items():
            words = [folder, str(spent["waves"]), str(spent["sequences"]), str(spent["tokens"])]
            command = [sys.executable, "-m", "tests.bench.bench_search", *words]
            said = subprocess.run(
                command, env=os.environ | environment(0), stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            theirs, ours = float(said.split("tokens/s ")[1]), spent["tokens"] / spent["seconds"]
            print(
                f"{name}: {PROBLEMS / spent['seconds']:.1f} problems/s, {ours:,.0f} tokens/s in {spent['waves']} rounds; "
                f"raw LLM.generate {theirs:,.0f} tokens/s: ratio {ours / theirs:.2f}; prefix cache "
                f"{spent['cached_tokens'] / spent['prompt_tokens']:.0%} of prompt tokens; engine idle "
                f"{1 - spent['busy'] / spent['seconds']:.0%} of the time",
                flush=True,
            )
        print(json.dumps(found))


if __name__ == "__main__":
    main()
