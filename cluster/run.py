"""The driver: expert iteration as a loop over rounds. It holds no state that the run folder does not."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from omegaconf import MISSING, DictConfig, OmegaConf

from cluster.crew import Hand
from cluster.engine import Generate
from cluster.folder.store import (
    SCORE,
    TRACE,
    Store,
    judge_key,
    make_folder,
    model_key,
    put,
    round_key,
    score_key,
    store_at,
    unit_key,
)
from cluster.measured import Measured, tries
from cluster.metrics import Metrics, Trackers
from cluster.placement import Actors, Placement, named
from cluster.remote import encode, lists
from cluster.report.gather import Report
from cluster.sandbox.walls import SandboxOptions
from cluster.searcher import Done, Unit
from cluster.train.trainer import Model, Train, TrainJudge, manifest_table
from cluster.verbs import doctor, regrade
from cluster.verifier import check_walls, tag
from cluster.view import TRAINING, View
from iteration import config as settings
from iteration import curriculum
from iteration.config import UserError
from iteration.examples import DECISION, answers, decide, flat, generated, order, tree_of
from iteration.filters.distinct import fingerprints
from iteration.respond import seed_of
from iteration.statistics import bootstrap, paired_bootstrap, pass_at_k, wilson
from iteration.types import Audit, Calibration, Diversity, History, Problem, Round, Score, Span, State, Verdict

AUDITED = 64  # answers in one message to the second verifier
NOTE_SECONDS = 5  # between two notes of what is under way
PACKAGES = {
    "task": "iteration.tasks",
    "search": "iteration.search",
    "verify": "iteration.verify",
    "audit": "iteration.verify",
    "judge": "iteration.judge",
    "learn": "iteration.learn",
    "filters*": "iteration.filters",
    "track*": "cluster.track",
}


@dataclass
class Measure:
    """What each model is measured on: held-out problems, never trained on."""

    split: str = "test"  # or validation, where the task has one: then nothing of the test set is looked at in a run
    levels: list[int] = field(default_factory=lambda: [0])
    problems: int = 200  # of each level
    samples: int = 4  # answers to each problem: pass@1 is their mean, and pass@k goes up to this k


@dataclass
class RunFolder:
    dir: str = "runs/${name}"  # the run's folder
    fork: str = ""  # OTHER@3: begin with rounds 0 to 3 of another run


@dataclass
class Config:
    """A run. The sections task, search, verify, judge, learn and filters take the options of the part that is named there."""

    name: str = MISSING  # of the run, and of its folder
    seed: int = 0  # of problems, weights, sampling and order: the same seed gives the same run
    rounds: int = 5  # may grow later: the same command then continues
    lag: int = 0  # rounds that the searchers may be ahead of the trainer: 0 alternates, 1 overlaps
    problems: int = 320  # searched in each round
    retry: float = 0.0  # share of them, at most, that are problems of earlier rounds which no answer has solved
    unit: int = 32  # problems searched and committed together
    budget: int = 1_000_000  # generated tokens that the search of one problem may spend
    drift: float = 1e-3  # largest logprob difference (nats) between engine and trainer after an update
    task: Any = MISSING
    search: Any = MISSING
    verify: Any = MISSING
    audit: Any = None  # a second, stricter verifier that looks again at a sample of the accepted answers
    audit_share: float = 0.1  # of the accepted answers of a round, that it looks at
    verdicts: str = ""  # a regrading whose verdicts later rounds train by (./launch.sh regrade); may be given on resume
    judge: Any = None  # a value model, taught anew in each round, that scores steps for the next round's search
    learn: Any = field(default_factory=lambda: {"name": "sft"})
    filters: Any = None
    track: Any = None  # trackers of experiments that are told every round
    model: Model = field(default_factory=Model)
    generate: Generate = field(default_factory=Generate)
    train: Train = field(default_factory=Train)
    train_judge: TrainJudge = field(default_factory=TrainJudge)
    measure: Measure = field(default_factory=Measure)
    sandbox: SandboxOptions = field(default_factory=SandboxOptions)
    report: Report = field(default_factory=Report)
    placement: Placement = field(default_factory=Placement)
    run: RunFolder = field(default_factory=RunFolder)


def load(file: str, dotlist: list[str], schema: type = Config) -> DictConfig:
    """A checked, read-only config. Raises UserError."""
    found = settings.load(schema, PACKAGES, file, dotlist)
    file = file or "command line"
    for key, least in {
        "rounds": 0,
        "lag": 0,
        "problems": 1,
        "unit": 1,
        "measure.samples": 1,
        "placement.generators": 0,
        "placement.searchers": 1,
        "placement.verifiers": 1,
        "train.ranks": 1,
        "train.lora": 0,
    }.items():
        if OmegaConf.select(found, key) < least:
            raise UserError(f"{file}: {key} is {OmegaConf.select(found, key)}; expected at least {least}")
    choices = {"measure.split": ("test", "validation"), "sandbox.name": ("bubblewrap", "rlimits")}
    choices |= {
        "train.schedule": ("cosine", "linear", "constant"),
        "train.start": ("previous", "base"),
        "train.pool": ("all", "last"),
        "generate.transfer": ("host", "nccl", "ipc"),
    }
    for key, known in choices.items():
        if OmegaConf.select(found, key) not in known:
            raise UserError(f"{file}: {key} is {OmegaConf.select(found, key)!r}; expected {' or '.join(known)}")
    for key, most in {"train.gpus": 1, "generate.gpus": 1024}.items():
        gpus = OmegaConf.select(found, key)
        if not 0 <= gpus <= most or (gpus > 1 and gpus != int(gpus)):
            raise UserError(f"{file}: {key} is {gpus:g}; expected a share of a GPU or a whole number, at most {most}")
    check_devices(file, found)
    hot = found.generate.temperature * found.search.get("temperature", 1.0)
    if not 0 <= hot <= 2:
        raise UserError(f"{file}: generate.temperature times search.temperature is {hot:g}; expected 0 to 2, vLLM's limits")
    if not 0 <= found.retry <= 1:
        raise UserError(f"{file}: retry is {found.retry}; expected a share between 0 and 1")
    sequences = settings.part_class("learn", PACKAGES["learn"], found.learn.name).sequences
    if sequences > 1 and found.train.ranks > 1:
        raise UserError(
            f"{file}: train.ranks is {found.train.ranks}, but learn.name={found.learn.name} compares with a copy of the model, "
            "which is not shared out; type train.ranks=1"
        )
    if not found.rounds:  # nothing is trained
        return found
    rows = {"train": sequences} | ({"train_judge": 1} if found.judge else {})
    for key, times in rows.items():
        if found[key].row_tokens < times * found.generate.context:
            pair = f"learn.name={found.learn.name} lays two traces side by side, each of up to"
            what = pair if times == 2 else "a trace may have"
            raise UserError(
                f"{file}: {key}.row_tokens is {found[key].row_tokens}, but {what} generate.context = "
                f"{found.generate.context} tokens; type {key}.row_tokens={times * found.generate.context}"
            )
    return found


def check_devices(file: str, config: DictConfig) -> None:
    """Raises UserError where trainer and engines are to use devices as they cannot."""
    generate, train = config.generate, config.train
    stages = generate.pipeline
    if stages < 1 or (stages > 1 and (generate.gpus < stages or generate.gpus % stages)):
        raise UserError(
            f"{file}: generate.pipeline is {generate.pipeline}, but generate.gpus={generate.gpus:g} cannot be cut into so many "
            "stages; expected a multiple"
        )
    shared = 0 < generate.gpus < 1 and 0 < train.gpus < 1
    if generate.transfer != "host" and not (train.gpus and generate.gpus):
        raise UserError(
            f"{file}: generate.transfer={generate.transfer} sends weights from a GPU to a GPU, but train.gpus is "
            f"{train.gpus:g} and generate.gpus {generate.gpus:g}; type generate.transfer=host"
        )
    if generate.transfer == "ipc" and not shared:
        raise UserError(f"{file}: generate.transfer=ipc is for one GPU that both share (generate.gpus=0.5 train.gpus=0.5)")
    if generate.transfer == "nccl" and shared:
        raise UserError(f"{file}: generate.transfer=nccl is between GPUs; on one that both share, type generate.transfer=ipc")
    if generate.sleep and not (shared and config.lag == 0):
        raise UserError(
            f"{file}: generate.sleep=true takes turns on one GPU: it needs lag=0 and a share of it for each, "
            "generate.gpus=0.5 train.gpus=0.5"
        )


@dataclass(frozen=True, slots=True)
class Arm:
    """How a split of problems is searched."""

    phase: str  # what the view calls it
    search: tuple[str, dict]  # name and options
    judge: tuple[str, dict] | None
    budget: int  # generated tokens for each problem
    version: str = ""  # of the value model; "" takes the newest


class Run:
    """One run in this process. `config` as `load` returns it."""

    schema: ClassVar[type] = Config

    def __init__(self, config: DictConfig, address: str = "", view: View | None = None):
        self.config, self.options = config, settings.typed(config, self.schema)
        self.view = view or View()
        self.task = settings.make(config.task, "task", PACKAGES["task"])
        self.filters = {
            str(name): settings.make(section, "filters", PACKAGES["filters*"], str(name))
            for name, section in config.filters.items()
        }
        settings.make(config.search, "search", PACKAGES["search"])  # a wrong option is said now, not in an actor
        self.verifier = settings.make(config.verify, "verify", PACKAGES["verify"])
        check_walls(f"verify.name={config.verify.name}", self.verifier, self.options.sandbox)
        if config.audit:
            second = settings.make(config.audit, "audit", PACKAGES["audit"])
            check_walls(f"audit.name={config.audit.name}", second, self.options.sandbox)
        self.learn = settings.make(config.learn, "learn", PACKAGES["learn"])
        self.trackers = Trackers(settings.make(part, "track", PACKAGES["track*"], str(k)) for k, part in config.track.items())
        self.metrics: Metrics | None = None  # once there is a cluster
        self.judge = named(config.judge) if config.judge else None
        if config.judge:
            self.check_judge(settings.make(config.judge, "judge", PACKAGES["judge"]))
        self.store = store_at(self.options.run.dir).open()
        self.address = address
        self.seconds: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))  # by round and phase
        self.done: dict = {}  # the newest round's record
        self._spans: list[Span] = []  # of what the driver did since the last record
        self._engines = asyncio.Lock()  # searching and measuring take turns with the weights

    def check_judge(self, part: Any) -> None:
        if not part.learned and not hasattr(self.verifier, "steps"):
            raise UserError(
                f"judge.name={self.config.judge.name} goes by the verifier's verdicts on steps, but verify.name="
                f"{self.config.verify.name} cannot judge steps; type judge.name=process"
            )

    # the loop

    async def turn(self) -> None:
        """Run what is left of the rounds."""
        with self.store.claim():
            check_unchanged(self.store, self.config, self.schema)
            if self.options.verdicts:
                regrade.check_set(self.store, self.options.verdicts)
            if self.finished():
                return
            self.store.sweep()
            self.trackers.open(self.options.name, self.store.root, OmegaConf.to_container(self.config))
            self.actors = Actors(self.options, self.config, self.store, self.address, self.phase, self.view)
            watch = asyncio.create_task(self._watch())
            work = asyncio.create_task(self._work(watch))
            try:
                await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
                if watch.done() and not watch.cancelled():
                    watch.result()  # it ends by itself only where there is no cluster any more
                await work
            finally:
                work.cancel()
                await asyncio.wait({work})
                await ended(watch)
                self.trackers.close()

    async def _work(self, watch: asyncio.Task) -> None:
        async with self.actors:
            try:
                await self._loop()
            finally:
                await ended(watch)  # before the cluster goes

    def finished(self) -> bool:
        return self.store.has("rounds/" + round_key(self.options.rounds), ".json")  # rounds are finished in order

    async def _loop(self) -> None:
        outcome: dict[int, asyncio.Task] = {0: asyncio.create_task(self.baseline())}
        try:
            for number in range(1, self.options.rounds + 1):
                champion = await outcome[max(0, number - 1 - self.options.lag)]
                self.plan(number)
                # 1 the model responds, 2 in steps, 3 the search decides on more, 4 the verifier judges, 5 the search is told
                await self.search(number, "train", model_key(champion))
                # 6 the next model is trained on what the search learnt, and measured
                outcome[number] = asyncio.create_task(self.improve(number, outcome[number - 1], champion))
            await outcome[self.options.rounds]
        finally:
            for task in outcome.values():
                task.cancel()

    async def baseline(self) -> int:
        """Round 0: there is a model, and it is measured."""
        self.plan_test()
        if not self.store.has("rounds/" + round_key(0), ".json"):
            drift = await self.search(0, "test", model_key(0))
            first = model_key(0)
            self.finish(
                Round(
                    number=0,
                    model_in="",
                    trained="",
                    model_out=first,
                    promoted=True,
                    reason="the first model",
                    scores=self.scores(0),
                    logprob_drift=drift,
                    verifier=self.verifier_report(answers(self.traces(0, "test"))),
                )
            )
        self.said(self.store.json("rounds/" + round_key(0)))
        return 0

    async def improve(self, number: int, previous: Awaitable[int], answered: int) -> int:
        """Filter, train, measure and promote. Returns the number of the best model so far."""
        champion = await previous
        key = "rounds/" + round_key(number)
        if not self.store.has(key, ".json"):
            decisions = self.filter(number)
            trained, drift, training = "", None, {}
            best, scores = champion, self.scores(champion)
            reason = f"nothing to train on: no answer was kept, or learn.name={self.config.learn.name} makes nothing of them"
            if self.manifest(number):
                base = champion if self.options.train.start == "previous" else 0
                with self.phase(number, "train"):
                    trained = model_key(number)
                    training = await self.actors.train("train", trained, model_key(base), named(self.config.learn))
                drift = await self.search(number, "test", trained)
                scores = self.scores(number)
                best, reason = self.promote(champion, number)
            judge = await self.teach(number, best, self.judge)
            states, reasons = decisions["state"].to_pylist(), decisions["reason"].to_pylist()
            self.finish(
                Round(
                    number=number,
                    model_in=model_key(answered),
                    trained=trained,
                    model_out=model_key(best),
                    promoted=best == number,
                    reason=reason,
                    scores=scores,
                    counts={
                        "problems": len(self.store.table(plan_key(number, "train"))),
                        "answers": len(decisions),
                        "correct": states.count(State.CORRECT),
                        "failed": states.count(State.FAILED),
                        "kept": reasons.count(""),
                        "units_aside": len(self.store.asides(f"traces/{round_key(number)}/train")),
                        "pool": sum(len(kept(self.decisions(r))) for r in range(1, number + 1)),
                        "examples_trained": training.get("examples", 0),
                        "steps": training.get("steps", 0),
                    },
                    solve_rate=self.solved(number),
                    tokens={"train": training.get("tokens", 0)},
                    logprob_drift=drift,
                    loss_first=training.get("loss_first", 0.0),
                    loss_last=training.get("loss_last", 0.0),
                    diversity=self.diversity(number),
                    judge=judge,
                    calibration=await self.calibrate(number, best, judge),
                    audit=await self.audit(number, decisions),
                    verifier=self.verifier_report(decisions),
                    verdicts=self.options.verdicts,
                )
            )
        record = self.store.json(key)
        self.said(record)
        return int(record["model_out"][1:])

    def said(self, record: dict) -> None:
        self.view.round_done(record)
        self.done = record

    # what is searched

    def plan(self, number: int, problems: int = 0) -> None:
        """Commit the problems of a round: levels by the solve history of the rounds before, problems by seed."""
        if self.store.has(plan_key(number, "train")):
            return
        solved: dict[int, float] = {}
        for before in range(1, number):
            solved |= self.solved(before)
        rng = np.random.default_rng(seed_of(self.options.seed, "problems", number))
        again = self.unsolved(number, rng)
        wanted = curriculum.shares(self.task.levels(), solved, (problems or self.options.problems) - len(again))
        known = {problem.id for problem in again}
        drawn = [p for level, n in wanted.items() for p in self.task.draw("train", level, n, rng)]
        chosen = again + [problem for problem in drawn if problem.id not in known]
        # Levels are mixed over the units, so that units take about the same time.
        mixed = [chosen[i] for i in rng.permutation(len(chosen))]
        self.store.put_table(plan_key(number, "train"), self._plan_table(mixed, self.history(number)))

    def history(self, number: int) -> dict[str, History]:
        """What the rounds before `number` made of each problem that they searched."""
        before = [self.traces(r, "train", ["id", "node", "problem_id", "state"]) for r in range(1, number)]
        if not before:
            return {}
        nodes = pa.concat_tables(before)
        roots = nodes.filter(pc.equal(nodes["node"], 0))
        newest = dict(zip(roots["problem_id"].to_pylist(), map(tree_of, roots["id"].to_pylist()), strict=True))
        return {problem: History(*counts, newest.get(problem, "")) for problem, counts in tries(nodes).items()}

    def unsolved(self, number: int, rng: np.random.Generator) -> list[Problem]:
        """Problems of earlier rounds that no answer has solved, up to the share `retry` of a round."""
        most = int(self.options.retry * self.options.problems)
        if not most:
            return []
        history = self.history(number)
        rows = [row for r in range(1, number) for row in self.store.table(plan_key(r, "train")).to_pylist()]
        found = {row["id"]: problem_of(row) for row in rows if row["id"] in history and not history[row["id"]].solved}
        names = sorted(found)
        return [found[names[i]] for i in rng.permutation(len(names))[:most]]

    def plan_test(self) -> None:
        """Commit the held-out problems, once for all rounds."""
        if self.store.has(plan_key(0, "test")):
            return
        rng = np.random.default_rng(seed_of(self.options.seed, "held-out"))
        wanted = self.options.measure
        problems = [p for level in wanted.levels for p in self.task.draw(wanted.split, level, wanted.problems, rng)]
        if not problems:
            raise UserError(f"measure.levels {wanted.levels}: the task has no held-out problem of these levels")
        self.store.put_table(plan_key(0, "test"), self._plan_table([problems[i] for i in rng.permutation(len(problems))]))

    def _plan_table(self, problems: list[Problem], history: dict[str, History] | None = None) -> pa.Table:
        tokenizer, room = self.tokenizer(), self.options.generate.context
        for problem in problems:  # said now, and not by an engine in the middle of a round
            needed = len(encode(tokenizer, self.task.prompt(problem)))
            if needed >= room:
                raise UserError(
                    f"problem {problem.id}: its prompt has {needed} tokens, but generate.context is {room} for prompt and "
                    f"answer; type generate.context=N (and train.row_tokens=N) and another run.dir"
                )
        columns = {name: [getattr(problem, name) for problem in problems] for name in ("id", "prompt", "answer", "level")}
        units = [i // self.options.unit for i in range(len(problems))]
        before = [(history or {}).get(problem.id, History()) for problem in problems]
        columns |= {name: [getattr(each, name) for each in before] for name in ("tried", "solved", "tree")}
        return pa.table(columns | {"shown": [self.task.prompt(problem) for problem in problems], "unit": units})

    def units(self, number: int, split: str, model: str, judge: str = "", budget: int = 0) -> list[Unit]:
        rows = self.store.table(self.plan_of(number, split)).to_pylist()
        found: dict[int, list[dict]] = defaultdict(list)
        for row in rows:
            found[row["unit"]].append(row)
        return [
            Unit(
                number,
                split,
                unit,
                [problem_of(row) for row in members],
                [row["shown"] for row in members],
                model,
                [History(row["tried"], row["solved"], row.get("tree") or "") for row in members],
                budget or self.options.budget,
                judge,
            )
            for unit, members in sorted(found.items())
        ]

    def plan_of(self, number: int, split: str) -> str:
        """Where the plan of a split lies: training problems by round, held-out ones once for all rounds."""
        return plan_key(number if split == "train" else 0, split)

    def arm(self, split: str) -> Arm:
        """How a split is searched. Models are measured by plain sampling, whatever search found the traces."""
        if split.startswith("test"):
            return Arm("measure", ("sample", {"n": self.options.measure.samples}), None, self.options.budget)
        return Arm("search", named(self.config.search), self.judge, self.options.budget)

    async def search(self, number: int, split: str, model: str) -> float | None:
        """Search what the plan names and the store does not list. Returns the drift of the update of weights, if any."""
        arm = self.arm(split)
        # A round's search is led by the newest value model that it can count on, the first round's by none.
        judge, version = arm.judge, ""
        if judge and self.learned(judge):
            version = arm.version or self.newest_judge(number - 1 - self.options.lag, judge)
            judge = judge if version else None
        units = self.units(number, split, model, version, arm.budget)
        async with self._engines:
            committed = self.store.units(f"traces/{round_key(number)}/{split}")
            todo = [unit for unit in units if unit.number not in committed]
            if not todo:
                return None
            drift = await self.serve(number, model)
            if version:
                await self.serve_judge(number, version)
            with self.phase(number, arm.phase, len(units), len(units) - len(todo)) as phase:
                await self.actors.search(arm.phase, todo, arm.search, judge, self.counted(phase.unit_done), self.set_aside)
            missing = {unit.number for unit in units} - self.store.units(f"traces/{round_key(number)}/{split}")
            if missing:
                raise RuntimeError(f"{len(missing)} units of round {number} were reported as done but are not in the store")
            return drift

    def counted(self, done: Callable) -> Callable:
        """What is told of a committed unit, and counts its verdicts."""

        def both(unit: Done) -> None:
            done(unit)
            if self.metrics:
                self.metrics.unit(unit)

        return both

    def set_aside(self, unit: Unit, reason: str) -> None:
        """A unit that kills its actors: an empty one takes its name, so the round goes on without it."""
        self.store.set_aside(unit.key, TRACE, reason)
        if self.metrics:
            self.metrics.asides += 1
        self.view.say(f"WARNING: {unit.key} is set aside with its {len(unit.problems)} problems: {reason}")

    def score_aside(self, keys: tuple[str, str], reason: str) -> None:
        self.store.set_aside(keys[1], SCORE, reason)
        self.view.say(f"WARNING: {keys[1]} is set aside, its answers have no scores: {reason}")

    async def serve(self, number: int, model: str) -> float | None:
        """Give every engine the model's weights, and compare one greedy answer with the trainer's own forward pass."""
        if self.actors.version == model:
            return None
        prompt = encode(self.tokenizer(), self.store.table(plan_key(0, "test"), ["shown"])["shown"][0].as_py())
        drifts = []

        async def fit(engine: Hand) -> None:
            await self.actors.give(engine, model)
            answer, logprobs = await engine.handle.greedy.remote(prompt, model)
            own = await self.actors.train("logprobs", model, prompt, answer)
            drifts.append(float(np.max([0.0, *np.abs(own - logprobs)])))  # not a number where one of them is not
            self.check_drift(drifts[-1], f"after the update to {model} the engine's logprobs", " nats", "its answers")

        with self.phase(number, "update") as phase:
            await self.actors.generators.refit(fit)
            phase.note = f"logprobs of {model} within {drifts[0]:.1e} of the trainer's"
        self.actors.version = model
        return drifts[0]

    def check_drift(self, drift: float, what: str, unit: str, whose: str) -> None:
        if not drift <= self.options.drift:
            raise UserError(
                f"{what} differ from the trainer's by {drift:.2g}{unit}, more than drift={self.options.drift:g}: {whose} would "
                "not be the model's own. An engine in bfloat16 needs drift=0.3; in float32 this is a fault"
            )

    def learned(self, judge: tuple[str, dict]) -> bool:
        """Is there a model behind this judge?"""
        return settings.part_class("judge", PACKAGES["judge"], judge[0]).learned

    def newest_judge(self, number: int, judge: tuple[str, dict]) -> str:
        """The value model of the newest round up to `number`, "" if there is none."""
        keys = (judge_key(before, judge[0]) for before in range(number, 0, -1))
        return next((key for key in keys if self.store.has(f"judges/{key}", "")), "")

    async def serve_judge(self, number: int, version: str) -> None:
        """Give the judges' engines a value model, and compare some of its scores with the trainer's own forward pass."""
        if self.actors.judged == version:
            return
        shown = self.store.table(plan_key(0, "test"), ["shown"])["shown"].to_pylist()[:8]
        prefixes = [encode(self.tokenizer(), each) for each in shown]
        table = pa.table([lists(prefixes, pa.int32())], ["token_ids"])
        own = await self.actors.train("scores", version, prefixes)
        drifts = []

        async def fit(engine: Hand) -> None:
            await self.actors.give(engine, version)
            drifts.append(float(np.abs(own - await engine.handle.score.remote(table, version)).max()))
            self.check_drift(drifts[-1], f"after the update to {version} the engine's scores", "", "its scores")

        with self.phase(number, "update") as phase:
            await self.actors.judges.refit(fit)
            phase.note = f"scores of {version} within {drifts[0]:.1e} of the trainer's"
        self.actors.judged = version

    async def teach(self, number: int, trunk: int, judge: tuple[str, dict] | None) -> str:
        """Teach a round's value model on the trunk of model `trunk`. Returns its version, "" where nothing is to be taught."""
        if not judge or not self.learned(judge):
            return ""
        if not self.store.has(f"judges/{judge_key(number, judge[0])}", ""):
            with self.phase(number, "judge"):
                step_end = self.options.generate.step_end
                if not await self.actors.train("judge", number, trunk, judge, named(self.config.verify), step_end):
                    return ""
        return judge_key(number, judge[0])

    async def score(self, number: int, split: str, version: str, judge: tuple[str, dict]) -> None:
        """Let a value model score the answers of a searched split: side files, and nothing is generated."""
        folder = f"traces/{round_key(number)}/{split}"
        units = [unit_key(number, split, unit) for unit in sorted(self.store.units(folder))]
        keys = {key: score_key(version, key) for key in units}
        todo = {key: target for key, target in keys.items() if not self.store.has(target)}
        async with self._engines:
            if todo:
                await self.serve_judge(number, version)
                with self.phase(number, "score", len(keys), len(keys) - len(todo)) as phase:
                    await self.actors.score(todo, judge, version, phase.unit_done, self.score_aside)

    async def calibrate(self, number: int, model: int, judge: str) -> list[Calibration]:
        """How far the round's value model is to be trusted on the held-out answers of the best model so far."""
        if not judge:
            return []
        await self.score(model, "test", judge, self.judge)
        measured = Measured.read(self.store, model, "test", self.plan_of(model, "test"), judge)
        aggregate = self.judge[1].get("aggregate", "last")
        steps = self.verifier.steps if hasattr(self.verifier, "steps") else None
        return [measured.calibration(level, aggregate, steps) for level in self.options.measure.levels]

    async def audit(self, number: int, decisions: pa.Table) -> Audit | None:
        """Let the second verifier look at a sample of the accepted answers of a round's search."""
        if not self.config.audit:
            return None
        key = f"audits/{round_key(number)}"
        if not self.store.has(key):
            right = np.flatnonzero(np.array(decisions["state"].to_pylist(), object) == str(State.CORRECT))
            rng = np.random.default_rng(seed_of(self.options.seed, "audit", number))
            n = int(np.ceil(self.options.audit_share * len(right)))
            chosen = decisions.take(pa.array(np.sort(rng.permutation(right)[:n]), pa.int64()))
            problems = {row["id"]: problem_of(row) for row in self.store.table(plan_key(number, "train")).to_pylist()}
            asked = [problems[name] for name in chosen["problem_id"].to_pylist()]
            texts = chosen["answer_text"].to_pylist()
            found: dict[int, list[Verdict]] = {}

            def aside(batch: tuple, reason: str) -> None:
                found[batch[0]] = [Verdict(State.FAILED, why=reason)] * len(batch[1])

            starts = range(0, n, AUDITED)
            batches = [(i, asked[i : i + AUDITED], texts[i : i + AUDITED]) for i in starts]
            with self.phase(number, "audit"):
                part = named(self.config.audit)
                await self.actors.audit(batches, part, lambda each: found.__setitem__(*each), aside)
            verdicts = [verdict for i in starts for verdict in found[i]]
            by = tag(*part, settings.make(self.config.audit, "audit", PACKAGES["audit"]))
            self.store.put_table(key, regrade.verdict_table(chosen["id"].to_pylist(), verdicts, by))
        states = self.store.table(key)["state"].to_pylist()
        checked = sum(state != State.FAILED for state in states)
        rejected = checked - states.count(State.CORRECT)
        rate = wilson(rejected, checked)
        return Audit(checked, rejected, rate.mean, rate.low, rate.high)

    def diversity(self, number: int) -> Diversity:
        """How varied the answers of a round's search were."""
        nodes = self.traces(number, "train", ["problem_id", "state", "node", "logprobs", "token_ids", "origin"])
        decisions = self.decisions(number)
        right = decisions.filter(pc.equal(decisions["state"], State.CORRECT))
        problems = len(self.store.table(plan_key(number, "train")))
        counts = np.array([each for each in tries(decisions).values() if each[0]]).reshape(-1, 2)
        k = int(counts[:, 0].min()) if len(counts) else 0
        logprobs, offsets = flat(nodes, "logprobs")
        sampled = np.repeat(generated(nodes) > 0, np.diff(offsets))
        return Diversity(
            len(set(fingerprints(right))) / max(1, problems),
            k,
            float(pass_at_k(counts[:, 0], counts[:, 1], k).mean()) if k else 0.0,
            float(-logprobs[sampled].mean()) if sampled.any() else 0.0,
        )

    def verifier_report(self, found: pa.Table) -> dict[str, float]:
        """What the verifier has to say of answers as a whole, if it does: of multiple choice, its bias to each letter."""
        return self.verifier.report(found) if hasattr(self.verifier, "report") else {}

    def tokenizer(self):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.store.folder(f"models/{model_key(0)}"))

    # what is learnt

    def traces(self, number: int, split: str, columns: list[str] | None = None) -> pa.Table:
        """A round's nodes, unit by unit."""
        units = sorted(self.store.units(f"traces/{round_key(number)}/{split}"))
        tables = [self.store.table(unit_key(number, split, unit), columns) for unit in units]
        return pa.concat_tables(tables, promote_options="default")  # units of an older version may lack a column

    def solved(self, number: int) -> dict[int, float]:
        """Share of correct answers by level in a round of search; broken verdicts are left out."""
        nodes = self.traces(number, "train", ["level", "state"]).drop_null()
        found: dict[int, list[bool]] = defaultdict(list)
        for level, state in zip(nodes["level"].to_pylist(), nodes["state"].to_pylist(), strict=True):
            if state != State.FAILED:
                found[level].append(state == State.CORRECT)
        return {level: float(np.mean(right)) for level, right in sorted(found.items())}

    def decisions(self, number: int) -> pa.Table:
        """What was kept in a round: by the verdicts of its search, or by those of the regrading that the run goes by."""
        return self.store.table(self.filter_key(number))

    def filter_key(self, number: int) -> str:
        name = self.options.verdicts
        if name and all(self.store.has(regrade.verdict_key(name, unit)) for unit in self.searched(number)):
            return f"verdicts/{name}/filters/{round_key(number)}"
        return f"filters/{round_key(number)}"

    def searched(self, number: int) -> list[str]:
        """The units of a round's search."""
        folder = f"traces/{round_key(number)}/train"
        return [unit_key(number, "train", unit) for unit in sorted(self.store.units(folder))]

    def filter(self, number: int) -> pa.Table:
        """Commit for each answer whether it is kept, or why not."""
        for each in range(1, number + 1):  # those before are there already, but for a regrading
            key = self.filter_key(each)
            if not self.store.has(key):
                with self.phase(number, "filter"):
                    before = [kept(self.decisions(r)) for r in range(1, each)]
                    earlier = pa.concat_tables([DECISION.empty_table(), *before])
                    found = answers(self.regraded(each) if key.startswith("verdicts/") else self.traces(each, "train"))
                    self.store.put_table(key, decide(found, earlier, self.filters))
        return self.decisions(number)

    def regraded(self, number: int) -> pa.Table:
        """A round's nodes with the verdicts of the regrading."""
        units = self.searched(number)
        verdicts = pa.concat_tables([self.store.table(regrade.verdict_key(self.options.verdicts, unit)) for unit in units])
        return regrade.apply(self.traces(number, "train"), verdicts)

    def manifest(self, number: int) -> int:
        """Commit what is trained on, in order: the pool of all rounds, epoch after epoch. Returns how many examples."""
        key = f"manifests/{round_key(number)}"
        if not self.store.has(key):
            self.put_manifest(key, self.pool(number))
        return len(self.store.table(key))

    def pool(self, number: int) -> pa.Table:
        """What may be trained on after a round: the items of all rounds, or of the last one."""
        rounds = range(1 if self.options.train.pool == "all" else number, number + 1)
        return pa.concat_tables([self.items(kept(self.decisions(r)), r, "train") for r in rounds])

    def items(self, chosen: pa.Table, number: int, split: str) -> pa.Table:
        """What is learnt from the kept answers of a searched split."""
        columns = ["id", "node", "parent", "depth", "token_ids", "visits", "state"]
        return self.learn.items(chosen, lambda: self.traces(number, split, columns))

    def put_manifest(self, key: str, pool: pa.Table) -> None:
        rng = np.random.default_rng(seed_of(self.options.seed, "order", key))
        indices, epochs = order(pool["tokens"].to_numpy(), self.options.train.tokens, rng)
        self.store.put_table(key, manifest_table(pool, indices, epochs))

    # what it is worth

    def results(self, model: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
        """A model's held-out results by problem: (ids, levels [p], answers judged [p], correct [p]).

        Problems whose ids agree up to a / are one problem that was asked in several ways.
        """
        nodes = self.traces(model, "test", ["problem_id", "level", "state"]).drop_null()
        found: dict[str, list] = {}
        columns = (nodes[name].to_pylist() for name in ("problem_id", "level", "state"))
        for problem, level, state in zip(*columns, strict=True):
            entry = found.setdefault(problem.partition("/")[0], [level, 0, 0])
            entry[1] += state != State.FAILED
            entry[2] += state == State.CORRECT
        judged = {problem: entry for problem, entry in sorted(found.items()) if entry[1]}
        table = np.array(list(judged.values()), np.int64).reshape(-1, 3)
        return list(judged), table[:, 0], table[:, 1], table[:, 2]

    def scores(self, model: int) -> list[Score]:
        """pass@1 and pass@k by level, with 95 % intervals."""
        _, levels, judged, correct = self.results(model)
        found = []
        for level in self.options.measure.levels:
            of = levels == level
            if not of.any():
                continue
            k = int(judged[of].min())
            one = bootstrap(correct[of] / judged[of])
            many = float(pass_at_k(judged[of], correct[of], k).mean())
            found.append(Score(level, int(of.sum()), int(judged[of].max()), one.mean, one.low, one.high, k, many))
        return found

    def promote(self, champion: int, candidate: int) -> tuple[int, str]:
        """The better of two models, and why: the candidate, unless it is worse on the held-out set beyond noise."""
        before, after = (dict(zip(r[0], r[3] / r[2], strict=True)) for r in map(self.results, (champion, candidate)))
        shared = [problem for problem in before if problem in after]
        if not shared:
            raise UserError(f"no held-out answer could be judged; see the column why in {self.store.place}/traces/*/test")
        gain = paired_bootstrap(np.array([before[p] for p in shared]), np.array([after[p] for p in shared]))
        said = f"held-out pass@1 {100 * gain.mean:+.1f} points (95 % {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
        if gain.high < 0:
            return champion, f"not promoted, worse beyond noise: {said}; the next round starts from {model_key(champion)}"
        return candidate, f"promoted: {said}"

    def finish(self, record: Round) -> None:
        """Commit the round's record, with its seconds and tokens."""
        record.seconds = {name: round(seconds, 2) for name, seconds in self.seconds[record.number].items()}
        record.spans = self._spans + self.actors.spans
        self._spans, self.actors.spans = [], []
        for split, phase in (("train", "search"), ("test", "measure")):
            if self.store.units(f"traces/{round_key(record.number)}/{split}"):
                nodes = self.traces(record.number, split, ["node", "token_ids", "judge_tokens", "origin"])
                record.tokens[phase] = int(generated(nodes).sum())
                if split == "train":
                    record.tokens["judge"] = pc.sum(nodes["judge_tokens"]).as_py() or 0
        self.store.put_json("rounds/" + round_key(record.number), asdict(record))
        self.trackers.round(asdict(record))

    @contextlib.contextmanager
    def phase(self, number: int, name: str, units: int = 0, done: int = 0):
        """Show a phase while it lasts, and count its seconds."""
        with self.view.phase(number, name, units, done) as phase:
            try:
                yield phase
            finally:
                self.seconds[number][name] += phase.seconds
                who = "trainer" if name in TRAINING else "driver"
                self._spans.append(Span(who, name, round(self.view.wall(phase.since), 2), round(phase.seconds, 2)))

    async def _watch(self) -> None:
        """Feed the view while others work, and see to it that there is a cluster to work with."""
        noted, said = time.monotonic(), 0.0  # the last note; the silence that was last spoken of
        while True:
            await asyncio.sleep(1)
            if not self.actors.started:
                continue
            await self.actors.check_alive()
            ledgers, training = await self.actors.progress()
            self.view.tick(sum(each.tokens for each in ledgers.values()), (training.done, training.steps))
            self.metrics = self.metrics or Metrics(self.options.name)
            self.metrics.look(ledgers, training, self.view, self.done)
            if time.monotonic() - noted >= NOTE_SECONDS:
                noted, now = time.monotonic(), await self.actors.pending() | self.view.now()
                self.metrics.waits(now)
                doctor.note(self.store, now)
                if now["silent"] - said >= self.options.placement.silence:
                    said = now["silent"]
                    for line in [f"nothing committed or trained for {doctor.span(said)}; pending:", *doctor.pending(now)]:
                        self.view.say(line)
                said = min(said, now["silent"])


async def ended(task: asyncio.Task) -> None:
    """Cancel a task until it has ended: one cancellation may be lost where it meets the end of what is awaited (3.11)."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)


def plan_key(number: int, split: str) -> str:
    return f"plans/{round_key(number)}/{split}"


def problem_of(row: dict) -> Problem:
    """A plan's row as a problem."""
    return Problem(row["id"], row["prompt"], row["answer"], row["level"])


def kept(decisions: pa.Table) -> pa.Table:
    """The rows of a decision table that are kept."""
    return decisions.filter(pa.array([not reason for reason in decisions["reason"].to_pylist()], pa.bool_()))


def check_unchanged(store: Store, config: DictConfig, schema: type = Config) -> None:
    """Write the config of a new run; refuse one that differs from an existing run's. `rounds` may grow, and actors may be
    placed otherwise."""
    if not store.has("config", ".yaml"):
        if config.run.fork:
            fork(store, config.run.fork)
        store.put_text("config.yaml", OmegaConf.to_yaml(config))
        return
    old = settings.load(schema, PACKAGES, store.local("config.yaml"), [])  # options newer than the run have their defaults
    for key, before, now in settings.differences(*(OmegaConf.create(OmegaConf.to_yaml(each)) for each in (old, config))):
        if key == "rounds" and isinstance(now, int) and now >= before:
            continue
        # The folder may have been moved, and weights are the same however they come.
        if key in ("run.dir", "generate.transfer") or key.startswith(("placement.", "report.", "track")):
            continue
        if key == "verdicts" or (config.verdicts and key.startswith("verify.")):  # every verdict says who gave it
            continue
        hint = "rounds may only grow" if key == "rounds" else "type run.dir=FOLDER to start another run"
        raise UserError(f"{store.place}/config.yaml: {key} is {before!r} in this run, but {now!r} was asked for; {hint}")


OF_ROUNDS = ("models", "judges", "plans", "traces", "scores", "filters", "manifests", "rounds")


def fork(store: Store, source: str) -> None:
    """Begin with rounds 0 to N of another run ("OTHER@N"): its files are immutable, so they are linked or copied."""
    folder, _, last = source.rpartition("@")
    if "://" in folder or "://" in store.place:
        raise UserError(f"run.fork is {source!r} and run.dir {store.place}; both have to be folders on a disk")
    other = Store(folder)
    if not folder or not last.isdigit() or not other.has("rounds/" + round_key(int(last)), ".json"):
        raise UserError(f"run.fork is {source!r}; expected FOLDER@ROUND with a finished round, e.g. runs/quickstart@3")
    numbers = [f"{letter}{number:05d}" for number in range(int(last) + 1) for letter in "rmj"]
    for path in sorted(other.root.rglob("*")):
        parts = path.relative_to(other.root).parts
        if not (parts[0] in OF_ROUNDS and len(parts) > 1 and path.is_file() and parts[1][:6] in numbers):
            continue
        target = store.root.joinpath(*parts)
        make_folder(target.parent)
        with contextlib.suppress(FileExistsError):
            try:
                os.link(path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:  # another filesystem
                    raise
                put(target, store.root / "_tmp" / f"fork-{os.getpid()}", lambda tmp, path=path: shutil.copyfile(path, tmp))
