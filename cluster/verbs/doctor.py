"""Who waits for what: said by a driver in a log line after a silence, and by `flywheel doctor` from the run folder.

A driver notes every few seconds what is under way in _tmp/now.json. It is a hint for people; no run ever reads it.
"""

from __future__ import annotations

import json
import os
import time

from cluster.folder.store import Store, round_key

FEW = 3  # units and actors named; the rest are counted


def note(store: Store, now: dict) -> None:
    """Put what is under way where `flywheel doctor` finds it."""
    fresh = store.root / "_tmp" / f"now-{os.getpid()}"
    fresh.write_text(json.dumps(now | {"at": time.time()}), encoding="utf-8")
    os.replace(fresh, store.root / "_tmp" / "now.json")


def pending(now: dict) -> list[str]:
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
    if any(phase["name"] in ("train", "judge", "first model") for phase in now["phases"]):
        found.append(f"the trainer is at step {done} of {steps}" if steps else "the trainer is preparing")
    return found


def longest(items: list[dict]) -> list[dict]:
    return sorted(items, key=lambda each: -each["seconds"])[:FEW]


def span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def examine(store: Store, rounds: int) -> list[str]:
    """What a person wants to know of a run that seems to stand still, from its folder alone."""
    who, found = store.driver(), []
    newest = max([-1, *(int(name[1:6]) for name in store.names("rounds"))])  # `rounds` may have grown since the run began
    finished = newest >= rounds and not store.has(f"plans/{round_key(newest + 1)}/train")
    if who is None:
        found.append("finished" if finished else f"nobody works on it; go on with: ./launch.sh resume {store.place}")
        error = store.root / "error.log"
        if error.is_file() and not finished:
            last = error.read_text(encoding="utf-8").strip().splitlines()[-1:]
            found.append(f"the last driver ended {span(time.time() - error.stat().st_mtime)} ago: {''.join(last)[:300]}")
    else:
        found.append(f"{who.get('who', 'another process')} works on it")
    now = store.root / "_tmp" / "now.json"
    if who and now.is_file():
        noted = json.loads(now.read_text(encoding="utf-8"))
        age = time.time() - noted["at"]
        if age > 60:
            found.append(f"but it has said nothing for {span(age)}: it hangs, or its machine is gone. What it said last:")
        found += [f"round {each['number']}: {each['name']} for {span(each['seconds'])}" for each in noted["phases"]]
        found.append(f"last committed or trained {span(noted['silent'] + age)} ago")
        found += [f"  {line}" for line in pending(noted)]
    for number in range(max(rounds, newest + 1) + 1):
        for split in ("train", "test"):
            for unit, reason in store.asides(f"traces/{round_key(number)}/{split}").items():
                found.append(f"set aside: traces/{round_key(number)}/{split}/u{unit:05d}: {reason}")
    return found
