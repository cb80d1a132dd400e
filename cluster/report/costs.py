"""Charts and tables of a run's cost in operations and in time; None or no rows if the run has no data."""

from __future__ import annotations

import numpy as np

from cluster.report.evidence import Evidence, Results
from cluster.report.grammar import Spec, by_round, chart, intervals, lines, named, number, share, tips
from iteration.cost import cheapest, matched

# training compute, and both


def training_compute(run: Evidence) -> Spec | None:
    """Held-out pass@1 against all operations that it took to make the model, from the first model on."""
    spent = run.spent()
    rows = [
        {"flops": spent[record["number"]], "round": record["number"], "level": f"level {score['level']}"}
        | {name: score[name] for name in ("pass_1", "low", "high")}
        for record in run.rounds
        for score in record["scores"]
        if spent.get(record["number"])
    ]
    spec = chart(rows)
    if spec is None:
        return None
    x = number("flops", "FLOP since the first model", log=True)
    tip = tips(("level", "", ""), ("round", "round", "d"), ("flops", "FLOP", ".3s"), ("pass_1", "pass@1", ".1%"))
    return intervals(spec, x, named("level", None), tip)


def surface(run: Evidence, level: int) -> tuple[list[Results], np.ndarray, np.ndarray, np.ndarray]:
    """(models, operations until each [m], operations for a question [m, s], accuracy of the vote [m, s]) by answers given."""
    models = [each.of(level) for each in run.held_out if each.of(level).graded()]
    steps = min((len(each.sizes()) for each in models), default=0)
    spent = run.spent()
    before = np.array([spent.get(each.round, 0.0) for each in models])
    cost = [
        [run.size.flops(k * each.tokens_of_an_answer() + each.reading(), each.context()) for k in each.sizes()[:steps]]
        for each in models
    ]
    accuracy = [each.majority()[:steps] for each in models]
    return models, before, np.array(cost).reshape(len(models), steps), np.array(accuracy).reshape(len(models), steps)


def exchange(run: Evidence, level: int) -> Spec | None:
    """Accuracy of the vote against operations for a question, for each round's model: a later model needs fewer."""
    models, _, cost, accuracy = surface(run, level)
    rows = [
        {"flops": float(cost[m, s]), "accuracy": float(accuracy[m, s]), "round": each.round, "k": int(each.sizes()[s])}
        for m, each in enumerate(models)
        for s in range(cost.shape[1])
    ]
    spec = chart(rows)
    if spec is None or cost.shape[1] < 2:
        return None
    tip = tips(("round", "round", "d"), ("k", "answers", "d"))
    tip += tips(("flops", "FLOP a question", ".3s"), ("accuracy", "majority", ".1%"))
    x = number("flops", "FLOP to answer one question", log=True)
    return lines(spec, x, share("accuracy", "accuracy of the majority"), by_round(), tip)


QUESTIONS = {"a hundred": 1e2, "ten thousand": 1e4, "a million": 1e6, "a hundred million": 1e8}


