"""Charts as Vega-Lite specifications: plain data in, a dict out, None where the run has nothing to draw.

Source of the grammar: Satyanarayan et al. 2017, Vega-Lite. Colours: Okabe and Ito 2008, told apart by colour-blind readers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cluster.report.evidence import Evidence, Results, Tried
from iteration.cost import cheapest, matched
from iteration.statistics import coverage_fit, difficulty_bins, two_fold_choice
from iteration.types import Calibration

Spec = dict[str, Any]
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a6d3b", "#7f7f7f"]
HEIGHT = 210
JUDGED = "vote by the judge"
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": "transparent"},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "domainColor": "currentColor",
        "tickColor": "currentColor",
    }
    | {"gridColor": "currentColor", "gridOpacity": 0.12, "titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 12},
    "legend": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "orient": "bottom",
        "columns": 6,
        "titleOrient": "left",
        "symbolOpacity": 1,
    }
    | {"titleFontWeight": "normal", "labelLimit": 220, "layout": {"bottom": {"anchor": "start", "direction": "vertical"}}},
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
    "text": {"color": "currentColor"},
    "range": {"category": COLOURS, "ordinal": {"scheme": "plasma", "extent": [0.3, 0.82]}},
    "header": {"labelColor": "currentColor", "titleColor": "currentColor"},
}


def share(field: str, title: str, **more: Any) -> Spec:
    """A y axis of percent, from 0 up to what there is to be seen."""
    scale = {"scale": {"domainMin": 0, "nice": True}}
    return {"field": field, "type": "quantitative", "title": title, "axis": {"format": ".0%"}} | scale | more


def number(field: str, title: str, log: bool = False, **more: Any) -> Spec:
    scale = (
        {"scale": {"type": "log", "nice": False, "padding": 12}, "axis": {"format": "~s", "labelOverlap": True}} if log else {}
    )
    return {"field": field, "type": "quantitative", "title": title} | scale | more


def answers(rows: list[dict]) -> Spec:
    """An x axis of numbers of answers, with a tick where there is a point."""
    values = sorted({row["k"] for row in rows})
    axis = {"axis": {"values": values, "format": "~s", "labelOverlap": True}}
    return number("k", "answers to each problem, k", log=True) | axis


def named(field: str, title: str | None, **more: Any) -> Spec:
    return {"field": field, "type": "nominal", "title": title} | more


def by_round(field: str = "round", title: str = "round") -> Spec:
    return {"field": field, "type": "ordinal", "title": title, "axis": {"labelAngle": 0}}


def chart(values: list[dict], **rest: Any) -> Spec | None:
    """A chart over these rows; None where there are none."""
    if not values:
        return None
    sized = {"width": "container", "height": HEIGHT, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {"data": {"values": values}, **sized, **rest}


def tips(*fields: tuple[str, str, str]) -> list[Spec]:
    """Tooltips: (field, title, format); format "" for text."""
    return [
        {"field": field, "title": title, "type": "quantitative" if form else "nominal"} | ({"format": form} if form else {})
        for field, title, form in fields
    ]


def lines(points: Spec, x: Spec, y: Spec, colour: Spec, tip: list[Spec], dash: Spec | None = None) -> Spec:
    """Lines with their points."""
    detail = {"strokeDash": dash} if dash else {}
    encoding = {"x": x, "y": y, "color": colour, "tooltip": tip}
    layer = [{"mark": {"type": "line"}, "encoding": detail}, {"mark": {"type": "point", "filled": True, "size": 45}}]
    return points | {"encoding": encoding, "layer": layer}


# does it turn?


def accuracy_by_round(runs: list[Evidence]) -> Spec | None:
    """Held-out pass@1 of each round's model, with its 95 % interval, by level; several runs in one picture."""
    rows = []
    for run in runs:
        for record in run.rounds:
            for score in record["scores"]:
                rows.append(
                    {
                        "round": record["number"],
                        "level": f"level {score['level']}",
                        "run": run.name,
                        "promoted": record["promoted"],
                    }
                    | {name: score[name] for name in ("pass_1", "low", "high")}
                    | {"what": f"level {score['level']}" + (f", {run.name}" if len(runs) > 1 else "")}
                )
    spec = chart(rows)
    if spec is None or len({row["round"] for row in rows}) < 2:
        return None
    x, y = by_round(), share("pass_1", "held-out pass@1")
    colour = named("what", None)
    tip = tips(
        ("what", "", ""), ("round", "round", "d"), ("pass_1", "pass@1", ".1%"), ("low", "from", ".1%"), ("high", "to", ".1%")
    )
    band = {"y": share("low", "held-out pass@1"), "y2": {"field": "high"}}
    return spec | {
        "encoding": {"x": x, "color": colour, "tooltip": tip},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.15}, "encoding": band},
            {"mark": "line", "encoding": {"y": y}},
            {"mark": {"type": "rule", "opacity": 0.7}, "encoding": band},
            {"mark": {"type": "point", "filled": True, "size": 55}, "encoding": {"y": y}},
        ],
    }


