"""`flywheel eval`: any model on any task's held-out problems, by samples and by searches at budgets. Nothing is trained.

It is a run without rounds: the same folder, the same units, the same way to go on after a death, the same report.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich import box
from rich.table import Table

from cluster.folder.layout import judge_key, model_key
from cluster.placement import named
from cluster.report.charts import JUDGED, all_votes, any_correct
from cluster.report.evidence import Evidence
from cluster.run import PACKAGES, Arm, Config, Run, load, plan_key
from iteration import config as settings
from iteration.errors import UserError

TEST = "eval"  # splits eval-NAME-BUDGET: the held-out problems, by another search


@dataclass
class Evaluate:
    """Other ways to answer than sampling, each at each budget."""

    arms: dict[str, Any] = field(default_factory=dict)  # searches by name, e.g. wide: {name: beam, keep: 8, times: 1000}
    budgets: list[int] = field(default_factory=lambda: [500])  # generated tokens for a problem
    judge: str = ""  # a value model's folder, e.g. RUN/judges/j00003-process; the section judge says how it is used


@dataclass
class EvaluateConfig(Config):
    """What `flywheel eval` reads. The samples are those of the section measure."""

    rounds: int = 0
    search: Any = field(default_factory=lambda: {"name": "sample"})
    eval: Evaluate = field(default_factory=Evaluate)


def read(file: str, dotlist: list[str]) -> DictConfig:
    """A checked config of an evaluation; file "" for none. Raises UserError."""
    config = load(file, dotlist, EvaluateConfig)
    where = file or "command line"
    if config.rounds:
        raise UserError(f"{where}: rounds is {config.rounds}; an evaluation trains nothing, expected 0")
    for name, section in config.eval.arms.items():
        search = settings.checked(section, "search", PACKAGES["search"], f"{where}: eval.arms.{name}")
        part = settings.part_class("search", PACKAGES["search"], search[0])
        learned = config.judge and settings.part_class("judge", PACKAGES["judge"], config.judge.name).learned
        if getattr(part, "judged", True) and (not config.judge or (learned and not config.eval.judge)):
            raise UserError(
                f"{where}: eval.arms.{name}: search {search[0]} goes by a judge; type --judge FOLDER of a value model, e.g. "
                "RUN/judges/j00003-process"
            )
    if config.eval.judge and not (Path(config.eval.judge) / "config.json").is_file():
        raise UserError(f"{where}: eval.judge {config.eval.judge}: no value model there; expected RUN/judges/jNNNNN-NAME")
    return config


def words(model: str, task: str, searches: list[str], budgets: list[int], judge: str, options: list[str]) -> list[str]:
    """The command line of `flywheel eval` as KEY=VALUE. Raises UserError."""
    parts = Path(model).resolve().parts
    of = f"{parts[-3]}-{parts[-1]}" if len(parts) > 2 and parts[-2] == "models" else parts[-1]  # RUN/models/m00003
    found = [f"model.path={model}", "rounds=0", f"name=eval-{of}-{Path(task).stem}"]
    if not task.endswith((".yaml", ".yml")):
        found.append(f"task.name={task}")
    for search in searches:
        name, _, given = search.partition(":")
        several = sum(each.partition(":")[0] == name for each in searches) > 1
        arm = f"eval.arms.{name}" + f"-{given}".replace("=", "").replace(",", "-").replace(".", "_") * several
        pairs = [pair.partition("=") for pair in given.split(",") if pair]
        if not all(sign for _, sign, _ in pairs):
            raise UserError(f"--search {search}: expected NAME or NAME:KEY=VALUE,KEY=VALUE, e.g. beam:keep=4,times=1000")
        found += [f"{arm}.name={name}", *(f"{arm}.{key}={value}" for key, _, value in pairs)]
    if budgets:
        found.append(f"eval.budgets=[{','.join(map(str, budgets))}]")
    if judge:
        found += [f"eval.judge={judge}", f"judge.name={Path(judge).name.partition('-')[2] or 'process'}"]
    return found + options


class Evaluation(Run):
    """A run that measures its first model, in more than one way."""

    schema = EvaluateConfig

    def finished(self) -> bool:
        return self.store.has("evaluated", ".json")

    async def _loop(self) -> None:
        await self.baseline()
        judged = self.options.eval.judge
        if judged and not self.store.has(f"judges/{self.judge_version()}", ""):
            copy = lambda folder: shutil.copytree(judged, folder, dirs_exist_ok=True) and None  # noqa: E731
            self.store.put_folder(f"judges/{self.judge_version()}", copy)
        for split in self.splits():
            await self.search(0, split, model_key(0))
        spans = [asdict(span) for span in self._spans + self.actors.spans]
        self.store.put_json("evaluated", {"splits": self.splits(), "spans": spans, "seconds": dict(self.seconds[0])})

    def judge_version(self) -> str:
        return judge_key(0, self.judge[0]) if self.judge else ""

    def splits(self) -> list[str]:
        wanted = self.options.eval
        return [f"{TEST}-{name}-{budget}" for name in wanted.arms for budget in wanted.budgets]

    def plan_of(self, number: int, split: str) -> str:
        return plan_key(0, "test") if split.startswith(TEST) else super().plan_of(number, split)

    def arm(self, split: str) -> Arm:
        if not split.startswith(TEST):
            return super().arm(split)
        name, _, budget = split.removeprefix(f"{TEST}-").rpartition("-")
        return Arm(split, named(self.config.eval.arms[name]), self.judge, int(budget), self.judge_version())


def table(found: Evidence) -> Table:
    """Every way to answer, level by level."""
    shown = Table(title="held-out problems, by what was spent on each", title_justify="left", box=box.SIMPLE)
    for name in ("level", "way", "tokens", "pass@1 %", "vote %", "vote by the judge %", "coverage %"):
        shown.add_column(name, justify="left" if name == "way" else "right", no_wrap=True)
    for results in [*found.held_out, *found.arms]:
        for level in results.levels():
            here = results.of(level)
            judged = here.chosen().get(JUDGED)
            few = f"{here.sizes()[-1]} samples" if not results.budget and len(here.sizes()) else ""
            way = few or f"{results.name}, budget {results.budget:,}"
            one = None if results.budget else here.pass_1()
            cells = [f"{100 * one.mean:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]" if one else "–"]
            cells += [f"{100 * all_votes(here):.1f}", f"{100 * judged[-1]:.1f}" if judged is not None else "–"]
            tokens = f"{np.mean([each.tokens for each in here.tried]):,.0f}"
            shown.add_row(str(level), way, tokens, *cells, f"{100 * any_correct(here):.1f}")
    return shown
