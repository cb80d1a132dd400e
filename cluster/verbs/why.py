"""Lineage: one trace's whole story, from the run folder alone."""

from __future__ import annotations

import re

from cluster.folder.layout import round_key, unit_key
from cluster.folder.store import Store
from cluster.verbs.regrade import decisions_key
from iteration.errors import UserError
from iteration.examples import paths

_ID = re.compile(r"r(\d{5})/([\w.-]+)/u(\d{5})/t\d{3,}/n\d{4,}")


def story(store: Store, trace: str) -> list[str]:
    """Lines to print. Raises UserError where there is no such trace."""
    match = _ID.fullmatch(trace)
    if not match:
        raise UserError(f"{trace!r} is no trace id; expected e.g. r00002/train/u00003/t005/n0002 (RUN/traces/**, column id)")
    number, split, unit = int(match[1]), match[2], int(match[3])
    key = unit_key(number, split, unit)
    if not store.has(key):
        raise UserError(f"{store.place}: no unit {key}.parquet in this run")
    nodes = store.table(key)
    ids = nodes["id"].to_pylist()
    if trace not in ids:
        raise UserError(f"{key}.parquet has no trace {trace}; its last is {ids[-1]}")
    import numpy as np

    (route,) = paths(nodes, np.array([ids.index(trace)]))
    rows = nodes.take(route).to_pylist()
    last = rows[-1]
    lines = [
        f"trace     {trace}",
        f"problem   {last['problem_id']} (level {last['level']})",
        *(f"          | {line}" for line in rows[0]["text"].rstrip().splitlines()),
        f"searched  round {number}, unit {key}.parquet, {last['created_at']:%Y-%m-%d %H:%M:%S} UTC, seed {last['seed']}",
        f"model     {last['model_version']} ({len(last['token_ids'])} tokens, log-probability {sum(last['logprobs']):.2f})",
        *(f"          | {line}" for row in rows[1:] for line in row["text"].strip().splitlines()),
        *begun_by(rows),
        f"verdict   {last['state'] or 'none: the answer did not end here'}" + (f": {last['why']}" if last["why"] else ""),
    ]
    if last["values"]:
        scores = " ".join(f"{each:.2f}" for row in rows[1:] for each in row["values"])
        lines.append(f"judged    {last['judge_version'] or 'by the verifier'}: steps {scores}, worth {last['value']:.3f}")
    if split.startswith(("test", "compare")):
        return [*lines, "filter    none: held-out, for measuring only, never trained on"]
    key = decisions_key(store, number)
    if not store.has(key):
        return [*lines, "filter    not yet decided"]
    decisions = store.table(key, ["id", "reason"]).to_pylist()
    reason = next((row["reason"] for row in decisions if row["id"] == trace), "not an answer")
    lines.append(f"filter    {'left out by ' + reason if reason else 'kept'}")
    if reason:
        return lines
    for manifest in (name.partition(".")[0] for name in store.names("manifests")):
        later = int(manifest[1:6])
        places = [i for i, name in enumerate(store.table(f"manifests/{manifest}")["trace_id"].to_pylist()) if name == trace]
        if not places:
            continue
        model = f"m{later:05d}"
        line = f"trained   manifest {manifest}, {len(places)} times (first at place {places[0]})"
        if store.has(f"rounds/{round_key(later)}", ".json"):
            record = store.json(f"rounds/{round_key(later)}")
            line += f" -> {model}, {'promoted' if record['promoted'] else 'not promoted'}"
        lines.append(line)
    return lines


def begun_by(rows: list[dict]) -> list[str]:
    """Whose steps a search went on from, where it did."""
    old = [row for row in rows if row.get("origin")]
    return [f"begun     with {len(old)} of the steps of {old[-1]['origin']}, by {old[-1]['model_version']}"] if old else []
