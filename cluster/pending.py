"""A readable list of pending work: the driver logs it after a while without commits, `flywheel doctor` shows it.

The driver writes it to _tmp/now.json every few seconds. No run reads that file.
"""

from __future__ import annotations

import json
import time

from cluster.folder.layout import NOTE, TMP
from cluster.folder.store import Store

TRAINING = ("train", "judge", "first model")  # phases of the trainer
FEW = 3  # units and actors named; the rest are counted


def noted(store: Store) -> dict | None:
    """The last note of a driver; None if there is none."""
    path = store.root / TMP / NOTE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def note(store: Store, now: dict) -> None:
    """Write a note for `flywheel doctor`."""
    store.replace(f"{TMP}/{NOTE}", json.dumps(now | {"at": time.time()}))


def lines(now: dict) -> list[str]:
    """One line per late actor, running unit and training, the longest first."""
    text = [f"{each['why']} (for {span(each['seconds'])})" for each in longest(now["actors"])]
    for unit in longest(now["units"]):
        who = ", ".join(unit["actors"].values())
        line = f"{unit['unit']} for {span(unit['seconds'])} with {who} on node {unit['node'][:8]}"
        if unit["deaths"]:
            line += f"; its actors died {unit['deaths']} times"
        if unit["counts"]:
            line += "; waits: " + ", ".join(f"{n} problems for the {kind}" for kind, n in unit["counts"].items())
            line += " (" + ", ".join(f"{problem} since {span(seconds)}" for problem, seconds in unit["slowest"]) + ")"
        text.append(line)
    rest = len(now["units"]) - FEW
    if rest > 0:
        text.append(f"and {rest} more units")
    text += [f"{phase['name']}: {phase['note']}" for phase in now["phases"] if phase.get("note")]
    done, steps = now["steps"]
    if any(phase["name"] in TRAINING for phase in now["phases"]):
        text.append(f"the trainer is at step {done} of {steps}" if steps else "the trainer is preparing")
    return text


def longest(items: list[dict]) -> list[dict]:
    """The FEW items with the most seconds, the longest first."""
    return sorted(items, key=lambda each: -each["seconds"])[:FEW]


def span(seconds: float) -> str:
    """A duration in words: "3 min 20 s"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s" if minutes else f"{rest} s"
