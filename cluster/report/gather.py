"""`flywheel report`: what a run folder says, as one HTML file that needs nothing else."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from omegaconf import DictConfig, OmegaConf

from cluster.folder.layout import model_key, round_key, unit_key
from cluster.folder.store import Store
from cluster.measured import Answered, unit_answers
from cluster.report.charts import JUDGED
from cluster.report.evidence import Branch, Evidence, Results, Shown, Tried, Walk, Work, merge
from cluster.report.page import page
from cluster.verbs.regrade import decisions_key
from cluster.view import TRAINING, records
from iteration import choose
from iteration.cost import Size
from iteration.errors import UserError
from iteration.examples import flat, paths, token_counts
from iteration.types import Problem, State

ALL_TEXTS = 1_000_000  # bytes of trees that a report holds; the most telling problems come first
IN_TRAINING = 12  # problems of each round's own search that are shown
LONG = 160  # characters of a prompt in a list
DEEP = 60  # steps of an answer that are shown one by one; the rest of it is shown as one


@dataclass
class Report:
    price: float = 0.0  # of a device (a GPU; without GPUs an engine's or the trainer's share of the machine) for an hour


def gather(store: Store, folder: str, tell: Callable[[str], None] = lambda _: None, room: int = ALL_TEXTS) -> Evidence:
    """All that a report needs, from the run folder alone. folder: how the user calls it; tell: is told what is being read;
    room: bytes for trees."""
    config = OmegaConf.load(store.local("config.yaml"))
    if not store.has(f"models/{model_key(0)}", ""):
        raise UserError(f"{folder}: there is nothing to report yet: its first model is not made")
    rounds = records(store)
    if store.has("evaluated", ".json"):  # the searches of `flywheel eval` come after its only round
        later = store.json("evaluated")
        rounds[0]["spans"] += later["spans"]
        rounds[0]["seconds"] |= later["seconds"]
    texts = Texts(store, config)
    held_out, searched = [], []
    for number in range(len(rounds)):
        for split, found in (("test", held_out), ("train", searched)):
            if store.units(f"traces/{round_key(number)}/{split}"):
                tell(f"round {number}, {'held-out answers' if split == 'test' else 'answers searched'}")
                found.append(read_results(store, f"round {number}", number, split, texts))
    arms = [read_results(store, name, number, split, texts, budget) for name, number, split, budget in arms_of(store)]
    size = size_of(store)
    prompts = {each.id.partition("/")[0]: shortened(each.prompt) for each in problems_of(store, 0, "test").values()}
    return Evidence(
        name=str(config.name),
        folder=folder,
        facts=facts(config, size),
        rounds=rounds,
        wanted_rounds=config.rounds,
        size=size,
        held_out=held_out,
        searched=searched,
        arms=arms,
        funnel=[funnel(store, record) for record in rounds if record["number"]],
        work=[work(config, size, record, held_out, searched, arms) for record in rounds],
        price=float(OmegaConf.select(config, "report.price") or 0.0),
        shown=texts.chosen(held_out, room),
        prompts=prompts,
        asides=sum(len(store.asides(f"traces/{round_key(r['number'])}/train")) for r in rounds),
    )


def facts(config: DictConfig, size: Size) -> dict[str, str]:
    """What the run is, in a few words."""

    def part(key: str) -> str:
        section = OmegaConf.select(config, key)
        if not section:
            return ""
        options = {k: v for k, v in section.items() if k != "name" and v not in ("", None)}
        shown = ", ".join(f"{k}={v}" for k, v in options.items() if len(str(v)) < 40)
        return f"{section.name} ({shown})" if shown else section.name

    found = {key: part(key) for key in ("task", "search", "verify", "judge", "learn", "audit")}
    found["filters"] = ", ".join(config.get("filters") or {})
    model = OmegaConf.select(config, "model.path") or "made from the task's corpus"
    found["first model"] = f"{model}, {size.parameters / 1e6:,.2f} million parameters"
    found["seed"] = str(config.seed)
    return {key: value for key, value in found.items() if value}


def size_of(store: Store) -> Size:
    """Of the first model, from its config.json and the headers of its safetensors."""
    folder = store.folder(f"models/{model_key(0)}")
    parameters = 0
    for path in Path(folder).glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        shapes = (each["shape"] for name, each in header.items() if name != "__metadata__")
        parameters += sum(int(np.prod(shape)) for shape in shapes)
    return Size.of(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")), parameters)


def arms_of(store: Store) -> list[tuple[str, int, str, int]]:
    """(name, round, split, budget) of the other ways in which held-out problems were answered: `flywheel eval`, `compare`."""
    found = []
    for folder in store.names("traces"):
        for split in store.names(f"traces/{folder}"):
            match = re.fullmatch(r"(?:eval|compare)-(.+?)(?:-(\d+))?", split)
            if match:
                found.append((match[1], int(folder[1:]), split, int(match[2] or 0)))
    return sorted(found, key=lambda arm: (arm[0], arm[3]))


def problems_of(store: Store, number: int, split: str) -> dict[str, Problem]:
    plan = f"plans/{round_key(number if split == 'train' else 0)}/{'compare' if split.startswith('compare') else split}"
    if split.startswith("eval") or not store.has(plan):
        plan = f"plans/{round_key(0)}/test"
    if not store.has(plan):
        return {}
    rows = store.table(plan, ["id", "prompt", "answer", "level"]).to_pylist()
    return {row["id"]: Problem(row["id"], row["prompt"], row["answer"], row["level"]) for row in rows}


def shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONG else line[: LONG - 1] + "…"


# answers


COLUMNS = [
    "id", "problem_id", "level", "node", "parent", "token_ids", "text", "final", "values", "value", "visits", "state", "answer",
    "why", "judge_tokens", "origin",
]  # fmt: skip


def read_results(store: Store, name: str, number: int, split: str, texts: Texts, budget: int = 0) -> Results:
    """A split's answers, unit by unit: only what the report needs of a unit is kept when the next one is read."""
    problems = problems_of(store, number, split)
    folder = f"traces/{round_key(number)}/{split}"
    found: dict[str, list[Answered]] = defaultdict(list)
    prompts: dict[str, int] = {}
    tried: list[Tried] = []
    model = model_key(number)
    for unit in sorted(store.units(folder) - set(store.asides(folder))):
        nodes = store.table(unit_key(number, split, unit), [*COLUMNS, "model_version"])
        model = next((each for each in pc.unique(nodes["model_version"]).to_pylist() if each), model)
        counts = token_counts(nodes)
        roots = np.flatnonzero(nodes["node"].to_numpy() == 0)
        prompts |= dict(zip(nodes["problem_id"].take(roots).to_pylist(), counts[roots].tolist(), strict=True))
        texts.see(name, split, nodes, problems)
        for each in unit_answers(nodes, problems, None):
            found[each.problem.id.partition("/")[0]].append(each)  # a problem asked in several ways is one
        if len(found) > 64:
            tried += [one(name, trees, prompts) for name, trees in found.items() if "/" not in trees[0].problem.id]
            found = defaultdict(list, {name: trees for name, trees in found.items() if "/" in trees[0].problem.id})
    tried += [one(name, trees, prompts) for name, trees in found.items()]
    return Results(name, number, model, tuple(sorted(tried, key=lambda each: each.problem)), budget)


