"""The sections of the report, in order, with their charts and tables. A panel is one run's part of a section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cluster.report import charts, costs
from cluster.report.evidence import Evidence
from cluster.report.grammar import Spec
from iteration.cost import money
from iteration.errors import COMMAND
from iteration.measuring import paired

NAMED = 40  # problems that are listed by name


@dataclass
class Table:
    head: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass
class Panel:
    """One run's part of a section. `names`: {what: [(problem, its text)]}, lists of problems to look at."""

    charts: list[tuple[str, Spec]] = field(default_factory=list)  # (caption, chart)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    names: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def draw(self, caption: str, spec: Spec | None) -> None:
        if spec is not None:
            self.charts.append((caption, spec))

    def tabulate(self, head: list[str], rows: list[list[str]], caption: str = "") -> None:
        if rows:
            self.tables.append(Table(head, rows, caption))

    def __bool__(self) -> bool:
        return bool(self.charts or self.tables or self.notes or self.names)


@dataclass
class Section:
    key: str
    title: str
    lead: str
    panels: list[Panel]


@dataclass
class Verdict:
    """The first screen, for one run."""

    turns: str  # yes, no, unclear
    headline: str
    facts: list[tuple[str, str]]  # (what, value)
    advice: list[tuple[str, str]]  # (what to do, command)


def span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def verdict(run: Evidence) -> Verdict:
    """Did the model improve, what did it cost, what to do next?"""
    seconds = sum(sum(record["seconds"].values()) for record in run.rounds)
    devices = sum(work.device_seconds for work in run.work)
    tokens = sum(work.tokens for work in run.work)
    facts = [("time", span(seconds)), ("device time", span(devices)), ("tokens", f"{tokens:,}")]
    facts.append(("operations", f"{costs.si(sum(sum(work.flops.values()) for work in run.work))}FLOP"))
    if run.price:
        facts.append(("money", f"{money(devices, run.price):,.2f} at {run.price:g} a device-hour"))
    if run.replies:
        used = sum(each.tokens_in + each.tokens_out for each in run.replies)
        paid = sum(each.price for each in run.replies)
        price = f", {paid:,.2f} paid" if paid else ""
        facts.append(("verifiers' questions", f"{len(run.replies):,} to other models, {used:,} tokens{price}"))
    if not run.held_out:
        return Verdict("unclear", "No held-out answers yet.", facts, advice(run))
    first, best = run.held_out[0], run.best
    before, after = first.rates(), best.rates()
    if not before.keys() & after.keys():
        said = "No held-out answer could be graded: the verifier failed on all of them."
        return Verdict("unclear", said, facts, advice(run))
    if len(run.held_out) < 2 or first is best:
        here = first.pass_1()
        interval = f"[{percent(here.low)}, {percent(here.high)}]"
        said = f"pass@1 {percent(here.mean)} {interval} on {len(first)} problems."
        if not run.wanted_rounds:
            return Verdict("unclear", f"Held-out {said}", facts, advice(run))
        why = "no model was better than the first" if len(run.held_out) > 1 else "nothing was trained" if untrained(run) else ""
        headline = f"It does not improve: {why}. " * bool(why) + f"The first model: {said}"
        return Verdict("no" if why else "unclear", headline, facts, advice(run))
    gain, shared = paired(before, after)
    old, new = (float(np.mean([rates[n] for n in shared])) for rates in (before, after))
    turns = "yes" if gain.low > 0 else "no" if gain.high < 0 else "unclear"
    says = {"yes": "It improves.", "no": "It gets worse.", "unclear": "No improvement shown: the interval holds zero."}[turns]
    headline = (
        f"{says} Held-out pass@1 went from {percent(old)} to {percent(new)} in {best.round} round{'s' * (best.round > 1)}: "
        f"{100 * gain.mean:+.1f} points (95 % {100 * gain.low:+.1f} to {100 * gain.high:+.1f}) over {len(shared)} problems."
    )
    return Verdict(turns, headline, facts, advice(run))


