"""What lies in run folders: a table of runs, a run's answers page by page, and their export as training data."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from cluster.folder.layout import round_key, unit_key
from cluster.folder.store import Store
from cluster.verbs.regrade import decisions_key
from cluster.verbs.verify import COLOURS
from cluster.view import records
from iteration.errors import UserError
from iteration.examples import answers
from iteration.types import State

PAGE = 10  # answers
COLUMNS = ["id", "problem_id", "level", "node", "parent", "token_ids", "text", "state", "answer", "why", "model_version"]
EXPORT = pa.schema(
    [
        (
            "messages",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.large_string())])),
        ),  # user (without the chat template), assistant
        ("prompt", pa.large_string()),  # as the model was shown it
        ("completion", pa.large_string()),
        ("id", pa.string()),
        ("problem_id", pa.string()),
        ("level", pa.int32()),
        ("round", pa.int32()),
        ("model", pa.string()),
        ("state", pa.string()),
        ("answer", pa.string()),  # canonical
        ("why", pa.string()),
        ("kept", pa.bool_()),  # for training, by the filters; null where they were not asked
    ]
)


@dataclass(frozen=True)
class Wanted:
    """Which answers."""

    problem: str = ""  # its id, or a part of its text
    state: str = ""
    kept: bool = False
    round: int | None = None
    split: str = "train"


@dataclass(frozen=True)
class Found:
    """A run in a folder, from its files alone."""

    folder: str
    task: str
    search: str
    verifier: str
    finished: int  # rounds
    wanted: int
    pass_1: dict[int, float]  # of the best model so far, by level
    state: str  # finished, stopped, or running with its driver
    written: float  # when a round was last recorded, seconds since 1970


def found_runs(folder: str) -> list[Found]:
    """Every run in a folder, the oldest first. Raises UserError where there is none."""
    paths = [*Path(folder).glob("*/config.yaml"), *Path(folder).glob("*/*/config.yaml")]  # the latter of a comparison's seeds
    if not paths:
        raise UserError(f"{folder}: no run there; expected a folder with runs, e.g. runs")
    found = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        store, config = Store(path.parent), OmegaConf.load(path)
        done = records(store)
        scores = {record["trained"] or record["model_out"]: record["scores"] for record in done}
        best = scores.get(done[-1]["model_out"], done[-1]["scores"]) if done else []
        rounds = max((record["number"] for record in done), default=0)
        over = store.has("evaluated", ".json") if "eval" in config else bool(done) and rounds >= config.rounds
        driver = store.driver()
        state = f"running, {driver['who']}" if driver else "finished" if over else "stopped"
        written = max(file.stat().st_mtime for file in [path, *path.parent.glob("rounds/*")])
        parts = (str(OmegaConf.select(config, f"{part}.name")) for part in ("task", "search", "verify"))
        pass_1 = {score["level"]: score["pass_1"] for score in best}
        found.append(Found(os.path.relpath(path.parent), *parts, rounds, config.rounds, pass_1, state, written))
    return found


def runs_table(found: list[Found]) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("run", "task", "search", "verifier", "rounds", "held-out pass@1 %", "state", "last written"):
        table.add_column(name, no_wrap=name != "held-out pass@1 %")
    for run in found:
        scores = ", ".join(f"{100 * value:.1f} (level {level})" for level, value in run.pass_1.items())
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.written))
        rounds = f"{run.finished} of {run.wanted}"
        table.add_row(run.folder, run.task, run.search, run.verifier, rounds, scores, run.state, written)
    return table


@dataclass(frozen=True)
class UnderWay:
    """A phase of an unfinished round, as far as it is committed."""

    round: int
    phase: str
    committed: int  # units
    planned: int


def under_way(store: Store) -> list[UnderWay]:
    """What is begun and not finished."""
    config, found = OmegaConf.load(store.local("config.yaml")), []
    for number in range(config.rounds + 1):
        if store.has(f"rounds/{round_key(number)}", ".json"):
            continue
        for split, phase in (("train", "search"), ("test", "measure")):
            plan = f"plans/{round_key(number if split == 'train' else 0)}/{split}"
            if store.has(plan):
                planned = set(store.table(plan, ["unit"])["unit"].to_pylist())
                committed = store.units(f"traces/{round_key(number)}/{split}") & planned
                if committed or split == "train":
                    found.append(UnderWay(number, phase, len(committed), len(planned)))
    return found


def chosen(store: Store, wanted: Wanted) -> Iterator[pa.Table]:
    """The answers that fit, unit by unit (schema EXPORT). Raises UserError where the run has no such split."""
    folders = store.names("traces")
    numbers = [int(name[1:]) for name in folders if store.units(f"traces/{name}/{wanted.split}")]
    if wanted.round is not None:
        if wanted.round not in numbers:
            raise UserError(
                f"{store.place}: no {wanted.split} answers of round {wanted.round} (there are: {numbers or 'none'})"
            )
        numbers = [wanted.round]
    if not numbers:
        splits = sorted({split for name in folders for split in store.names(f"traces/{name}")})
        raise UserError(f"{store.place}: no answers of split {wanted.split!r} (there are: {', '.join(splits) or 'none'})")
    for number in numbers:
        key = decisions_key(store, number)
        decided = wanted.split == "train" and store.has(key)
        rows = store.table(key, ["id", "reason"]).to_pylist() if decided else []
        kept = {row["id"]: not row["reason"] for row in rows}
        plan = f"plans/{round_key(number if wanted.split == 'train' else 0)}/{wanted.split}"
        plan = plan if store.has(plan) else f"plans/{round_key(0)}/test"
        shown = {row["id"]: row["shown"] for row in store.table(plan, ["id", "shown"]).to_pylist()}
        folder = f"traces/{round_key(number)}/{wanted.split}"
        for unit in sorted(store.units(folder) - set(store.asides(folder))):
            nodes = store.table(unit_key(number, wanted.split, unit), COLUMNS)
            model = dict(zip(nodes["id"].to_pylist(), nodes["model_version"].to_pylist(), strict=True))
            found = [
                {
                    "messages": [
                        {"role": "user", "content": shown.get(row["problem_id"], row["prompt"])},
                        {"role": "assistant", "content": row["answer_text"]},
                    ],
                    "prompt": row["prompt"],
                    "completion": row["answer_text"],
                    "round": number,
                    "model": model[row["id"]],
                    "kept": kept.get(row["id"]),
                }
                | {name: row[name] for name in ("id", "problem_id", "level", "state", "answer", "why")}
                for row in answers(nodes).to_pylist()
                if fits(row, kept, wanted)
            ]
            yield pa.Table.from_pylist(found, schema=EXPORT)


def fits(row: dict, kept: dict[str, bool], wanted: Wanted) -> bool:
    return (
        (not wanted.state or row["state"] == wanted.state)
        and (not wanted.kept or bool(kept.get(row["id"])))
        and (not wanted.problem or wanted.problem == row["problem_id"] or wanted.problem in row["prompt"])
    )


def show(store: Store, folder: str, wanted: Wanted, page: int) -> int:
    """Print one page of answers. Returns the exit status."""
    console, first = Console(width=None if sys.stdout.isatty() else 110), PAGE * (page - 1)
    seen, more = 0, False
    for table in chosen(store, wanted):
        for row in table.slice(max(0, first - seen), max(0, first + PAGE - max(seen, first))).to_pylist():
            colour = COLOURS[State(row["state"])]
            title = f"[{colour}]{row['state']}[/] {row['id']}" + (
                "" if row["kept"] is None else ", kept" if row["kept"] else ""
            )
            body = Text(row["prompt"].rstrip() + "\n", style="dim") + Text(row["completion"].rstrip())
            if row["why"]:
                body += Text(f"\n{row['why']}", style=colour)
            console.print(Panel(body, title=title, title_align="left", box=box.ROUNDED))
        seen += len(table)
        if seen > first + PAGE:
            more = True
            break
    if seen <= first:
        console.print("no more answers fit" if page > 1 else "no answer fits", highlight=False)
    elif more:
        console.print(f"next page: ./launch.sh traces {folder} ... --page {page + 1}", highlight=False)
    else:
        console.print(f"{seen} answers fit; all of them: --to FILE.parquet or FILE.jsonl", highlight=False)
    return 0


def export(store: Store, wanted: Wanted, to: Path) -> int:
    """Write all answers that fit to a file, whole or not at all. Returns the exit status. Raises UserError."""
    if to.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"--to {to}: found the ending {to.suffix or '(none)'!r}, expected .parquet or .jsonl")
    to.parent.mkdir(parents=True, exist_ok=True)
    partial, count = to.with_name(f".{to.name}.part"), 0
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("exporting", total=None)
            with pq.ParquetWriter(partial, EXPORT) if to.suffix == ".parquet" else partial.open("w", encoding="utf-8") as file:
                for table in chosen(store, wanted):
                    if to.suffix == ".parquet":
                        file.write_table(table)
                    else:
                        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
                    count += len(table)
                    progress.update(bar, description=f"exporting: {count:,} answers")
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{count:,} answers in {to}")
    return 0
