"""Charts of measurements and searches; None if the run has no data for one."""

from __future__ import annotations

import numpy as np

from cluster.report.evidence import Evidence, Results
from cluster.report.grammar import COLOURS, Spec, answers, by_round, chart, intervals, lines, named, number, share, tips
from iteration.choose import JUDGED
from iteration.statistics import coverage_fit, difficulty_bins, two_fold_choice
from iteration.types import Calibration

# accuracy by round


def accuracy_by_round(runs: list[Evidence]) -> Spec | None:
    """Held-out pass@1 of each round's model, with its 95 % interval, by level; several runs in one picture."""
    rows = [
        {"round": record["number"], "what": f"level {score['level']}" + (f", {run.name}" if len(runs) > 1 else "")}
        | {name: score[name] for name in ("pass_1", "low", "high")}
        for run in runs
        for record in run.rounds
        for score in record["scores"]
    ]
    spec = chart(rows)
    if spec is None or len({row["round"] for row in rows}) < 2:
        return None
    tip = tips(("what", "", ""), ("round", "round", "d"), ("pass_1", "pass@1", ".1%"))
    tip += tips(("low", "from", ".1%"), ("high", "to", ".1%"))
    return intervals(spec, by_round(), named("what", None), tip, shaded=True)


# coverage


def coverage(results: list[Results], title: str) -> Spec | None:
    """pass@k against k for several rounds, each with its fitted law."""
    rows, laws = [], []
    for each in results:
        sizes, covered = each.sizes(), each.coverage()
        rows += [
            {"k": int(k), "coverage": float(c), "round": each.round, "answers": each.name}
            for k, c in zip(sizes, covered, strict=True)
        ]
        law = coverage_fit(sizes, covered)
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
    rows = []
    for each in results:
        law = coverage_fit(each.sizes(), each.coverage())
        fitted = law and [f"{law.a:.3f}", f"{law.b:.3f}", f"{100 * law.error:.2f} points"]
        rows.append([each.name, *(fitted or ["–", "–", "too few points inside (0, 1)"])])
    return rows


def saturation(results: Results, title: str) -> Spec | None:
    """Majority (and the judge's vote) against coverage: a verifier at test time would close the gap."""
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
            rules = {"vote": here.vote(), "coverage": here.any_correct()}
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


# difficulty


def difficulty(run: Evidence) -> Spec | None:
    """pass@1 of each round on groups of problems by the first model's solve rate: fifths, but equal problems stay together."""
    if len(run.held_out) < 2:
        return None
    base, levels = run.held_out[0].rates(), {each.problem: each.level for each in run.held_out[0].tried}
    names = sorted(base)
    easy = np.array([base[name] - 1e-6 * levels[name] for name in names])  # of equal rates the higher level is harder
    groups: dict[int, list[str]] = {}
    for name, one in zip(names, difficulty_bins(easy).tolist(), strict=True):
        groups.setdefault(one, []).append(name)
    shown = {group(members, base, levels): members for _, members in sorted(groups.items())}
    rows = []
    for each in run.held_out:
        rates = each.rates()
        for one, members in shown.items():
            of = [rates[name] for name in members if name in rates]
            if of:
                rows.append({"group": one, "round": each.round, "pass_1": float(np.mean(of)), "problems": len(of)})
    tip = tips(("group", "at first", ""), ("round", "round", "d"), ("pass_1", "pass@1", ".1%"), ("problems", "problems", "d"))
    spec, axis = chart(rows), {"labelAngle": 0, "labelExpr": "split(datum.label, ', ')"}
    return spec and spec | {
        "mark": "bar",
        "encoding": {
            "x": named("group", "how often the first model solves them", axis=axis, sort=list(shown)),
            "xOffset": {"field": "round", "type": "ordinal"},
            "y": share("pass_1", "held-out pass@1"),
            "color": by_round(),
            "tooltip": tip,
        },
    }


def group(members: list[str], rates: dict[str, float], levels: dict[str, int]) -> str:
    """What a group of problems is: "0 to 25 %, level 4"."""
    low, high = (round(100 * extreme(rates[name] for name in members)) for extreme in (min, max))
    of = sorted({levels[name] for name in members})
    share = f"{low} to {high} %" if low < high else f"{low} %"
    return f"{share}, level{'s' * (len(of) > 1)} {'-'.join(map(str, (of if len(of) < 3 else (of[0], of[-1]))))}"


