"""`flywheel verify`: grade a file of answers with a verifier, without a run and without a cluster."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from iteration.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.table import Table

    from cluster.folder.store import Store
    from cluster.verifier import Grader
    from iteration.protocols import Task
    from iteration.types import Problem, Verdict

HELP = "try a verifier on a file of answers"
DESCRIPTION = (
    "Grade the answers in FILE (JSONL, Parquet or CSV; column answer, completion, response or output) and "
    "print a table. TASK is a config, whose task and verifier are taken, or the name of a verifier. A row is matched with "
    "its problem by the column id, else by prompt; where it has a column expected, that is its problem's answer."
)
EXAMPLES = ("flywheel verify math answers.jsonl  a verifier's verdicts on a file of answers",)
ANSWER_COLUMNS = ("answer", "completion", "response", "output")
BATCH = 256  # answers graded between two updates of the progress bar


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="a config, e.g. configs/humaneval.yaml, or a verifier, e.g. math")
    parser.add_argument("file", metavar="FILE", help="answers, one a row")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="e.g. task.test=HumanEval.jsonl.gz verify.partial=true")
    parser.add_argument(
        "--rows", type=int, default=20, metavar="N", help="rows that are shown; 0 for all (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines instead of text, one an answer, then a summary")


def act(known: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from cluster.console import console
    from iteration.types import State

    grader, task = asked_for(known.task, known.options)
    problems, answers, names = matched(known.file, task)
    began = time.monotonic()
    verdicts: list[Verdict] = []
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("grading", total=len(answers))
            for start in range(0, len(answers), BATCH):
                verdicts += grader.verify(problems[start : start + BATCH], answers[start : start + BATCH])
                progress.update(bar, completed=len(verdicts))
    finally:
        grader.close()
    seconds = time.monotonic() - began
    if known.json:
        for name, verdict in zip(names, verdicts, strict=True):
            print(json.dumps({"event": "verdict", "name": name, **asdict(verdict)}, ensure_ascii=False))
        counted = {state: sum(verdict.state == state for verdict in verdicts) for state in State}
        print(json.dumps({"event": "end", "verifier": grader.tag, "answers": len(verdicts), "seconds": seconds, **counted}))
        return 0
    out = console()
    out.print(table_of(names, answers, verdicts, known.rows))
    counts = Counter(verdict.state for verdict in verdicts)
    told = ", ".join(f"{counts[state]} {state}" for state in State)
    graded = len(verdicts) - counts[State.FAILED]
    share = f"; {counts[State.CORRECT] / graded:.1%} of those graded are correct" if graded else ""
    out.print(f"{len(verdicts)} answers: {told}{share}", highlight=False)
    out.print(f"{grader.tag}: {len(verdicts) / max(seconds, 1e-9):,.0f} verdicts a second", highlight=False)
    if counts[State.FAILED]:
        out.print(f"WARNING: the verifier failed on {counts[State.FAILED]} answers; they have no verdict", highlight=False)
    return 0


def asked_for(task: str, words: list[str]) -> tuple[Grader, Task | None]:
    """The verifier, and the task where `task` is a config. words: KEY=VALUE of the command line. Raises UserError."""
    from dataclasses import replace

    from omegaconf import DictConfig, OmegaConf

    from iteration import config as settings
    from iteration.parts import TASK, VERIFY
    from iteration.tasks.file import File

    given, sandbox = split_options(words)
    if not task.endswith((".yaml", ".yml")):
        return grader_of(task, OmegaConf.to_container(given.get("verify", given), resolve=True), sandbox), None
    of_file = settings.read(task)
    for key in ("task", "verify", "audit", "sandbox"):
        if isinstance(of_file.get(key), str):
            of_file[key] = {"name": of_file[key]}
        if OmegaConf.select(given, f"{key}.name") not in (None, OmegaConf.select(of_file, f"{key}.name")):
            of_file.pop(key, None)  # the options of another part do not apply
    whole = OmegaConf.merge(OmegaConf.create({"verify": {}, "task": {}}), of_file, given)
    for key in ("task", "verify"):
        if not whole[key].get("name"):
            raise UserError(f"{task}: {key}.name is missing; say which, e.g. {key}.name=math")
    splits = ("train", "validation", "test")
    if any(given.get("task") and given.task.get(split) for split in splits):  # no other file is read
        whole.task |= {split: "" for split in splits if split in whole.task and not given.task.get(split)}
    if issubclass(TASK.part_class(whole.task.name), File) and not whole.task.get("test"):
        whole.task |= {"test": whole.task.get("train", ""), "train": ""}  # nothing is trained on, so nothing is held out
    if whole.get("audit"):
        settings.checked(whole.audit, replace(VERIFY, name="audit"), f"{task}: audit")
    problems = settings.checked(whole.task, TASK, f"{task}: task").make()
    options = OmegaConf.to_container(whole.verify, resolve=True)
    walls = OmegaConf.to_container(whole.get("sandbox") or DictConfig({}))
    return grader_of(options.pop("name"), options, walls | sandbox), problems


def grader_of(name: str, options: dict, sandbox: dict, store: Store | None = None) -> Grader:
    """A verifier by name, with checked options. sandbox: options of its sandbox; store: of the run. Raises UserError."""
    from omegaconf import OmegaConf

    from cluster.sandbox.walls import SandboxOptions
    from cluster.verifier import Grader, check_walls
    from iteration import config as settings
    from iteration.parts import VERIFY

    part = settings.checked(OmegaConf.create({"name": name} | options), VERIFY, "command line: verify")
    walls = settings.checked_options(SandboxOptions, sandbox, "command line: sandbox")
    check_walls(f"the verifier {name}", part.make(), SandboxOptions(**walls))
    return Grader(part, walls, store)


def split_options(words: list[str]) -> tuple[DictConfig, dict]:
    """(everything else, the options of the sandbox) of KEY=VALUE words."""
    from omegaconf import OmegaConf

    from iteration.config import name_parts
    from iteration.words import read

    others = read(name_parts(words, ["sandbox", "task", "verify", "audit"]))
    sandbox = OmegaConf.to_container(others.pop("sandbox", OmegaConf.create({})))
    return others, sandbox


def matched(file: str, task: Task | None) -> tuple[list[Problem], list[str], list[str]]:
    """(problems, answers, names) of a file's rows. Raises UserError naming the row that has no problem."""
    from iteration.protocols import Enumerable, Named
    from iteration.rows import read_rows
    from iteration.types import Problem

    table = read_rows(file, "FILE")
    column = next((name for name in ANSWER_COLUMNS if name in table.columns), None)
    if column is None:
        found = ", ".join(table.columns)
        raise UserError(f"{file}: no column of answers (found: {found}; expected {', '.join(ANSWER_COLUMNS)})")
    known: dict[str, Problem] = {}
    if isinstance(task, Enumerable):
        for problem in (problem for split in task.splits() for problem in task.all(split)):
            known |= {problem.id: problem, problem.prompt: problem}
    if isinstance(task, Named):
        known |= task.names
    asked, answers, names = [], [], []
    for number, row in enumerate(table.rows, 1):
        if isinstance(row, str):
            raise UserError(f"{file}: {table.place(number)}: {row}")
        try:
            name = next((text_in(row, key) for key in ("id", "task_id", "problem_id") if row.get(key) is not None), "")
            prompt, expected = text_in(row, "prompt"), text_in(row, "expected")
            answers.append(text_in(row, column))
        except ValueError as error:
            raise UserError(f"{file}: {table.place(number)}: {error}") from None
        if row.get("expected") is not None:
            asked.append(Problem(name or f"row {number}", prompt, expected))
        elif name in known or prompt in known:
            asked.append(known.get(name) or known[prompt])
        else:
            what = f"id {name!r}" if name else f"prompt {prompt[:40]!r}" if prompt else "neither id, prompt nor expected"
            where = f"{file}: {table.place(number)}"
            raise UserError(f"{where} has {what}, which names no problem of the task; add a column expected, or id")
        names.append(name or f"row {number}")
    return asked, answers, names


