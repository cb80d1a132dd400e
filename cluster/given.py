"""Answers made elsewhere, that the first round is trained on beside its own search: each kind is an arm with a source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.placement import Actors
from cluster.planning import Planning
from cluster.view import View
from iteration.parts import SEARCH, Part
from iteration.protocols import Task
from iteration.teacher import Teacher
from iteration.traces import Traces

if TYPE_CHECKING:
    from cluster.config import Config

FIRST = 1  # the round that is trained on them
LOOK_SECONDS = 1.0  # between two notes of what a source waits for
# The sources by the name of their arm, each with the plan of its problems: a teacher answers those of the round's search.
PLANS = {"given": "given", "teacher": "train"}
SOURCES: dict[str, Callable[[Config, Task], Teacher | Traces]] = {
    "given": lambda options, task: Traces(options.begin.traces, task),
    "teacher": lambda options, task: Teacher(options.begin, options.generate.max_tokens),
}


def given_arms(options: Config) -> list[Arm]:
    """The arms of the answers made elsewhere that a run asks for; `model` says whose they are."""
    files = options.begin.traces
    whose = {"given": files if isinstance(files, str) else ", ".join(map(str, files)), "teacher": options.begin.model}
    search = Part(SEARCH, "sample", {"n": options.begin.n})
    return [
        Arm(name, name, "train", PLANS[name], search, None, options.budget, blind=False, round=FIRST, model=model)
        for name, model in whose.items()
        if model and options.rounds
    ]


class GivenAnswers:
    """engines: the lock under which searching, scoring and measuring take turns."""

    def __init__(self, options: Config, book: Book, planning: Planning, actors: Actors, view: View, engines: asyncio.Lock):
        self._options, self._book, self._planning = options, book, planning
        self._actors, self._view, self._engines = actors, view, engines
        self._sources: dict[str, Teacher | Traces] = {}  # those that are still needed

    def check(self, task: Task) -> None:
        """Make the sources of what is not committed yet. Raises UserError: a file cannot be used, a key is missing."""
        for arm in given_arms(self._options):
            committed, planned = self._book.counts(arm, FIRST)
            if committed < planned:
                self._sources[arm.name] = SOURCES[arm.name](self._options, task)

    async def take(self, number: int, committed: Callable, aside: Callable) -> None:
        """Get the answers of a round that were made elsewhere, grade and commit them. Arguments: as in `Actors.search`."""
        for arm in given_arms(self._options):
            if arm.round == number and arm.name in self._sources:
                await self._take(arm, self._sources.pop(arm.name), committed, aside)

    async def _take(self, arm: Arm, source: Teacher | Traces, committed: Callable, aside: Callable) -> None:
        """Commit every unit as soon as it is answered. The first error is raised after what is answered is committed."""
        self._planning.given(arm, source.problems)
        units = self._planning.units(arm, FIRST, arm.model, "")
        todo = self._planning.missing(units)
        asking = {asyncio.create_task(source.answers(unit.problems, unit.prompts)): unit for unit in todo}
        try:
            with self._view.phase(FIRST, arm.title, len(units), len(units) - len(todo)) as phase:
                while asking:
                    done, _ = await asyncio.wait(asking, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                    phase.note = source.doing()
                    answered = [replace(asking[each], given=each.result()) for each in done if not each.exception()]
                    if answered:
                        async with self._engines:
                            await self._actors.adopt(arm.title, answered, partial(committed, phase.unit_done), aside)
                    for each in done:
                        each.result()
                        asking.pop(each)
        finally:
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await source.close()
