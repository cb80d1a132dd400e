"""Run folders for tests: those that commit a7743d8 wrote, and small ones in today's layout."""

import tarfile
from pathlib import Path

import pyarrow as pa
from omegaconf import OmegaConf

from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.folder.layout import VERDICT, arm_key, node_id, tree_id
from cluster.folder.store import Store
from cluster.searcher import Unit, table
from iteration.parts import SEARCH, Part
from iteration.types import Expand, History, Problem, State, Tree, Verdict
from tests.worlds import step

OLD = Path(__file__).parents[2] / "data" / "runs-a7743d8.tar.gz"
SAMPLE = Part(SEARCH, "sample", {"n": 2})
TRAIN = Arm("train", "search", "train", "train", SAMPLE, None, 100, blind=False)
TEST = Arm("test", "measure", "test", "test", SAMPLE, None, 100, blind=True)
BEAM = Arm("beam-60", "beam", "test", "test", Part(SEARCH, "beam", {"keep": 2}), None, 60, True, 0, budgeted=True)
SOURCE = Arm("from-sample", "sample", "train", "train", SAMPLE, None, 60, blind=False, round=2)
CONFIG = {"name": "small", "seed": 0, "rounds": 1, "budget": 100, "task": {"name": "t"}, "search": {"name": "sample"}}
CONFIG |= {"verify": {"name": "exact"}, "measure": {"samples": 2}, "train": {"gpus": 0}, "generate": {"gpus": 0}}
CONFIG |= {"placement": {"generators": 1, "judges": 0}}
PROBLEMS = [Problem(f"p{i}", f"{i}?", str(i), level=4) for i in range(4)]


def old(folder: Path) -> Path:
    """Unpack the old run folders: compare/seed0 (with compare/tables.json) and eval."""
    with tarfile.open(OLD) as packed:
        packed.extractall(folder, filter="data")
    return folder


def young(folder: Path, *more: Arm, **config) -> Book:
    """A run folder in today's layout: its config and its arms."""
    store = Store(folder).open()
    store.put_text("config.yaml", OmegaConf.to_yaml(OmegaConf.create(CONFIG | config)))
    for arm in (TRAIN, TEST, *more):
        store.put_json(arm_key(arm.name), arm.record())
    return Book(store)


def plan(book: Book, arm: Arm, number: int, problems=PROBLEMS, size: int = 2) -> None:
    """Commit an arm's problems, in units of `size`."""
    columns = {name: [getattr(p, name) for p in problems] for name in ("id", "prompt", "answer", "level")}
    units = [i // size for i in range(len(problems))]
    book.store.put_table(arm.plan_key(number), pa.table(columns | {"shown": columns["prompt"], "unit": units}))


def search(book: Book, arm: Arm, number: int, unit: int, states=(State.CORRECT, State.WRONG), size: int = 2) -> list[str]:
    """Commit a unit in which each problem has one answer for each state. Returns the trace ids of the answers."""
    problems, trees = PROBLEMS[unit * size : (unit + 1) * size], []
    for problem in problems:
        tree = Tree.root(problem, step(problem.prompt, False), 0)
        answers = [step(f"{i} answer", model="m00000") for i in range(len(states))]
        for node, state in zip(tree.grow([Expand(0, len(states), True)], [answers]), states, strict=True):
            node.verdict = Verdict(state, problem.answer, float(state == State.CORRECT))
        trees.append(tree)
    texts, history = [p.prompt for p in problems], [History()] * len(problems)
    made = Unit(arm, number, unit, problems, texts, "m00000", history)
    book.store.put_table(made.key, table(made, trees))
    ends = range(1, len(states) + 1)
    return [node_id(tree_id(number, arm.name, unit, tree), node) for tree in range(len(problems)) for node in ends]


def record(number: int, **more) -> dict:
    """A round's record, as far as readers need it."""
    score = {"level": 4, "problems": 4, "samples": 2, "pass_1": 0.5, "low": 0.4, "high": 0.6, "k": 2, "pass_k": 1.0}
    names = {"model_in": "m00000" if number else "", "trained": f"m{number:05d}" if number else ""}
    names |= {"model_out": f"m{number:05d}", "promoted": True, "reason": "", "verdicts": ""}
    return {"number": number, "scores": [score], "counts": {}, "tokens": {}, "seconds": {}, "spans": []} | names | more


def verdicts(ids: list[str], state: str = "wrong") -> pa.Table:
    rows = [{"id": name, "state": state, "answer": "", "reward": 0.0, "why": "", "verifier": "v"} for name in ids]
    return pa.Table.from_pylist(rows, schema=VERDICT)
