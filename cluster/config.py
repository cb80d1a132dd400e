"""A run's config: its sections, how it is loaded and checked, and what may change when a run is resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from cluster.engine import AUTO, Generate, shares
from cluster.folder.forks import fork
from cluster.folder.layout import CONFIG
from cluster.folder.store import Store
from cluster.head import usable_gpus
from cluster.placement import Placement
from cluster.sandbox.walls import SandboxOptions
from cluster.train.options import Model, Train, TrainJudge
from iteration import config as settings
from iteration.errors import UserError
from iteration.parts import FILTER, JUDGE, LEARN, SEARCH, TASK, VERIFY, Kind, Part, at_least, one_of, share
from iteration.protocols import Asks, Plays, Reads
from iteration.teacher import Begin

FREE = ("run.dir", "failed_share", "train.threads")  # may change when a run is resumed, as may where its actors run
ASKING = ("endpoint", "key", "concurrency", "requests_per_minute", "tokens_per_minute", "retries", "seconds")  # of begin
FREE += tuple(f"begin.{name}" for name in ASKING)
DEVICES = ("generate.gpus", "generate.dtype", "generate.sleep", "generate.transfer", "train.gpus", "drift")
DRIFT = {"float32": 1e-3, "bfloat16": 0.3, "float16": 0.3}  # nats; 0.15 were measured in bfloat16

TRACK = Kind("track", "cluster.track", several=True)
KINDS = {
    "task": TASK,
    "search": SEARCH,
    "verify": VERIFY,
    "audit": VERIFY,
    "judge": JUDGE,
    "learn": LEARN,
    "filters*": FILTER,
    "track*": TRACK,
}


@dataclass
class Measure:
    """The held-out problems that each model is measured on; they are never trained on."""

    split: str = "test"  # or validation, if the task has one: the run then never reads the test set
    levels: list[int] = field(default_factory=lambda: [0])  # of difficulty, as the task numbers them
    problems: int = 200  # of each level
    samples: int = 4  # answers to each problem: pass@1 is their mean, and pass@k goes up to this k

    def __post_init__(self) -> None:
        at_least(self, levels=0, problems=1, samples=1)
        one_of(self, split=("test", "validation"))


@dataclass
class Report:
    price: float = 0.0  # of a device (a GPU; without GPUs an engine's or the trainer's share of the machine) for an hour

    def __post_init__(self) -> None:
        at_least(self, price=0)


@dataclass
class RunFolder:
    dir: str = "runs/${name}"  # the run's folder
    fork: str = ""  # OTHER@3: start with rounds 0 to 3 of another run

    def __post_init__(self) -> None:
        if not self.dir.strip():
            raise ValueError("dir is empty; expected a folder")


@dataclass
class Config:
    """A run. The sections task, search, verify, judge, learn and filters take the options of the part they name."""

    name: str = MISSING  # of the run, and of its folder
    seed: int = 0  # of problems, weights, sampling and order; docs/results.md says what it reproduces where
    rounds: int = 5  # may grow later: the same command then continues
    lag: int = 0  # rounds that the searchers may be ahead of the trainer: 0 alternates, 1 overlaps
    problems: int = 320  # searched in each round
    retry: float = 0.0  # largest share of them taken from the unsolved problems of earlier rounds
    unit: int = 32  # problems searched and committed together
    budget: int = 1_000_000  # generated tokens that the search of one problem may spend
    drift: float | int | str = AUTO  # largest logprob difference (nats) between engine and trainer; auto: by generate.dtype
    task: Any = MISSING
    search: Any = MISSING
    verify: Any = MISSING
    audit: Any = None  # a second verifier that checks a sample of a round's accepted answers, and as many refused ones
    audit_share: float = 0.1  # share of the accepted answers that it checks
    failed_share: float = 0.05  # largest share of failed verdicts (a verifier that broke); with more of them the run stops
    verdicts: str = ""  # a regrading whose verdicts later rounds train by (flywheel regrade); may be given on resume
    judge: Any = None  # a value model, retrained in each round, that scores steps in the next round's search
    learn: Any = field(default_factory=lambda: {"name": "sft"})
    filters: Any = None
    begin: Begin = field(default_factory=Begin)
    track: Any = None  # experiment trackers, which receive every round's record
    model: Model = field(default_factory=Model)
    generate: Generate = field(default_factory=Generate)
    train: Train = field(default_factory=Train)
    train_judge: TrainJudge = field(default_factory=TrainJudge)
    measure: Measure = field(default_factory=Measure)
    sandbox: SandboxOptions = field(default_factory=SandboxOptions)
    report: Report = field(default_factory=Report)
    placement: Placement = field(default_factory=Placement)
    run: RunFolder = field(default_factory=RunFolder)

    def __post_init__(self) -> None:
        at_least(self, seed=0, rounds=0, lag=0, problems=1, unit=1, budget=1)
        share(self, "retry", "audit_share", "failed_share")
        if not self.name.strip() or not self.name.isprintable() or "/" in self.name or self.name in (".", ".."):
            raise ValueError(f"name is {self.name!r}; expected a name for a folder, without /")
        if self.drift != AUTO and (isinstance(self.drift, str) or not 0 <= self.drift < math.inf):
            raise ValueError(f"drift is {self.drift}; expected auto or at least 0 nats")
        generate, train = self.generate, self.train
        if AUTO in (generate.gpus, train.gpus):
            return  # not decided yet
        shared = 0 < generate.gpus < 1 and 0 < train.gpus < 1
        if generate.transfer != "host" and not (train.gpus and generate.gpus):
            raise ValueError(
                f"generate.transfer={generate.transfer} sends weights from a GPU to a GPU, but train.gpus is {train.gpus:g} "
                f"and generate.gpus {generate.gpus:g}; type generate.transfer=host"
            )
        if generate.transfer == "ipc" and not shared:
            raise ValueError("generate.transfer=ipc is for one GPU that both share (generate.gpus=0.5 train.gpus=0.5)")
        if generate.transfer == "nccl" and shared:
            raise ValueError("generate.transfer=nccl is between GPUs; on one that both share, type generate.transfer=ipc")
        if generate.sleep and not (shared and self.lag == 0):
            raise ValueError(
                "generate.sleep=true takes turns on one GPU: it needs lag=0 and a share of it for each, generate.gpus=0.5 "
                "train.gpus=0.5"
            )


def load(file: str, dotlist: list[str], schema: type = Config, gpus: Callable[[], int] | None = usable_gpus) -> DictConfig:
    """A checked, read-only config. gpus: counts those that the run can use, so that nothing is `auto` any more; None where
    another machine runs it and decides. Raises UserError."""
    config = settings.load(schema, KINDS, file, dotlist)
    file = file or "command line"
    try:
        if gpus:
            settle(config, gpus)
        settings.typed(config, schema)
        check_parts(config)
        check_temperature(config)
        if config.rounds:
            check_rows(config)
    except (ValueError, UserError) as error:
        raise UserError(f"{file}: {error}") from None
    return config


def settle(config: DictConfig, gpus: Callable[[], int]) -> None:
    """Decide what `auto` stands for: of one GPU engine and trainer get a half each, of several a GPU each, as far as they go;
    then the engines are no more than the GPUs left for them. Raises ValueError where only one of the two is typed."""
    OmegaConf.set_readonly(config, False)
    generate, train, where = config.generate, config.train, config.placement
    if AUTO in (generate.gpus, train.gpus):
        there = gpus()
        if there and generate.gpus != train.gpus:
            raise ValueError(f"generate.gpus is {generate.gpus}, but train.gpus {train.gpus}; type both, or none of them")
        judges = where.judges if config.judge and JUDGE.part_class(config.judge.name).learned else 0
        if there:
            where.generators = min(where.generators, max(1, there - train.ranks - judges))
        engine, trainer = shares(there, (where.generators or 1) + judges, train.ranks)
        generate.gpus = engine if generate.gpus == AUTO else generate.gpus
        train.gpus = trainer if train.gpus == AUTO else train.gpus
    if generate.dtype == AUTO:  # a model of a few million parameters is exact in float32, and no slower
        generate.dtype = "bfloat16" if generate.gpus and config.model.path else "float32"
    if config.drift == AUTO and generate.dtype in DRIFT:
        config.drift = DRIFT[generate.dtype]
    OmegaConf.set_readonly(config, True)


def check_parts(config: DictConfig) -> None:
    """Raises UserError where a search, a judge, a way to learn or a filter refuses its options."""
    if config.learn is None:
        raise ValueError("learn is null; expected a way to learn, e.g. learn=sft")
    for key, kind in (("search", SEARCH), ("judge", JUDGE), ("learn", LEARN)):
        if config[key] is not None:
            settings.part(config[key], kind).make()
    for name, section in config.filters.items():
        settings.part(section, FILTER, str(name)).make()
    learn = settings.part(config.learn, LEARN).make()
    if (config.begin.traces or config.begin.endpoint) and isinstance(learn, Reads) and "logprobs" in learn.reads:
        raise ValueError(
            f"learn.name={config.learn.name} needs the logprobs with which answers were sampled, and those made elsewhere have "
            "none; type learn=sft, or leave begin.traces and begin.endpoint out"
        )


def check_temperature(config: DictConfig) -> None:
    hot = config.generate.temperature * config.search.get("temperature", 1.0)
    if not 0 <= hot <= 2:
        raise ValueError(f"generate.temperature times search.temperature is {hot:g}; expected 0 to 2, vLLM's limits")
    assumed = config.learn.get("sampled_at", hot)
    if not math.isclose(assumed, hot):
        raise ValueError(f"learn.sampled_at is {assumed:g}, but answers are sampled at {hot:g}; type learn.sampled_at={hot:g}")


def check_rows(config: DictConfig) -> None:
    """Raises ValueError where a training example may be longer than a row, or its loss cannot be split over ranks."""
    learn = config.learn.name
    sequences = LEARN.part_class(learn).sequences
    if sequences > 1 and config.train.ranks > 1:
        raise ValueError(
            f"train.ranks is {config.train.ranks}, but learn.name={learn} compares with a copy of the model, which is not "
            "shared out; type train.ranks=1"
        )
    for key, times in ({"train": sequences} | ({"train_judge": 1} if config.judge else {})).items():
        least = times * config.generate.context
        if config[key].row_tokens < least:
            pair = f"learn.name={learn} puts two traces into one row, each of up to"
            raise ValueError(
                f"{key}.row_tokens is {config[key].row_tokens}, but {pair if times == 2 else 'a trace may have'} "
                f"generate.context = {config.generate.context} tokens; type {key}.row_tokens={least}"
            )


def check_domain(plays: bool, *parts: Part | None) -> None:
    """Raises UserError where parts are for a game, and others or what runs them for language, or the other way round."""
    given = {f"{part.kind.name}={part.name}": isinstance(part.type, Plays) for part in parts if part}
    if set(given.values()) != {plays}:
        told = ", ".join(f"{name} is for {'games' if game else 'language'}" for name, game in given.items())
        raise UserError(
            f"{told}; a game takes task=hex search=puct verify=hex learn=selfplay, no judge, no audit; run and eval take it"
        )


def incidental(config: DictConfig, key: str) -> bool:
    """Whether an option of a verifier changes no verdict, e.g. verify.address of verify.name=llm."""
    section, _, option = key.partition(".")
    kind = VERIFY.part_class(config[section].name) if KINDS.get(section) is VERIFY and config[section] else None
    return isinstance(kind, Asks) and option in kind.incidental


def check_unchanged(store: Store, config: DictConfig, schema: type = Config) -> None:
    """Write the config of a new run; refuse one that differs from an existing run's. `rounds` may grow, and actors may be
    placed otherwise."""
    if not store.begun():
        if config.run.fork:
            fork(store, config.run.fork)
        store.put_text(CONFIG, OmegaConf.to_yaml(config))
        return
    old = settings.load(schema, KINDS, store.local(CONFIG), [])  # options newer than the run have their defaults
    for key, before, now in settings.differences(*(OmegaConf.create(OmegaConf.to_yaml(each)) for each in (old, config))):
        if key == "rounds" and isinstance(now, int) and now >= before:
            continue
        if key in (*FREE, *DEVICES) or key.startswith(("placement.", "report.", "track")):
            continue
        if incidental(config, key):
            continue
        if key == "verdicts" or (config.verdicts and key.startswith("verify.")):  # every verdict names its verifier
            continue
        hint = "rounds may only grow" if key == "rounds" else "type run.dir=FOLDER to start another run"
        raise UserError(f"{store.place}/{CONFIG}: {key} is {before!r} in this run, but {now!r} was asked for; {hint}")
