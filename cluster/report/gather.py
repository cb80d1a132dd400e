"""The data of a report, read from the run's folder alone."""

from __future__ import annotations

import json
import struct
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from omegaconf import DictConfig, OmegaConf

from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.folder.layout import model_key, unit_of
from cluster.folder.measured import Answered, unit_answers
from cluster.folder.replies import Replies
from cluster.folder.store import Store
from cluster.pending import TRAINING
from cluster.report.evidence import Evidence, Results, Tried, Work
from cluster.report.page import page
from cluster.report.trees import Trees
from iteration import choose
from iteration.cost import Size
from iteration.errors import UserError
from iteration.examples import tally, token_counts
from iteration.types import State

ALL_TEXTS = 1_000_000  # bytes of trees that a report holds; the most telling problems come first
LONG = 160  # characters of a prompt in a list
AT_ONCE = 64  # problems whose trees are kept while units are read
COLUMNS = [
    "id", "problem_id", "level", "node", "parent", "token_ids", "text", "final", "values", "value", "visits", "state", "answer",
    "why", "judge_tokens", "origin", "model_version",
]  # fmt: skip


def gather(store: Store, folder: str, tell: Callable[[str], None] = lambda _: None, room: int = ALL_TEXTS) -> Evidence:
    """All data that a report needs.

    folder: as users name it; tell: called with what is being read; room: bytes for trees. Raises UserError where there is no
    model yet.
    """
    book = Book(store)
    config = book.config
    if not book.has_model(model_key(0)):
        raise UserError(f"{folder}: there is nothing to report yet: its first model is not made")
    size, rounds, held_out = size_of(book), recorded(book), book.problems(book.test, 0)
    trees = Trees(str(OmegaConf.select(config, "generate.step_end") or "\n"), held_out)

    def read(arm: Arm, what: str) -> list[Results]:
        """The results of an arm in each recorded round that has any."""
        results = []
        for number in book.rounds_of(arm):
            if number < len(rounds):
                tell(f"round {number}, {what}")
                results.append(read_results(book, arm, number, trees))
        return results

    measured, searched = read(book.test, "held-out answers"), read(book.train, "answers searched")
    arms = [read_results(book, arm, arm.round, trees) for arm in challengers(book)]
    first, last = (measured[0].rates(), measured[-1].rates()) if measured else ({}, {})
    return Evidence(
        name=str(config.name),
        folder=folder,
        facts=facts(config, size),
        rounds=rounds,
        wanted_rounds=book.wanted(),
        size=size,
        held_out=measured,
        searched=searched,
        arms=arms,
        funnel=[funnel(book, record) for record in rounds if record["number"]],
        work=[work(config, size, record, measured, searched, arms) for record in rounds],
        price=float(OmegaConf.select(config, "report.price") or 0.0),
        shown=trees.chosen(first, last, room),
        prompts={each.counted: shortened(each.prompt) for each in held_out.values()},
        asides=len(book.every_aside()),
        elsewhere=elsewhere(book),
        replies=Replies(store).all(),
    )


def recorded(book: Book) -> list[dict]:
    """The records of the rounds; the searches of `flywheel eval` come after its only one."""
    rounds, closing = book.records(), book.closing()
    if rounds:
        rounds[0]["spans"] = (rounds[0].get("spans") or []) + closing.get("spans", [])
        rounds[0]["seconds"] |= closing.get("seconds", {})
    return rounds


def challengers(book: Book) -> list[Arm]:
    """The other ways in which held-out problems were answered by a round's model, by name and budget."""
    arms = [arm for arm in book.arms().values() if arm.blind and arm.round is not None and not arm.model]
    return sorted((arm for arm in arms if book.units(arm, arm.round)), key=lambda arm: (arm.title, arm.budgeted * arm.budget))


def facts(config: DictConfig, size: Size) -> dict[str, str]:
    """What the run is, in a few words."""

    def part(key: str) -> str:
        section = OmegaConf.select(config, key)
        if not section:
            return ""
        options = {k: v for k, v in section.items() if k != "name" and v not in ("", None)}
        shown = ", ".join(f"{k}={v}" for k, v in options.items() if len(str(v)) < 40)
        return f"{section.name} ({shown})" if shown else section.name

    parts = {key: part(key) for key in ("task", "search", "verify", "judge", "learn", "audit")}
    parts["filters"] = ", ".join(config.get("filters") or {})
    model = OmegaConf.select(config, "model.path") or "made by the run"
    parts["first model" if config.rounds else "model"] = f"{model}, {size.parameters / 1e6:,.2f} million parameters"
    parts["seed"] = str(config.seed)
    return {key: value for key, value in parts.items() if value}


