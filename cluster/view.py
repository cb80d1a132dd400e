"""The console output of a run: a live view in a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from cluster.console import fitting, rounds_table
from cluster.folder.layout import model_folder
from cluster.pending import TRAINING, span
from cluster.searcher import Done
from iteration.errors import COMMAND
from iteration.types import Span

RATE_SECONDS = 15.0  # window over which tokens per second are averaged


@dataclass
class Phase:
    """A phase of a round in progress."""

    number: int
    name: str
    units: int = 0
    done: int = 0
    seen: int = 0  # `done` at the last tick
    what: str = "units"
    since: float = field(default_factory=lambda: time.monotonic())
    states: Counter = field(default_factory=Counter)
    note: str = ""  # printed at the end of the phase, and where pending work is listed
    base: tuple[float, int] | None = None  # when, and at how many done, its rate is counted from

    def unit_done(self, done: Done) -> None:
        self.done += 1
        self.states += done.states

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since

    def counted(self, done: int, units: int, what: str) -> None:
        """Set what is done of how much, e.g. steps of a training."""
        self.done, self.units, self.what = done, units, what
        if units and (self.base is None or done < self.base[1]):
            self.base = time.monotonic(), done

    def left(self) -> float | None:
        """Seconds to its end at its rate so far; None before anything is done."""
        since, before = self.base or (0.0, self.done)
        return (time.monotonic() - since) / (self.done - before) * (self.units - self.done) if self.done > before else None

    @property
    def rate(self) -> float | None:
        """Share of the graded answers that are correct."""
        graded = sum(n for state, n in self.states.items() if state != "failed")
        return self.states["correct"] / graded if graded else None

    def solved(self) -> str:
        return "" if self.rate is None else f"{self.rate:.1%} solved"


@dataclass(frozen=True)
class End:
    """The summary of a finished run."""

    folder: str
    seconds: float
    model: str  # the last model
    report: str
    trace: str = ""  # a kept trace, as an example


class View:
    def __init__(self, rounds: int = 0, console: Console | None = None):
        console = console or Console()
        self.console = console if console.is_terminal else Console(width=110, file=console.file)
        self._rounds = rounds
        self._open: list[Phase] = []  # several with lag=1
        self.rate = 0.0  # tokens per second, averaged, because they are counted when requests finish, many at a time
        self._seen = deque([(time.monotonic(), 0)])
        self._spans: list[float] = []  # seconds of each finished round
        self._number, self._ended = 0, time.monotonic()  # the last finished round, and when it ended
        self._active = time.monotonic()  # the last commit or training step
        self._live: Live | None = None
        self._zero = time.time() - time.monotonic()
        self.seconds: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))  # by round and phase
        self.spans: list[Span] = []  # work of driver and actors since the last record

    def wall(self, since: float) -> float:
        """A time of the monotonic clock as seconds since 1970, robust to jumps of the wall clock."""
        return self._zero + since

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._render, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    # reports of the driver

    @contextlib.contextmanager
    def phase(self, number: int, name: str, units: int = 0, done: int = 0) -> Iterator[Phase]:
        phase = Phase(number, name, units, done)
        phase.base = (phase.since, done) if units else None
        self._open.append(phase)
        self._active = time.monotonic()
        try:
            yield phase
            self._active = time.monotonic()
            phase.done = phase.units if name in TRAINING else phase.done  # the last report is a second old
            self.phase_done(phase)
        finally:
            self._open.remove(phase)
            self.seconds[number][name] += phase.seconds
            who = "trainer" if name in TRAINING else "driver"
            self.spans.append(Span(who, name, round(self.wall(phase.since), 2), round(phase.seconds, 2)))

    def take_spans(self) -> list[Span]:
        """The spans since the last call."""
        spans, self.spans = self.spans, []
        return spans

    def phase_done(self, phase: Phase) -> None:
        parts = [f"{phase.seconds:5.1f} s", f"{phase.done} {phase.what}" if phase.units else "", phase.solved(), phase.note]
        self.say(f"round {phase.number}  {phase.name:<11} " + ", ".join(filter(None, parts)))

    def tick(self, tokens: int, training: tuple[int, int]) -> None:
        """Update the numbers. tokens: generated since the start; training: (steps done, total steps)."""
        now = time.monotonic()
        if now - self._seen[-1][0] > 0.5:
            self._seen.append((now, tokens))
            while now - self._seen[0][0] > RATE_SECONDS and len(self._seen) > 2:
                self._seen.popleft()
            then, before = self._seen[0]
            self.rate = max(0.0, (tokens - before) / (now - then))
        for phase in self._open:
            if phase.name in TRAINING:
                phase.counted(*training, "steps")
            if phase.done != phase.seen:
                self._active, phase.seen = now, phase.done

    def phases(self) -> list[Phase]:
        """The phases in progress."""
        return list(self._open)

    def now(self) -> dict:
        """The phases in progress, and the seconds since the last commit or training step, as plain data."""
        names = ("number", "name", "seconds", "note")
        phases = [{name: getattr(phase, name) for name in names} for phase in self._open]
        return {"phases": phases, "silent": time.monotonic() - self._active}

    def over(self, end: End, rounds: list[dict]) -> None:
        """Print the summary of a finished run. rounds: the records of all rounds."""
        if self._rounds:
            fitting(self.console, rounds_table(rounds), rounds_table(rounds, stacked=True))
        self.say(
            f"{end.seconds / 60:.1f} minutes; run folder: {end.folder}; last model: {end.folder}/{model_folder(end.model)}"
        )
        self.say(f"  report:       {end.report}")
        self.say(f"  status:       {COMMAND} status {end.folder}")
        if self._rounds:
            self.say(f"  more rounds:  {COMMAND} resume {end.folder} rounds={self._rounds + 3}")
        if end.trace:
            self.say(f"  one trace:    {COMMAND} why {end.trace} --run {end.folder}")

    def round_done(self, record: dict) -> None:
        self._number, self._ended = record["number"], time.monotonic()
        if record["number"]:
            self._spans.append(sum(record["seconds"].values()))
        for line in told(record):
            self.say(f"round {record['number']}  {line}")

    # the live view

    def _left(self) -> str:
        """How long the run still takes; before a round is finished, the phase in progress."""
        if self._spans:
            rest = (self._rounds - self._number) * sum(self._spans) / len(self._spans)
            return f"about {span(max(0.0, rest - (time.monotonic() - self._ended)))} left"
        known = [f"{phase.name}: about {span(left)} left" for phase in self._open if (left := phase.left()) is not None]
        return "; ".join([*known, *(["the run's time left is known after round 1"] if self._rounds else [])])

    def _render(self) -> Group:
        lines: list = []
        for phase in list(self._open):
            of = f" of {self._rounds}" if self._rounds else ""
            parts = [f"round {phase.number}{of}  {phase.name:<11} {phase.seconds:5.0f} s"]
            parts.append(f"{phase.done}/{phase.units} {phase.what}" if phase.units else "")
            parts += [f"{self.rate:,.0f} tokens/s", phase.solved()] if phase.name in ("search", "measure") else []
            lines.append(Text("  ".join(filter(None, parts))))
            if phase.units:
                lines.append(Padding(ProgressBar(total=phase.units, completed=phase.done, width=60), (0, 0, 0, 2)))
        return Group(*lines, Text(self._left()))


def told(record: dict) -> Iterator[str]:
    """What a round's record (iteration.types.Round as JSON) says, line by line."""
    for score in record["scores"]:
        yield f"held-out pass@1, level {score['level']}: {score['pass_1']:.1%} [{score['low']:.1%}, {score['high']:.1%}]"
    if varied := record["diversity"]:
        yield (
            f"search: {varied['distinct_correct']:.1f} distinct correct answers per problem, {varied['pass_k']:.1%} solved by "
            f"{varied['k']} answers, entropy {varied['entropy']:.2f} nats per token"
        )
    failed, held_out = (record["counts"].get(name, 0) for name in ("failed", "failed_held_out"))
    if failed or held_out:
        yield (
            f"WARNING: the verifier failed on {failed} searched and {held_out} held-out answers, which do not count; see the "
            "column why in traces/"
        )
    audit = record.get("audit") or {}
    if audit.get("checked"):
        yield (
            f"audit: the second verifier rejects {audit['rejected']} of {audit['checked']} accepted answers, "
            f"{audit['rate']:.1%} [{audit['low']:.1%}, {audit['high']:.1%}]"
        )
    if audit.get("refused"):  # records of older runs lack it
        yield (
            f"audit: it accepts {audit['accepted']} of {audit['refused']} answers that the first found wrong, "
            f"{audit['missed']:.1%} [{audit['missed_low']:.1%}, {audit['missed_high']:.1%}]"
        )
    if record.get("verifier"):
        yield "verifier: " + ", ".join(f"{name} {value:+.3f}" for name, value in record["verifier"].items())
    for each in record["calibration"]:
        ranks = {"AUC": each["auc"], "of steps": each["step_auc"]}
        said = [f"{name} {value:.3f}" for name, value in ranks.items() if value is not None]
        said.append(f"vote by the judge {each['vote']:.1%}, plain vote {each['majority']:.1%}")
        yield f"{record['judge']} at level {each['level']}: {', '.join(said)}"
    if record["number"]:
        yield f"{record['model_in']} -> {record['model_out']}: {record['reason']}"


