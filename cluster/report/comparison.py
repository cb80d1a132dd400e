"""The tables of a comparison, computed from the stored runs of its seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from rich.table import Table

from cluster.comparison import Comparison
from cluster.console import new_table
from cluster.folder.layout import judge_key
from cluster.folder.measured import Answered, Measured
from iteration import choose
from iteration.choose import Pool
from iteration.statistics import bootstrap, paired_bootstrap

ALL = -1  # in place of a level: all of them together


# 1 one of N sampled answers


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to choose among sampled answers."""

    judge: str  # the value model whose scores it reads; "" for none
    choose: Callable[[Pool, slice], float]  # accuracy of what it chooses from some of the answers
    baseline: bool  # a fair way to choose: a vote, by no stale judge


def rules(run: Comparison) -> dict[str, Rule]:
    """Every way to choose, by name."""
    last, own = run.options.rounds, run.judge
    newest, stale, outcome = run.judging.newest(own, last), judge_key(1, own.name), judge_key(last, "outcome")

    def scored(judge: str, rule: Callable, aggregate: str, baseline: bool = False) -> Rule:
        return Rule(judge, lambda pool, of: rule(pool, pool.scores(aggregate), of), baseline)

    every = {"majority": Rule("", choose.majority, True), "first verified": Rule("", choose.first_verified, False)}
    every |= {"ORM best": scored(outcome, choose.best, "last"), "ORM vote": scored(outcome, choose.weighted, "last", True)}
    for aggregate in choose.AGGREGATES:
        every[f"PRM best, {aggregate}"] = scored(newest, choose.best, aggregate)
        every[f"PRM vote, {aggregate}"] = scored(newest, choose.weighted, aggregate, baseline=True)
    if stale != newest:
        every["stale PRM vote, product"] = scored(stale, choose.weighted, "product")
    return every


def choosing(seeds: list[Comparison]) -> list[dict]:
    """For each level, rule and N: accuracy over all seeds' problems, with its interval."""
    sizes = [2**i for i in range(int(np.log2(seeds[0].options.compare.samples)) + 1)]
    curves: dict[tuple[int, str], list[np.ndarray]] = {}
    tokens: dict[int, list[float]] = {}
    for run in seeds:
        read = sampled(run)
        for level in run.options.compare.levels:
            tokens.setdefault(level, []).extend(each.pool.tokens.mean() for each in read[""].of(level))
            for name, rule in rules(run).items():
                of = [choose.curve(each.pool, rule.choose, sizes) for each in read[rule.judge].of(level)]
                curves.setdefault((level, name), []).extend(of)
    rows = []
    for (level, name), of in curves.items():
        for i, size in enumerate(sizes):
            here = bootstrap(np.array([curve[i] for curve in of]))
            spent = size * float(np.mean(tokens[level]))
            rows.append({"level": level, "rule": name, "n": size, "tokens": spent, "problems": len(of)} | asdict(here))
    return rows


# 2 trees against best-of-N


