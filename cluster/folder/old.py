"""Run folders made before arms were written down (up to commit a7743d8): what the names in them mean. Read by book.py only."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cluster.folder.arm import Arm
from cluster.folder.layout import TRACES, model_key, round_key
from cluster.folder.store import Store
from iteration.parts import JUDGE, SEARCH, Part

_VARIANT = re.compile(r"(p-[0-9a-f]+)/\d+")
_NAME = re.compile(r"(compare|eval|source|test)-(.+)")
# Why an answer of a source was left out: no decisions on a source's answers were kept, only the manifest.
UNSAID = "a filter or by train.tokens; this older folder does not record which"


def arms(store: Store, config: DictConfig) -> list[Arm]:
    """The arms of the run: those that have a folder, and those that the config asks for."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    search, judge = Part.of(SEARCH, plain["search"]), _judge(plain.get("judge"))
    measure, budget = plain.get("measure", {}), plain.get("budget", 1_000_000)
    sampled, split = Part(SEARCH, "sample", {"n": measure.get("samples", 4)}), measure.get("split", "test")
    test = Arm("test", "measure", split, "test", sampled, None, budget, True)
    begun = {name: number for number in _rounds(store) for name in store.names(f"{TRACES}/{round_key(number)}")}
    # A fork of a comparison holds traces of its arms, but its own config has no such section.
    places = {name: number for name, number in (_asked(plain) | begun).items() if _section(name) in plain}
    named = [_arm(plain, name, number, test, judge) for name, number in places.items()]
    return [Arm("train", "search", "train", "train", search, judge, budget, False), test, *named]


def question_of(problem: str) -> str:
    """The question that a problem of task `choice` asks in one of several orders; "" of other problems."""
    match = _VARIANT.fullmatch(problem)
    return match[1] if match else ""


def model_of(arm: Arm) -> str:
    """The model that was trained on a source's answers; "" of other arms."""
    return "" if arm.blind or arm.round is None else f"{model_key(arm.round)}-{arm.title}"


def _section(name: str) -> str:
    """The section of the config that asks for an arm; "" for none."""
    match = _NAME.fullmatch(name)
    return "" if not match else "eval" if match[1] == "eval" else "compare"


def _rounds(store: Store) -> list[int]:
    return sorted(int(name[1:]) for name in store.names(TRACES) if name[1:].isdecimal())


def _asked(plain: dict) -> dict[str, int]:
    """{name: round} of the arms that an evaluation's or a comparison's config asks for, in the order of their searches."""
    if "eval" in plain:
        wanted = plain["eval"]
        return {f"eval-{name}-{budget}": 0 for name in wanted["arms"] for budget in wanted["budgets"]}
    if "compare" not in plain:
        return {}
    wanted, last = plain["compare"], plain["rounds"]
    budgets = {name: arm.get("budgets") or wanted["budgets"] for name, arm in wanted["arms"].items()}
    asked = {"compare-sample": last} | {f"compare-{name}-{each}": last for name, several in budgets.items() for each in several}
    for name in wanted["sources"]:
        asked |= {f"source-{name}": last + 1, f"test-{name}": last + 1}
    return asked


def _arm(plain: dict, name: str, number: int, test: Arm, judge: Part | None) -> Arm:
    kind, title = _NAME.fullmatch(name).groups()
    if kind == "test":
        model = f"{model_key(number)}-{title}"
        return Arm(name, test.title, test.split, test.plan, test.search, None, test.budget, True, number, model)
    if name == "compare-sample":
        sampled = Part(SEARCH, "sample", {"n": plain["compare"]["samples"]})
        return Arm(name, title, "test", "compare", sampled, None, test.budget, True, number)
    if kind == "source":
        given = plain["compare"]["sources"].get(title) or {}
        budget = (given.get("budgets") or [plain["compare"]["source_budget"]])[0]
        return Arm(name, title, "train", "train", _search(given.get("search")), _led(given, judge), budget, False, number)
    title, _, budget = title.rpartition("-")
    given = plain[kind]["arms"].get(title) or {}
    if kind == "eval":
        return Arm(name, title, test.split, test.plan, _search(given), judge, int(budget), True, number, budgeted=True)
    search, judge = _search(given.get("search")), _led(given, judge)
    return Arm(name, title, "test", "compare", search, judge, int(budget), True, number, budgeted=True)


def _search(section: dict | None) -> Part:
    return Part.of(SEARCH, section or {}, "sample")


def _judge(section: dict | None) -> Part | None:
    return Part.of(JUDGE, section) if section else None


def _led(section: dict, judge: Part | None) -> Part | None:
    """The judge that leads a challenger: its own, or the run's."""
    return _judge(section.get("judge")) or judge