# coverage


def coverage(results: list[Results], title: str) -> Spec | None:
    """pass@k against k for several rounds, each with its fitted law."""
    rows, laws = [], []
    for each in results:
        sizes, found = each.sizes(), each.coverage()
        rows += [
            {"k": int(k), "coverage": float(c), "round": each.round, "answers": each.name}
            for k, c in zip(sizes, found, strict=True)
        ]
        law = coverage_fit(sizes, found)
        if law:
            many = np.geomspace(1, sizes[-1], 40)
            laws += [
                {"k": float(k), "coverage": float(c), "round": each.round} for k, c in zip(many, law.at(many), strict=True)
            ]
    spec = chart(rows, title=title)
    if spec is None or max(row["k"] for row in rows) < 2:
        return None
    encoding = {"x": answers(rows), "y": share("coverage", "coverage, pass@k")}
    encoding["color"] = by_round()
    law = {"data": {"values": laws}, "mark": {"type": "line", "strokeDash": [4, 3], "opacity": 0.8}} if laws else None
    points = {"mark": {"type": "point", "filled": True, "size": 45}}
    points["encoding"] = {"tooltip": tips(("answers", "", ""), ("k", "k", "d"), ("coverage", "pass@k", ".1%"))}
    return spec | {"encoding": encoding, "layer": [layer for layer in (law, points) if layer]}


def laws(results: list[Results]) -> list[list[str]]:
    """Rows of (answers, a, b, error) of the law c = exp(a k^b)."""
    found = []
    for each in results:
        law = coverage_fit(each.sizes(), each.coverage())
        shown = (
            [f"{law.a:.3f}", f"{law.b:.3f}", f"{100 * law.error:.2f} points"]
            if law
            else ["–", "–", "too few points inside (0, 1)"]
        )
        found.append([each.name, *shown])
    return found


def saturation(results: Results, title: str) -> Spec | None:
    """Majority (and the judge's vote) against coverage: the gap is what a verifier at test time would close."""
    sizes = results.sizes()
    curves = {"coverage: a perfect verifier chooses": results.coverage(), "majority vote": results.majority()}
    rows = [
        {"k": int(k), "accuracy": float(value), "how": how}
        for how, curve in curves.items()
        for k, value in zip(sizes, curve, strict=True)
    ]
    for rule, curve in results.chosen().items():
        rows += [{"k": 2**i, "accuracy": float(value), "how": rule} for i, value in enumerate(curve)]
    spec = chart(rows, title=title)
    if spec is None or len(sizes) < 2:
        return None
    tip = tips(("how", "", ""), ("k", "answers", "d"), ("accuracy", "accuracy", ".1%"))
    return lines(spec, answers(rows), share("accuracy", "accuracy"), named("how", None), tip)


# test-time compute


