"""Scheduling of work on actors that may die, hang or start late.

A call to an actor names everything it needs (weights by version), so any free actor can repeat it: Ray restarts a dead
actor, its `Crew` makes it ready again, and its work returns to the queue. Only what is committed counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import (
    ActorUnschedulableError,
    ObjectLostError,
    RayActorError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)

LOOK_SECONDS = 1.0  # between two checks for late work
PING_SECONDS = 30  # an actor that does not answer for this long is restarted
IN_COMPANY = 2  # deaths of actors while other units ran too, after which a unit runs alone
REPORT_SECONDS = 30  # for Ray to report the death of an actor that its partners have noticed already
KILLS = 3  # deaths of actors while the unit ran alone, after which it is set aside


def lost(error: BaseException | None) -> bool:
    """Is the error a lost actor, node or object, not an error of the work itself?"""
    gone = RayActorError, ActorUnschedulableError, WorkerCrashedError, ObjectLostError, RaySystemError
    return isinstance(error, gone)


def unless_lost(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for a loop that stops its cluster: calls that nobody waits for any more fail with their actors."""
    if not lost(context.get("exception")):
        loop.default_exception_handler(context)


@dataclass(eq=False)
class Member:
    """One actor and its state as the driver sees it."""

    name: str
    handle: Any
    node: str = ""  # the node that it is pinned to; "" for any
    where: str = ""  # the node that it last reported; "" before it has started
    needs: dict[str, float] = field(default_factory=dict)  # resources
    group: Any = None  # its own placement group
    ready: bool = False
    load: int = 0  # attempts in flight
    since: float = field(default_factory=time.monotonic)  # when it stopped being ready
    task: asyncio.Task | None = None  # that makes it ready


class Crew:
    """The actors of one kind. `prepare` makes a member ready: awaited before its first work and after each `suspect`."""

    def __init__(self, prepare: Callable[[Member], Awaitable] | None, changed: asyncio.Event, say: Callable, patience: float):
        self.members: list[Member] = []
        self.error: BaseException | None = None
        self.say, self.patience = say, patience  # seconds before a slow actor is pinged
        self._prepare, self._changed = prepare, changed

    def hire(self, member: Member) -> None:
        self.members.append(member)
        if self._prepare:
            self.suspect(member)

    def dismiss(self, member: Member) -> None:
        self.members.remove(member)
        if member.task:
            member.task.cancel()

    def suspect(self, member: Member) -> None:
        """The member may be dead or serve other weights: it gets no work until it is ready again."""
        if member in self.members:
            member.ready, member.since = False, time.monotonic()
            if member.task:
                member.task.cancel()
            member.task = asyncio.create_task(self._make_ready(member))

    async def _make_ready(self, member: Member) -> None:
        try:
            while True:
                try:
                    await self._prepared(member)
                    break
                except Exception as error:
                    if not lost(error):
                        raise
                await asyncio.sleep(0.5)  # Ray is restarting it, here or elsewhere
            member.ready = True
        except Exception as error:
            self.error = error
        self._changed.set()

    async def _prepared(self, member: Member) -> None:
        """Await `prepare`; an actor that has run before and does not answer a ping is restarted."""
        prepared = asyncio.ensure_future(self._prepare(member))
        try:
            while not (await asyncio.wait({prepared}, timeout=self.patience))[0]:
                if member.where:
                    await ping(member, self.say)
            prepared.result()
        finally:
            prepared.cancel()

    async def make_ready(self, prepare: Callable[[Member], Awaitable], wait: bool = True) -> None:
        """Prepare all members again, e.g. for new weights. Returns when the first is ready; the others follow."""
        self._prepare = prepare
        for member in self.members:
            self.suspect(member)
        if wait:
            await self.first()

    async def first(self, timeout: float | None = None) -> None:
        """Wait until one member is ready. Raises TimeoutError, or the error of `prepare`."""
        async with asyncio.timeout(timeout):
            while not any(member.ready for member in self.members):
                self.check()
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self._changed.wait()
        self.check()

    async def all(self) -> None:
        """Wait until all members are ready. Raises the error of `prepare`."""
        while not all(member.ready for member in self.members):
            await self.first()
            await asyncio.sleep(0.1)

    def check(self) -> None:
        if self.error:
            raise self.error

    def pick(self, most: int, avoid: Member | None = None) -> Member | None:
        """The ready member with the lowest load, if below `most`; `avoid` only if there is no other."""
        ready = [member for member in self.members if member.ready and member.load < most]
        return min(ready, key=lambda member: (member is avoid, member.load), default=None)

    def close(self) -> None:
        for member in self.members:
            if member.task:
                member.task.cancel()