def size_of(book: Book) -> Size:
    """Of the first model, from its config.json and the headers of its safetensors."""
    folder, parameters = book.model(model_key(0)), 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        shapes = (each["shape"] for name, each in header.items() if name != "__metadata__")
        parameters += sum(int(np.prod(shape)) for shape in shapes)
    return Size.of(json.loads((folder / "config.json").read_text(encoding="utf-8")), parameters)


def shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONG else line[: LONG - 1] + "…"


# answers


def read_results(book: Book, arm: Arm, number: int, trees: Trees) -> Results:
    """An arm's answers, unit by unit: only what the report needs of a unit is kept when the next one is read."""
    problems, name = book.problems(arm, number), f"round {number}" if arm.round is None else arm.title
    answered: dict[str, list[Answered]] = defaultdict(list)
    prompts: dict[str, int] = {}
    tried: list[Tried] = []
    model = model_key(number)
    for key in book.units(arm, number):
        nodes = book.unit(key, COLUMNS)
        model = next((each for each in pc.unique(nodes["model_version"]).to_pylist() if each), model)
        counts, roots = token_counts(nodes), np.flatnonzero(nodes["node"].to_numpy() == 0)
        prompts |= dict(zip(nodes["problem_id"].take(roots).to_pylist(), counts[roots].tolist(), strict=True))
        trees.see(name, arm.blind, nodes, problems)
        for each in unit_answers(nodes, problems, None):
            answered[each.problem.counted].append(each)
        if len(answered) > AT_ONCE:
            whole = [problem for problem, several in answered.items() if not several[0].problem.question]
            tried += [one(problem, answered.pop(problem), prompts) for problem in whole]
    tried += [one(problem, several, prompts) for problem, several in answered.items()]
    return Results(name, number, model, tuple(sorted(tried, key=lambda each: each.problem)), arm.budgeted * arm.budget)


def one(name: str, trees: list[Answered], prompts: dict[str, int]) -> Tried:
    """The part of a problem's trees that a report keeps."""
    states = [state for tree in trees for state in tree.states]
    graded, correct = tally([name] * len(states), states).get(name, (0, 0))
    votes: Counter = Counter()
    right: dict[str, bool] = {}
    for tree in trees:
        for answer, good, state in zip(tree.pool.answers, tree.pool.right.tolist(), tree.states, strict=True):
            if state != State.FAILED:
                votes[answer] += 1
                right[answer] = right.get(answer, False) or good
    unread = votes.pop("", 0)
    return Tried(
        problem=name,
        level=trees[0].problem.level,
        graded=graded,
        correct=correct,
        votes=(*votes.values(), unread),
        right=(*(right[answer] for answer in votes), False),
        prompt_tokens=prompts.get(trees[0].problem.id, 0),
        tokens=sum(tree.tokens for tree in trees),
        judge_tokens=sum(tree.judge_tokens for tree in trees),
        answers=len(states),
        by_judge=by_judge(trees[0].pool) if len(trees) == 1 else {},
    )


def by_judge(pool: choose.Pool) -> dict[str, tuple[float, ...]]:
    """{rule: accuracy when it chooses among the first 1, 2, 4, ... answers}; empty where no judge scored them."""
    if not any(len(values) for values in pool.values):
        return {}
    sizes, scores = [2**i for i in range(max(1, len(pool)).bit_length())], pool.scores("product")
    rules = {choose.JUDGED: choose.weighted, "best by the judge": choose.best}
    return {
        name: tuple(choose.curve(pool, lambda pool, of, rule=rule: rule(pool, scores, of), sizes).tolist())
        for name, rule in rules.items()
    }


# costs of a round


