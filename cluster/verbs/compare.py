"""Searches and ways to choose, side by side on the same held-out problems at equal generated tokens: `flywheel compare`.

For each seed an ordinary run makes a model and its value models. Then the same held-out problems are searched by every arm at
every budget, and whole answers are sampled as the baseline; all of it is committed as units of that run, so a comparison that
was killed goes on. The tables are computed from what is stored. At last every source searches the same training
problems of a next round, with verdicts in sight, and a model is trained on what it found.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from cluster.folder.layout import judge_key, model_key, round_key
from cluster.folder.store import Store
from cluster.measured import Answered, Measured
from cluster.placement import named
from cluster.run import PACKAGES, Arm, Config, Run, kept, load, plan_key
from cluster.view import View
from iteration import choose
from iteration import config as settings
from iteration.choose import Pool
from iteration.errors import UserError
from iteration.examples import answers, decide
from iteration.respond import seed_of
from iteration.statistics import bootstrap, paired_bootstrap

ALL = -1  # in place of a level: all of them together
PLAN = "compare"  # the held-out problems of the comparison: plans/r00000/compare.parquet


@dataclass
class Challenger:
    """One arm: a search and the judge that leads it."""

    search: Any = None
    judge: Any = None  # left out: the run's own
    budgets: list[int] = field(default_factory=list)  # left out: those of the comparison, or source_budget


@dataclass
class Compare:
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])  # one run each, in run.dir/seedN
    levels: list[int] = field(default_factory=lambda: [4, 5, 6])  # of the held-out problems, the hardest last
    problems: int = 100  # of each level
    samples: int = 64  # whole answers to each problem, for the baseline
    budgets: list[int] = field(default_factory=lambda: [300, 600, 1200])  # generated tokens for a problem
    arms: dict[str, Challenger] = field(default_factory=dict)  # by name
    sources: dict[str, Challenger] = field(default_factory=dict)  # searches of training problems, by name
    source_budget: int = 600  # generated tokens for each training problem
    source_problems: int = 300


@dataclass
class CompareConfig(Config):
    """What `flywheel compare` reads: a run, and what is compared with its last model."""

    compare: Compare = field(default_factory=Compare)


def read(file: str, dotlist: list[str]) -> DictConfig:
    """A checked config of a comparison. Raises UserError."""
    config = load(file, dotlist, CompareConfig)
    if not config.judge:
        raise UserError(f"{file}: judge is missing; a comparison needs one, e.g. judge: {{name: process}}")
    for kind in ("arms", "sources"):
        for name in config.compare[kind]:
            challenger(config, kind, name)
    return config


def challenger(config: DictConfig, kind: str, name: str) -> tuple[tuple[str, dict], tuple[str, dict] | None]:
    """(search, judge) of an arm or a source. Raises UserError."""
    section, where = config.compare[kind][name], f"compare.{kind}.{name}"
    search = settings.checked(section.search, "search", PACKAGES["search"], f"{where}.search")
    judge = section.judge or config.judge
    return search, settings.checked(judge, "judge", PACKAGES["judge"], f"{where}.judge")


class Comparison(Run):
    """One seed's run, with the arms behind its last round."""

    schema = CompareConfig

    def finished(self) -> bool:
        return self.store.has("compared", ".json")

    async def _loop(self) -> None:
        await super()._loop()
        last = self.options.rounds
        model = int(self.store.json("rounds/" + round_key(last))["model_out"][1:])
        self.plan_compare()
        for split in ("compare-sample", *self.splits()):
            await self.search(last, split, model_key(model))
        for version, judge in (await self.judges(model)).items():
            await self.score(last, "compare-sample", version, judge)
        self.plan(last + 1, self.options.compare.source_problems)
        for name in self.options.compare.sources:
            await self.source(name, model)
        self.store.put_json("compared", {"model": model, "splits": self.splits()})

    async def source(self, name: str, model: int) -> None:
        """One more round, searched by a source: its traces, its manifest, its model, and what that is worth."""
        number, split, key = self.options.rounds + 1, f"source-{name}", f"{self.options.rounds + 1:05d}-{name}"
        await self.search(number, split, model_key(model))
        if not self.store.has(f"manifests/r{key}"):
            earlier = pa.concat_tables([kept(self.decisions(r)) for r in range(1, number)])
            found = decide(answers(self.traces(number, split)), earlier, self.filters)
            self.put_manifest(
                f"manifests/r{key}", pa.concat_tables([self.pool(number - 1), self.items(kept(found), number, split)])
            )
        with self.phase(number, "train"):
            await self.actors.train("train", f"m{key}", model_key(model), named(self.config.learn))
        await self.search(number, f"test-{name}", f"m{key}")

    async def judges(self, model: int) -> dict[str, tuple[str, dict]]:
        """The value models that score the sampled answers: the run's newest and its first (stale by now), and an ORM."""
        last = self.options.rounds
        outcome = ("outcome", {})
        found = {judge_key(1, self.judge[0]): self.judge, self.newest_judge(last, self.judge): self.judge}
        return found | {await self.teach(last, model, outcome): outcome}

    def plan_compare(self) -> None:
        if not self.store.has(plan_key(0, PLAN)):
            wanted = self.options.compare
            measured = set(self.store.table(plan_key(0, "test"), ["id"])["id"].to_pylist())
            rng = np.random.default_rng(seed_of(self.options.seed, PLAN))
            drawn = [self.task.draw("test", level, wanted.problems + len(measured), rng) for level in wanted.levels]
            # Not those that decided on promotions.
            fresh = [[problem for problem in each if problem.id not in measured][: wanted.problems] for each in drawn]
            problems = [problem for each in fresh for problem in each]
            self.store.put_table(plan_key(0, PLAN), self._plan_table([problems[i] for i in rng.permutation(len(problems))]))

    def splits(self) -> list[str]:
        wanted = self.options.compare
        return [f"compare-{name}-{budget}" for name, arm in wanted.arms.items() for budget in arm.budgets or wanted.budgets]

    def plan_of(self, number: int, split: str) -> str:
        plans = {"compare": plan_key(0, PLAN), "source": plan_key(number, "train"), "test": plan_key(0, "test")}
        return plans.get(split.partition("-")[0]) or super().plan_of(number, split)

    def arm(self, split: str) -> Arm:
        if split.startswith("source-"):
            name = split.removeprefix("source-")
            search, judge = challenger(self.config, "sources", name)
            wanted = self.options.compare
            return self.led(Arm(name, search, judge, (wanted.sources[name].budgets or [wanted.source_budget])[0]))
        if not split.startswith("compare-"):
            return super().arm(split)
        if split == "compare-sample":
            return Arm("sample", ("sample", {"n": self.options.compare.samples}), None, self.options.budget)
        name, _, budget = split.removeprefix("compare-").rpartition("-")
        search, judge = challenger(self.config, "arms", name)
        return self.led(Arm(name, search, judge, int(budget)))

    def led(self, arm: Arm) -> Arm:
        """The arm with the version of the value model that leads it: the newest."""
        return replace(arm, version=self.newest_judge(self.options.rounds, arm.judge)) if self.learned(arm.judge) else arm

    def read(self, split: str, judge: str = "") -> Measured:
        return Measured.read(self.store, self.options.rounds, split, plan_key(0, PLAN), judge)