def one(name: str, trees: list[Answered], prompts: dict[str, int]) -> Tried:
    """All that a report keeps of a problem's trees."""
    states = Counter(state for tree in trees for state in tree.states)
    votes: Counter = Counter()
    right: dict[str, bool] = {}
    for tree in trees:
        for answer, good, state in zip(tree.pool.answers, tree.pool.right.tolist(), tree.states, strict=True):
            if state == State.FAILED:
                continue
            votes[answer] += 1
            right[answer] = right.get(answer, False) or good
    unread = votes.pop("", 0)
    by_judge: dict[str, tuple[float, ...]] = {}
    if len(trees) == 1 and any(len(values) for values in trees[0].pool.values):
        pool = trees[0].pool
        sizes = [2**i for i in range(max(1, len(pool)).bit_length())]
        for rule, choice in ((JUDGED, choose.weighted), ("best by the judge", choose.best)):
            scores = pool.scores("product")
            pick = lambda pool, of, choice=choice, scores=scores: choice(pool, scores, of)  # noqa: E731
            by_judge[rule] = tuple(choose.curve(pool, pick, sizes).tolist())
    return Tried(
        name,
        trees[0].problem.level,
        sum(states.values()) - states[State.FAILED],
        states[State.CORRECT],
        (*votes.values(), unread),
        (*(right[answer] for answer in votes), False),
        prompts.get(trees[0].problem.id, 0),
        sum(tree.tokens for tree in trees),
        sum(tree.judge_tokens for tree in trees),
        sum(states.values()),
        by_judge,
    )