def untrained(run: Evidence) -> bool:
    """Are there finished rounds, and did none of them train a model?"""
    return len(run.rounds) > 1 and not any(record["trained"] for record in run.rounds)


def advice(run: Evidence) -> list[tuple[str, str]]:
    """What to do next, most pressing first."""
    steps = []
    folder, done = run.folder, max((record["number"] for record in run.rounds), default=0)
    failed = sum(record["counts"].get("failed", 0) for record in run.rounds)
    answers = sum(record["counts"].get("answers", 0) for record in run.rounds)
    if failed:
        what = f"The verifier failed on {failed:,} of {answers:,} answers; they are not counted. See why, and grade them again."
        steps.append((what, f"{COMMAND} traces {folder} --state failed"))
    if run.asides:
        steps.append((f"{run.asides} units were set aside; see the reasons.", f"{COMMAND} doctor {folder}"))
    audits = [record["audit"] for record in run.rounds if record.get("audit")]
    if audits and audits[-1]["low"] > 0.05:
        rate = percent(audits[-1]["rate"])
        what = f"The second verifier rejects {rate} of what the first accepts: false positives are trained on."
        steps.append((what, f"{COMMAND} regrade {folder} --verifier NAME"))
    if untrained(run):
        correct = sum(record["counts"].get("correct", 0) for record in run.rounds)
        what = f"None of {answers:,} answers was correct: begin with easier problems, a better model, or more answers to each."
        if correct:
            what = f"The filters kept none of {correct:,} correct answers: see their reasons, and change the filters."
        steps.append((what, f"{COMMAND} traces {folder}{' --correct' * bool(correct)}"))
    if done < run.wanted_rounds:
        steps.append((f"{done} of {run.wanted_rounds} rounds are finished; resume the run.", f"{COMMAND} resume {folder}"))
        return steps
    if len(run.held_out) < 2 or not all(each.rates() for each in (run.best, *run.held_out[-2:])):
        return steps
    best = run.best
    one, top = best.pass_1().mean, float(best.coverage()[-1])
    if one > 0.95:
        what = "The held-out problems are nearly all solved: measure and train on harder ones."
        return [*steps, (what, f"{COMMAND} status {folder}")]
    gain, _ = paired(run.held_out[-2].rates(), run.held_out[-1].rates())
    if gain is None:
        return steps
    if gain.low > 0:
        what = f"The last round still gained {100 * gain.mean:.1f} points (beyond noise): more rounds should pay."
        steps.append((what, f"{COMMAND} resume {folder} rounds={done + 3}"))
    elif top - one > 0.1:
        what = (
            f"The last round's gain is within noise, but {best.sizes()[-1]} answers solve {percent(top)} where one solves "
            f"{percent(one)}: there is more to learn from. Search wider, or train longer in each round."
        )
        steps.append((what, f"{COMMAND} resume {folder} rounds={done + 3}"))
    else:
        what = "The last round's gain is within noise, and more answers solve few more problems: harder problems are needed."
        steps.append((what, f"{COMMAND} status {folder}"))
    return steps


# panels


def coverage(run: Evidence) -> Panel:
    """The share of problems that at least one of k answers solves (unbiased pass@k), and the law c = exp(a k^b) fitted to
    it."""
    panel = Panel()
    for level in run.held_out[0].levels() if run.held_out else []:
        here = [each.of(level) for each in run.held_out]
        panel.draw("", charts.coverage(here, f"held-out problems, level {level}"))
        panel.tabulate(["model of", "a", "b", "error of the fit"], charts.laws(here), f"c = exp(a k^b), level {level}")
    panel.draw("", charts.coverage(run.searched, "training problems as they were searched, all levels"))
    for arm in run.arms:
        if arm.sizes().size and arm.sizes()[-1] > 4 and not arm.budget:
            panel.draw("", charts.coverage([arm], f"{arm.name}: held-out problems"))
            panel.tabulate(["answers", "a", "b", "error of the fit"], charts.laws([arm]), "c = exp(a k^b)")
    return panel


