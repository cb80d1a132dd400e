"""Verifiers without a cluster: on a file of answers (`flywheel verify`), on a run's stored answers (`flywheel regrade`)."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cluster.folder.store import Store
from cluster.run import PACKAGES
from cluster.sandbox.walls import SandboxOptions
from cluster.verbs.regrade import Changes, regrade, set_name, verdict_key
from cluster.verifier import Grader, check_walls
from iteration import config as settings
from iteration.errors import UserError
from iteration.protocols import Task
from iteration.tasks.file import read_table
from iteration.types import Problem, State, Verdict

ANSWER_COLUMNS = ("answer", "completion", "response", "output")
COLOURS = {State.CORRECT: "green", State.WRONG: "red", State.UNPARSEABLE: "yellow", State.FAILED: "magenta"}
BATCH = 256  # answers between two looks at the progress


def grader_of(name: str, options: dict, sandbox: dict) -> Grader:
    """A verifier by name with checked options. Raises UserError."""
    section = OmegaConf.create({"name": name} | options)
    name, options = settings.checked(section, "verify", PACKAGES["verify"], "command line")
    walls = settings.checked_options(SandboxOptions, sandbox, "command line: sandbox")
    part = settings.make(section, "verify", PACKAGES["verify"])
    check_walls(f"the verifier {name}", part, SandboxOptions(**walls))
    return Grader(name, options, walls)


def split_options(words: list[str]) -> tuple[DictConfig, dict]:
    """(everything else, the options of the sandbox) of KEY=VALUE words."""
    for word in words:
        if "=" not in word.lstrip("="):
            raise UserError(f"command line: found {word!r}, expected KEY=VALUE")
    found = OmegaConf.from_dotlist(settings.name_parts(words, ["sandbox", "task", "verify"]))
    sandbox = OmegaConf.to_container(found.pop("sandbox", OmegaConf.create({})))
    return found, sandbox


def verify(task: str, file: str, words: list[str], rows: int) -> int:
    """Grade a file of answers and print a table. Returns the exit status."""
    given, sandbox = split_options(words)
    problems: Task | None = None
    if task.endswith((".yaml", ".yml")):
        whole = OmegaConf.merge(OmegaConf.create({"verify": {}, "task": {}}), settings.read(task), given)
        for key in ("task", "verify"):
            if not whole[key].get("name"):
                raise UserError(f"{task}: {key}.name is missing; say which, e.g. {key}.name=math")
        settings.checked(whole.task, "task", PACKAGES["task"], f"{task}: task")
        problems = settings.make(whole.task, "task", PACKAGES["task"])
        options = OmegaConf.to_container(whole.verify, resolve=True)
        grader = grader_of(
            options.pop("name"), options, sandbox | OmegaConf.to_container(whole.get("sandbox") or DictConfig({}))
        )
    else:
        options = OmegaConf.to_container(given.get("verify", given), resolve=True)
        grader = grader_of(task, options, sandbox)
    asked, answers, names = matched(file, problems)
    console = Console(width=None if Console().is_terminal else 140)
    began = time.monotonic()
    verdicts: list[Verdict] = []
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("grading", total=len(answers))
            for start in range(0, len(answers), BATCH):
                verdicts += grader.verify(asked[start : start + BATCH], answers[start : start + BATCH])
                progress.update(bar, completed=len(verdicts))
    finally:
        grader.close()
    seconds = time.monotonic() - began
    console.print(table_of(names, answers, verdicts, rows))
    counts = Counter(verdict.state for verdict in verdicts)
    told = ", ".join(f"{counts[state]} {state}" for state in State)
    judged = len(verdicts) - counts[State.FAILED]
    share = f"; {counts[State.CORRECT] / judged:.1%} of those judged are correct" if judged else ""
    console.print(f"{len(verdicts)} answers: {told}{share}", highlight=False)
    console.print(f"{grader.tag}: {len(verdicts) / max(seconds, 1e-9):,.0f} verdicts a second", highlight=False)
    if counts[State.FAILED]:
        console.print(
            f"WARNING: the verifier failed on {counts[State.FAILED]} answers: that is no verdict on them", highlight=False
        )
    return 0


def matched(file: str, task: Task | None) -> tuple[list[Problem], list[str], list[str]]:
    """(problems, answers, names) of a file's rows. Raises UserError naming the row that has no problem."""
    found = read_table(file, "FILE")
    column = next((name for name in ANSWER_COLUMNS if name in found.column_names), None)
    if column is None:
        raise UserError(
            f"{file}: no column of answers (found: {', '.join(found.column_names)}; expected {', '.join(ANSWER_COLUMNS)})"
        )
    known: dict[str, Problem] = {}
    if hasattr(task, "all"):
        for problem in task.all():
            known |= {problem.id: problem, problem.prompt: problem}
        known |= task.names
    asked, names = [], []
    for number, row in enumerate(found.to_pylist(), 1):
        name = next((str(row[key]) for key in ("id", "task_id", "problem_id") if row.get(key) is not None), "")
        prompt = str(row.get("prompt") or "")
        if row.get("expected") is not None:
            asked.append(Problem(name or f"row {number}", prompt, str(row["expected"])))
        elif name in known or prompt in known:
            asked.append(known.get(name) or known[prompt])
        else:
            what = f"id {name!r}" if name else f"prompt {prompt[:40]!r}" if prompt else "neither id, prompt nor expected"
            raise UserError(
                f"{file}: row {number} has {what}, which names no problem of the task; add a column expected, or id"
            )
        names.append(name or f"row {number}")
    return asked, [str(text or "") for text in found[column].to_pylist()], names


