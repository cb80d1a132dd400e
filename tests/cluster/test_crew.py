"""Handing out work to actors that die, hang and come late: known worlds without Ray."""

import asyncio
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError

from cluster import crew
from cluster.crew import IN_COMPANY, KILLS, Crew, Member, Spread, busy

DEAD = ActorDiedError()


class World:
    """A crew of searchers and one of generators. `answer(team, each)` is what a unit comes to: a coroutine."""

    def __init__(self, answer, searchers=2, generators=2, deadline=60.0):
        self.answer, self.said, self.done, self.aside, self.made_ready = answer, [], [], {}, []
        self.changed = asyncio.Event()
        self.crews = {kind: Crew(self.prepare, self.changed, self.said.append, 60.0) for kind in ("searcher", "generator")}
        for kind, n in (("searcher", searchers), ("generator", generators)):
            for i in range(n):
                self.hire(kind, f"{kind}-{i}")
        self.spread = Spread(self.crews, {"generator": 3}, self.changed, deadline, self.said.append)

    def hire(self, kind, name):
        ready = SimpleNamespace(remote=lambda: asyncio.sleep(0))
        self.crews[kind].hire(Member(name, SimpleNamespace(ready=ready)))

    async def prepare(self, member):
        self.made_ready.append(member.name)
        await asyncio.sleep(0)

    async def run(self, work):
        self.work = list(work)
        call = lambda team, each: self.answer({kind: member.name for kind, member in team.items()}, each)  # noqa: E731
        await self.spread.run(self.work, call, self.done.append, self.aside.__setitem__)
        for each in self.crews.values():
            each.close()
        assert not self.spread.going and all(member.load == 0 for c in self.crews.values() for member in c.members)


def play(answer, work, **options):
    async def main():
        world = World(answer, **options)
        await asyncio.wait_for(world.run(work), 60)
        return world

    return asyncio.run(main())


def test_every_engine_has_work_and_none_more_than_it_should():
    load, most, names = {}, {}, set()

    async def answer(team, each):
        name = team["generator"]
        names.add(team["searcher"])
        load[name] = load.get(name, 0) + 1
        most[name] = max(most.get(name, 0), load[name])
        await asyncio.sleep(0.001)
        load[name] -= 1
        return each

    world = play(answer, range(40))
    assert sorted(world.done) == list(range(40)) and not world.aside
    assert most == {"generator-0": 3, "generator-1": 3} and names == {"searcher-0", "searcher-1"}


def test_what_a_dead_actor_held_is_done_again_and_the_actor_is_made_fit_again():
    died = []

    async def answer(team, each):
        await asyncio.sleep(0.001)
        if team["generator"] == "generator-0" and not died:
            died.append(each)
            raise DEAD
        return each

    world = play(answer, range(12))
    assert sorted(world.done) == list(range(12)) and not world.aside
    assert world.made_ready.count("generator-0") == 2 and world.made_ready.count("generator-1") == 1
    assert any("is retried" in line for line in world.said)


def test_an_actor_that_is_not_ready_yet_gets_no_work():
    async def answer(team, each):
        assert team["generator"] != "generator-1"
        return each

    async def main():
        world = World(answer)

        async def never(member):
            if member.name == "generator-1":
                raise DEAD

        world.crews["generator"]._prepare = never
        await world.run(range(5))
        return world

    assert sorted(asyncio.run(main()).done) == list(range(5))


def test_a_unit_that_kills_its_actors_runs_alone_and_is_then_set_aside_with_the_reason():
    going, company = [], []

    async def answer(team, each):
        going.append(each)
        if each == "poison":
            company.append(len(going) - 1)
        await asyncio.sleep(0.001)
        going.remove(each)
        if each == "poison":
            raise DEAD
        return each

    world = play(answer, [*range(10), "poison", *range(10, 30)])
    assert sorted(world.done) == list(range(30))
    assert list(world.aside) == ["poison"] and "died 3 times while nothing else ran" in world.aside["poison"]
    assert len(company) == IN_COMPANY + KILLS and company[IN_COMPANY:] == [0] * KILLS, "it decides by itself"