@dataclass(eq=False)
class Job:
    """One piece of work in the queue."""

    each: Any
    deaths: int = 0
    copied: bool = False  # past its deadline: given to a second team
    over: bool = False

    @property
    def alone(self) -> bool:
        """Actors died IN_COMPANY times while it ran beside other units: now it runs alone, to see whether it is the cause."""
        return self.deaths >= IN_COMPANY


@dataclass(eq=False)
class Attempt:
    job: Job
    team: dict[str, Member]  # by kind
    ref: Any
    since: float = field(default_factory=time.monotonic)
    pinged: bool = False


class Spread:
    """Runs pieces of work on teams of one member of each crew until all of it is done.

    call(team, each) -> ObjectRef; done(result): once per piece; aside(each, reason): for a piece that keeps killing its team.
    A piece that takes longer than `deadline` seconds (and longer than three times the median) is also given to another team:
    the first result wins, and the other attempt is cancelled.
    """

    def __init__(self, crews: dict[str, Crew], most: dict[str, int], changed: asyncio.Event, deadline: float, say: Callable):
        self.going: dict[asyncio.Future, Attempt] = {}
        self._crews, self._most, self._changed, self._deadline, self._say = crews, most, changed, deadline, say
        self.spans: list[tuple[list[str], float, float]] = []  # finished attempts: names of the team, start, seconds
        self._ends: deque[asyncio.Future] = deque()  # finished attempts, not yet processed
        self._looked = time.monotonic()  # when late work was last checked
        self._pings: set[asyncio.Task] = set()

    async def run(self, work: list, call: Callable, done: Callable, aside: Callable) -> None:
        todo = deque(Job(each) for each in work)
        try:
            while todo or self.going:
                self._hand_out(todo, call)
                await self._wait()
                while self._ends:
                    future = self._ends.popleft()
                    if future not in self.going:  # dropped in the meantime
                        continue
                    attempt = self._release(future)
                    if self._ended(attempt, future, done):
                        continue
                    job = attempt.job
                    if job.deaths >= IN_COMPANY + KILLS:
                        aside(job.each, f"its actors died {KILLS} times while nothing else ran; {whose(attempt, future)}")
                        job.over = True
                    elif not any(other.job is job for other in self.going.values()):
                        todo.appendleft(job)
                if time.monotonic() - self._looked >= LOOK_SECONDS:
                    self._looked = time.monotonic()
                    self._hurry(todo)
        finally:
            for future in list(self.going):
                self._drop(future)
            for task in self._pings:
                task.cancel()

    def _hand_out(self, todo: deque[Job], call: Callable) -> None:
        while todo:
            job = todo[0]
            if job.over:  # a copy that is no longer needed
                todo.popleft()
                continue
            if (job.alone and self.going) or any(attempt.job.alone for attempt in self.going.values()):
                return
            before = next((each.team for each in self.going.values() if each.job is job), {}) if job.copied else {}
            picked = {kind: crew.pick(self._most.get(kind, 2**30), before.get(kind)) for kind, crew in self._crews.items()}
            for crew in self._crews.values():
                crew.check()
            if not all(picked.values()):
                return
            todo.popleft()
            for member in picked.values():
                member.load += 1
            ref = call(picked, job.each)
            future = asyncio.ensure_future(_result(ref))
            future.add_done_callback(self._end)
            self.going[future] = Attempt(job, picked, ref)

    def _end(self, future: asyncio.Future) -> None:
        self._ends.append(future)
        self._changed.set()

    async def _wait(self) -> None:
        """Wait until an attempt finishes, a member becomes ready, or LOOK_SECONDS have passed."""
        if self._ends:
            return
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()

    def _release(self, future: asyncio.Future) -> Attempt:
        attempt = self.going.pop(future)
        for member in attempt.team.values():
            member.load -= 1
        return attempt

    def _drop(self, future: asyncio.Future) -> None:
        attempt = self._release(future)
        future.cancel()
        with contextlib.suppress(Exception):
            ray.cancel(attempt.ref)

    def _ended(self, attempt: Attempt, future: asyncio.Future, done: Callable) -> bool:
        """Process a finished attempt. Returns whether its job is over; raises errors of the work itself."""
        if attempt.job.over:
            return True
        error = future.exception()
        if error is None:
            attempt.job.over = True
            seconds = time.monotonic() - attempt.since
            self.spans.append(([member.name for member in attempt.team.values()], attempt.since, seconds))
            for other in [f for f, each in self.going.items() if each.job is attempt.job] if attempt.job.copied else []:
                late = self.going[other]
                self._drop(other)
                for kind, member in late.team.items():  # it may hang
                    if member not in attempt.team.values():
                        self._crews[kind].suspect(member)
            done(future.result())
            return True
        if not lost(error):
            raise error
        attempt.job.deaths += 1
        seconds = time.monotonic() - attempt.since
        self._say(f"{whose(attempt, future)}; {attempt.job.each} ran for {seconds:.1f} s and is retried")
        for kind, member in attempt.team.items():
            self._crews[kind].suspect(member)
        return False

    def _hurry(self, todo: deque[Job]) -> None:
        """Give work past its deadline to a second team too, and restart actors that do not answer."""
        patience = max(self._deadline, 3 * float(np.median([seconds for *_, seconds in self.spans])) if self.spans else 0.0)
        for attempt in list(self.going.values()):
            if time.monotonic() - attempt.since < patience:
                continue
            if not attempt.pinged:
                attempt.pinged = True
                for member in attempt.team.values():
                    task = asyncio.create_task(ping(member, self._say))
                    self._pings.add(task)
                    task.add_done_callback(self._pings.discard)
            others = any(
                other.ready and other is not member
                for kind, member in attempt.team.items()
                for other in self._crews[kind].members
            )
            if others and not attempt.job.copied:
                attempt.job.copied = True
                self._say(f"{attempt.job.each} takes longer than {patience:.0f} s; it is also given to other actors")
                todo.appendleft(attempt.job)


