"""`flywheel status`: what a run has done, from its folder alone."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from iteration.errors import COMMAND

if TYPE_CHECKING:
    from cluster.folder.book import Progress

HELP = "what a run has done"
DESCRIPTION = "Read a run folder; no cluster is needed."
EXAMPLES = ("flywheel status runs/quickstart  what is done, from the folder alone",)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, e.g. runs/quickstart")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of text, for programs")


def act(known: argparse.Namespace) -> int:
    from cluster.console import console, fitting, rounds_table
    from cluster.folder.book import Book
    from cluster.folder.place import open_run

    book = Book(open_run(known.run))
    records, wanted = book.records(), book.wanted()
    unfinished = [each for each in book.progress() if each.arm.round is None or each.committed < each.planned]
    finished = sum(record["number"] > 0 for record in records)
    if known.json:
        driver = book.store.driver()
        told = {"name": book.config.name, "wanted": wanted, "finished": finished, "driver": driver and driver.get("who")}
        print(json.dumps(told | {"under_way": [plain(each) for each in unfinished], "rounds": records}))
        return 0
    shown = console()
    shown.print(f"{book.config.name}: {finished} of {wanted} rounds finished in {known.run}", highlight=False)
    for each in map(plain, unfinished):
        line = "round {round}  {phase}: {committed} of {planned} units committed".format(**each)
        shown.print(line, highlight=False)
    if records:
        fitting(shown, rounds_table(records), rounds_table(records, stacked=True))
    if not book.finished():
        shown.print(f"resume with: {COMMAND} resume {known.run}", highlight=False)
    return 0


def plain(progress: Progress) -> dict:
    """For JSON. An arm of a single round goes by its name: one title may have several budgets."""
    arm = progress.arm
    counts = {"committed": progress.committed, "planned": progress.planned}
    return {"round": progress.round, "phase": arm.title if arm.round is None else arm.name} | counts
