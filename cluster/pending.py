"""Who waits for what: said by a driver in log lines after a silence, and by `flywheel doctor` from the run folder.

A driver notes every few seconds what is under way in _tmp/now.json. It is a hint for people; no run ever reads it.
"""

from __future__ import annotations

import json
import os
import time

from cluster.folder.store import Store

TRAINING = ("train", "judge", "first model")  # phases of the trainer
FEW = 3  # units and actors named; the rest are counted


def noted(store: Store) -> dict | None:
    """What the last driver noted; None where none has yet."""
    path = store.root / "_tmp" / "now.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def note(store: Store, now: dict) -> None:
    """Put what is under way where `flywheel doctor` finds it."""
    fresh = store.root / "_tmp" / f"now-{os.getpid()}"
    fresh.write_text(json.dumps(now | {"at": time.time()}), encoding="utf-8")
    os.replace(fresh, store.root / "_tmp" / "now.json")


def lines(now: dict) -> list[str]:
    """What is under way, the longest first: one line for each actor that is late, each unit, each training."""
    found = [f"{each['why']} (for {span(each['seconds'])})" for each in longest(now["actors"])]
    for unit in longest(now["units"]):
        who = ", ".join(unit["actors"].values())
        line = f"{unit['unit']} for {span(unit['seconds'])} with {who} on node {unit['node'][:8]}"
        if unit["deaths"]:
            line += f"; its actors died {unit['deaths']} times"
        if unit["counts"]:
            line += "; waits: " + ", ".join(f"{n} problems for the {kind}" for kind, n in unit["counts"].items())
            line += " (" + ", ".join(f"{problem} since {span(seconds)}" for problem, seconds in unit["slowest"]) + ")"
        found.append(line)
    rest = len(now["units"]) - FEW
    if rest > 0:
        found.append(f"and {rest} units more")
    done, steps = now["steps"]
    if any(phase["name"] in TRAINING for phase in now["phases"]):
        found.append(f"the trainer is at step {done} of {steps}" if steps else "the trainer is preparing")
    return found


def longest(items: list[dict]) -> list[dict]:
    return sorted(items, key=lambda each: -each["seconds"])[:FEW]


def span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s" if minutes else f"{rest} s"
