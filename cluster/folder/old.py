"""Run folders made before arms were written down (up to commit a7743d8): what the names in them mean. Read by book.py only."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cluster.folder.arm import Arm
from cluster.folder.layout import round_key
from cluster.folder.store import Store
from iteration.parts import JUDGE, SEARCH, Part

_NAME = re.compile(r"(compare|eval|source|test)-(.+)")


def arms(store: Store, config: DictConfig) -> list[Arm]:
    """The arms of the run, as its folders are called."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    search, judge = Part.of(SEARCH, plain["search"]), part(plain.get("judge"))
    sampled = Part(SEARCH, "sample", {"n": plain["measure"]["samples"]})
    budget, split = plain["budget"], plain["measure"].get("split", "test")
    found = [
        Arm("train", "search", "train", "train", search, judge, budget, False),
        Arm("test", "measure", split, "test", sampled, None, budget, True),
    ]
    for number in sorted(int(name[1:]) for name in store.names("traces")):
        for name in store.names(f"traces/{round_key(number)}"):
            match = _NAME.fullmatch(name)
            if not match:
                continue
            kind, title = match[1], match[2]
            if kind == "test":
                found.append(Arm(name, "measure", split, "test", sampled, None, budget, True, number, f"m{number:05d}-{title}"))
                continue
            if name == "compare-sample":
                samples = Part(SEARCH, "sample", {"n": plain["compare"]["samples"]})
                found.append(Arm(name, "sample", "test", "compare", samples, None, budget, True, number))
                continue
            at = 0
            if kind != "source":
                title, _, text = title.rpartition("-")
                at = int(text)
            found.append(_challenger(plain, kind, name, title, number, at, judge))
    return found


def _challenger(plain: dict, kind: str, name: str, title: str, number: int, budget: int, judge: Part | None) -> Arm:
    section, among = ("eval", "arms") if kind == "eval" else ("compare", "sources" if kind == "source" else "arms")
    given = plain.get(section, {}).get(among, {}).get(title) or {}
    own = given if kind == "eval" else given.get("search") or {}
    search = Part.of(SEARCH, own, "sample")
    led = judge if kind == "eval" else part(given.get("judge")) or judge
    if kind == "source":
        budget = (given.get("budgets") or [plain["compare"]["source_budget"]])[0]
        return Arm(name, title, "train", "train", search, led, budget, False, number)
    return Arm(name, title, "test", "test" if kind == "eval" else "compare", search, led, budget, True, number)


def part(section: dict | None) -> Part | None:
    return Part.of(JUDGE, section) if section else None
