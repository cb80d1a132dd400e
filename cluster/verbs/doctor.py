"""Who waits for what: said by a driver in a log line after a silence, and by `flywheel doctor` from the run folder.

A driver notes every few seconds what is under way in _tmp/now.json. It is a hint for people; no run ever reads it.
"""

from __future__ import annotations

import json
import time

from cluster.folder.layout import round_key
from cluster.folder.store import Store

FEW = 3  # units and actors named; the rest are counted


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