def funnel(book: Book, record: dict) -> dict[str, int]:
    """From sampled answers to examples, for one round."""
    number, counts = record["number"], record["counts"]
    decisions = book.decisions(book.train, number, ["reason", "state"], record.get("verdicts", ""))
    if decisions is None:
        decisions = pa.table({"reason": [], "state": []})
    states, why = decisions["state"].to_pylist(), Counter(each.partition(":")[0] for each in decisions["reason"].to_pylist())
    correct = states.count(State.CORRECT)
    return {
        "round": number,
        "sampled": len(states),
        "graded": len(states) - states.count(State.FAILED),
        "correct": correct,
        "distinct": correct - why["distinct"],
        "kept": counts.get("kept", 0),
        "pool": counts.get("pool", 0),
        "trained": sum(unit_of(trace)[0] == number for trace in set(book.manifest(model_key(number)))),
        "examples": counts.get("examples_trained", 0),
    }


def elsewhere(book: Book) -> list[list[str]]:
    """The answers made elsewhere, by whose they are: a row of the report's table each."""
    counts: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for arm in (arm for arm in book.arms().values() if arm.model and not arm.blind):
        reasons = book.reasons(arm, arm.round) or {}
        for key in book.units(arm, arm.round):
            for row in book.unit(key, ["id", "state", "model_version"]).filter(pc.field("state").is_valid()).to_pylist():
                kept = ["kept"] if reasons.get(row["id"]) == "" else []
                counts[row["model_version"], arm.name].update(["answers", row["state"], *kept])
    names = ("answers", State.CORRECT, State.FAILED, "kept")
    return [[*whose, *(f"{count[name]:,}" for name in names)] for whose, count in sorted(counts.items())]


def work(
    config: DictConfig, size: Size, record: dict, held_out: list[Results], searched: list[Results], arms: list[Results]
) -> Work:
    """The cost of a round, including the other arms that its model answered.

    A shared prefix counts once, as in the prefix cache.
    """
    number, tokens = record["number"], record["tokens"]
    flops: dict[str, float] = {}
    of_round = {"search": searched, "measure": held_out}
    results = {phase: next((each for each in several if each.round == number), None) for phase, several in of_round.items()}
    results = {phase: each for phase, each in results.items() if each is not None and len(each)}
    for phase, each in results.items():
        flops[phase] = size.flops(tokens.get(phase, 0) + each.reading() * len(each), each.context())
    context = next((each.context() for each in results.values()), 0.0)
    if tokens.get("judge"):
        flops["judge"] = size.flops(tokens["judge"], context)
    if tokens.get("train"):
        flops["train"] = size.training_flops(tokens["train"], context)
    others = 0
    for arm in arms:
        if arm.round == number and len(arm):
            here = sum(each.tokens + each.judge_tokens for each in arm.tried)
            others += here
            flops[f"{arm.name} {arm.budget or ''}".strip()] = size.flops(here + arm.reading() * len(arm), arm.context())
    seconds = sum(spent * devices(config, record, phase) for phase, spent in record["seconds"].items())
    return Work(number, flops, seconds, record["counts"].get("problems", 0), sum(tokens.values()) + others)


def devices(config: DictConfig, record: dict, phase: str) -> float:
    """How many devices a phase holds while it lasts: GPUs or shares of one, without GPUs processes."""
    if phase in TRAINING:
        return config.train.get("ranks", 1) * (config.train.gpus or 1)
    if phase in ("start", "engines", "filter", "audit"):
        return 0
    generators = {span["actor"] for span in record.get("spans") or [] if span["actor"].startswith("generator")}
    judges = config.placement.judges if config.get("judge") and phase != "measure" else 0
    return ((config.placement.generators or len(generators) or 1) + judges) * (config.generate.gpus or 1)


# all of it


def write(
    runs: dict[str, Store], command: str, to: Path | None = None, price: float | None = None, tell: Callable = lambda _: None
) -> Path:
    """Write the report of one run, or of several side by side, by the names that the user gives their folders.

    Returns its path, by default in the first run's folder.
    """
    evidence = [gather(store, folder, tell, ALL_TEXTS // len(runs)) for folder, store in runs.items()]
    if price is not None:
        evidence = [replace(each, price=price) for each in evidence]
    names = Counter(each.name for each in evidence)
    evidence = [replace(each, name=Path(each.folder).name) if names[each.name] > 1 else each for each in evidence]
    tell("the page")
    together = "-".join(["report", *(each.name for each in evidence if len(evidence) > 1)])
    path = to or next(iter(runs.values())).root / f"{together}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(evidence, command), encoding="utf-8")
    return path