def compare(file: str, dotlist: list[str], console: Console) -> dict:
    """Run the whole comparison, or what is left of it. Returns the tables, which are also put into the run's folder."""
    config = read(file, dotlist)
    # A folder keeps its config, as a run's does; each seed's run checks its own.
    if "://" in config.run.dir:
        raise UserError(f"run.dir {config.run.dir}: a comparison needs a folder on a disk")
    folder = Store(config.run.dir).open()
    seeds = []
    for seed in config.compare.seeds:
        own = read(file, [*dotlist, f"seed={seed}", f"compare.seeds=[{seed}]", f"run.dir={folder.root}/seed{seed}"])
        console.print(f"seed {seed}: {own.run.dir}", highlight=False)
        with View(own.rounds) as view:
            run = Comparison(own, view=view)
            asyncio.run(run.turn())
        seeds.append(run)
    tables = {"choosing": choosing(seeds), "searching": searching(seeds), "sources": sources(seeds)}
    # Derived from what is stored, so not part of the state: a later comparison with more seeds writes it anew.
    fresh = folder.root / "_tmp" / "tables.json"
    fresh.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, folder.root / "tables.json")
    for table in (choosing_table(tables["choosing"]), searching_table(tables["searching"]), sources_table(tables["sources"])):
        console.print(table)
    return tables


# 1 one of N sampled answers