def test_time(run: Evidence, level: int) -> Spec | None:
    """Accuracy against generated tokens for each way to answer: votes over samples, and every search that was tried."""
    rows = []
    for results in [run.best, *run.arms]:
        here = results.of(level)
        if not len(here):
            continue
        way = "sample" if results is run.best else results.name
        if results.budget:
            rules = {"vote": all_votes(here), "coverage": any_correct(here)}
            rules |= {rule: float(curve[-1]) for rule, curve in here.chosen().items() if rule == JUDGED}
            detail = f"budget {results.budget:,}"
            points = [(here.tokens_of_a_problem(), rule, value, detail) for rule, value in rules.items()]
        else:  # samples: a whole curve
            each, sizes = here.tokens_of_an_answer(), here.sizes()
            curves = {"vote": here.majority(), "coverage": here.coverage()}
            points = [
                (float(k * each), rule, float(value), f"{k} answers")
                for rule, curve in curves.items()
                for k, value in zip(sizes, curve, strict=True)
            ]
        rows += [{"tokens": t, "rule": rule, "accuracy": v, "detail": d, "way": way} for t, rule, v, d in points]
    spec = chart(rows)
    if spec is None or len(rows) < 3:
        return None
    tip = tips(("way", "", ""), ("rule", "", ""), ("detail", "", ""), ("tokens", "tokens", ",.0f"), ("accuracy", "", ".1%"))
    x, dash = number("tokens", "generated tokens for each problem", log=True), named("rule", None)
    return lines(spec, x, share("accuracy", "accuracy"), named("way", None), tip, dash)


def all_votes(results: Results) -> float:
    """Accuracy of the majority over all answers of each problem, however many there are."""
    return float(np.mean([_majority(each.votes, each.right) for each in results.tried]))


def voted(each: Tried) -> float:
    """The vote by the judge where there is one, else the plain vote."""
    return each.by_judge[JUDGED][-1] if JUDGED in each.by_judge else _majority(each.votes, each.right)


def any_correct(results: Results) -> float:
    return float(np.mean([each.correct > 0 for each in results.tried]))


def _majority(votes: tuple[int, ...], right: tuple[bool, ...]) -> float:
    most = max(votes[:-1], default=0)
    leaders = [good for n, good in zip(votes[:-1], right[:-1], strict=True) if n == most]
    return sum(leaders) / len(leaders) if most else 0.0


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
    x = number("flops", "FLOP of search, judging and training since the first model", log=True)
    tip = tips(("level", "", ""), ("round", "round", "d"), ("flops", "FLOP", ".3s"), ("pass_1", "pass@1", ".1%"))
    encoding = {"x": x, "color": named("level", None), "tooltip": tip}
    interval = {"y": share("low", "held-out pass@1"), "y2": {"field": "high"}}
    y = share("pass_1", "held-out pass@1")
    return spec | {
        "encoding": encoding,
        "layer": [
            {"mark": {"type": "rule", "opacity": 0.6}, "encoding": interval},
            {"mark": "line", "encoding": {"y": y}},
            {"mark": {"type": "point", "filled": True, "size": 55}, "encoding": {"y": y}},
        ],
    }


def surface(run: Evidence, level: int) -> tuple[list[Results], np.ndarray, np.ndarray, np.ndarray]:
    """(models, operations until each [m], operations for a question [m, s], accuracy of the vote [m, s]) by answers given."""
    models = [each.of(level) for each in run.held_out if each.of(level).judged()]
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
    tip = tips(
        ("round", "round", "d"),
        ("k", "answers", "d"),
        ("flops", "FLOP a question", ".3s"),
        ("accuracy", "majority", ".1%"),
    )
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
    found = []
    for target in sorted({round(top * part, 2) for part in (0.25, 0.5, 0.75, 0.95)}):
        row = [f"{target:.0%}"]
        for questions in QUESTIONS.values():
            way = cheapest(before, cost, accuracy, target, questions)
            if way:
                k = int(models[way.model].sizes()[way.setting])
                row.append(f"round {models[way.model].round}, {k} answer{'s' * (k > 1)}: {si(way.flops)}FLOP")
            else:
                row.append("–")
        found.append(row)
    return found