# what a round did


def funnel(store: Store, record: dict) -> dict[str, int]:
    """From sampled answers to examples, for one round."""
    key = decisions_key(store, record["number"], record.get("verdicts", ""))
    reasons = store.table(key, ["reason", "state"]) if store.has(key) else pa.table({"reason": [], "state": []})
    states, why = reasons["state"].to_pylist(), Counter(each.partition(":")[0] for each in reasons["reason"].to_pylist())
    correct = states.count(State.CORRECT)
    manifest = f"manifests/{round_key(record['number'])}"
    trained = store.table(manifest, ["trace_id"])["trace_id"].to_pylist() if store.has(manifest) else []
    return {
        "round": record["number"],
        "sampled": len(states),
        "judged": len(states) - states.count(State.FAILED),
        "correct": correct,
        "distinct": correct - why["distinct"],
        "kept": record["counts"].get("kept", 0),
        "pool": record["counts"].get("pool", 0),
        "trained": len({name for name in trained if name.startswith(round_key(record["number"]))}),
        "examples": record["counts"].get("examples_trained", 0),
    }


def work(
    config: DictConfig, size: Size, record: dict, held_out: list[Results], searched: list[Results], arms: list[Results]
) -> Work:
    """What a round took, the other ways to answer with its model (arms) included. A token is read once, whatever shares it: the
    prefix cache's part."""
    number, tokens = record["number"], record["tokens"]
    found: dict[str, float] = {}
    seen = {"search": next((each for each in searched if each.round == number), None)}
    seen["measure"] = next((each for each in held_out if each.round == number), None)
    for phase, results in seen.items():
        if results is not None and len(results):
            read = results.reading() * len(results)
            found[phase] = size.flops(tokens.get(phase, 0) + read, results.context())
    context = next((each.context() for each in seen.values() if each is not None and len(each)), 0.0)
    if tokens.get("judge"):
        found["judge"] = size.flops(tokens["judge"], context)
    if tokens.get("train"):
        found["train"] = size.training_flops(tokens["train"], context)
    others = 0
    for arm in arms:
        if arm.round == number and len(arm):
            here = sum(each.tokens for each in arm.tried)
            sent = sum(each.judge_tokens for each in arm.tried)
            others += here + sent
            found[f"{arm.name} {arm.budget or ''}".strip()] = size.flops(here + sent + arm.reading() * len(arm), arm.context())
    seconds = sum(spent * devices(config, record, phase) for phase, spent in record["seconds"].items())
    return Work(number, found, seconds, record["counts"].get("problems", 0), sum(tokens.values()) + others)


def devices(config: DictConfig, record: dict, phase: str) -> float:
    """How many devices a phase holds while it lasts: GPUs or shares of one, without GPUs processes."""
    if phase in TRAINING:
        return config.train.get("ranks", 1) * (config.train.gpus or 1)
    if phase in ("start", "engines", "filter", "audit"):
        return 0
    seen = {span["actor"] for span in record.get("spans") or [] if span["actor"].startswith("generator")}
    judges = config.placement.judges if config.get("judge") and phase != "measure" else 0
    return ((config.placement.generators or len(seen) or 1) + judges) * (config.generate.gpus or 1)


# trees to look at


