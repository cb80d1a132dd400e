"""A run with extra arms after its last round: searches and ways to choose, side by side on the same held-out problems.

For each seed, an ordinary run trains a model and its value models. Every arm then searches the same held-out problems at every
budget, and whole answers are sampled as the baseline. All of it is committed as units of that run, so a killed comparison
resumes. The tables are computed from the stored results. Finally, every source searches the training problems of one more
round, where it sees verdicts, and a model is trained on its traces.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from omegaconf import DictConfig

from cluster.config import Config, load
from cluster.folder.arm import Arm
from cluster.folder.layout import COMPARED, filter_key, judge_key, manifest_key, model_key, model_number
from cluster.folder.measured import Measured
from cluster.run import Run
from iteration import config as settings
from iteration.errors import UserError
from iteration.examples import kept
from iteration.parts import JUDGE, SEARCH, Part, at_least


@dataclass
class Challenger:
    """One arm: a search and the judge that leads it."""

    search: Any = None
    judge: Any = None  # left out: the run's own
    budgets: list[int] = field(default_factory=list)  # left out: those of the comparison, or source_budget

    def __post_init__(self) -> None:
        if self.budgets:
            at_least(self, budgets=1)


@dataclass
class Compare:
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])  # one run each, in run.dir/seedN
    levels: list[int] = field(default_factory=lambda: [4, 5, 6])  # of the held-out problems, the hardest last
    problems: int = 100  # of each level
    samples: int = 64  # whole answers to each problem, for the baseline
    budgets: list[int] = field(default_factory=lambda: [300, 600, 1200])  # generated tokens for a problem
    arms: dict[str, Challenger] = field(default_factory=dict)  # by name
    sources: dict[str, Challenger] = field(default_factory=dict)  # searches of training problems, by name
    source_budget: int = 600  # generated tokens for each training problem
    source_problems: int = 300

    def __post_init__(self) -> None:
        at_least(self, seeds=0, levels=0, problems=1, samples=1, budgets=1, source_budget=1, source_problems=1)


@dataclass
class CompareConfig(Config):
    """What `flywheel compare` reads: a run, and what is compared with its last model."""

    compare: Compare = field(default_factory=Compare)


def read(file: str, dotlist: list[str]) -> DictConfig:
    """A checked config of a comparison. Raises UserError."""
    config = load(file, dotlist, CompareConfig)
    if not config.judge:
        raise UserError(f"{file}: judge is missing; a comparison needs one, e.g. judge: {{name: process}}")
    for kind in ("arms", "sources"):
        for name in config.compare[kind]:
            try:
                challenger(config, kind, name)
            except UserError as error:
                raise UserError(f"{file}: {error}") from None
    return config


def challenger(config: DictConfig, kind: str, name: str) -> tuple[Part, Part]:
    """(search, judge) of an arm or a source. Raises UserError."""
    section, where = config.compare[kind][name], f"compare.{kind}.{name}"
    judge = settings.checked(section.judge or config.judge, JUDGE, f"{where}.judge")
    if judge.type.learned and judge.name != config.judge.name:
        raise UserError(f"{where}.judge: the run teaches judge.name={config.judge.name} only; found {judge.name}")
    return settings.checked(section.search, SEARCH, f"{where}.search"), judge


class Comparison(Run):
    """One seed's run, with extra arms after its last round."""

    schema = CompareConfig

    def arms(self) -> list[Arm]:
        return [*super().arms(), self.sampled(), *self.challenged(), *self.sources(), *self.taught()]

    def sampled(self) -> Arm:
        """The baseline: whole answers."""
        search = Part(SEARCH, "sample", {"n": self.options.compare.samples})
        return self.against("compare-sample", "sample", search, None, self.options.budget, False)

    def against(self, name: str, title: str, search: Part, judge: Part | None, budget: int, budgeted: bool) -> Arm:
        """An arm on the comparison's own held-out problems."""
        number = self.options.rounds
        return Arm(name, title, "test", "compare", search, judge, budget, blind=True, round=number, budgeted=budgeted)

    def challenged(self) -> list[Arm]:
        """Every challenger at each of its budgets; an arm's title is the challenger's name."""
        arms, wanted = [], self.options.compare
        for name, section in wanted.arms.items():
            search, judge = challenger(self.config, "arms", name)
            for budget in section.budgets or wanted.budgets:
                arms.append(self.against(f"compare-{name}-{budget}", name, search, judge, budget, True))
        return arms

    def sources(self) -> list[Arm]:
        """Searches of the same training problems, one round after the last."""
        (train, _), arms, wanted = super().arms(), [], self.options.compare
        for name, section in wanted.sources.items():
            search, judge = challenger(self.config, "sources", name)
            budget, number = (section.budgets or [wanted.source_budget])[0], self.options.rounds + 1
            own = {"search": search, "judge": judge, "budget": budget, "round": number}
            arms.append(replace(train, name=f"source-{name}", title=name, **own))
        return arms

    def taught(self) -> list[Arm]:
        """The measurements of the models trained on each source's traces, in the order of the sources."""
        _, test, *_ = super().arms()
        number = self.options.rounds + 1
        return [
            replace(test, name=f"test-{name}", round=number, model=f"{model_key(number)}-{name}")
            for name in self.options.compare.sources
        ]

    async def _loop(self) -> None:
        await super()._loop()
        last, wanted = self.options.rounds, self.options.compare
        model = model_number(self.book.record(last)["model_out"])
        sampled, arms = self.sampled(), self.challenged()
        self.planning.fresh(sampled, wanted.levels, wanted.problems, self.test)
        for arm in (sampled, *arms):
            await self.graded(arm, last, model_key(model), self.judging.newest(arm.judge, last))
        for version, judge in (await self.judges(model)).items():
            await self.judging.score(sampled, last, version, judge, self.test)
        if wanted.sources:
            self.filter(last)  # by the verdicts of a regrading, where the run was resumed with one
            self.planning.round(last + 1, wanted.source_problems)
        for arm, measured in zip(self.sources(), self.taught(), strict=True):
            await self.source(arm, measured, model)
        self.store.put_json(COMPARED, {"model": model, "splits": [arm.name for arm in arms]})

    async def source(self, arm: Arm, measured: Arm, model: int) -> None:
        """One more round, searched by a source: its traces, its manifest, its model and that model's measurement."""
        number, trained = self.options.rounds + 1, measured.model
        await self.search(arm, number, model_key(model), self.judging.newest(arm.judge, self.options.rounds))
        if not self.store.has(manifest_key(trained)):
            key = filter_key(number, arm.name)
            if not self.store.has(key):
                self.decide(key, self.book.nodes(arm, number), [chosen for _, _, chosen in self.kept(1, number - 1)])
            chosen = self.items(kept(self.store.table(key)), arm, number)
            self.put_manifest(manifest_key(trained), pa.concat_tables([self.pool(number - 1), chosen]))
        with self.view.phase(number, "train"):
            await self.actors.train("train", trained, model_key(model), self.learning)
        await self.graded(measured, number, trained)

    async def judges(self, model: int) -> dict[str, Part]:
        """The value models that score the sampled answers: the run's newest and its first (stale by now), and an ORM."""
        last, outcome = self.options.rounds, Part(JUDGE, "outcome", {})
        judges = {judge_key(1, self.judge.name): self.judge, self.judging.newest(self.judge, last): self.judge}
        return judges | {await self.judging.teach(last, model, outcome, self.verify, self.train): outcome}

    def measured(self, arm: Arm, judge: str = "") -> Measured:
        return Measured.read(self.book, arm, arm.round, judge)