def si(value: float) -> str:
    """1.5e12 as "1.5 T", in front of a unit."""
    steps = ["", "k", "M", "G", "T", "P", "E", "Z"]
    step = min(len(steps) - 1, max(0, int(np.log10(value) // 3))) if value > 0 else 0
    return f"{value / 1000**step:.3g} {steps[step]}"


def cheapest_ways(run: Evidence, level: int) -> list[list[str]]:
    """For some accuracies, the cheapest model and number of answers by how many questions there are to be answered."""
    models, before, cost, accuracy = surface(run, level)
    if not accuracy.size:
        return []
    top = float(accuracy.max())
    rows = []
    for target in sorted({round(top * part, 2) for part in (0.25, 0.5, 0.75, 0.95)}):
        row = [f"{target:.0%}"]
        for questions in QUESTIONS.values():
            way = cheapest(before, cost, accuracy, target, questions)
            if way:
                k = int(models[way.model].sizes()[way.setting])
                row.append(f"round {models[way.model].round}, {k} answer{'s' * (k > 1)}: {si(way.flops)}FLOP")
            else:
                row.append("–")
        rows.append(row)
    return rows


def matched_ways(run: Evidence, level: int) -> list[list[str]]:
    """Each later model's single answer, against what the first model's vote reaches for the same operations in all."""
    models, before, cost, accuracy = surface(run, level)
    rows = []
    for m in range(1, len(models)):
        row = [models[m].name, f"{accuracy[m, 0]:.1%}"]
        for questions in QUESTIONS.values():
            setting = matched(before, cost, m, questions)
            most = " (all it has)" if setting == cost.shape[1] - 1 else ""
            row.append("–" if setting is None else f"{accuracy[0, setting]:.1%} by {models[0].sizes()[setting]} answers{most}")
        rows.append(row)
    return rows


# questions to other models


def asked(run: Evidence) -> list[list[str]]:
    """What the verifiers asked other models: questions, tokens and price of each, as the endpoint counts them."""
    rows = []
    for model in sorted({each.model for each in run.replies}):
        of_model = [each for each in run.replies if each.model == model]
        sums = (sum(getattr(each, name) for each in of_model) for name in ("tokens_in", "tokens_out", "price"))
        rows.append(
            [model, f"{len(of_model):,}", *(f"{each:,.4f}" if isinstance(each, float) else f"{each:,}" for each in sums)]
        )
    return rows


# time


def timeline(run: Evidence) -> Spec | None:
    """The busy time of each actor: bars above each other ran at the same time."""
    spans = run.spans
    if not spans:
        return None
    start = min(span.began for span in spans)
    total = max(span.began + span.seconds for span in spans) - start
    unit, per = ("minutes", 60) if total > 180 else ("seconds", 1)
    rows = []
    for span in spans:
        began = span.began - start
        times = {"from": began / per, "to": (began + span.seconds) / per, "seconds": span.seconds}
        rows.append({"actor": span.actor, "phase": span.phase} | times)
    names = {span.actor for span in spans}
    actors = sorted(names, key=lambda name: (name != "driver", name.partition("-")[0], len(name), name))
    spec = chart(rows) | {"height": 24 * len(actors)}
    tip = tips(("actor", "", ""), ("phase", "", ""), ("from", f"from, {unit}", ",.1f"), ("seconds", "seconds", ",.1f"))
    return spec | {
        "mark": {"type": "bar", "height": {"band": 0.75}},
        "encoding": {
            "x": number("from", f"{unit} since the start"),
            "x2": {"field": "to"},
            "y": named("actor", None, sort=actors),
            "color": named("phase", None),
            "tooltip": tip,
        },
    }


def phases(run: Evidence) -> Spec | None:
    """Seconds of each round by phase."""
    rows = [
        {"round": record["number"], "phase": phase, "seconds": seconds}
        for record in run.rounds
        for phase, seconds in record["seconds"].items()
        if seconds >= 0.05
    ]
    spec = chart(rows)
    tip = tips(("round", "round", "d"), ("phase", "", ""), ("seconds", "seconds", ",.1f"))
    encoding = {"x": by_round(), "y": number("seconds", "seconds"), "color": named("phase", None), "tooltip": tip}
    return spec and spec | {"mark": "bar", "encoding": encoding}


def compute(run: Evidence) -> Spec | None:
    """Operations of each round by what they were for."""
    rows = [{"round": work.round, "phase": phase, "flops": flops} for work in run.work for phase, flops in work.flops.items()]
    spec = chart(rows)
    tip = tips(("round", "round", "d"), ("phase", "", ""), ("flops", "FLOP", ".3s"))
    y = number("flops", "FLOP", axis={"format": "~s"})
    return spec and spec | {"mark": "bar", "encoding": {"x": by_round(), "y": y, "color": named("phase", None), "tooltip": tip}}