def rules(run: Comparison) -> dict[str, tuple[str, Callable[[Pool, slice], float]]]:
    """{rule: (value model, rule)}: every way to choose, by name."""
    last, own = run.options.rounds, run.judge
    newest, stale, outcome = run.newest_judge(last, own), judge_key(1, own[0]), judge_key(last, "outcome")

    def by(judge: str, rule: Callable, aggregate: str) -> tuple[str, Callable[[Pool, slice], float]]:
        return judge, lambda pool, of: rule(pool, pool.scores(aggregate), of)

    found = {"majority": ("", choose.majority), "first verified": ("", choose.first_verified)}
    found |= {"ORM best": by(outcome, choose.best, "last"), "ORM vote": by(outcome, choose.weighted, "last")}
    for aggregate in choose.AGGREGATES:
        found[f"PRM best, {aggregate}"] = by(newest, choose.best, aggregate)
        found[f"PRM vote, {aggregate}"] = by(newest, choose.weighted, aggregate)
    if stale != newest:
        found["stale PRM vote, product"] = by(stale, choose.weighted, "product")
    return found


def choosing(seeds: list[Comparison]) -> list[dict]:
    """For each level, rule and N: accuracy over all seeds' problems, with its interval."""
    sizes = [2**i for i in range(int(np.log2(seeds[0].options.compare.samples)) + 1)]
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    tokens: dict[int, list[float]] = {}
    for run in seeds:
        read = {judge: run.read("compare-sample", judge) for judge in {judge for judge, _ in rules(run).values()}}
        for level in run.options.compare.levels:
            tokens.setdefault(level, []).extend(each.pool.tokens.mean() for each in read[""].of(level))
            for name, (judge, rule) in rules(run).items():
                curves = [choose.curve(each.pool, rule, sizes) for each in read[judge].of(level)]
                found.setdefault((level, name), []).extend(curves)
    rows = []
    for (level, name), curves in found.items():
        for i, size in enumerate(sizes):
            here = bootstrap(np.array([curve[i] for curve in curves]))
            rows.append(
                {
                    "level": level,
                    "rule": name,
                    "n": size,
                    "tokens": size * float(np.mean(tokens[level])),
                    "problems": len(curves),
                }
                | asdict(here)
            )
    return rows


# 2 trees against best-of-N


def searching(seeds: list[Comparison]) -> list[dict]:
    """For each arm and level: accuracy, and the paired difference to best-of-N with the best vote at no fewer tokens.

    The baseline may choose, at each level, the rule that is best for it on these very problems, and N is rounded up. An arm's
    answer is the vote weighted by the product of its judge's scores; `played` is the answer that the visits of a tree lead to.
    """
    wanted = seeds[0].options.compare
    every = {run.options.seed: rules(run) for run in seeds}
    samples = [
        {judge: run.read("compare-sample", judge) for judge in {j for j, _ in every[run.options.seed].values()}}
        for run in seeds
    ]
    rows = []
    for name in wanted.arms:
        for budget in wanted.arms[name].budgets or wanted.budgets:
            arms = [run.read(f"compare-{name}-{budget}") for run in seeds]
            for level in (*wanted.levels, ALL):
                trees = [each for arm in arms for each in arm.of(level)]
                ours = np.array([choose.weighted(each.pool, each.pool.scores("product")) for each in trees])
                spent = float(np.mean([each.tokens for each in trees]))
                rule, n, theirs = baseline(samples, every, seeds, level, spent)
                gain = paired_bootstrap(theirs, ours)
                error = float((ours - theirs).std(ddof=1) / np.sqrt(len(ours)))
                solved = [each.pool.verified.any() for each in trees]
                rows.append(
                    {"arm": name, "budget": budget, "level": level, "problems": len(trees), "tokens": spent}
                    | {"judge_tokens": float(np.mean([each.judge_tokens for each in trees])), "accuracy": float(ours.mean())}
                    | {"played": played(trees), "baseline": float(theirs.mean()), "baseline_rule": rule, "baseline_n": n}
                    | {"gain": gain.mean, "low": gain.low, "high": gain.high, "standard_errors": gain.mean / max(error, 1e-9)}
                    | {"found": float(np.mean(solved)), "solutions_per_1000_tokens": rate(trees)}
                    | {"sampled_per_1000_tokens": rate([e for s in samples for e in s[""].of(level)], n)}
                )
    return rows


def played(trees: list[Answered]) -> float | None:
    """Accuracy of the answers that visits lead to; None where the search keeps no visits."""
    if not any(each.pool.visits.any() for each in trees):
        return None
    return float(np.mean([bool(each.played) and bool(each.pool.right[each.played[0]]) for each in trees]))


def rate(trees: list[Answered], n: int | None = None) -> float:
    """Distinct correct answers for 1,000 generated tokens; of sampled answers, among the first n to each problem."""
    found = sum(
        len({text for text, good in zip(each.texts[:n], each.pool.verified[:n], strict=True) if good}) for each in trees
    )
    return 1000 * found / max(1, sum(each.tokens if n is None else int(each.pool.tokens[:n].sum()) for each in trees))


