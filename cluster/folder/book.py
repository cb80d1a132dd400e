"""The one reader of a run folder: problems, answers, decisions and records, what is finished and what was set aside.

It imports neither ray nor vllm: reports, lists and explanations need no cluster. Committed files never change, but more may be
added, so only the config is kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from omegaconf import DictConfig, OmegaConf

from cluster.folder import layout, old
from cluster.folder.arm import Arm
from cluster.folder.store import Store
from iteration.errors import UserError
from iteration.types import History, Problem

PROBLEM = ["id", "prompt", "answer", "level", "question"]  # columns of a plan
# A section of the config, and the record that closes such a run.
CLOSED_BY = {"compare": layout.COMPARED, "eval": layout.EVALUATED}


@dataclass(frozen=True, slots=True)
class Progress:
    """An arm in a round, as far as it is committed."""

    arm: Arm
    round: int
    committed: int  # units
    planned: int


class Book:
    def __init__(self, store: Store):
        self.store = store

    @cached_property
    def config(self) -> DictConfig:
        """What the run was started with, unchecked."""
        return OmegaConf.load(self.store.local(layout.CONFIG))

    # rounds

    def records(self) -> list[dict]:
        """The records of the finished rounds, in order (iteration.types.Round as JSON)."""
        return [self.record(number) for number in self._numbers(layout.ROUNDS, ".json")]

    def record(self, number: int) -> dict:
        return self.store.json(layout.record_key(number))

    def written(self) -> float:
        """Time of the newest round's record, or of the run's start, in seconds since 1970; for runs on a disk."""
        root = self.store.root
        return max(path.stat().st_mtime for path in (root / layout.CONFIG, *root.glob(f"{layout.ROUNDS}/*")))

    def last_error(self) -> tuple[float, str] | None:
        """(time, last line) of the error that ended a driver; None if there is none."""
        log = self.store.root / layout.ERRORS
        if not log.is_file():
            return None
        return log.stat().st_mtime, "".join(log.read_text(encoding="utf-8").strip().splitlines()[-1:])

    def recorded(self, number: int) -> bool:
        """Rounds are finished in order: this one, and all before it."""
        return self.store.has(layout.record_key(number), ".json")

    def newest(self) -> int:
        """The newest finished round; -1 where there is none."""
        return max(self._numbers(layout.ROUNDS, ".json"), default=-1)

    def wanted(self) -> int:
        """How many rounds are wanted, as far as the folder tells: `rounds` may have grown since the run began."""
        planned = self._numbers(layout.PLANS, "")
        if "compare" in self.config:  # it plans one round more, for its sources
            planned = [number for number in planned if number != self.config.rounds + 1]
        return max(self.config.rounds, self.newest(), *planned)

    def _numbers(self, folder: str, suffix: str) -> list[int]:
        names = [name for name in self.store.names(folder) if name.endswith(suffix)]
        return [int(name[1:6]) for name in names if name[:1] == "r" and name[1:6].isdecimal()]

    def left(self, rounds: int | None = None) -> list[str]:
        """The work that is left, in words: rounds to record, arms to search, the closing record. Empty if the run is finished.

        rounds: the number of rounds to run, if the caller knows better than the folder.
        """
        wanted = self.wanted() if rounds is None else rounds
        missing = [] if self.recorded(wanted) else [f"round {self.newest() + 1} of {wanted} is not finished"]
        for each in self.progress():
            if each.arm.round is not None and each.committed < each.planned:
                missing.append(f"arm {each.arm.name} has {each.committed} of {each.planned} units of round {each.round}")
        missing += [f"{record}.json is missing" for record in self._closed_by() if not self.store.has(record, ".json")]
        return missing

    def finished(self, rounds: int | None = None) -> bool:
        """Is every round recorded, every arm searched, and the closing record written?"""
        return not self.left(rounds)

    def tabled(self) -> bool:
        """Do the tables exist that a comparison writes when all its seeds are finished? True for other runs."""
        return "compare" not in self.config or (self.store.root.parent / layout.TABLES).is_file()

    def _closed_by(self) -> list[str]:
        return [record for section, record in CLOSED_BY.items() if section in self.config]

    def progress(self) -> list[Progress]:
        """Every arm of each started, unrecorded round; arms of a single round whether started or not."""
        arms = self.arms().values()
        rounds = [number for number in range(self.wanted() + 1) if not self.recorded(number)]
        every = [Progress(arm, n, *self.counts(arm, n)) for n in rounds for arm in arms if arm.round is None]
        begun = [each for each in every if each.committed or (each.planned and not each.arm.blind)]
        return begun + [Progress(arm, arm.round, *self.counts(arm, arm.round)) for arm in arms if arm.round is not None]

    def stands(self) -> str:
        """Where the run stands, in words: the rounds that are finished, and what is committed of the others."""
        newest = self.newest()
        words = [f"round {newest} is finished" if newest >= 0 else "no round is finished yet"]
        for each in self.progress():
            if each.committed and (each.committed < each.planned or each.arm.round is None):
                name = each.arm.title if each.arm.round is None else each.arm.name
                words.append(f"round {each.round}, {name}: {each.committed} of {each.planned} units are committed")
        for model in map(layout.model_key, range(newest + 1, self.wanted() + 1)):
            if self.has_model(model):
                words.append(f"{model} is trained")
            elif saved := self.store.names(layout.checkpoints_folder(model)):
                words.append(f"{model} is trained up to step {int(saved[-1][1:])}")
        return "; ".join(words)

    def counts(self, arm: Arm, number: int) -> tuple[int, int]:
        """(units committed, units planned) of an arm in a round; an arm that has no plan yet counts as one unit."""
        if not self.store.has(arm.plan_key(number)):
            return 0, int(arm.round is not None)
        planned = set(self.store.table(arm.plan_key(number), ["unit"])["unit"].to_pylist())
        return len(self.store.units(layout.units_folder(number, arm.name)) & planned), len(planned)

    # arms

    def arms(self) -> dict[str, Arm]:
        """Every way in which this run searches problems, by name. That of the training problems is written last."""
        names = [name.removesuffix(".json") for name in self.store.names(layout.ARMS) if name.endswith(".json")]
        written = {name: Arm.read(self.store.json(layout.arm_key(name))) for name in names}
        if any(not arm.blind and arm.round is None for arm in written.values()):
            return written
        return {arm.name: arm for arm in old.arms(self.store, self.config)} | written

    def arm(self, name: str) -> Arm:
        """Raises UserError where there is none."""
        arms = self.arms()
        if name not in arms:
            raise UserError(f"{self.store.place}: no answers of {name!r} (there are: {', '.join(arms) or 'none'})")
        return arms[name]

    @property
    def train(self) -> Arm:
        """The arm that is trained on in every round."""
        return next(arm for arm in self.arms().values() if arm.round is None and not arm.blind)

    @property
    def test(self) -> Arm:
        """The arm that measures every round's model: of several, the first by name."""
        return next(arm for arm in self.arms().values() if arm.round is None and arm.blind)

    def rounds_of(self, arm: Arm) -> list[int]:
        """The rounds in which an arm has units."""
        return [number for number in self._numbers(layout.TRACES, "") if self.units(arm, number)]

    # problems

    def planned(self, arm: Arm, number: int) -> bool:
        return self.store.has(arm.plan_key(number))

    def plan(self, arm: Arm, number: int, columns: list[str] | None = None) -> pa.Table:
        """The problems of an arm with their units, their earlier results and the prompts as shown."""
        return self.store.table(arm.plan_key(number), columns)

    def problems(self, arm: Arm, number: int) -> dict[str, Problem]:
        """The problems of an arm, by id; none where nothing is planned."""
        if not self.planned(arm, number):
            return {}
        return {row["id"]: problem_of(row) for row in self.plan(arm, number, PROBLEM).to_pylist()}

    def held_out(self) -> list[Problem]:
        """The problems of all measurements, of every arm: round 0 has no other plans."""
        keys = [layout.plan_key(0, name.removesuffix(".parquet")) for name in self.store.names(layout.plans_folder(0))]
        return [problem_of(row) for key in keys for row in self.store.table(key, PROBLEM).to_pylist()]

    def shown(self, arm: Arm, number: int) -> dict[str, str]:
        """The problems of an arm as the task asks them, without a chat template, by id."""
        rows = self.plan(arm, number, ["id", "shown"]).to_pylist() if self.planned(arm, number) else []
        return {row["id"]: row["shown"] for row in rows}

    # answers

    def units(self, arm: Arm, number: int) -> list[str]:
        """The keys of an arm's committed units in a round, in order; those that were set aside hold no rows."""
        units = self.store.units(layout.units_folder(number, arm.name))
        return [layout.unit_key(number, arm.name, unit) for unit in sorted(units)]

    def every_unit(self) -> Iterator[tuple[Arm, int, str]]:
        """(arm, round, key) of every committed unit."""
        for arm in self.arms().values():
            for number in self.rounds_of(arm):
                for key in self.units(arm, number):
                    yield arm, number, key

    def nodes(self, arm: Arm, number: int, columns: list[str] | None = None) -> pa.Table:
        """An arm's nodes of a round (schema TRACE), unit by unit. Raises FileNotFoundError where it has no units."""
        tables = [self.store.table(key, columns) for key in self.units(arm, number)]
        if not tables:
            raise FileNotFoundError(f"{self.store.place}/{layout.units_folder(number, arm.name)}: no units")
        return pa.concat_tables(tables, promote_options="default")  # units of an older version may lack a column

    def unit(self, key: str, columns: list[str] | None = None) -> pa.Table:
        """The nodes of one unit (schema TRACE), by its key."""
        return self.store.table(key, columns)

    def asides(self, arm: Arm, number: int) -> dict[str, str]:
        """The keys of the units that were set aside, each with its reason."""
        units = self.store.asides(layout.units_folder(number, arm.name))
        return {layout.unit_key(number, arm.name, unit): reason for unit, reason in units.items()}

    def every_aside(self) -> dict[str, str]:
        """Of all arms and rounds."""
        asides: dict[str, str] = {}
        for arm in self.arms().values():
            for number in self.rounds_of(arm):
                asides |= self.asides(arm, number)
        return asides

    def find(self, trace: str) -> tuple[Arm, int, str]:
        """(arm, round, key of its unit) of a trace id. Raises UserError where it is none, or of no unit of this run."""
        place = layout.unit_of(trace)
        if not place:
            example = "r00002/train/u00003/t005/n0002 (RUN/traces/**, column id)"
            raise UserError(f"{trace!r} is no trace id; expected e.g. {example}")
        number, name, unit = place
        key = layout.unit_key(number, name, unit)
        if not self.store.has(key):
            raise UserError(f"{self.store.place}: no unit {key}.parquet in this run")
        return self.arm(name), number, key

    def scores(self, judge: str, unit: str) -> pa.Table:
        """Another value model's scores of a unit's answers (schema SCORE)."""
        return self.store.table(layout.score_key(judge, unit))

    def verdicts(self, name: str, unit: str) -> pa.Table | None:
        """A regrading's verdicts on a unit's answers (schema VERDICT); None if it has not graded them yet."""
        key = layout.verdict_key(name, unit)
        return self.store.table(key) if self.store.has(key) else None

    def put_verdicts(self, name: str, unit: str, verdicts: pa.Table) -> None:
        self.store.put_table(layout.verdict_key(name, unit), verdicts)

    # what is kept

    def decisions_key(self, arm: Arm, number: int, verdicts: str | None = None) -> str:
        """The key of the decisions that training uses: those of the regrading `verdicts`, if it has them.

        verdicts: None for the regrading that the newest round's record names.
        """
        key = layout.filter_key(number, "" if arm.round is None else arm.name)
        if verdicts is None:
            verdicts = self.record(self.newest()).get("verdicts", "") if self.newest() >= 0 else ""
        regraded = f"{layout.set_folder(verdicts)}/{key}"
        return regraded if verdicts and self.store.has(regraded) else key

    def decisions(
        self, arm: Arm, number: int, columns: list[str] | None = None, verdicts: str | None = None
    ) -> pa.Table | None:
        """Which of an arm's answers were kept, and why the others were not (schema iteration.examples.DECISION).

        None before the decision, and for held-out problems. verdicts: as for `decisions_key`.
        """
        key = self.decisions_key(arm, number, verdicts)
        return self.store.table(key, columns) if not arm.blind and self.store.has(key) else None

    def reasons(self, arm: Arm, number: int) -> dict[str, str] | None:
        """{id of an answer: why it was left out, "" where it was kept}; None where `decisions` has none."""
        decisions = self.decisions(arm, number, ["id", "reason"])
        if decisions is not None:
            return dict(zip(decisions["id"].to_pylist(), decisions["reason"].to_pylist(), strict=True))
        model = old.model_of(arm)
        if not model or not self.store.has(layout.manifest_key(model)):
            return None
        nodes, trained = self.nodes(arm, number, ["id", "state"]), set(self.manifest(model))
        ended = nodes.filter(nodes["state"].is_valid())["id"].to_pylist()
        return {name: "" if name in trained else old.UNSAID for name in ended}

    def manifest(self, model: str) -> list[str]:
        """The ids of the traces that a model is trained on, in order; none where there is no manifest."""
        key = layout.manifest_key(model)
        return self.store.table(key, ["trace_id"])["trace_id"].to_pylist() if self.store.has(key) else []

    def manifests(self) -> Iterator[tuple[str, list[str]]]:
        """(model, ids of the traces that it is trained on, in order) of every manifest."""
        for name in self.store.names(layout.MANIFESTS):
            yield layout.manifest_model(name), self.manifest(layout.manifest_model(name))

    def has_model(self, version: str) -> bool:
        return self.store.has(layout.model_folder(version), "")

    def model(self, version: str) -> Path:
        """The local path of a model or a value model."""
        return self.store.folder(layout.model_folder(version))

    def closing(self) -> dict:
        """The record that closes a comparison or an evaluation; empty where there is none."""
        written = [record for record in self._closed_by() if self.store.has(record, ".json")]
        return self.store.json(written[0]) if written else {}


def problem_of(row: dict) -> Problem:
    """A plan's row as a problem."""
    question = row["question"] if "question" in row else old.question_of(row["id"])
    return Problem(row["id"], row["prompt"], row["answer"], row["level"], question)


def history_of(row: dict) -> History:
    """A problem's results in earlier rounds, from a plan's row."""
    return History(row["tried"], row["solved"], row.get("tree") or "")
