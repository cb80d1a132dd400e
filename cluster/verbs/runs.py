"""`flywheel runs`: a table of the runs in a folder, from their files alone."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from iteration.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from cluster.folder.book import Book

HELP = "a table of the runs in a folder"
DESCRIPTION = "Every run in FOLDER, a line each."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of text, for programs")


def act(known: argparse.Namespace) -> int:
    runs = runs_in(known.folder)
    if known.json:
        for run in runs:
            print(json.dumps(asdict(run)))
    else:
        from cluster.console import console, fitting

        fitting(console(), runs_table(runs), runs_table(runs, stacked=True))
    return 0


@dataclass(frozen=True)
class Listed:
    """A run in a folder."""

    folder: str
    task: str
    search: str
    verifier: str
    finished: int  # rounds
    wanted: int
    pass_1: dict[int, float]  # of the best model so far, by level
    state: str  # finished, stopped, or running with its driver
    written: float  # when a round was last recorded, seconds since 1970


def runs_in(folder: str) -> list[Listed]:
    """Every run in a folder, the oldest first. Raises UserError where there is none."""
    from cluster.folder.book import Book
    from cluster.folder.place import runs_below

    stores = runs_below(folder)
    if not stores:
        raise UserError(f"{folder}: no run there; expected a folder with runs, e.g. runs")
    return [listed(Book(store)) for store in stores]


def listed(book: Book) -> Listed:
    from omegaconf import OmegaConf

    records = book.records()
    scores = {record["trained"] or record["model_out"]: record["scores"] for record in records}
    best = scores.get(records[-1]["model_out"], records[-1]["scores"]) if records else []
    names = (str(OmegaConf.select(book.config, f"{part}.name")) for part in ("task", "search", "verify"))
    pass_1 = {score["level"]: score["pass_1"] for score in best}
    folder = os.path.relpath(book.store.place)
    return Listed(folder, *names, max(0, book.newest()), book.wanted(), pass_1, state(book), book.written())


def state(book: Book) -> str:
    """The state in a few words; if only the end is missing, what is left."""
    driver = book.store.driver()
    if driver:
        return f"running, {driver.get('who', 'by another process')}"
    left = book.left()
    if not left and not book.tabled():
        left = ["the comparison's tables are missing"]
    if not left:
        return "finished"
    return f"stopped: {left[0]}" if book.recorded(book.wanted()) else "stopped"


def runs_table(runs: Iterable[Listed], stacked: bool = False) -> Table:
    """One line a run. stacked: several lines, which fit 80 columns."""
    from cluster.console import new_table

    between = "\n" if stacked else ", "
    columns = ("run", f"task{between}search{between}verifier", "rounds", "held-out pass@1 %", "state", "last written")
    table = new_table("", columns, left=columns, overflow="fold")
    for run in runs:
        scores = between.join(f"level {level}: {100 * value:.1f}" for level, value in run.pass_1.items())
        written = time.strftime(f"%Y-%m-%d{between[-1]}%H:%M", time.localtime(run.written))
        parts = between.join((run.task, run.search, run.verifier))
        table.add_row(run.folder, parts, f"{run.finished} of {run.wanted}", scores, run.state, written)
    return table