def baseline(
    samples: list[dict[str, Measured]], every: dict[int, dict], seeds: list[Comparison], level: int, tokens: float
) -> tuple[str, int, np.ndarray]:
    """(rule, N, accuracy by problem) of the best vote among N sampled answers of at least so many tokens on average."""
    each = float(np.mean([a.pool.tokens.mean() for read in samples for a in read[""].of(level)]))
    n = min(seeds[0].options.compare.samples, int(np.ceil(tokens / each)))
    best = ("", n, np.zeros(0))
    for name in every[seeds[0].options.seed]:
        if name.startswith("stale") or not (name == "majority" or "vote" in name):
            continue
        found = []
        for run, read in zip(seeds, samples, strict=True):
            judge, rule = every[run.options.seed][name]
            found += [choose.curve(answered.pool, rule, [n])[0] for answered in read[judge].of(level)]
        if not len(best[2]) or np.mean(found) > best[2].mean():
            best = (name, n, np.array(found))
    return best


# 3 sources of training traces


def sources(seeds: list[Comparison]) -> list[dict]:
    """For each source and seed what it found on the hardest level with any success, and what the next model made of it."""
    rows = []
    number = seeds[0].options.rounds + 1
    for run in seeds:
        names = list(run.options.compare.sources)
        found = {name: Measured.read(run.store, number, f"source-{name}", plan_key(number, "train")) for name in names}
        solved = {each.problem.level for read in found.values() for each in read.answered if each.pool.verified.any()}
        for name, read in found.items():
            measured = Measured.read(run.store, number, f"test-{name}", plan_key(0, "test"))
            next_model = {
                level: bootstrap(np.array([each.pool.verified.mean() for each in measured.of(level)])).mean
                for level in run.options.measure.levels
            }
            trees = read.of(max(solved, default=0))
            rows.append(
                {"source": name, "seed": run.options.seed, "level": max(solved, default=0), "problems": len(trees)}
                | {"tokens": sum(each.tokens for each in trees), "distinct_correct_per_1000_tokens": rate(trees)}
                | {"solved": float(np.mean([each.pool.verified.any() for each in trees])) if trees else 0.0}
                | {"pass_1": next_model}
            )
    return rows


# what is shown


def a_table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    return table


def choosing_table(rows: list[dict]) -> Table:
    sizes = sorted({row["n"] for row in rows})
    table = a_table("accuracy %, choosing one of N sampled answers (half the 95 % interval)", ["level, rule", *map(str, sizes)])
    for level, rule in dict.fromkeys((row["level"], row["rule"]) for row in rows):
        cells = [row for row in rows if (row["level"], row["rule"]) == (level, rule)]
        table.add_row(f"{level} {rule}", *(f"{100 * c['mean']:.1f} ({50 * (c['high'] - c['low']):.1f})" for c in cells))
    return table


def searching_table(rows: list[dict]) -> Table:
    columns = ["arm", "level", "tokens", "judge tokens", "accuracy %", "played %", "best-of-N %", "N", "gain, points", "SE"]
    table = a_table(
        "searches against best-of-N with its best vote, at no fewer tokens", [*columns, "solutions/1k", "sampled/1k"]
    )
    for row in rows:
        table.add_row(
            row["arm"],
            "all" if row["level"] == ALL else str(row["level"]),
            f"{row['tokens']:.0f}",
            f"{row['judge_tokens']:,.0f}",
            f"{100 * row['accuracy']:.1f}",
            "" if row["played"] is None else f"{100 * row['played']:.1f}",
            f"{100 * row['baseline']:.1f}",
            str(row["baseline_n"]),
            f"{100 * row['gain']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]",
            f"{row['standard_errors']:+.1f}",
            f"{row['solutions_per_1000_tokens']:.2f}",
            f"{row['sampled_per_1000_tokens']:.2f}",
        )
    return table


def sources_table(rows: list[dict]) -> Table:
    levels = list(rows[0]["pass_1"]) if rows else []
    columns = [
        "source",
        "seed",
        "level",
        "distinct correct/1k tokens",
        "solved %",
        *(f"next pass@1 %, level {n}" for n in levels),
    ]
    table = a_table("as a source of training traces, on the hardest level with any success", columns)
    for row in rows:
        cells = [
            str(row["seed"]),
            str(row["level"]),
            f"{row['distinct_correct_per_1000_tokens']:.2f}",
            f"{100 * row['solved']:.1f}",
        ]
        table.add_row(row["source"], *cells, *(f"{100 * row['pass_1'][level]:.1f}" for level in levels))
    return table
