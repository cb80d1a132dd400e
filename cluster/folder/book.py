"""The one reader of a run folder: problems, answers, decisions and records, what is finished and what was set aside.

It imports neither ray nor vllm: reports, lists and explanations need no cluster. Committed files never change, but more may be
added, so only the config is kept in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from omegaconf import DictConfig, OmegaConf

from cluster.folder import old
from cluster.folder.arm import Arm
from cluster.folder.layout import arm_key, filter_key, plan_key, record_key, round_key, unit_key, unit_of, units_folder
from cluster.folder.store import Store
from iteration.errors import UserError
from iteration.types import History, Problem

CLOSED_BY = {"compare": "compared", "eval": "evaluated"}  # a section of the config, and the record that ends such a run


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
        return OmegaConf.load(self.store.local("config.yaml"))

    # rounds

    def records(self) -> list[dict]:
        """The records of the finished rounds, in order (iteration.types.Round as JSON)."""
        return [self.record(number) for number in self._numbers("rounds", ".json")]

    def record(self, number: int) -> dict:
        return self.store.json(record_key(number))

    def recorded(self, number: int) -> bool:
        """Rounds are finished in order: this one, and all before it."""
        return self.store.has(record_key(number), ".json")

    def newest(self) -> int:
        """The newest finished round; -1 where there is none."""
        return max(self._numbers("rounds", ".json"), default=-1)

    def wanted(self) -> int:
        """How many rounds are wanted, as far as the folder tells: `rounds` may have grown since the run began."""
        single = {arm.round for arm in self.arms().values()}  # a comparison plans one round more, for its sources
        planned = [number for number in self._numbers("plans", "") if number not in single]
        return max(self.config.rounds, self.newest(), *planned)

    def _numbers(self, folder: str, suffix: str) -> list[int]:
        return [int(name[1:6]) for name in self.store.names(folder) if name.endswith(suffix)]

    def finished(self, rounds: int | None = None) -> bool:
        """Is every round recorded, every arm searched, and the closing record written?

        rounds: how many are wanted, where the caller knows it better than the folder.
        """
        closing = next((record for section, record in CLOSED_BY.items() if section in self.config), "")
        return (
            self.recorded(self.wanted() if rounds is None else rounds)
            and not any(each.committed < each.planned for each in self.progress() if each.arm.round is not None)
            and (not closing or self.store.has(closing, ".json"))
        )

    def progress(self) -> list[Progress]:
        """Every arm in every round that is begun and not recorded; arms of a single round whether begun or not."""
        found = []
        for number in range(self.newest() + 2):
            if not self.recorded(number):
                found += [Progress(arm, number, *self.counts(arm, number)) for arm in self.arms().values() if arm.round is None]
        found = [each for each in found if each.committed or (each.planned and not each.arm.blind)]
        for arm in self.arms().values():
            if arm.round is not None:
                found.append(Progress(arm, arm.round, *self.counts(arm, arm.round)))
        return found

    def counts(self, arm: Arm, number: int) -> tuple[int, int]:
        """(units committed, units planned) of an arm in a round; an arm that has no plan yet counts as one unit."""
        if not self.store.has(arm.plan_key(number)):
            return 0, int(arm.round is not None)
        planned = set(self.store.table(arm.plan_key(number), ["unit"])["unit"].to_pylist())
        return len(self.store.units(units_folder(number, arm.name)) & planned), len(planned)

    # arms

    def arms(self) -> dict[str, Arm]:
        """Every way in which this run searches problems, by name."""
        names = [name.removesuffix(".json") for name in self.store.names("arms")]
        found = {name: Arm.read(self.store.json(arm_key(name))) for name in names}
        return found or {arm.name: arm for arm in old.arms(self.store, self.config)}

    def arm(self, name: str) -> Arm:
        """Raises UserError where there is none."""
        found = self.arms()
        if name not in found:
            raise UserError(f"{self.store.place}: no answers of {name!r} (there are: {', '.join(found) or 'none'})")
        return found[name]

    def rounds_of(self, arm: Arm) -> list[int]:
        """The rounds in which an arm has units."""
        return [number for number in self._numbers("traces", "") if self.store.units(units_folder(number, arm.name))]

    # problems

    def planned(self, arm: Arm, number: int) -> bool:
        return self.store.has(arm.plan_key(number))

    def plan(self, arm: Arm, number: int, columns: list[str] | None = None) -> pa.Table:
        """The problems of an arm with their units, what was made of them before, and the prompts as shown."""
        return self.store.table(arm.plan_key(number), columns)

    def problems(self, arm: Arm, number: int) -> dict[str, Problem]:
        """The problems of an arm, by id; none where nothing is planned."""
        return self._problems(arm.plan_key(number)) if self.planned(arm, number) else {}

    def every_problem(self) -> dict[str, Problem]:
        """Every planned problem of the run, by id; one that was planned again has the text of the newest plan."""
        found = {}
        for number in self._numbers("plans", ""):
            for name in self.store.names(f"plans/{round_key(number)}"):
                found |= self._problems(plan_key(number, name.removesuffix(".parquet")))
        return found

    def _problems(self, key: str) -> dict[str, Problem]:
        return {row["id"]: problem_of(row) for row in self.store.table(key).to_pylist()}

    # answers

    def units(self, arm: Arm, number: int) -> list[str]:
        """The keys of an arm's committed units in a round, in order; those that were set aside hold no rows."""
        return [unit_key(number, arm.name, unit) for unit in sorted(self.store.units(units_folder(number, arm.name)))]

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
            raise FileNotFoundError(f"{self.store.place}/{units_folder(number, arm.name)}: no units")
        return pa.concat_tables(tables, promote_options="default")  # units of an older version may lack a column

    def asides(self, arm: Arm, number: int) -> dict[str, str]:
        """The keys of the units that were set aside, each with its reason."""
        found = self.store.asides(units_folder(number, arm.name))
        return {unit_key(number, arm.name, unit): reason for unit, reason in found.items()}

    def every_aside(self) -> dict[str, str]:
        """Of all arms and rounds."""
        found: dict[str, str] = {}
        for arm in self.arms().values():
            for number in self.rounds_of(arm):
                found |= self.asides(arm, number)
        return found

    def find(self, trace: str) -> tuple[Arm, int, str]:
        """(arm, round, key of its unit) of a trace id. Raises UserError where it is none, or of no unit of this run."""
        found = unit_of(trace)
        if not found:
            example = "r00002/train/u00003/t005/n0002 (RUN/traces/**, column id)"
            raise UserError(f"{trace!r} is no trace id; expected e.g. {example}")
        number, name, unit = found
        key = unit_key(number, name, unit)
        if not self.store.has(key):
            raise UserError(f"{self.store.place}: no unit {key}.parquet in this run")
        return self.arm(name), number, key

    # what is kept

    def decisions_key(self, arm: Arm, number: int, verdicts: str | None = None) -> str:
        """Where the decisions lie that training follows: those of the regrading `verdicts`, where it has them.

        verdicts: None for the regrading that the newest round's record names.
        """
        key = filter_key(number, "" if arm.round is None else arm.name)
        if verdicts is None:
            verdicts = self.record(self.newest()).get("verdicts", "") if self.newest() >= 0 else ""
        regraded = f"verdicts/{verdicts}/{key}"
        return regraded if verdicts and self.store.has(regraded) else key

    def decisions(self, arm: Arm, number: int, columns: list[str] | None = None) -> pa.Table | None:
        """What was kept of an arm's answers, and why the rest was not (schema iteration.examples.DECISION).

        None before that is decided, and for held-out problems.
        """
        key = self.decisions_key(arm, number)
        return self.store.table(key, columns) if not arm.blind and self.store.has(key) else None

    def manifests(self) -> Iterator[tuple[str, list[str]]]:
        """(model, ids of the traces that it is trained on, in order) of every manifest."""
        for name in self.store.names("manifests"):
            key = name.removesuffix(".parquet")
            yield f"m{key[1:]}", self.store.table(f"manifests/{key}", ["trace_id"])["trace_id"].to_pylist()

    def closing(self) -> dict:
        """The record that ends a comparison or an evaluation; empty where it has none yet."""
        for record in CLOSED_BY.values():
            with contextlib.suppress(FileNotFoundError):
                return self.store.json(record)
        return {}


def problem_of(row: dict) -> Problem:
    """A plan's row as a problem."""
    return Problem(row["id"], row["prompt"], row["answer"], row["level"])


def history_of(row: dict) -> History:
    """What earlier rounds made of it, as a plan's row says."""
    return History(row["tried"], row["solved"], row.get("tree") or "")
