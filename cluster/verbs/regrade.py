"""Judging stored answers again, with another or a newer verifier; nothing is generated.

    verdicts/math-3fa2c1d0/verifier.json                 which verifier: name, version, options
    verdicts/math-3fa2c1d0/r00003/train/u00042.parquet   its verdicts on the answers of a unit (schema VERDICT)

A run goes by them with verdicts=math-3fa2c1d0: what its later rounds train on is then filtered by the new verdicts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from cluster.folder.layout import unit_key, verdict_key
from cluster.folder.store import Store
from cluster.folder.verdicts import given, verdict_table
from cluster.verifier import Grader
from iteration.examples import answers
from iteration.types import Problem, Verdict

NAMED = 5  # answers whose verdict changed that are named, for each kind of change


@dataclass
class Changes:
    """What a regrading changed: counts of (old state, new state), and some of the answers behind each."""

    counts: Counter = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)  # (trace id, why)

    def add(self, found: pa.Table, verdicts: list[Verdict]) -> None:
        for name, old, new in zip(found["id"].to_pylist(), found["state"].to_pylist(), verdicts, strict=True):
            kind = old, str(new.state)
            self.counts[kind] += 1
            if old != new.state and len(self.examples.setdefault(kind, [])) < NAMED:
                self.examples[kind].append((name, new.why))

    @property
    def changed(self) -> int:
        return sum(n for (old, new), n in self.counts.items() if old != new)


def problems_of(store: Store) -> dict[str, Problem]:
    """Every planned problem of a run, by id; one that was planned again has the text of the newest plan."""
    found = {}
    for folder in store.names("plans"):
        for name in store.names(f"plans/{folder}"):
            for row in store.table(f"plans/{folder}/{name.partition('.')[0]}").to_pylist():
                found[row["id"]] = Problem(row["id"], row["prompt"], row["answer"], row["level"])
    return found


def searched(store: Store) -> list[str]:
    """The key of every committed unit of a run, in order."""
    found = []
    for number in store.names("traces"):
        for split in store.names(f"traces/{number}"):
            units = sorted(store.units(f"traces/{number}/{split}"))
            found += [unit_key(int(number[1:]), split, unit) for unit in units]
    return found


def plan_problems(store: Store, unit: str, whole: dict[str, Problem]) -> dict[str, Problem]:
    """The problems as a unit's own plan has them (an order of options may differ from round to round)."""
    _, number, split, _ = unit.split("/")
    plan = f"plans/{number if split == 'train' else 'r00000'}/{split}"
    if not store.has(plan):
        return whole
    return {row["id"]: Problem(row["id"], row["prompt"], row["answer"], row["level"]) for row in store.table(plan).to_pylist()}


def regrade(store: Store, grader: Grader, name: str, say: Callable[[int, int], None]) -> Changes:
    """Judge every stored answer of a run. say(units done, units in all) is called after each. Goes on where it ended."""
    store.put_json(f"verdicts/{name}/verifier", {"verifier": grader.tag})
    units, changes, whole = searched(store), Changes(), problems_of(store)
    for done, unit in enumerate(units, 1):
        found = answers(store.table(unit))
        # What a limit cut was never a finished answer; no verifier sees it.
        ended = [i for i, why in enumerate(found["why"].to_pylist()) if not (why or "").startswith("cut short")]
        found = found.take(pa.array(ended, pa.int64()))
        key = verdict_key(name, unit)
        if not store.has(key):
            problems = plan_problems(store, unit, whole)
            asked = [problems[each] for each in found["problem_id"].to_pylist()]
            verdicts = grader.verify(asked, found["answer_text"].to_pylist())
            store.put_table(key, verdict_table(found["id"].to_pylist(), verdicts, grader.tag))
        changes.add(found, given(store.table(key)))
        say(done, len(units))
    return changes


def set_name(verifier: str, tag: str) -> str:
    """The name of a regrading: the same verifier with the same options gives the same one."""
    return f"{verifier.rpartition('.')[2]}-{hashlib.blake2b(tag.encode(), digest_size=4).hexdigest()}"
