"""Which problems a round or a measurement gets, as units of work. A plan is committed once, before it is searched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.folder.arm import Arm
from cluster.folder.book import PROBLEM, Book, history_of, problem_of
from cluster.folder.layout import TASK_RECORD, arm_key, model_folder, model_key
from cluster.remote import encode
from cluster.searcher import Unit
from iteration import curriculum
from iteration.chat import messages_of
from iteration.errors import UserError
from iteration.examples import tally, tree_of
from iteration.measuring import solve_rates
from iteration.protocols import Enumerable, FromFiles, Task
from iteration.respond import seed_of
from iteration.types import History, Problem

if TYPE_CHECKING:
    from cluster.config import Config

FRAME = 16  # tokens more than an empty prompt shows: a prefix space, a system message's pieces that merge differently
NAMED = 3  # problems that are named; the others are counted


def check_splits(task: str, splits: tuple[str, ...], arms: list[Arm]) -> None:
    """Raises UserError where an arm takes its problems from a split that the task does not have."""
    for arm in arms:
        if arm.split not in splits:
            where, hint = ("measure.split", f"measure.split={splits[-1]}") if arm.blind else ("task", "task.train=FILE")
            raise UserError(
                f"{where}: task {task} has no {arm.split} problems (it has: {', '.join(splits)}); type {hint}"
                + ("" if arm.blind else ", or rounds=0")
            )


class Planning:
    """options: of the run; searched: the arm whose answers are trained on, in every round; say: tells people a line."""

    def __init__(self, task: Task, book: Book, options: Config, searched: Arm, say: Callable[[str], None] = print):
        self._task, self._book, self._options, self._searched, self._say = task, book, options, searched, say
        self._sizes: dict[str, int] = {}  # tokens of prompts, by their text

    def check(self) -> None:
        """Report changes in the task's files since the run began, and problems whose prompts are too long.

        Needs the first model. Raises UserError where such problems are refused.
        """
        splits = self._task.splits()
        listed = {split: self._task.all(split) if isinstance(self._task, Enumerable) else [] for split in splits}
        files = dict(self._task.fingerprint()) if isinstance(self._task, FromFiles) else {}
        held_out = sorted({problem.id for split in splits if split != "train" for problem in listed[split]})
        if not self._book.store.put_json(TASK_RECORD, {"files": files, "held_out": held_out}):
            before = self._book.store.json(TASK_RECORD)["files"]
            for name in sorted({*files, *before}):
                if files.get(name) != before.get(name):
                    what = "is new" if name not in before else "is not read any more" if name not in files else "has changed"
                    self._say(f"WARNING: {name} {what} since this run began; problems held out then are not trained on")
        everything = [problem for each in listed.values() for problem in each]
        shown = {_roles(problem): self._task.prompt(problem) for problem in everything}
        for roles, each in shown.items():
            if roles:
                encode(self.tokenizer, each)  # raises where the chat template does not take them
        long = [problem for problem in everything if self._too_long(problem)]
        if long and isinstance(self._task, FromFiles) and self._task.bad_rows == "refuse":
            raise UserError(f"{self._named(long)}; or task.bad_rows=skip")
        if long:
            self._say(f"WARNING: skipped {self._named(long)}")

    def arms(self, arms: list[Arm]) -> None:
        """Write down how each arm is searched. Raises UserError where its answers are already in another round."""
        store, before = self._book.store, self._book.arms()
        for arm in arms:
            if arm.name in before and before[arm.name].round != arm.round:
                raise UserError(
                    f"{store.place}: {arm.name} was searched after round {before[arm.name].round}, so rounds cannot grow; type "
                    "run.dir=FOLDER to start another comparison"
                )
        for arm in reversed(arms):  # the arm of the training problems comes last: where it is written, all are
            store.put_json(arm_key(arm.name), arm.record())

    def round(self, number: int, problems: int = 0) -> None:
        """Commit the problems of a round: levels by the solve rates of the rounds before, problems by seed."""
        if self._book.planned(self._searched, number):
            return
        solved: dict[int, float] = {}
        for before in range(1, number):
            solved |= solve_rates(self._book.nodes(self._searched, before, ["level", "state"]))
        rng = np.random.default_rng(seed_of(self._options.seed, "problems", number))
        history = self._history(number)
        ids, prompts = self._held_out()

        def held_out(problem: Problem) -> bool:
            return problem.counted in ids or problem.prompt in prompts

        again = [problem for problem in self._unsolved(number, history, rng) if not held_out(problem)]
        wanted = curriculum.shares(self._task.levels(), solved, (problems or self._options.problems) - len(again))
        known = {problem.id for problem in again}
        drawn = [p for level, n in wanted.items() for p in self._draw("train", level, n, rng, held_out)]
        chosen = again + [problem for problem in drawn if problem.id not in known]
        if not chosen:
            raise UserError(f"round {number}: no training problem is left that is neither held out nor too long")
        # Levels are mixed over the units, so that units take about the same time.
        mixed = [chosen[i] for i in rng.permutation(len(chosen))]
        self._commit(self._searched.plan_key(number), mixed, history)

    def held_out(self, arm: Arm) -> None:
        """Commit the held-out problems of the measurements, once for all rounds."""
        if self._book.planned(arm, 0):
            return
        rng = np.random.default_rng(seed_of(self._options.seed, "held-out"))
        wanted = self._options.measure
        problems = [p for level in wanted.levels for p in self._draw(arm.split, level, wanted.problems, rng)]
        if not problems:
            raise UserError(
                f"measure.levels {list(wanted.levels)}: the task has no held-out problem of them; type measure.levels=[N]"
            )
        self._commit(arm.plan_key(0), [problems[i] for i in rng.permutation(len(problems))])

    def given(self, arm: Arm, problems: list[Problem]) -> None:
        """Commit the problems that have answers made elsewhere; those that are held out or too long are left out.

        Raises UserError where none is left.
        """
        if self._book.planned(arm, arm.round):
            return
        ids, prompts = self._held_out()
        barred = [each for each in problems if each.counted in ids or each.prompt in prompts]
        long = [each for each in problems if self._too_long(each)]
        left = [each for each in problems if each not in barred and each not in long]
        said = f"{arm.model}: of its {len(problems)} problems {len(barred)} are held out for measuring"
        said += f"; {self._named(long)}" if long else ""
        if not left:
            raise UserError(f"{said}; none is left to train on")
        if len(left) < len(problems):
            self._say(f"WARNING: {said}; they are left out")
        self._commit(arm.plan_key(arm.round), left)

    def fresh(self, arm: Arm, levels: list[int], problems: int, measured: Arm) -> None:
        """Commit held-out problems of each level; none was trained on, or is of arm `measured`, which decides on promotions."""
        if self._book.planned(arm, 0):
            return
        known = set(self._book.plan(measured, 0, ["id"])["id"].to_pylist())
        rng = np.random.default_rng(seed_of(self._options.seed, arm.plan))
        rounds = range(1, self._options.rounds + 1)
        trained = {problem.counted for n in rounds for problem in self._book.problems(self._searched, n).values()}

        def barred(problem: Problem) -> bool:
            return problem.counted in trained

        drawn = [self._draw(arm.split, level, problems + len(known), rng, barred) for level in levels]
        fresh = [[problem for problem in each if problem.id not in known][:problems] for each in drawn]
        chosen = [problem for each in fresh for problem in each]
        self._commit(arm.plan_key(0), [chosen[i] for i in rng.permutation(len(chosen))])

    def units(self, arm: Arm, number: int, model: str, judge: str) -> list[Unit]:
        """The units of an arm in a round.

        model: the version that answers; judge: that of the value model that leads the search, "" for none.
        """
        by_unit: dict[int, list[dict]] = defaultdict(list)
        for row in self._book.plan(arm, number).to_pylist():
            by_unit[row["unit"]].append(row)
        units = []
        for unit, rows in sorted(by_unit.items()):
            problems, histories = [problem_of(row) for row in rows], [history_of(row) for row in rows]
            units.append(Unit(arm, number, unit, problems, [row["shown"] for row in rows], model, histories, judge))
        return units

    def missing(self, units: list[Unit]) -> list[Unit]:
        """The units that are not committed: all of one arm and round."""
        committed = set(self._book.units(units[0].arm, units[0].round)) if units else set()
        return [unit for unit in units if unit.key not in committed]

    @cached_property
    def tokenizer(self) -> Any:
        """Of the first model, so of all models of the run."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._book.store.folder(model_folder(model_key(0))))

    def _history(self, number: int) -> dict[str, History]:
        """The results of each problem that the rounds before `number` searched."""
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
        """Unsolved problems of earlier rounds, up to the share `retry` of a round."""
        most = int(self._options.retry * self._options.problems)
        if not most:
            return []
        earlier: dict[str, Problem] = {}
        for before in range(1, number):
            earlier |= self._book.problems(self._searched, before)
        names = sorted(name for name in earlier if name in history and not history[name].solved)
        return [earlier[names[i]] for i in rng.permutation(len(names))[:most]]

    def _draw(
        self, split: str, level: int, n: int, rng: np.random.Generator, barred: Callable[[Problem], bool] | None = None
    ) -> list[Problem]:
        """Up to `n` problems of a level that are neither barred nor too long. Raises UserError where all are too long."""

        def unfit(problem: Problem) -> bool:
            return bool(barred and barred(problem)) or self._too_long(problem)

        # From a list, draw as many extra problems as may be removed; other tasks generate problems on request.
        listed = self._task.all(split) if isinstance(self._task, Enumerable) else []
        more = sum(unfit(problem) for problem in listed if problem.level == level)
        drawn = self._task.draw(split, level, n + more, rng)
        fit = [problem for problem in drawn if not unfit(problem)]
        long = [problem for problem in drawn if self._too_long(problem)]
        if long and not fit:
            raise UserError(self._named(long))
        return fit[:n]

    def _held_out(self) -> tuple[set[str], set[str]]:
        """(names, prompts) of the problems that were held out when the run began, and of all that measurements asked."""
        store, asked = self._book.store, self._book.held_out()
        record = store.json(TASK_RECORD) if store.has(TASK_RECORD, ".json") else {"held_out": []}
        return {*record["held_out"], *(problem.counted for problem in asked)}, {problem.prompt for problem in asked}

    def _too_long(self, problem: Problem) -> bool:
        return self._size(problem) >= self._options.generate.context

    def _size(self, problem: Problem) -> int:
        """Tokens of a problem's prompt as shown to the model; an upper bound if that is short enough."""
        shown = self._task.prompt(problem)
        most = len(shown.encode()) + self._frame
        if most < self._options.generate.context:
            return most
        if shown not in self._sizes:
            self._sizes[shown] = len(encode(self.tokenizer, shown))
        return self._sizes[shown]

    @cached_property
    def _frame(self) -> int:
        """Tokens that a chat template and a tokenizer add to a prompt: no more than its bytes and these."""
        return len(encode(self.tokenizer, "")) + FRAME

    def _named(self, long: list[Problem]) -> str:
        names = ", ".join(problem.id for problem in long[:NAMED]) + (", ..." if len(long) > NAMED else "")
        many = f"{len(long)} problems ({names}): their prompts have up to"
        which = many if len(long) > 1 else f"problem {names}: its prompt has"
        room = self._options.generate.context
        return (
            f"{which} {max(map(self._size, long))} tokens, but generate.context is {room} for prompt "
            "and answer; type generate.context=N (and train.row_tokens=N) and another run.dir"
        )

    def _commit(self, key: str, problems: list[Problem], history: dict[str, History] | None = None) -> None:
        columns = {name: [getattr(problem, name) for problem in problems] for name in PROBLEM}
        units = [i // self._options.unit for i in range(len(problems))]
        before = [(history or {}).get(problem.id, History()) for problem in problems]
        columns |= {name: [getattr(each, name) for each in before] for name in ("tried", "solved", "tree")}
        shown = [self._task.prompt(problem) for problem in problems]
        self._book.store.put_table(key, pa.table(columns | {"shown": shown, "unit": units}))


def _roles(problem: Problem) -> tuple[str, ...]:
    """The roles of the messages in a problem's prompt, in order; () for plain text."""
    return tuple(message["role"] for message in messages_of(problem.prompt) or ())