def saturation(run: Evidence) -> Panel:
    """A vote saturates where coverage still rises. A verifier, or a better judge, closes the gap at test time. A vote is
    right where its final answer is; coverage counts what the verifier accepts."""
    panel = Panel()
    for results in [run.best, *(arm for arm in run.arms if not arm.budget)] if run.held_out else []:
        for level in results.levels():
            panel.draw("", charts.saturation(results.of(level), f"{results.name}, held-out problems, level {level}"))
    return panel


def test_time(run: Evidence) -> Panel:
    """Accuracy against generated tokens, for every way to answer that was tried."""
    panel = Panel()
    for level in run.best.levels() if run.held_out else []:
        panel.draw(f"level {level}, {run.best.name}", charts.test_time(run, level))
    head = ["tokens a problem", "strategy by difficulty", "best single strategy", "chosen, by solve rate"]
    panel.tabulate(head, charts.strategies(run), "chosen on one half of the problems, scored on the other")
    return panel


def training(run: Evidence) -> Panel:
    """Held-out pass@1 against all operations since the first model: search, judge and training."""
    panel = Panel()
    if len(run.rounds) < 2:
        return panel
    panel.draw("", costs.training_compute(run))
    panel.draw("where the operations went", costs.compute(run))
    return panel


def exchange(run: Evidence) -> Panel:
    """Each line is one round's model. A later one reaches the same accuracy with fewer operations for each question; whether
    its training pays depends on how many questions there are."""
    panel = Panel()
    for level in run.held_out[0].levels() if len(run.held_out) > 1 else []:
        panel.draw(f"level {level}", costs.exchange(run, level))
        rows = costs.cheapest_ways(run, level)
        if rows:
            head = ["accuracy", *(f"{name} questions" for name in costs.QUESTIONS)]
            panel.tabulate(head, rows, f"level {level}: the cheapest model and number of answers (majority), training included")
            head = ["model", "one answer", *(f"{name} questions" for name in costs.QUESTIONS)]
            caption = f"level {level}: what the first model's majority reaches with the same operations, training included"
            panel.tabulate(head, costs.matched_ways(run, level), caption)
    return panel


def difficulty(run: Evidence) -> Panel:
    """Held-out problems in about five groups by how often the first model solves them, the hardest last."""
    panel = Panel()
    panel.draw("", charts.difficulty(run))
    return panel


def movement(run: Evidence) -> Panel:
    """A problem counts as solved where most of its answers are correct. Click one to see its trees."""
    panel = Panel()
    spec, moved = charts.movement(run)
    panel.draw("", spec)
    for number, won, lost in moved:
        for what, names in (("newly solved", won), ("forgotten", lost)):
            if names:
                listed = [(name, run.prompts.get(name, "")) for name in names[:NAMED]]
                more = f" ({NAMED} of {len(names)})" if len(names) > NAMED else ""
                panel.names[f"round {number}: {len(names)} {what}{more}"] = listed
    return panel