def text_in(row: dict, column: str) -> str:
    """A row's text in a column, as a task reads it; "" where there is none. Raises ValueError where it holds no text."""
    from iteration.chat import prompt_text
    from iteration.rows import text_of, value_of

    value, read = value_of(row, column), prompt_text if column == "prompt" else text_of
    try:
        return "" if value is None else read(value)
    except ValueError as error:
        raise ValueError(f"column {column}: {error}") from None


def table_of(names: list[str], answers: list[str], verdicts: list[Verdict], rows: int) -> Table:
    from cluster.console import COLOURS, new_table

    table = new_table("", ())
    for name in ("answer", "state", "reward", "canonical", "why", "ends in"):
        table.add_column(name, overflow="fold" if name == "why" else "ellipsis", no_wrap=name != "why", max_width=60)
    # Those that are not correct first.
    order = sorted(range(len(verdicts)), key=lambda i: (verdicts[i].state == "correct", i))
    for i in order if rows <= 0 else order[:rows]:
        verdict, end = verdicts[i], " ".join(answers[i].split())[-40:]
        state = f"[{COLOURS[verdict.state]}]{verdict.state}[/]"
        cells = [names[i], state, f"{verdict.reward:.2f}", verdict.answer[:40], verdict.why[:200], end]
        table.add_row(*(cell if cell is state else cell.replace("[", "\\[") for cell in cells))
    if 0 < rows < len(verdicts):
        table.caption = f"{rows} of {len(verdicts)} rows, those that are not correct first; --rows 0 shows all"
    return table
