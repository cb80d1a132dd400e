"""Every recipe of configs/recipes on `expressions`, or ways to learn at equal tokens, as Markdown tables.

    python -m tests.bench.bench_recipes recipes                  about 40 minutes on two cores
    python -m tests.bench.bench_recipes learn --seeds 0 1 2      about 50 minutes

All start from the first model of their seed. The same command resumes what was stopped. --smoke takes tiny sizes.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from cluster.folder.book import Book
from cluster.folder.layout import model_number
from cluster.folder.store import Store
from cluster.report.gather import gather
from iteration.config import read

QUICKSTART, RECIPES = "configs/quickstart.yaml", Path(__file__).parents[2] / "configs/recipes"
ORDER = ["star", "rft", "rest-em", "dpo-nll", "grpo", "minerva", "brown", "lightman", "math-shepherd", "snell"]
GRPO = ["train.lr=3e-4", "train.pool=last", "train.rows=8", "train.schedule=constant"]
LEARN = {  # 2,000 problems searched, of about 420 tokens each, and 800,000 tokens trained on
    "sft": [],
    "sft by 1 / solve rate": ["learn=sft", "learn.hardness=1"],
    "visits": ["learn=visits", "search=mcts", "search.simulations=2000", "budget=420"],
    "dpo": ["learn=dpo", "train.lr=3e-4", "train.pool=last"],
    "grpo": ["learn=grpo", "rounds=20", "problems=100", "train.tokens=40000", *GRPO],
}
MEASURE = ["unit=4", "measure.problems=4", "measure.samples=4"]
RUN = ["problems=4", "rounds=1", "train.tokens=100", *MEASURE]
SMOKE = {"run": RUN, "eval": MEASURE, "compare": [*RUN, "compare.problems=2", "compare.samples=4", "train_judge.tokens=1000"]}
RULES = {"majority": "majority", "ORM best": "best by the ORM"}  # those of cluster/report/comparison.py that are shown
RULES |= {f"PRM {how}, {{}}": f"{how} by the PRM" for how in ("best", "vote")}


def flywheel(words: list[str], log: Path) -> None:
    with log.open("a") as file:
        subprocess.run([sys.executable, "-m", "cluster.cli", *words], stdout=file, stderr=file, check=True)


def timed(words: list[str], folder: Path) -> None:
    """Run a verb to its end, once, and write down its minutes."""
    start, note = time.monotonic(), folder.with_suffix(".minutes")
    if not note.exists():
        flywheel(words, folder.with_suffix(".log"))
        note.write_text(f"{(time.monotonic() - start) / 60:.1f}")


def first(out: Path, seed: int, smoke: bool) -> Path:
    """A run of no rounds, whose first model all others start from."""
    tiny = [*RUN, "model.warm_start.tokens=3000"] if smoke else []
    folder = out / f"first-{seed}"
    timed(["run", QUICKSTART, *tiny, "rounds=0", f"seed={seed}", f"run.dir={folder}"], folder)
    return folder


def kind_of(file: str) -> str:
    sections = read(file)
    return "compare" if "compare" in sections else "eval" if "eval" in sections else "run"


def played(begun: Path, folder: Path, file: str, seed: int, options: list[str], smoke: bool) -> None:
    """Run one config from the first model of its seed."""
    kind = kind_of(file)
    sizes = SMOKE[kind] if smoke else []
    begin = [str(begun / "models/m00000"), file] if kind == "eval" else [file, f"run.fork={begun}@0"]
    seeds = [f"compare.seeds=[{seed}]"] if kind == "compare" else [f"seed={seed}"]
    timed([kind, *begin, *options, *seeds, *sizes, f"run.dir={folder}"], folder)


def percent(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def results(folder: Path, kind: str) -> list[tuple[str, dict[int, str], str]]:
    """(what was measured, {level: %}, generated tokens) of what was run in a folder."""
    if kind == "compare":
        return compared(folder)
    store = Store(folder)
    if kind == "eval":
        held_out = gather(store, str(folder)).held_out[0]
        by_level = {level: held_out.of(level) for level in held_out.levels()}
        tokens, n = f"{sum(each.tokens for each in held_out.tried):,}", held_out.sizes()[-1]
        one = {level: percent(i.mean, i.low, i.high) for level, i in ((lv, each.pass_1()) for lv, each in by_level.items())}
        votes = {level: f"{100 * each.vote():.1f}" for level, each in by_level.items()}
        covered = {level: f"{100 * each.any_correct():.1f}" for level, each in by_level.items()}
        return [("pass@1", one, ""), (f"majority of {n}", votes, tokens), (f"coverage of {n}", covered, tokens)]
    records = Book(store).records()
    best = records[model_number(records[-1]["model_out"])]
    scores = {score["level"]: percent(score["pass_1"], score["low"], score["high"]) for score in best["scores"]}
    searched, trained = (sum(record["tokens"].get(of, 0) for record in records) for of in ("search", "train"))
    tokens = f"{searched:,}, and {trained:,} trained on" if searched else ""
    return [(f"pass@1 after {len(records) - 1} rounds" if searched else "pass@1", scores, tokens)]


def compared(folder: Path) -> list[tuple[str, dict[int, str], str]]:
    tables = json.loads((folder / "tables.json").read_text())
    aggregate, found = read(str(next(folder.glob("seed*")) / "config.yaml")).judge.aggregate, []
    most = max(row["n"] for row in tables["choosing"])
    for rule, name in RULES.items():
        rows = [row for row in tables["choosing"] if row["rule"] == rule.format(aggregate) and row["n"] == most]
        cells = {row["level"]: percent(row["mean"], row["low"], row["high"]) for row in rows}
        found.append((f"{name}, of {most}", cells, f"{sum(row['tokens'] * row['problems'] for row in rows):,.0f}"))
    for arm in dict.fromkeys((row["arm"], row["budget"]) for row in tables["searching"]):
        rows = [row for row in tables["searching"] if (row["arm"], row["budget"]) == arm and row["level"] >= 0]
        cells = {row["level"]: f"{100 * row['accuracy']:.1f} (best-of-N {100 * row['baseline']:.1f})" for row in rows}
        found.append((f"{arm[0]}, budget {arm[1]}", cells, f"{sum(row['tokens'] * row['problems'] for row in rows):,.0f}"))
    return found


def table(rows: list[tuple[str, int, Path, str]]) -> None:
    """rows: (name, seed, folder, kind). Prints what was measured."""
    print("| recipe | seed | measured, % | level 4 | level 6 | generated tokens | minutes |\n|---|---|---|---|---|---|---|")
    for name, seed, folder, kind in rows:
        minutes = folder.with_suffix(".minutes").read_text()
        for what, cells, tokens in results(folder, kind):
            print(f"| {name} | {seed} | {what} | {cells.get(4, '')} | {cells.get(6, '')} | {tokens} | {minutes} |", flush=True)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("recipes", "learn"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"), help="folder of the runs and their logs")
    parser.add_argument("--smoke", action="store_true")
    known = parser.parse_args(given)
    (known.out / known.what).mkdir(parents=True, exist_ok=True)
    files = {name: (f"{RECIPES}/{name}.yaml", []) for name in ORDER}
    work = files if known.what == "recipes" else {name: (QUICKSTART, options) for name, options in LEARN.items()}
    rows = []
    for seed in known.seeds:
        begun = first(known.out, seed, known.smoke)
        rows.append(("first model", seed, begun, "run"))
        for name, (file, options) in work.items():
            folder = known.out / known.what / f"{name.replace(' / ', '-').replace(' ', '-')}-{seed}"
            print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
            played(begun, folder, file, seed, options, known.smoke)
            rows.append((name, seed, folder, kind_of(file)))
    table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