def matched_ways(run: Evidence, level: int) -> list[list[str]]:
    """Each later model's single answer, against what the first model's vote reaches for the same operations in all."""
    models, before, cost, accuracy = surface(run, level)
    found = []
    for m in range(1, len(models)):
        row = [models[m].name, f"{accuracy[m, 0]:.1%}"]
        for questions in QUESTIONS.values():
            setting = matched(before, cost, m, questions)
            most = " (all it has)" if setting == cost.shape[1] - 1 else ""
            row.append("–" if setting is None else f"{accuracy[0, setting]:.1%} by {models[0].sizes()[setting]} answers{most}")
        found.append(row)
    return found


# difficulty


def difficulty(run: Evidence) -> Spec | None:
    """pass@1 of each round on the first model's own quantiles of difficulty."""
    if len(run.held_out) < 2:
        return None
    base, levels = run.held_out[0].rates(), {each.problem: each.level for each in run.held_out[0].tried}
    names = sorted(base)
    easy = np.array([base[name] - 1e-6 * levels[name] for name in names])  # of equal rates the higher level is harder
    bins = dict(zip(names, difficulty_bins(easy).tolist(), strict=True))
    rows = []
    for each in run.held_out:
        rates = each.rates()
        for one in sorted(set(bins.values())):
            members = [rates[name] for name in names if bins[name] == one and name in rates]
            if members:
                rows.append(
                    {"bin": f"{one + 1}", "round": each.round, "pass_1": float(np.mean(members)), "problems": len(members)}
                )
    tip = tips(("bin", "fifth", ""), ("round", "round", "d"), ("pass_1", "pass@1", ".1%"), ("problems", "problems", "d"))
    spec = chart(rows)
    return spec and spec | {
        "mark": "bar",
        "encoding": {
            "x": named("bin", "difficulty for the first model: fifths, the hardest last", axis={"labelAngle": 0}),
            "xOffset": {"field": "round", "type": "ordinal"},
            "y": share("pass_1", "held-out pass@1"),
            "color": by_round(),
            "tooltip": tip,
        },
    }


def strategies(run: Evidence) -> list[list[str]]:
    """Which arm each difficulty bin prefers at each budget, chosen on one half of the problems and scored on the other."""
    found = []
    for budget in sorted({arm.budget for arm in run.arms if arm.budget}):
        arms = [arm for arm in run.arms if arm.budget == budget]
        solved = [{each.problem: voted(each) for each in arm.tried} for arm in arms]
        names = sorted(set.intersection(*(set(each) for each in solved)))
        base = next((arm.rates() for arm in run.arms if not arm.budget), None) or run.held_out[0].rates()
        names = [name for name in names if name in base]
        if len(arms) < 2 or len(names) < 10:
            continue
        scores = np.array([[each[name] for name in names] for each in solved])
        bins = difficulty_bins(np.array([base[name] for name in names]))
        accuracy, chosen = two_fold_choice(scores, bins)
        one = int(scores.mean(axis=1).argmax())
        picks = "; ".join(
            f"{b + 1}: {' and '.join(sorted({arms[i].name for i in picked}))}" for b, picked in sorted(chosen.items())
        )
        found.append([f"{budget:,}", f"{accuracy.mean():.1%}", f"{scores[one].mean():.1%} ({arms[one].name})", picks])
    return found