def searching(seeds: list[Comparison]) -> list[dict]:
    """For each arm and level: accuracy, and the paired difference to best-of-N with the best vote at no fewer tokens.

    The baseline may choose, at each level, the rule that is best for it on these very problems, and N is rounded up. An arm's
    answer is the vote weighted by the product of its judge's scores; `played` is the answer that the visits of a tree lead to.
    """
    samples = [sampled(run) for run in seeds]
    rows = []
    for i, arm in enumerate(seeds[0].challenged()):
        reads = [run.measured(run.challenged()[i]) for run in seeds]
        for level in (*seeds[0].options.compare.levels, ALL):
            trees = [each for read in reads for each in read.of(level)]
            ours = np.array([choose.weighted(each.pool, each.pool.scores("product")) for each in trees])
            spent = float(np.mean([each.tokens for each in trees]))
            rule, n, theirs = baseline(samples, seeds, level, spent)
            gain = paired_bootstrap(theirs, ours)
            error = float((ours - theirs).std(ddof=1) / np.sqrt(len(ours)))
            solved = [each.pool.verified.any() for each in trees]
            rows.append(
                {"arm": arm.title, "budget": arm.budget, "level": level, "problems": len(trees), "tokens": spent}
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
    solutions = sum(
        len({text for text, good in zip(each.texts[:n], each.pool.verified[:n], strict=True) if good}) for each in trees
    )
    return 1000 * solutions / max(1, sum(each.tokens if n is None else int(each.pool.tokens[:n].sum()) for each in trees))


def sampled(run: Comparison) -> dict[str, Measured]:
    """The sampled answers, by the value model whose scores they carry."""
    return {judge: run.measured(run.sampled(), judge) for judge in {rule.judge for rule in rules(run).values()}}


def baseline(
    samples: list[dict[str, Measured]], seeds: list[Comparison], level: int, tokens: float
) -> tuple[str, int, np.ndarray]:
    """(rule, N, accuracy by problem) of the best vote among N sampled answers that cost at least `tokens` on average."""
    each = float(np.mean([a.pool.tokens.mean() for read in samples for a in read[""].of(level)]))
    n = min(seeds[0].options.compare.samples, int(np.ceil(tokens / each)))
    every, best = [rules(run) for run in seeds], ("", n, np.zeros(0))
    for name in (name for name, rule in every[0].items() if rule.baseline):
        right = []
        for of, read in zip(every, samples, strict=True):
            right += [choose.curve(answered.pool, of[name].choose, [n])[0] for answered in read[of[name].judge].of(level)]
        if not len(best[2]) or np.mean(right) > best[2].mean():
            best = (name, n, np.array(right))
    return best


# 3 sources of training traces


def sources(seeds: list[Comparison]) -> list[dict]:
    """For each source and seed: its results on the hardest level with any success, and those of the next model."""
    rows = []
    for run in seeds:
        reads = {arm.title: run.measured(arm) for arm in run.sources()}
        solved = {each.problem.level for read in reads.values() for each in read.answered if each.pool.verified.any()}
        for (name, read), taught in zip(reads.items(), run.taught(), strict=True):
            measured = run.measured(taught)
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


def choosing_table(rows: list[dict]) -> Table:
    sizes = sorted({row["n"] for row in rows})
    title, first = "accuracy %, choosing one of N sampled answers (half the 95 % interval)", "level, rule"
    table = new_table(title, [first, *map(str, sizes)], left=(first,), no_wrap=True)
    for level, rule in dict.fromkeys((row["level"], row["rule"]) for row in rows):
        cells = [row for row in rows if (row["level"], row["rule"]) == (level, rule)]
        table.add_row(f"{level} {rule}", *(f"{100 * c['mean']:.1f} ({50 * (c['high'] - c['low']):.1f})" for c in cells))
    return table


def searching_table(rows: list[dict]) -> Table:
    columns = ["arm", "level", "tokens", "judge tokens", "accuracy %", "played %", "best-of-N %", "N", "gain, points", "SE"]
    columns += ["solutions/1k", "sampled/1k"]
    title = "searches against best-of-N with its best vote, at no fewer tokens"
    table = new_table(title, columns, left=("arm",), no_wrap=True)
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
    columns = ["source", "seed", "level", "distinct correct/1k tokens", "solved %"]
    columns += [f"next pass@1 %, level {n}" for n in levels]
    title = "as a source of training traces, on the hardest level with any success"
    table = new_table(title, columns, left=("source",), no_wrap=True)
    for row in rows:
        cells = [str(row["seed"]), str(row["level"]), f"{row['distinct_correct_per_1000_tokens']:.2f}"]
        cells += [f"{100 * row['solved']:.1f}", *(f"{100 * row['pass_1'][level]:.1f}" for level in levels)]
        table.add_row(row["source"], *cells)
    return table
