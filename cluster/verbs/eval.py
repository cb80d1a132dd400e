"""`flywheel eval`: any model on any task's held-out problems, by samples and by searches at budgets. Nothing is trained."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.verbs.driving import ray_arguments
from iteration.errors import COMMAND, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from cluster.report.evidence import Evidence

HELP = "measure any model on any task, by samples and by searches; nothing is trained"
DESCRIPTION = (
    "Answer a task's held-out problems with MODEL (a Hugging Face folder or id): measure.samples answers to each of "
    "measure.problems, and by every --search at every --budget. TASK is a config, whose task and verifier are taken, or the "
    "name of a task (then type verify=NAME too). The same command resumes it. It ends with a table and a report."
)
EXAMPLES = (
    "flywheel eval runs/quickstart/models/m00005 configs/coverage.yaml  test-time compute curves of any model, no training",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="e.g. runs/quickstart/models/m00005")
    parser.add_argument("task", metavar="TASK", help="a config, e.g. configs/gsm8k.yaml, or a task, e.g. expressions")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="e.g. measure.samples=64 measure.levels=[4]")
    arm = {"action": "append", "default": []}
    parser.add_argument("--search", **arm, metavar="NAME[:KEY=VALUE,...]", help="e.g. beam:keep=4,times=1000; may be repeated")
    parser.add_argument("--budget", **arm, type=int, metavar="TOKENS", help="generated for a problem; may be repeated")
    parser.add_argument("--judge", default="", metavar="FOLDER", help="a value model, e.g. RUN/judges/j00003-process")
    ray_arguments(parser)


def act(known: argparse.Namespace) -> int:
    from cluster.console import console
    from cluster.folder.place import store_at
    from cluster.report.gather import gather
    from cluster.verbs.driving import evaluation_of, join, turn

    join(known)
    file = known.task if known.task.endswith((".yaml", ".yml")) else ""
    given = words(known.model, known.task, known.search, known.budget, known.judge, known.options)
    kind, config = evaluation_of(file, given)
    again = shlex.join([COMMAND, *sys.argv[1:]])
    status = turn(kind, config, known, again)
    if not status and not known.json:
        console().print(table(gather(store_at(config.run.dir), config.run.dir)))
    return status


def words(model: str, task: str, searches: list[str], budgets: list[int], judge: str, options: list[str]) -> list[str]:
    """The command line of `flywheel eval` as KEY=VALUE. Raises UserError."""
    from cluster.folder.layout import MODELS, judge_name

    parts = Path(model).resolve().parts
    of = f"{parts[-3]}-{parts[-1]}" if len(parts) > 2 and parts[-2] == MODELS else parts[-1]  # RUN/models/m00003
    settings = [f"model.path={model}", "rounds=0", f"name=eval-{of}-{Path(task).stem}"]
    if not task.endswith((".yaml", ".yml")):
        settings.append(f"task.name={task}")
    for search in searches:
        name, _, given = search.partition(":")
        several = sum(each.partition(":")[0] == name for each in searches) > 1
        arm = f"eval.arms.{name}" + f"-{given}".replace("=", "").replace(",", "-").replace(".", "_") * several
        pairs = [pair.partition("=") for pair in given.split(",") if pair]
        if not all(sign for _, sign, _ in pairs):
            raise UserError(f"--search {search}: expected NAME or NAME:KEY=VALUE,KEY=VALUE, e.g. beam:keep=4,times=1000")
        settings += [f"{arm}.name={name}", *(f"{arm}.{key}={value}" for key, _, value in pairs)]
    if budgets:
        settings.append(f"eval.budgets=[{','.join(map(str, budgets))}]")
    if judge:
        settings += [f"eval.judge={judge}", f"judge.name={judge_name(Path(judge).name) or 'process'}"]
    return settings + options


def table(evidence: Evidence) -> Table:
    """Every way to answer, level by level."""
    import numpy as np

    from cluster.console import new_table
    from iteration.choose import JUDGED

    columns = ("level", "way", "tokens", "pass@1 %", "vote %", "judged\nvote %", "coverage %")
    shown = new_table("held-out problems, by tokens spent on each", columns, left=("way",), no_wrap=True)
    shown.columns[1].no_wrap = False  # it is what gives way on 80 columns
    for results in [*evidence.held_out, *evidence.arms]:
        for level in results.levels():
            here = results.of(level)
            judged = here.chosen().get(JUDGED)
            few = f"{here.sizes()[-1]} samples" if results in evidence.held_out and len(here.sizes()) else ""
            way = few or results.name + (f", budget {results.budget:,}" if results.budget else "")
            one = None if results.budget else here.pass_1()
            cells = [f"{100 * one.mean:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]" if one else "–"]
            cells += [f"{100 * here.vote():.1f}", f"{100 * judged[-1]:.1f}" if judged is not None else "–"]
            tokens = f"{np.mean([each.tokens for each in here.tried]):,.0f}"
            shown.add_row(str(level), way, tokens, *cells, f"{100 * here.any_correct():.1f}")
    return shown