def movement(run: Evidence) -> tuple[Spec | None, list[tuple[int, list[str], list[str]]]]:
    """(chart, [(round, newly solved, forgotten)]): a problem counts as solved where most of its answers are correct."""
    rows, found = [], []
    for before, after in zip(run.held_out, run.held_out[1:], strict=False):
        old, new = before.rates(), after.rates()
        won = sorted(name for name in new if new[name] > 0.5 >= old.get(name, 0))
        lost = sorted(name for name in new if new[name] <= 0.5 < old.get(name, 0))
        found.append((after.round, won, lost))
        rows += [{"round": after.round, "problems": len(won), "what": "newly solved"}]
        rows += [{"round": after.round, "problems": -len(lost), "what": "forgotten"}]
    spec = chart(rows)
    tip = tips(("round", "round", "d"), ("what", "", ""), ("problems", "problems", "d"))
    encoding = {"x": by_round(), "y": number("problems", "held-out problems"), "tooltip": tip}
    encoding["color"] = named("what", None, scale={"domain": ["newly solved", "forgotten"], "range": [COLOURS[2], COLOURS[1]]})
    return spec and spec | {"mark": "bar", "encoding": encoding}, found


# what the search and the filters did


def diversity(run: Evidence, name: str, title: str) -> Spec | None:
    """One of the numbers of `iteration.types.Diversity`, round by round."""
    rows = [{"round": r["number"], "value": r["diversity"][name]} for r in run.rounds if r.get("diversity")]
    tip = tips(("round", "round", "d"), ("value", title, ".3f"))
    encoding = {"x": by_round(), "y": number("value", title), "tooltip": tip}
    spec = chart(rows)
    return spec and spec | {"mark": {"type": "line", "point": {"filled": True, "size": 45}}, "encoding": encoding}


def funnel(run: Evidence) -> Spec | None:
    """How many answers of each round were sampled, judged correct, distinct, kept and trained on."""
    stages = ("sampled", "correct", "distinct", "kept", "trained")
    rows = [
        {"round": each["round"], "stage": stage, "answers": each[stage]}
        for each in run.funnel
        for stage in stages
        if each[stage]
    ]
    spec = chart(rows)
    if spec is None:
        return None
    tip = tips(("round", "round", "d"), ("stage", "", ""), ("answers", "answers", ",d"))
    x = {"field": "stage", "type": "ordinal", "sort": list(stages), "title": None, "axis": {"labelAngle": 0}}
    return lines(spec, x, number("answers", "answers", log=True), by_round(), tip)


def calibration(run: Evidence) -> Spec | None:
    """The judge's mean score against the share that was correct; on the diagonal it can be believed."""
    rows = [
        {"score": score, "correct": share, "answers": n, "round": record["number"], "level": f"level {each['level']}"}
        for record in run.rounds
        for each in record.get("calibration") or []
        for score, share, n in Calibration(**each).reliability
    ]
    spec = chart(rows)
    if spec is None:
        return None
    tip = tips(
        ("round", "round", "d"),
        ("level", "", ""),
        ("score", "mean score", ".2f"),
        ("correct", "correct", ".1%"),
        ("answers", "answers", ",d"),
    )
    diagonal = {
        "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
        "mark": {"type": "line", "strokeDash": [3, 3], "color": "#888"},
    }
    diagonal["encoding"] = {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}}
    x, y = (
        number("score", "the judge's score", scale={"domain": [0, 1]}),
        share("correct", "share correct", scale={"domain": [0, 1]}),
    )
    points = {"mark": {"type": "line", "point": {"filled": True, "size": 45}}}
    points["encoding"] = {"x": x, "y": y, "color": by_round(), "strokeDash": named("level", None), "tooltip": tip}
    return spec | {"layer": [diagonal, points]}


# time


def timeline(run: Evidence) -> Spec | None:
    """Who worked when: bars above each other ran at the same time."""
    spans = run.spans
    if not spans:
        return None
    start = min(span.began for span in spans)
    total = max(span.began + span.seconds for span in spans) - start
    unit, per = ("minutes", 60) if total > 180 else ("seconds", 1)
    rows = [
        {
            "actor": span.actor,
            "phase": span.phase,
            "from": (span.began - start) / per,
            "to": (span.began + span.seconds - start) / per,
        }
        | {"seconds": span.seconds}
        for span in spans
    ]
    actors = sorted(
        {span.actor for span in spans}, key=lambda name: (name != "driver", name.partition("-")[0], len(name), name)
    )
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
