"""`flywheel compare`: searches and ways to choose, side by side on the same held-out problems at equal generated tokens."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import time
from typing import Any

from cluster.verbs.driving import config_arguments
from iteration.errors import COMMAND, UserError

HELP = "searches and ways to choose, side by side on held-out problems"
DESCRIPTION = (
    "For each seed make a model by the run that CONFIG describes, then search the same held-out problems by every arm of its "
    "section `compare` at every budget of generated tokens, and print the tables (also RUN/tables.json). The same command "
    "resumes it."
)


EXAMPLES = ("flywheel compare configs/compare.yaml  searches against best-of-N at equal tokens, over three seeds",)


def arguments(parser: argparse.ArgumentParser) -> None:
    config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="JSON lines instead of text; the last one holds the tables")


def act(known: argparse.Namespace) -> int:
    from rich.console import Console

    from cluster.comparison import read
    from cluster.folder.layout import ERRORS, TABLES
    from cluster.folder.store import Store
    from cluster.verbs.driving import guarded, quiet

    began = time.monotonic()
    folder = Store(read(known.config, known.options).run.dir).open().root
    quiet()
    again = shlex.join([COMMAND, "compare", known.config, *known.options])
    console = None if known.json else Console(width=max(180, Console().width))  # a narrower terminal wraps lines, not numbers
    status = guarded(lambda: compare(known.config, known.options, console), folder / ERRORS, again)
    if not status and console:
        print(f"{(time.monotonic() - began) / 60:.1f} minutes; the tables are in {folder}/{TABLES}")
    return status


def compare(file: str, dotlist: list[str], console: Any) -> dict:
    """Run the comparison, or the rest of it. console: rich's; None prints JSON lines. Returns the tables, also written to the
    run's folder."""
    from cluster.comparison import Comparison, read
    from cluster.folder.layout import TABLES
    from cluster.folder.store import Store
    from cluster.report import comparison
    from cluster.view import JsonView, View

    config = read(file, dotlist)
    # A folder keeps its config, as a run's does; each seed's run checks its own.
    if "://" in config.run.dir:
        raise UserError(f"run.dir {config.run.dir}: a comparison needs a folder on a disk")
    folder = Store(config.run.dir).open()
    seeds = []
    for seed in config.compare.seeds:
        own = read(file, [*dotlist, f"seed={seed}", f"compare.seeds=[{seed}]", f"run.dir={folder.root}/seed{seed}"])
        with (View if console else JsonView)(own.rounds) as view:
            view.say(f"seed {seed}: {own.run.dir}")
            run = Comparison(own, view=view)
            asyncio.run(run.turn())
        seeds.append(run)
    tables = {
        "choosing": comparison.choosing(seeds),
        "searching": comparison.searching(seeds),
        "sources": comparison.sources(seeds),
    }
    # Derived from what is stored, so not part of the state: a later comparison with more seeds replaces it.
    folder.replace(TABLES, json.dumps(tables, indent=1) + "\n")
    if not console:
        print(json.dumps({"event": "end", "folder": str(folder.root), "tables": tables}))
        return tables
    console.print(comparison.choosing_table(tables["choosing"]))
    console.print(comparison.searching_table(tables["searching"]))
    console.print(comparison.sources_table(tables["sources"]))
    return tables
