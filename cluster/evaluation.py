"""A run that measures its first model in several ways, without training.

It is a run without rounds: folder, units, resume and report are those of a run.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cluster.config import Config, load
from cluster.folder.arm import Arm
from cluster.folder.layout import EVALUATED, judge_key, model_folder, model_key
from cluster.run import Run
from iteration import config as settings
from iteration.errors import UserError
from iteration.parts import JUDGE, SEARCH, at_least
from iteration.protocols import uses_judge


@dataclass
class Evaluate:
    """Searches to measure besides sampling, each at each budget."""

    arms: dict[str, Any] = field(default_factory=dict)  # searches by name, e.g. wide: {name: beam, keep: 8, times: 1000}
    budgets: list[int] = field(default_factory=lambda: [500])  # generated tokens for a problem
    judge: str = ""  # a value model's folder, e.g. RUN/judges/j00003-process; the section judge says how it is used

    def __post_init__(self) -> None:
        at_least(self, budgets=1)


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
        search = settings.checked(section, SEARCH, f"{where}: eval.arms.{name}")
        learned = config.judge and JUDGE.part_class(config.judge.name).learned
        if uses_judge(search.type) and (not config.judge or (learned and not config.eval.judge)):
            raise UserError(
                f"{where}: eval.arms.{name}: search {search.name} needs a judge; type --judge FOLDER of a value model, e.g. "
                "RUN/judges/j00003-process"
            )
    given = config.eval.judge  # the run folder keeps a copy, by which it is resumed
    copied = config.judge and Path(config.run.dir, model_folder(judge_key(0, config.judge.name))).is_dir()
    if given and not copied and not (Path(given) / "config.json").is_file():
        raise UserError(f"{where}: eval.judge {given}: no value model there; expected RUN/judges/jNNNNN-NAME")
    return config


class Evaluation(Run):
    schema = EvaluateConfig

    def arms(self) -> list[Arm]:
        train, test = super().arms()
        searches = {name: settings.checked(each, SEARCH, f"eval.arms.{name}") for name, each in self.config.eval.arms.items()}
        arms = [
            Arm(f"eval-{name}-{budget}", name, test.split, test.plan, search, self.judge, budget, True, 0, budgeted=True)
            for name, search in searches.items()
            for budget in self.options.eval.budgets
        ]
        return [train, test, *arms]

    async def _loop(self) -> None:
        await self.baseline()
        version = judge_key(0, self.judge.name) if self.judge else ""
        given = self.options.eval.judge
        if given and not self.store.has(model_folder(version), ""):
            copy = lambda folder: shutil.copytree(given, folder, dirs_exist_ok=True) and None  # noqa: E731
            self.store.put_folder(model_folder(version), copy)
        for arm in self.others:
            await self.graded(arm, 0, model_key(0), version if given else "")
        spans = [asdict(span) for span in self.view.take_spans()]
        record = {"splits": [arm.name for arm in self.others], "spans": spans, "seconds": dict(self.view.seconds[0])}
        self.store.put_json(EVALUATED, record)