def test_a_straggler_is_finished_elsewhere_and_the_loser_is_cancelled(monkeypatch):
    tried, cancelled, refs = [], [], []
    monkeypatch.setattr(crew.ray, "cancel", refs.append)

    async def answer(team, each):
        if each == 3:
            tried.append((team["searcher"], team["generator"]))
            if len(tried) == 1:
                try:
                    await asyncio.sleep(3600)
                finally:
                    cancelled.append(each)
        await asyncio.sleep(0.2 if each > 3 else 0)
        return each

    world = play(answer, range(40), deadline=0.3)
    assert sorted(world.done) == list(range(40)) and cancelled == [3] and len(refs) == 1
    (first, second) = tried
    assert first[0] != second[0] and first[1] != second[1], "by others"
    assert world.made_ready.count(first[0]) == 2, "who was late is looked at before it gets more work"


def test_who_does_not_answer_is_started_anew(monkeypatch):
    killed = []
    monkeypatch.setattr(crew, "PING_SECONDS", 0.01)
    monkeypatch.setattr(crew.ray, "kill", lambda handle, no_restart: killed.append((handle, no_restart)))

    async def hangs():
        await asyncio.sleep(3600)

    member = Member("searcher-0", SimpleNamespace(ready=SimpleNamespace(remote=hangs)))
    said = []
    asyncio.run(crew.ping(member, said.append))
    assert killed == [(member.handle, False)] and "searcher-0 has not answered" in said[0]


def test_an_error_of_the_work_itself_ends_it_at_once(monkeypatch):
    cancelled = []
    monkeypatch.setattr(crew.ray, "cancel", lambda ref: None)

    async def answer(team, each):
        if each == 2:
            raise ValueError("wrong")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(each)
            raise

    with pytest.raises(ValueError, match="wrong"):
        play(answer, range(4))
    assert sorted(cancelled) == [0, 1, 3]


def test_an_actor_that_joins_late_is_used():
    used = set()

    async def main():
        async def answer(team, each):
            used.add(team["generator"])
            await asyncio.sleep(0.005)
            return each

        world = World(answer, generators=1)
        asyncio.get_running_loop().call_later(0.02, world.hire, "generator", "generator-late")
        await world.run(range(60))

    asyncio.run(main())
    assert used == {"generator-0", "generator-late"}


def test_what_goes_wrong_while_an_actor_is_prepared_is_raised(monkeypatch):
    monkeypatch.setattr(crew.ray, "cancel", lambda ref: None)

    async def main():
        async def answer(team, each):
            return each

        world = World(answer)

        async def drifts(member):
            raise ValueError("drift")

        world.crews["generator"]._prepare = drifts
        with pytest.raises(ValueError, match="drift"):
            await asyncio.wait_for(world.run(range(3)), 5)
        with pytest.raises(ValueError, match="drift"):
            await world.crews["generator"].first(1)

    asyncio.run(main())


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 3), st.floats(0, 0.5))
def test_whatever_dies_every_unit_is_over_exactly_once(seed, searchers, generators, share):
    dice = random.Random(seed)

    async def answer(team, each):
        await asyncio.sleep(0)
        if dice.random() < share:
            raise DEAD
        return each

    world = play(answer, range(20), searchers=searchers, generators=generators)
    assert sorted([*world.done, *world.aside]) == list(range(20))


def test_when_each_hand_had_work():
    spans = [(["g", "s0"], 10.0, 2.0), (["g", "s1"], 11.0, 3.0), (["g", "s0"], 14.2, 1.0), (["g", "s0"], 20.0, 1.0)]
    found = busy(spans, gap=0.5)
    assert found["g"] == [(10.0, pytest.approx(5.2)), (20.0, 1.0)], "overlapping work and short pauses are one span"
    assert found["s0"] == [(10.0, 2.0), (14.2, 1.0), (20.0, 1.0)] and found["s1"] == [(11.0, 3.0)]


@pytest.mark.parametrize(("error", "shown"), [(DEAD, False), (ValueError("mine"), True), (None, True)])
def test_only_lost_calls_are_silent_while_a_cluster_stops(error, shown):
    loop, told = SimpleNamespace(), []
    loop.default_exception_handler = told.append
    context = {"message": "never retrieved"} | ({"exception": error} if error else {})
    crew.unless_lost(loop, context)
    assert told == [context] * shown
