"""Which problems a round or a measurement gets, as units of work. A plan is committed once, before it is searched."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.folder.arm import Arm
from cluster.folder.book import Book, history_of, problem_of
from cluster.folder.layout import model_folder, model_key
from cluster.remote import encode
from cluster.searcher import Unit
from iteration import curriculum
from iteration.errors import UserError
from iteration.examples import tally, tree_of
from iteration.measuring import solve_rates
from iteration.protocols import Task
from iteration.respond import seed_of
from iteration.types import History, Problem

if TYPE_CHECKING:
    from cluster.config import Config


class Planning:
    """options: of the run; searched: the arm whose answers are trained on, in every round."""

    def __init__(self, task: Task, book: Book, options: Config, searched: Arm):
        self._task, self._book, self._options, self._searched = task, book, options, searched

    def round(self, number: int, problems: int = 0) -> None:
        """Commit the problems of a round: levels by the solve rates of the rounds before, problems by seed."""
        if self._book.planned(self._searched, number):
            return
        solved: dict[int, float] = {}
        for before in range(1, number):
            solved |= solve_rates(self._book.nodes(self._searched, before, ["level", "state"]))
        rng = np.random.default_rng(seed_of(self._options.seed, "problems", number))
        history = self._history(number)
        again = self._unsolved(number, history, rng)
        wanted = curriculum.shares(self._task.levels(), solved, (problems or self._options.problems) - len(again))
        known = {problem.id for problem in again}
        drawn = [p for level, n in wanted.items() for p in self._task.draw("train", level, n, rng)]
        chosen = again + [problem for problem in drawn if problem.id not in known]
        # Levels are mixed over the units, so that units take about the same time.
        mixed = [chosen[i] for i in rng.permutation(len(chosen))]
        self._commit(self._searched.plan_key(number), mixed, history)

    def held_out(self, arm: Arm) -> None:
        """Commit the held-out problems of the measurements, once for all rounds."""
        if self._book.planned(arm, 0):
            return
        rng = np.random.default_rng(seed_of(self._options.seed, "held-out"))
        wanted = self._options.measure
        problems = [p for level in wanted.levels for p in self._task.draw(arm.split, level, wanted.problems, rng)]
        if not problems:
            raise UserError(f"measure.levels {wanted.levels}: the task has no held-out problem of these levels")
        self._commit(arm.plan_key(0), [problems[i] for i in rng.permutation(len(problems))])

    def fresh(self, arm: Arm, levels: list[int], problems: int, measured: Arm) -> None:
        """Commit held-out problems of each level that are not those of arm `measured`, which decided on promotions."""
        if self._book.planned(arm, 0):
            return
        known = set(self._book.plan(measured, 0, ["id"])["id"].to_pylist())
        rng = np.random.default_rng(seed_of(self._options.seed, arm.plan))
        drawn = [self._task.draw(arm.split, level, problems + len(known), rng) for level in levels]
        fresh = [[problem for problem in each if problem.id not in known][:problems] for each in drawn]
        found = [problem for each in fresh for problem in each]
        self._commit(arm.plan_key(0), [found[i] for i in rng.permutation(len(found))])

    def units(self, arm: Arm, number: int, model: str, judge: str) -> list[Unit]:
        """The units of an arm in a round.

        model: the version that answers; judge: that of the value model that leads the search, "" for none.
        """
        found: dict[int, list[dict]] = defaultdict(list)
        for row in self._book.plan(arm, number).to_pylist():
            found[row["unit"]].append(row)
        return [
            Unit(
                arm,
                number,
                unit,
                [problem_of(row) for row in rows],
                [row["shown"] for row in rows],
                model,
                [history_of(row) for row in rows],
                judge,
            )
            for unit, rows in sorted(found.items())
        ]

    @cached_property
    def tokenizer(self) -> Any:
        """Of the first model, so of all models of the run."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._book.store.folder(model_folder(model_key(0))))

    def _history(self, number: int) -> dict[str, History]:
        """What the rounds before `number` made of each problem that they searched."""
        columns = ["id", "node", "problem_id", "state"]
        before = [self._book.nodes(self._searched, r, columns) for r in range(1, number)]
        if not before:
            return {}
        nodes = pa.concat_tables(before)
        roots = nodes.filter(pc.equal(nodes["node"], 0))
        newest = dict(zip(roots["problem_id"].to_pylist(), map(tree_of, roots["id"].to_pylist()), strict=True))
        counts = tally(nodes["problem_id"].to_pylist(), nodes["state"].to_pylist())
        return {problem: History(*each, newest.get(problem, "")) for problem, each in counts.items()}

    def _unsolved(self, number: int, history: dict[str, History], rng: np.random.Generator) -> list[Problem]:
        """Problems of earlier rounds that no answer has solved, up to the share `retry` of a round."""
        most = int(self._options.retry * self._options.problems)
        if not most:
            return []
        found: dict[str, Problem] = {}
        for before in range(1, number):
            found |= self._book.problems(self._searched, before)
        names = sorted(name for name in found if name in history and not history[name].solved)
        return [found[names[i]] for i in rng.permutation(len(names))[:most]]

    def _commit(self, key: str, problems: list[Problem], history: dict[str, History] | None = None) -> None:
        tokenizer, room = self.tokenizer, self._options.generate.context
        for problem in problems:  # said now, and not by an engine in the middle of a round
            needed = len(encode(tokenizer, self._task.prompt(problem)))
            if needed >= room:
                raise UserError(
                    f"problem {problem.id}: its prompt has {needed} tokens, but generate.context is {room} for prompt and "
                    f"answer; type generate.context=N (and train.row_tokens=N) and another run.dir"
                )
        columns = {name: [getattr(problem, name) for problem in problems] for name in ("id", "prompt", "answer", "level")}
        units = [i // self._options.unit for i in range(len(problems))]
        before = [(history or {}).get(problem.id, History()) for problem in problems]
        columns |= {name: [getattr(each, name) for each in before] for name in ("tried", "solved", "tree")}
        shown = [self._task.prompt(problem) for problem in problems]
        self._book.store.put_table(key, pa.table(columns | {"shown": shown, "unit": units}))
