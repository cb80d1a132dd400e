"""Shared code of the verbs that drive a run: their arguments, a guard around the driver, and its exit message."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iteration.errors import COMMAND, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from cluster.folder.book import Book
    from cluster.folder.store import Store

STOPPED = 75  # exit status after SIGTERM: EX_TEMPFAIL of sysexits.h, try again


def config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, e.g. configs/quickstart.yaml")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options that replace those of the file")


def ray_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="", help="join this Ray cluster (auto or HOST:6379) instead of starting one")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of text, for programs")


def quiet() -> None:
    """Turn off progress bars and notices of the libraries, in this process and in the actors."""
    silent = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    for name, value in (silent | {"TRANSFORMERS_VERBOSITY": "error", "RAY_USAGE_STATS_ENABLED": "0"}).items():
        os.environ.setdefault(name, value)


def join(known: argparse.Namespace) -> None:
    """Join the cluster of --address, if one is given, before a config is loaded: `auto` counts its GPUs. Raises UserError."""
    if known.address:
        from cluster.head import start_ray

        start_ray(known.address, dashboard=False, say=lambda line: print(line, file=sys.stderr))


def kind_of(file: str, options: list[str]) -> tuple[type, DictConfig]:
    """(what runs it, the checked config): a run, comparison or evaluation, by its sections and its task. Raises UserError."""
    from iteration.config import read

    sections = read(file)
    if "compare" in sections:
        from cluster import comparison

        return comparison.Comparison, comparison.read(file, options)
    if "eval" in sections:
        return evaluation_of(file, options)
    return run_of(file, options)


def run_of(file: str, options: list[str]) -> tuple[type, DictConfig]:
    """(what runs it, the checked config): a run on language or on a game. Raises UserError."""
    from cluster.config import load
    from cluster.play import Play
    from cluster.run import Run

    config = load(file, options)
    return Play if is_game(config) else Run, config


def evaluation_of(file: str, options: list[str]) -> tuple[type, DictConfig]:
    """(what runs it, the checked config): an evaluation on language or on a game. Raises UserError."""
    from cluster.evaluation import Evaluation, read
    from cluster.play import PlayEvaluation

    config = read(file, options)
    return PlayEvaluation if is_game(config) else Evaluation, config


def is_game(config: DictConfig) -> bool:
    """Is the task a game?"""
    from iteration.parts import TASK
    from iteration.protocols import Plays

    return isinstance(TASK.part_class(config.task.name), Plays)


def turn(kind: type, config: DictConfig, known: argparse.Namespace, again: str) -> int:
    """Run the rest of a run, then write its report. again: the command that resumes it. Returns the exit status."""
    from cluster.folder.book import Book
    from cluster.folder.layout import ERRORS
    from cluster.view import End, JsonView, View

    began = time.monotonic()
    quiet()
    with (JsonView if known.json else View)(config.rounds) as view:
        run = kind(config, known.address, view)
        status = guarded(lambda: asyncio.run(run.turn()), run.store.root / ERRORS, again)
    if status:
        return status
    here, there = Path.cwd(), Path(run.store.place)
    folder = str(there.relative_to(here)) if there.is_relative_to(here) else run.store.place
    try:
        report = draw({folder: run.store})
        shown = str(report.relative_to(here) if report.is_relative_to(here) else report)
    except Exception as error:  # the run is finished, with or without its report
        log = run.store.root / ERRORS
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        shown = f"could not be written ({type(error).__name__}: {error}; traceback: {log}); try {COMMAND} report {folder}"
    book = Book(run.store)
    done = book.records()
    view.over(End(folder, time.monotonic() - began, done[-1]["model_out"], shown, first_kept(book)), done)
    return 0


def guarded(work: Callable[[], Any], log: Path, again: str) -> int:
    """Run `work`. Returns the exit status; an error that is not the user's is one line too, and its traceback is in `log`."""
    from ray.exceptions import RayActorError, RayTaskError

    def stop(*_: Any) -> None:
        raise asyncio.CancelledError

    signal.signal(signal.SIGTERM, stop)  # until the run sets its own handler
    try:
        work()
        return 0
    except KeyboardInterrupt:  # reported by cluster.cli.main
        raise
    except (asyncio.CancelledError, SystemExit):  # Ray's own handler exits, while Ray starts
        print(f"flywheel: stopped by SIGTERM; committed work is kept. Resume with: {again}", file=sys.stderr)
        return STOPPED
    except BaseException as error:
        cause = first_cause(error)
        cause = cause.cause if isinstance(cause, RayTaskError) else cause
        if isinstance(cause, UserError):
            raise UserError(str(cause)) from None
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        what = "an actor died" if isinstance(cause, RayActorError) else type(cause).__name__
        said = (str(cause).strip().splitlines() or ["no message"])[0][:300]
        print(f"flywheel: {what}: {said} (traceback: {log})", file=sys.stderr)
        print(f"flywheel: committed work is kept; resume with: {again}", file=sys.stderr)
        return 1


def first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def draw(runs: dict[str, Store], to: str = "", price: float | None = None) -> Path:
    """Write the report of runs, by the names of their folders, with its progress on stderr."""
    from rich.console import Console

    from cluster.report.gather import write

    command = " ".join([f"{COMMAND} report", *runs])
    with Console(stderr=True).status("report") as status:
        return write(runs, command, Path(to) if to else None, price, lambda what: status.update(f"report: {what}"))


def first_kept(book: Book) -> str:
    """The id of a trace that was kept in the newest round that kept any; "" where there is none."""
    for number in range(book.newest(), 0, -1):
        for trace, reason in (book.reasons(book.train, number) or {}).items():
            if not reason:
                return trace
    return ""