def table_of(names: list[str], answers: list[str], verdicts: list[Verdict], rows: int) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("answer", "state", "reward", "canonical", "why", "ends in"):
        table.add_column(name, overflow="fold" if name == "why" else "ellipsis", no_wrap=name != "why", max_width=60)
    # What went wrong is looked at first.
    order = sorted(range(len(verdicts)), key=lambda i: (verdicts[i].state == State.CORRECT, i))
    for i in order if rows <= 0 else order[:rows]:
        verdict, end = verdicts[i], " ".join(answers[i].split())[-40:]
        state = f"[{COLOURS[verdict.state]}]{verdict.state}[/]"
        cells = [names[i], state, f"{verdict.reward:.2f}", verdict.answer[:40], verdict.why[:200], end]
        table.add_row(*(cell if cell is state else cell.replace("[", "\\[") for cell in cells))
    if 0 < rows < len(verdicts):
        table.caption = f"{rows} of {len(verdicts)} rows, those that are not correct first; --rows 0 shows all"
    return table


def regrade_run(store: Store, folder: str, verifier: str, words: list[str]) -> int:
    """Judge a run's stored answers again and print what changed. Returns the exit status."""
    given, sandbox = split_options(words)
    grader = grader_of(verifier, OmegaConf.to_container(given, resolve=True), sandbox)
    name = set_name(verifier, grader.tag)
    console = Console(width=None if Console().is_terminal else 140)
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("grading again", total=None)
            changes = regrade(store, grader, name, lambda done, units: progress.update(bar, completed=done, total=units))
    finally:
        grader.close()
    console.print(changes_table(changes))
    total = sum(changes.counts.values())
    console.print(f"{changes.changed} of {total} verdicts changed; by {grader.tag}", highlight=False)
    for (old, new), some in sorted(changes.examples.items()):
        for trace, why in some:
            console.print(
                f"  {old} -> {new}: {trace}{': ' + why if why else ''}", highlight=False, markup=False, soft_wrap=True
            )
    where = Path(store.place) / verdict_key(name, "traces/").rstrip("/")
    console.print(f"the verdicts lie in {where}", highlight=False, soft_wrap=True)
    console.print(
        f"train later rounds by them: ./launch.sh resume {folder} verdicts={name} verify.name={verifier} rounds=N",
        highlight=False,
    )
    return 0


def changes_table(changes: Changes) -> Table:
    table = Table(title="stored verdict (rows) and new one (columns)", title_justify="left", box=box.SIMPLE)
    table.add_column("")
    for state in State:
        table.add_column(str(state), justify="right")
    for old in State:
        table.add_row(str(old), *(str(changes.counts[str(old), str(new)] or "") for new in State))
    return table
