"""Value models and second verifiers in a run: teaching, serving, scoring, calibrating; audits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cluster.crew import Member
from cluster.engine import lists
from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.folder.layout import SCORE, audit_key, judge_key, model_folder, score_key
from cluster.folder.measured import Measured
from cluster.folder.verdicts import verdict_table
from cluster.placement import Actors
from cluster.planning import Planning
from cluster.remote import encode
from cluster.verifier import tag
from cluster.view import View
from iteration.errors import UserError
from iteration.measuring import audited
from iteration.parts import Part
from iteration.protocols import GradesSteps
from iteration.respond import opened, seed_of
from iteration.types import Audit, Calibration, State, Verdict

if TYPE_CHECKING:
    from cluster.config import Config

AUDITED = 64  # answers in one message to the second verifier
COMPARED = 8  # prompts whose scores by engine and trainer are compared after an update


def check_judge(judge: Part | None, verify: Part) -> None:
    """Raises UserError where a judge uses the verifier's verdicts on steps, and the verifier has none."""
    if judge and not judge.make().learned and not isinstance(verify.make(), GradesSteps):
        raise UserError(
            f"judge.name={judge.name} uses the verifier's verdicts on steps, but verify.name={verify.name} cannot grade steps; "
            "type judge.name=process"
        )


class Judging:
    """engines: the lock under which searching, scoring and measuring take turns with the weights."""

    def __init__(self, book: Book, options: Config, actors: Actors, view: View, engines: asyncio.Lock, planning: Planning):
        self._book, self._options, self._actors, self._view = book, options, actors, view
        self._engines, self._planning = engines, planning

    def newest(self, judge: Part | None, number: int) -> str:
        """The value model of the newest round up to `number`; "" where there is none, or the judge has no model."""
        if judge is None or not judge.type.learned:
            return ""
        keys = (judge_key(before, judge.name) for before in range(number, 0, -1))
        return next((key for key in keys if self._book.store.has(model_folder(key), "")), "")

    async def teach(self, number: int, trunk: int, judge: Part | None, verify: Part, arm: Arm) -> str:
        """Train a round's value model from the weights of model `trunk` on the answers of `arm`.

        Returns its version, "" where there is nothing to train.
        """
        if judge is None or not judge.type.learned:
            return ""
        version = judge_key(number, judge.name)
        if not self._book.store.has(model_folder(version), ""):
            with self._view.phase(number, "judge"):
                step_end = self._options.generate.step_end
                if not await self._actors.train("judge", number, trunk, judge, verify, step_end, arm):
                    return ""
        return version

    async def serve(self, number: int, version: str, held_out: Arm) -> None:
        """Give the judges' engines a value model, and compare some of its scores with the trainer's own forward pass."""
        if self._actors.judged == version:
            return
        shown = self._book.plan(held_out, 0, ["shown"])["shown"].to_pylist()[:COMPARED]
        prefixes = [encode(self._planning.tokenizer, each) for each in shown]
        table = pa.table([lists(prefixes, pa.int32())], ["token_ids"])
        own = await self._actors.train("scores", version, prefixes)
        drifts = []

        async def prepare(engine: Member) -> None:
            await self._actors.give(engine, version)
            drifts.append(float(np.abs(own - await engine.handle.score.remote(table, version)).max()))
            self.check_drift(drifts[-1], f"after the update to {version} the engine's scores", "", "its scores")

        with self._view.phase(number, "update") as phase:
            await self._actors.judges.make_ready(prepare)
            phase.note = f"scores of {version} within {drifts[0]:.1e} of the trainer's"
        self._actors.judged = version

    def check_drift(self, drift: float, what: str, unit: str, whose: str) -> None:
        """Raises UserError where an engine does not compute what the trainer computes."""
        if not drift <= self._options.drift:
            raise UserError(
                f"{what} differ from the trainer's by {drift:.2g}{unit}, more than drift={self._options.drift:g}: {whose} "
                "would not be the model's own. An engine in bfloat16 needs drift=0.3; in float32 this is a fault"
            )

    async def score(self, arm: Arm, number: int, version: str, judge: Part, held_out: Arm) -> None:
        """Score the answers of a searched arm with a value model, into side files; nothing is generated."""
        store = self._book.store
        keys = {key: score_key(version, key) for key in self._book.units(arm, number)}
        todo = {key: target for key, target in keys.items() if not store.has(target)}

        def aside(keys: tuple[str, str], reason: str) -> None:
            store.set_aside(keys[1], SCORE, reason)
            self._view.say(f"WARNING: {keys[1]} is set aside, its answers have no scores: {reason}")

        async with self._engines:
            if todo:
                await self.serve(number, version, held_out)
                with self._view.phase(number, "score", len(keys), len(keys) - len(todo)) as phase:
                    await self._actors.score(todo, judge, version, phase.unit_done, aside)

    async def calibrate(self, arm: Arm, model: int, version: str, judge: Part | None, verifier: Any) -> list[Calibration]:
        """The calibration of a value model on the held-out answers (arm) of a model."""
        if judge is None or not version:
            return []
        await self.score(arm, model, version, judge, arm)
        measured = Measured.read(self._book, arm, model, version)
        aggregate = judge.options.get("aggregate", "last")
        steps = verifier.steps if isinstance(verifier, GradesSteps) else None
        return [measured.calibration(level, aggregate, steps) for level in self._options.measure.levels]

    async def audit(self, arm: Arm, number: int, decisions: pa.Table, part: Part | None) -> Audit | None:
        """Grade a sample of the accepted answers of a round's search, and as many refused ones, with a second verifier."""
        if part is None:
            return None
        store, key = self._book.store, audit_key(number)
        if not store.has(key):
            states = np.array(decisions["state"].to_pylist(), object)
            right, wrong = (np.flatnonzero(states == str(state)) for state in (State.CORRECT, State.WRONG))
            rng = np.random.default_rng(seed_of(self._options.seed, "audit", number))
            n = int(np.ceil(self._options.audit_share * len(right)))
            sample = np.concatenate([rng.permutation(each)[:n] for each in (right, wrong)])
            chosen = decisions.take(pa.array(np.sort(sample), pa.int64()))
            problems = self._book.problems(arm, number)
            asked = [problems[name] for name in chosen["problem_id"].to_pylist()]
            texts = list(map(opened, chosen["prompt"].to_pylist(), chosen["answer_text"].to_pylist()))
            graded: dict[int, list[Verdict]] = {}

            def aside(batch: tuple, reason: str) -> None:
                graded[batch[0]] = [Verdict(State.FAILED, why=reason)] * len(batch[1])

            starts = range(0, len(chosen), AUDITED)
            batches = [(i, asked[i : i + AUDITED], texts[i : i + AUDITED]) for i in starts]
            with self._view.phase(number, "audit"):
                await self._actors.audit(batches, part, lambda each: graded.__setitem__(*each), aside)
            verdicts = [verdict for i in starts for verdict in graded[i]]
            store.put_table(key, verdict_table(chosen["id"].to_pylist(), verdicts, tag(part)))
        given = store.table(key, ["id", "state"])
        first = dict(zip(decisions["id"].to_pylist(), decisions["state"].to_pylist(), strict=True))
        return audited([first[name] for name in given["id"].to_pylist()], given["state"].to_pylist())
