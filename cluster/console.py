"""What verdicts and rounds look like in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COLOURS = {"correct": "green", "wrong": "red", "unparseable": "yellow", "failed": "magenta"}  # by state of a verdict


def console(width: int = 140) -> Console:
    """On stdout. width: in columns, where that is no terminal."""
    return Console(width=None if sys.stdout.isatty() else width)


def new_table(title: str, columns: Iterable[str], left: Container[str] = (), **how: Any) -> Table:
    """A table without rows. left: its columns of text; how: options of all columns."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", **how)
    return table


def fitting(console: Console, *tables: Table) -> None:
    """Print the first table that the console is wide enough for, else the last."""
    free = console.options.update(max_width=1000)  # else a table is no wider than the console
    fits = (table for table in tables if console.measure(table, options=free).maximum <= console.width)
    console.print(next(fits, tables[-1]))


def rounds_table(records: list[dict], stacked: bool = False) -> Table:
    """One line a round: held-out scores, distinct correct traces kept for training, tokens searched, seconds.

    stacked: one line for each level, which fits 80 columns.
    """
    most: dict[int, int] = {}  # by level: answers to a problem
    for score in (score for record in records for score in record["scores"]):
        most[score["level"]] = max(score["k"], most.get(score["level"], 0))
    levels = sorted(most)
    columns = [name for level in levels for name in (f"level {level}\npass@1 %", f"\n@{most[level]} %")]
    if stacked:
        columns = ["level", "pass@1 %", f"@{max(most.values(), default=0)} %"]
    columns = ["round", *columns, "distinct\ncorrect", "tokens\nsearched", "\ns"]
    table = new_table("held-out, with 95 % intervals over problems", columns, left=("round",))
    for record in records:
        scores = {score["level"]: score for score in record["scores"]}
        first = str(record["number"]) + ("" if record["promoted"] else " kept " + record["model_out"])
        last = str(record["counts"].get("kept", "")), f"{record['tokens'].get('search', 0):,}"
        last = *last, f"{sum(record['seconds'].values()):.0f}"
        cells = {level: told(scores[level]) if level in scores else ("", "") for level in levels}
        if stacked:
            rows = [("", str(level), *cells[level]) for level in levels]
            rows[:1] = [(first, *row[1:], *last) for row in rows[:1]]
        else:
            rows = [(first, *(cell for level in levels for cell in cells[level]), *last)]
        for row in rows:
            table.add_row(*row)
    return table


def told(score: dict) -> tuple[str, str]:
    """pass@1 with its interval, and pass@k."""
    one = f"{100 * score['pass_1']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
    return one, f"{100 * score['pass_k']:.1f}"
