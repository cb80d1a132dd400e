"""What verdicts and rounds look like in a terminal."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table

COLOURS = {"correct": "green", "wrong": "red", "unparseable": "yellow", "failed": "magenta"}  # by state of a verdict


def console(width: int = 140) -> Console:
    """On stdout. width: in columns, where that is no terminal."""
    return Console(width=None if sys.stdout.isatty() else width)


def rounds_table(records: list[dict]) -> Table:
    """One line a round: held-out scores, distinct correct traces kept for training, tokens searched, seconds."""
    table = Table(
        title="held-out, with 95 % intervals over problems", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("round")
    levels = sorted({score["level"] for record in records for score in record["scores"]})
    for level in levels:
        k = max(s["k"] for record in records for s in record["scores"] if s["level"] == level)
        table.add_column(f"level {level}\npass@1 %", justify="right")
        table.add_column(f"\n@{k} %", justify="right")
    for name in ("distinct\ncorrect", "tokens\nsearched", "\ns"):
        table.add_column(name, justify="right")
    for record in records:
        scores = {score["level"]: score for score in record["scores"]}
        cells = [str(record["number"]) + ("" if record["promoted"] else " kept " + record["model_out"])]
        for score in map(scores.get, levels):
            one = score and f"{100 * score['pass_1']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
            cells += [one, f"{100 * score['pass_k']:.1f}"] if score else ["", ""]
        cells += [str(record["counts"].get("kept", "")), f"{record['tokens'].get('search', 0):,}"]
        table.add_row(*cells, f"{sum(record['seconds'].values()):.0f}")
    return table