class Texts:
    """Collects the trees that the report shows, as they pass by."""

    def __init__(self, store: Store, config: DictConfig):
        self._end = str(OmegaConf.select(config, "generate.step_end") or "\n")
        self._shown: dict[tuple[str, str], dict] = {}
        self._wanted = set(list(problems_of(store, 0, "test"))[:400])
        self._count: Counter = Counter()

    def see(self, label: str, split: str, nodes: pa.Table, problems: dict[str, Problem]) -> None:
        """Take the trees of a unit that may be shown."""
        kind = "searched" if split.startswith("train") else "held-out"
        names = nodes["problem_id"].to_pylist()
        starts = np.flatnonzero(nodes["node"].to_numpy() == 0).tolist()
        for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
            problem = names[start]
            if problem not in problems or (kind == "held-out" and problem not in self._wanted):
                continue
            if kind == "searched":
                if self._count[label] >= IN_TRAINING:
                    continue
                self._count[label] += 1
            entry = self._shown.setdefault((kind, problem), {"problem": problems[problem], "trees": {}})
            entry["trees"][label] = branch(nodes.slice(start, min(stop - start, 2000)), self._end)

    def chosen(self, held_out: list[Results], room: int) -> list[Shown]:
        """The most telling first: held-out problems that changed most, then some of each round's own; as many as there is
        room for."""
        rates = [each.rates() for each in held_out]
        first, last = (rates[0], rates[-1]) if rates else ({}, {})
        change = {name: abs(last.get(name, 0) - first.get(name, 0)) for name in first}
        order = sorted(self._shown.items(), key=lambda each: (each[0][0] != "held-out", -change.get(each[0][1], 0), each[0][1]))
        searched = [each for each in order if each[0][0] == "searched"]
        found, left = [], room
        for (kind, name), entry in searched + [each for each in order if each[0][0] == "held-out"]:
            problem = entry["problem"]
            shown = Shown(name, problem.level, problem.prompt, problem.answer, kind, entry["trees"])
            size = len(json.dumps([tree.plain() for tree in shown.trees.values()])) + len(problem.prompt) + len(problem.answer)
            if left - size >= (room * 2 // 3 if kind == "searched" else 0):  # at most a third for what was searched
                left -= size
                found.append(shown)
        return sorted(found, key=lambda each: each.kind != "held-out")


def branch(nodes: pa.Table, end: str) -> Branch:
    """One tree (rows of TRACE, the root first)."""
    parents = nodes["parent"].to_pylist()
    texts, states, whys = (nodes[name].to_pylist() for name in ("text", "state", "why"))
    visits, value = nodes["visits"].to_pylist(), nodes["value"].to_pylist()
    values, offsets = flat(nodes, "values")
    inner = {parent for parent in parents if parent >= 0}
    leaves = [i for i in range(1, len(parents)) if i not in inner]
    walks = []
    for route in paths(nodes, np.array(leaves, np.int64)):
        steps: list[tuple[str, tuple[int, int], float | None, int]] = []
        for i in route[1:]:
            cut = [piece for piece in re.split(f"(?<={re.escape(end)})", texts[i]) if piece] or [""]
            scores = values[offsets[i] : offsets[i + 1]].tolist()
            if len(scores) < len(cut):
                scores = [None] * (len(cut) - 1) + [value[i]]
            steps += [(piece, (i, j), scores[j], visits[i] or 0) for j, piece in enumerate(cut)]
        if len(steps) > DEEP:
            rest = steps[DEEP - 1 :]
            steps[DEEP - 1 :] = [("".join(piece for piece, *_ in rest), *rest[-1][1:])]
        columns = zip(*steps, strict=True) if steps else ((), (), (), ())
        walks.append(Walk(*map(tuple, columns), states[route[-1]] or "", whys[route[-1]] or ""))
    correct = sum(walk.state == "correct" for walk in walks)
    return Branch(texts[0], sum(bool(walk.state) for walk in walks), correct, "", "", None, visits[0] or 0, merge(walks))


def write(
    runs: dict[str, Store], command: str, to: Path | None = None, price: float | None = None, tell: Callable = lambda _: None
) -> Path:
    """Write the report of one run, or of several side by side, by the names that the user gives their folders. Returns where it
    lies: by default in the first run's folder."""
    found = [gather(store, folder, tell, ALL_TEXTS // len(runs)) for folder, store in runs.items()]
    if price is not None:
        found = [replace(each, price=price) for each in found]
    names = Counter(each.name for each in found)
    found = [replace(each, name=Path(each.folder).name) if names[each.name] > 1 else each for each in found]
    tell("the page")
    together = "-".join(["report", *(each.name for each in found if len(found) > 1)])
    path = to or next(iter(runs.values())).root / f"{together}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(found, command), encoding="utf-8")
    return path