def strategies(run: Evidence) -> list[list[str]]:
    """Which arm each group of problems prefers at each budget, chosen on one half of the problems and scored on the other."""
    rows = []
    for budget in sorted({arm.budget for arm in run.arms if arm.budget}):
        arms = [arm for arm in run.arms if arm.budget == budget]
        solved = [{each.problem: each.judged_vote() for each in arm.tried} for arm in arms]
        names = sorted(set.intersection(*(set(each) for each in solved)))
        base = next((arm.rates() for arm in run.arms if not arm.budget), None) or run.held_out[0].rates()
        names = [name for name in names if name in base]
        if len(arms) < 2 or len(names) < 10:
            continue
        scores = np.array([[each[name] for name in names] for each in solved])
        bins = difficulty_bins(np.array([base[name] for name in names]))
        accuracy, chosen = two_fold_choice(scores, bins)
        one = int(scores.mean(axis=1).argmax())
        levels, picks = {each.problem: each.level for each in arms[0].tried}, []
        for b, picked in sorted(chosen.items()):
            what = group([name for name, other in zip(names, bins, strict=True) if other == b], base, levels)
            picks.append(f"{what}: {' and '.join(sorted({arms[i].name for i in picked}))}")
        rows.append([f"{budget:,}", f"{accuracy.mean():.1%}", f"{scores[one].mean():.1%} ({arms[one].name})", "; ".join(picks)])
    return rows


def movement(run: Evidence) -> tuple[Spec | None, list[tuple[int, list[str], list[str]]]]:
    """(chart, [(round, newly solved, forgotten)]): a problem counts as solved where most of its answers are correct."""
    rows, moved = [], []
    for before, after in zip(run.held_out, run.held_out[1:], strict=False):
        old, new = before.rates(), after.rates()
        won = sorted(name for name in new if new[name] > 0.5 >= old.get(name, 0))
        lost = sorted(name for name in new if new[name] <= 0.5 < old.get(name, 0))
        moved.append((after.round, won, lost))
        rows += [{"round": after.round, "problems": len(won), "what": "newly solved"}]
        rows += [{"round": after.round, "problems": -len(lost), "what": "forgotten"}]
    spec = chart(rows)
    tip = tips(("round", "round", "d"), ("what", "", ""), ("problems", "problems", "d"))
    encoding = {"x": by_round(), "y": number("problems", "held-out problems"), "tooltip": tip}
    encoding["color"] = named("what", None, scale={"domain": ["newly solved", "forgotten"], "range": [COLOURS[2], COLOURS[1]]})
    return spec and spec | {"mark": "bar", "encoding": encoding}, moved


# search and filters


def diversity(run: Evidence, name: str, title: str) -> Spec | None:
    """One of the numbers of `iteration.types.Diversity`, round by round."""
    rows = [{"round": r["number"], "value": r["diversity"][name]} for r in run.rounds if r.get("diversity")]
    tip = tips(("round", "round", "d"), ("value", title, ".3f"))
    encoding = {"x": by_round(), "y": number("value", title), "tooltip": tip}
    spec = chart(rows)
    return spec and spec | {"mark": {"type": "line", "point": {"filled": True, "size": 45}}, "encoding": encoding}


def funnel(run: Evidence) -> Spec | None:
    """How many answers of each round were sampled, graded correct, distinct, kept and trained on."""
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
    """The judge's mean score against the share that was correct; on the diagonal it is calibrated."""
    rows = [
        {"score": score, "correct": share, "answers": n, "round": record["number"], "level": f"level {each['level']}"}
        for record in run.rounds
        for each in record.get("calibration") or []
        for score, share, n in Calibration(**each).reliability
    ]
    spec = chart(rows)
    if spec is None:
        return None
    tip = tips(("round", "round", "d"), ("level", "", ""), ("score", "mean score", ".2f"))
    tip += tips(("correct", "correct", ".1%"), ("answers", "answers", ",d"))
    diagonal = {"data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]}}
    diagonal["mark"] = {"type": "line", "strokeDash": [3, 3], "color": "#888"}
    diagonal["encoding"] = {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}}
    whole = {"domain": [0, 1]}
    x, y = number("score", "the judge's score", scale=whole), share("correct", "share correct", scale=whole)
    points = {"mark": {"type": "line", "point": {"filled": True, "size": 45}}}
    points["encoding"] = {"x": x, "y": y, "color": by_round(), "strokeDash": named("level", None), "tooltip": tip}
    return spec | {"layer": [diagonal, points]}