def busy(spans: list[tuple[list[str], float, float]], gap: float = 0.5) -> dict[str, list[tuple[float, float]]]:
    """{name: [(start, seconds)]}: when each member had work; gaps of up to `gap` seconds are merged."""
    intervals: dict[str, list[list[float]]] = {}
    for names, began, seconds in sorted(spans, key=lambda span: span[1]):
        for name in names:
            mine = intervals.setdefault(name, [])
            if mine and began <= mine[-1][1] + gap:
                mine[-1][1] = max(mine[-1][1], began + seconds)
            else:
                mine.append([began, began + seconds])
    return {name: [(began, ended - began) for began, ended in mine] for name, mine in intervals.items()}


async def ping(member: Member, say: Callable[[str], None]) -> None:
    """Restart an actor that does not answer; calls that wait for it then raise its loss."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await _result(member.handle.ready.remote())
    except TimeoutError:
        say(f"{member.name} has not answered for {PING_SECONDS} s; it is restarted")
        ray.kill(member.handle, no_restart=False)
    except Exception as error:
        if not lost(error):
            raise


async def ended(task: asyncio.Task) -> None:
    """Cancel a task until it is done: a cancellation is lost if the awaited future completes at the same time (Python 3.11)."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
    if not task.cancelled():
        task.exception()  # retrieved; it is raised where the task is awaited, or the run fails with another error


async def answers(member: Member) -> None:
    """Make a member ready that needs no preparation: it answers with the node that it runs on."""
    member.where = await member.handle.ready.remote()


async def raise_first(calls: list[asyncio.Future]) -> None:
    """Wait for all calls (after an error for at most REPORT_SECONDS) and raise an error, a lost actor's before the others':
    its partners often notice the death before Ray reports it."""
    await asyncio.wait(calls, timeout=REPORT_SECONDS if any(c.done() and c.exception() for c in calls) else None)
    errors = [call.exception() for call in calls if call.done() and call.exception()]
    for error in sorted(errors, key=lambda error: not lost(error)):
        raise error


async def _result(ref: Any) -> Any:
    return await ref


def whose(attempt: Attempt, future: asyncio.Future) -> str:
    """A message that names the actor that died, if the error does."""
    error = future.exception()
    error = error.cause if isinstance(error, RayTaskError) and error.cause else error
    message, kind = str(error), type(error).__name__
    for member in attempt.team.values():
        if isinstance(member.handle, ActorHandle) and member.handle._actor_id.hex() in message:
            return f"{member.name} died ({kind})"
    return f"an actor died ({kind}: {(message.strip().splitlines() or [''])[0][:200]})"