class JsonView(View):
    """The same as JSON, one event per line: message, phase, progress (every ten seconds), round, end."""

    def __init__(self, rounds: int = 0, console: Console | None = None):
        super().__init__(rounds, console)
        self._last = time.monotonic()

    def __enter__(self) -> View:
        return self

    def emit(self, event: str, **what: Any) -> None:
        self.console.file.write(
            json.dumps({"event": event, "at": round(self.wall(time.monotonic()), 3), **what}, ensure_ascii=False) + "\n"
        )
        self.console.file.flush()

    def say(self, line: str) -> None:
        self.emit("message", text=line)

    def phase_done(self, phase: Phase) -> None:
        fields = {"done": phase.done, "what": phase.what, "states": dict(phase.states), "note": phase.note}
        self.emit("phase", round=phase.number, name=phase.name, seconds=round(phase.seconds, 3), **fields)

    def tick(self, tokens: int, training: tuple[int, int]) -> None:
        super().tick(tokens, training)
        if time.monotonic() - self._last >= 10:
            self._last = time.monotonic()
            phases = [{"round": p.number, "name": p.name, "done": p.done, "of": p.units, "what": p.what} for p in self._open]
            self.emit("progress", phases=phases, tokens_per_second=round(self.rate, 1))

    def round_done(self, record: dict) -> None:
        self.emit("round", **record)

    def over(self, end: End, rounds: list[dict]) -> None:
        self.emit("end", **asdict(end))
