"""`flywheel why`: the history of one trace, from the run folder alone."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from iteration.errors import UserError

if TYPE_CHECKING:
    from cluster.folder.arm import Arm
    from cluster.folder.book import Book

HELP = "the history of one trace"
DESCRIPTION = (
    "Problem, round, model, unit, verdict, filter decision, training, and the model that it went into. "
    "Ids are in the id column of RUN/traces/**/*.parquet."
)
EXAMPLES = ("flywheel why r00002/train/u00003/t005/n0002 --run runs/quickstart  from its problem to its model",)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", metavar="TRACE_ID", help="e.g. r00002/train/u00003/t005/n0002")
    parser.add_argument("--run", default="", metavar="RUN", help="the run folder (default: the newest in runs/)")


def act(known: argparse.Namespace) -> int:
    from cluster.folder.book import Book
    from cluster.folder.place import open_run, runs_below

    if known.run:
        store = open_run(known.run)
    else:
        runs = runs_below("runs")
        if not runs:
            raise UserError("no run in runs/; type --run RUN")
        store = runs[-1]
        print(f"run       {os.path.relpath(store.place)}, the newest in runs/ (--run RUN takes another)")
    print("\n".join(story(Book(store), known.trace)))
    return 0


def story(book: Book, trace: str) -> list[str]:
    """Lines to print. Raises UserError where there is no such trace."""
    import numpy as np

    from iteration.examples import paths

    arm, number, key = book.find(trace)
    nodes = book.unit(key)
    ids = nodes["id"].to_pylist()
    if trace not in ids:
        last = f"; its last is {ids[-1]}" if ids else "; the unit was set aside"
        raise UserError(f"{key}.parquet has no trace {trace}{last}")
    (route,) = paths(nodes, np.array([ids.index(trace)]))
    rows = nodes.take(route).to_pylist()
    last = rows[-1]
    lines = [
        f"trace     {trace}",
        f"problem   {last['problem_id']} (level {last['level']})",
        *(f"          | {line}" for line in rows[0]["text"].rstrip().splitlines()),
        f"searched  round {number}, unit {key}.parquet, {last['created_at']:%Y-%m-%d %H:%M:%S} UTC, seed {last['seed']}",
        f"model     {last['model_version']} ({len(last['token_ids'])} tokens{likely(last['logprobs'])})",
        *(f"          | {line}" for row in rows[1:] for line in row["text"].strip().splitlines()),
        *taken_from(rows),
        *said(last["state"] or "none: the answer did not end here", last["why"]),
    ]
    if last["values"]:
        scores = " ".join(f"{each:.2f}" for row in rows[1:] for each in row["values"])
        lines.append(f"judged    {last['judge_version'] or 'by the verifier'}: steps {scores}, worth {last['value']:.3f}")
    return lines + decided(book, arm, number, trace)


def said(state: str, why: str | None) -> list[str]:
    """The verdict and its reason, which may be another model's words, of many lines."""
    first, *more = why.splitlines() if why else [""]
    return [f"verdict   {state}" + (f": {first}" if first else ""), *(f"          | {line}" for line in more)]


def likely(logprobs: list[float] | None) -> str:
    return "" if logprobs is None else f", log-probability {sum(logprobs):.2f}"


def decided(book: Book, arm: Arm, number: int, trace: str) -> list[str]:
    """What the filters said of a trace, and which models were trained on it."""
    if arm.blind:
        return ["filter    none: held-out, for measuring only, never trained on"]
    reasons = book.reasons(arm, number)
    if reasons is None:
        return ["filter    not yet decided"]
    if trace not in reasons:
        return ["filter    none: not an answer"]
    if reasons[trace]:
        return [f"filter    left out by {reasons[trace]}"]
    return ["filter    kept", *trained(book, trace)]


def trained(book: Book, trace: str) -> list[str]:
    """The models that were trained on a trace."""
    promoted = {record["trained"]: record["promoted"] for record in book.records()}
    lines = []
    for model, traces in book.manifests():
        if trace in traces:
            line = f"trained   manifest r{model[1:]}, {traces.count(trace)} times (first at place {traces.index(trace)})"
            if model in promoted:
                line += f" -> {model}, {'promoted' if promoted[model] else 'not promoted'}"
            elif book.has_model(model):
                line += f" -> {model}"
            lines.append(line)
    return lines


def taken_from(rows: list[dict]) -> list[str]:
    """Where an answer comes from that was made elsewhere, or which earlier one a search took steps from."""
    from cluster.folder.layout import unit_of

    old = [row for row in rows if row.get("origin")]
    if old and not unit_of(old[-1]["origin"]):
        return [f"origin    {old[-1]['origin']}, made elsewhere"]
    return [f"begun     with {len(old)} of the steps of {old[-1]['origin']}, by {old[-1]['model_version']}"] if old else []