def search(run: Evidence) -> Panel:
    """The answers of each round's search, and how many were kept for training."""
    panel = Panel()
    panel.draw("from sampled answers to examples", charts.funnel(run))
    for name, title in (("distinct_correct", "distinct correct answers"), ("entropy", "entropy, nats a token")):
        panel.draw(title, charts.diversity(run, name, title))
    rows = [
        [f"{each[k]:,}" for k in ("round", "sampled", "correct", "distinct", "kept", "pool", "examples")] for each in run.funnel
    ]
    head = ["round", "sampled", "correct", "distinct", "kept", "pool of all rounds", "examples trained, with repeats"]
    panel.tabulate(head, rows)
    panel.tabulate(
        ["whose", "arm", "answers", "correct", "failed", "kept"], run.elsewhere, "answers made elsewhere, for round 1"
    )
    audits = [(str(r["number"]), r["audit"]) for r in run.rounds if r.get("audit")]
    sides = {"correct": "checked rejected rate low high", "wrong": "refused accepted missed missed_low missed_high"}
    told = [
        (number, first, [audit.get(name, 0) for name in names.split()])
        for number, audit in audits
        for first, names in sides.items()
    ]
    rows = [
        [number, first, f"{of:,}", f"{of - other:,}", f"{other:,}", percent(rate), f"{percent(low)} to {percent(high)}"]
        for number, first, (of, other, rate, low, high) in told
        if of
    ]
    head = ["round", "the first verifier says", "checked", "the second agrees", "disagrees", "share that disagrees", "95 %"]
    panel.tabulate(head, rows, "agreement of the two verifiers (audit), on a sample of the answers searched")
    told = [(r["number"], r["verifier"]) for r in run.rounds if r.get("verifier")]
    names = list(told[-1][1]) if told else []
    rows = [[str(number), *(f"{values.get(name, 0):+.3f}" for name in names)] for number, values in told]
    panel.tabulate(["round", *names], rows, "the verifier's")
    return panel


def calibration(run: Evidence) -> Panel:
    """Calibration of the value model: its score against the share that was correct."""
    panel = Panel()
    panel.draw("", charts.calibration(run))
    rows = [
        [str(r["number"]), str(c["level"]), *(f"{c[k]:.3f}" if c[k] is not None else "–" for k in ("auc", "step_auc"))]
        + [percent(c["vote"]), percent(c["majority"])]
        for r in run.rounds
        for c in r.get("calibration") or []
    ]
    panel.tabulate(["round", "level", "AUC", "AUC of steps", "vote by the judge", "plain vote"], rows)
    return panel


def time(run: Evidence) -> Panel:
    """Bars above each other ran at the same time."""
    panel = Panel()
    panel.draw("who worked when", costs.timeline(run))
    panel.draw("seconds by phase", costs.phases(run))
    return panel


def cost(run: Evidence) -> Panel:
    head = ["round", "problems", "tokens a problem", "device-seconds a problem", "FLOP a problem"]
    head += ["money a problem"] if run.price else []
    rows = []
    for work in (each for each in run.work if each.problems):
        each = [f"{work.tokens / work.problems:,.0f}", f"{work.device_seconds / work.problems:.2f}"]
        each.append(costs.si(sum(work.flops.values()) / work.problems).strip())
        each += [f"{money(work.device_seconds, run.price) / work.problems:.5f}"] if run.price else []
        rows.append([str(work.round), f"{work.problems:,}", *each])
    panel = Panel()
    panel.tabulate(head, rows, "of a round, all phases, divided by the problems that it searched")
    head = ["model", "questions", "tokens in", "tokens out", "price"]
    panel.tabulate(head, costs.asked(run), "questions of verifiers to other models, each asked once, in the whole run")
    if rows and not run.price:
        panel.notes.append("Money too: report.price=PRICE in the config, or --price PRICE, of a device for an hour.")
    return panel


# By title. The docstring of each is what the report says above it.
PARTS: dict[str, Callable[[Evidence], Panel]] = {
    "Coverage": coverage,
    "Majority against coverage": saturation,
    "Test-time compute": test_time,
    "Training compute": training,
    "Training against search": exchange,
    "Difficulty": difficulty,
    "Newly solved and forgotten": movement,
    "Search and filters": search,
    "The judge": calibration,
    "Time": time,
    "Cost of a problem": cost,
}


def sections(runs: list[Evidence]) -> list[Section]:
    """Every section that at least one run has something for."""
    built = []
    for title, build in PARTS.items():
        lead = " ".join((build.__doc__ or "").split())
        built.append(Section(build.__name__.replace("_", "-"), title, lead, [build(run) for run in runs]))
    return [section for section in built if any(section.panels)]
