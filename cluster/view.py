"""What a person sees while a run goes on: a live view in a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.searcher import Done


class View:
    def __init__(self, rounds: int = 0, console: Console | None = None):
        self.console = console or Console()
        self._rounds = rounds
        self._records: dict[int, dict] = {}
        self._start = time.monotonic()
        self._round, self._phase, self._since = 0, "", self._start
        self._units = self._done = 0
        self._states: Counter = Counter()
        self._rate, self._seen = 0.0, (self._start, 0)
        self._training = 0, 0
        self._round_ends: list[float] = []
        self._live: Live | None = None

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._render, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_phase()
        if self._live:
            self._live.stop()

    # what the driver reports

    def phase(self, number: int, name: str, units: int = 0, done: int = 0) -> None:
        self._end_phase()
        self._round, self._phase, self._since = number, name, time.monotonic()
        self._units, self._done, self._states = units, done, Counter()
        self._training = 0, 0

    def _end_phase(self) -> None:
        if self._phase:
            seconds = time.monotonic() - self._since
            said = f", {self._done} units" if self._units else ""
            if self._states:
                said += f", {self._solve_rate():.1%} solved"
            self.console.print(f"round {self._round}  {self._phase:<10} {seconds:6.1f} s{said}", highlight=False)
        self._phase = ""

    def unit_done(self, done: Done) -> None:
        self._done += 1
        self._states += done.states

    def tick(self, tokens: int, training: tuple[int, int]) -> None:
        """tokens: generated since the start; training: (steps done, steps in all)."""
        now, (then, before) = time.monotonic(), self._seen
        if now - then > 0.5:
            self._rate, self._seen = (tokens - before) / (now - then), (now, tokens)
        self._training = training

    def dashboard(self, address: str, url: str) -> None:
        where = f"Ray cluster {address}" if address else "Ray started for this run"
        self.console.print(where + (f", dashboard {url}" if url else ""), highlight=False)

    def round_done(self, record: dict) -> None:
        self._records[record["number"]] = record
        self._round_ends.append(time.monotonic())
        said = "   ".join(
            f"level {score['level']}: {score['pass_1']:.1%} [{score['low']:.1%}, {score['high']:.1%}]"
            for score in record["scores"]
        )
        self.console.print(f"round {record['number']}  held-out pass@1   {said}", highlight=False)
        if record["number"]:
            self.console.print(
                f"round {record['number']}  {record['model_in']} -> {record['model_out']}: {record['reason']}", highlight=False
            )

    # what is drawn

    def _solve_rate(self) -> float:
        judged = sum(n for state, n in self._states.items() if state != "failed")
        return self._states["correct"] / judged if judged else 0.0

    def _left(self) -> str:
        if len(self._round_ends) < 2 or not self._rounds:
            return "time left: known after round 1"
        spans = [b - a for a, b in zip(self._round_ends, self._round_ends[1:], strict=False)]
        left = max(
            0.0, sum(spans) / len(spans) * (self._rounds - len(self._records) + 1) - (time.monotonic() - self._round_ends[-1])
        )
        return f"about {left / 60:.0f} min {left % 60:.0f} s left" if left > 60 else f"about {left:.0f} s left"

    def _render(self) -> Group:
        done, total = (self._done, self._units) if self._units else self._training
        what = "units" if self._units else "steps"
        line = Text(f"round {self._round} of {self._rounds}  {self._phase:<10} {time.monotonic() - self._since:5.0f} s   ")
        line.append(f"{done}/{total} {what}   " if total else "")
        line.append(f"{self._rate:,.0f} tokens/s   " if self._units else "")
        line.append(f"{self._solve_rate():.1%} solved   " if self._states else "")
        line.append(self._left())
        bar = ProgressBar(total=max(1, total), completed=done, width=60)
        return Group(line, bar)


def rounds_table(records: list[dict]) -> Table:
    """One line a round."""
    levels = sorted({score["level"] for record in records for score in record["scores"]})
    table = Table(title="held-out results by round", title_justify="left")
    table.add_column("round", justify="right")
    table.add_column("model")
    for level in levels:
        table.add_column(f"level {level}\npass@1 [95 %]", justify="right")
        k = max((s["k"] for record in records for s in record["scores"] if s["level"] == level), default=1)
        table.add_column(f"\npass@{k}", justify="right")
    for name in ("correct\nof answers", "kept\n(distinct)", "pool", "tokens\nsearched", "seconds"):
        table.add_column(name, justify="right")
    for record in records:
        cells = [str(record["number"]), record["model_out"]]
        scores = {score["level"]: score for score in record["scores"]}
        for level in levels:
            score = scores.get(level)
            cells += (
                [
                    f"{100 * score['pass_1']:.1f} % [{100 * score['low']:.1f}, {100 * score['high']:.1f}]",
                    f"{100 * score['pass_k']:.1f} %",
                ]
                if score
                else ["", ""]
            )
        counts = record["counts"]
        cells += (
            [f"{counts['correct']}/{counts['answers']}", str(counts["kept"]), str(counts["pool"])] if counts else ["", "", ""]
        )
        cells += [f"{record['tokens'].get('search', 0):,}", f"{sum(record['seconds'].values()):.0f}"]
        table.add_row(*cells)
    return table


def records(store) -> list[dict]:
    """The finished rounds of a run, from its folder alone."""
    folder = Path(store.root) / "rounds"
    names = sorted(path.stem for path in folder.glob("r*.json")) if folder.is_dir() else []
    return [store.json(f"rounds/{name}") for name in names]
