"""Who gives engines their weights, and when: the actors are scripts."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, RaySystemError

from cluster import placement
from cluster.crew import Crew, Member
from cluster.engine import Generate
from cluster.placement import Actors, Placement


class Scripted:
    """A handle whose methods note that they were called, and answer what they are told to."""

    def __init__(self, name, told, **answers):
        self.name, self._told, self._answers = name, told, answers

    def __getattr__(self, method):
        async def call(*arguments):
            self._told.append((self.name, method, *arguments))
            answer = self._answers.get(method)
            if callable(answer):
                answer = await answer()
            if isinstance(answer, Exception):
                raise answer
            return answer

        return SimpleNamespace(remote=call)


def world(monkeypatch, ranks, engine, **generate):
    """(actors, engine, what was told to whom, who was killed) with scripted ranks and one engine."""
    told, killed = [], []
    actors = Actors.__new__(Actors)
    actors._options = SimpleNamespace(generate=Generate(**({"gpus": 1} | generate)), placement=Placement())
    actors._turn = asyncio.Lock()
    members = [Member(f"rank {i}", Scripted(f"rank {i}", told, **each), ready=True) for i, each in enumerate(ranks)]
    first = Member("engine", Scripted("engine", told, **engine), ready=True)

    async def fit():
        pass

    actors.trainers = SimpleNamespace(members=members, all=fit, suspect=lambda each: told.append((each.name, "suspect")))
    actors.generators, actors.judges = SimpleNamespace(members=[first]), SimpleNamespace(members=[])
    monkeypatch.setattr(placement.ray, "kill", lambda handle, no_restart: killed.append(handle.name))
    return actors, first, told, killed


def senders(told):
    """Who was to send, as the engine was told."""
    (call,) = [call for call in told if call[:2] == ("engine", "update")]
    return [each.name for each in call[3]] if len(call) > 3 else []


@pytest.mark.parametrize(
    ("generate", "started", "held", "expected"),
    [
        pytest.param({"transfer": "nccl"}, True, [True, True], ["rank 0", "rank 1"], id="the ranks send what they hold"),
        pytest.param(
            {"transfer": "nccl"}, True, [True, False], ["rank 0"], id="one of them was started anew: rank 0 sends the folder"
        ),
        pytest.param({"transfer": "nccl"}, False, [True, True], [], id="an engine that starts reads the folder"),
        pytest.param({}, True, [True, True], [], id="an engine on the host's path reads the folder"),
    ],
)
def test_weights_come_from_whoever_holds_them(monkeypatch, generate, started, held, expected):
    ranks = [{"is_resident": each} for each in held]
    actors, engine, told, killed = world(monkeypatch, ranks, {"ready": "node", "started": started}, **generate)
    asyncio.run(actors.give(engine, "m00003"))
    assert senders(told) == expected and engine.where == "node" and not killed


def test_a_sending_that_broke_off_leaves_nobody_waiting(monkeypatch):
    for error in (ActorDiedError(), ValueError("nccl is not there")):
        actors, engine, told, killed = world(
            monkeypatch, [{"is_resident": True}] * 2, {"started": True, "update": error}, transfer="nccl"
        )
        with pytest.raises(type(error)):
            asyncio.run(actors.give(engine, "m00003"))
        assert killed == ["rank 0", "rank 1", "engine"]
        assert told[-2:] == [("rank 0", "suspect"), ("rank 1", "suspect")], "no work for them until they are fit again"


def test_a_sending_that_hangs_is_a_loss_of_machinery(monkeypatch):
    monkeypatch.setattr(placement, "START_SECONDS", 0.01)
    hanging = {"started": True, "update": lambda: asyncio.sleep(60)}
    actors, engine, _, killed = world(monkeypatch, [{"is_resident": True}], hanging, transfer="nccl")
    actors._options.placement.deadline = 0.01
    with pytest.raises(RaySystemError, match="engine did not get m00003 in time"):
        asyncio.run(actors.give(engine, "m00003"))
    assert killed == ["rank 0", "engine"]


def test_a_training_waits_for_the_weights_that_are_being_sent(monkeypatch):
    """The ranks gather together: none of them may begin a training while another still sends."""

    async def both():
        began, over = asyncio.Event(), asyncio.Event()

        async def update():
            began.set()
            await over.wait()

        ranks = [{"is_resident": True, "train": "trained"}]
        actors, engine, told, _ = world(monkeypatch, ranks, {"started": True, "update": update}, transfer="nccl")
        given = asyncio.ensure_future(actors.give(engine, "m00003"))
        await began.wait()
        given.cancel()  # it goes on to its end all the same
        training = asyncio.ensure_future(actors.train("train", "m00004"))
        await turns()
        assert told[-1][:2] == ("engine", "update"), "it is still being sent"
        over.set()
        assert await training == "trained"
        return [call[:2] for call in told]

    assert asyncio.run(both())[-3:] == [("engine", "update"), ("rank 0", "release"), ("rank 0", "train")]


async def turns():
    """Whoever can go on does."""
    for _ in range(100):
        await asyncio.sleep(0)


def test_an_engine_that_is_started_anew_waits_until_the_gpu_is_free(monkeypatch):
    async def both():
        began, over = asyncio.Event(), asyncio.Event()

        async def train():
            began.set()
            await over.wait()

        actors, engine, told, _ = world(monkeypatch, [{"train": train}], {}, gpus=0.5, sleep=True)
        training = asyncio.ensure_future(actors.train("train", "m00004"))
        await began.wait()
        given = asyncio.ensure_future(actors.give(engine, "m00003"))
        await turns()
        assert told[-1][:2] == ("engine", "ready"), "it waits for the trainer"
        over.set()
        await asyncio.gather(training, given)
        return [call[:2] for call in told]

    assert asyncio.run(both()) == [("engine", "sleep"), ("rank 0", "train"), ("engine", "ready"), ("engine", "update")]


def test_all_engines_rest_though_one_of_them_died(monkeypatch):
    actors, engine, told, _ = world(monkeypatch, [{"train": "trained"}], {"sleep": ActorDiedError()}, gpus=0.5, sleep=True)
    other = Member("judge", Scripted("judge", told), ready=True)
    actors.judges.members.append(other)
    assert asyncio.run(actors.train("train", "m00004")) == "trained"
    assert [call[:2] for call in told] == [("engine", "sleep"), ("judge", "sleep"), ("rank 0", "train")]
    actors, *_ = world(monkeypatch, [{"train": "trained"}], {"sleep": ValueError("out of order")}, gpus=0.5, sleep=True)
    with pytest.raises(ValueError, match="out of order"):
        asyncio.run(actors.train("train", "m00004"))


def test_what_an_engine_does_while_it_starts_is_told(monkeypatch):
    """An engine that waits for its GPU is not asked: it has no process."""
    actors, starting, told, _ = world(monkeypatch, [], {"doing": "Capturing CUDA graphs"})
    placed = Member("placed", Scripted("placed", told, doing="Loading weights"), where="node")
    actors.generators.members = [starting, placed, Member("dead", Scripted("dead", told, doing=ActorDiedError()), where="node")]
    actors._spread, actors._training = None, SimpleNamespace(done=0, steps=0)
    actors.missing = lambda: [(name, 5.0, f"{name} is starting") for name in ("engine", "placed", "dead", "searcher")]
    late = asyncio.run(actors.pending())["actors"]
    said = [each["why"].partition(" is ")[2] for each in late]
    assert said == ["starting", "starting: Loading weights", "starting", "starting"]


def test_units_that_bring_their_answers_need_no_engine():
    async def main():
        told, done, changed = [], [], asyncio.Event()
        actors = Actors.__new__(Actors)
        actors._options, actors._changed = SimpleNamespace(placement=Placement()), changed
        actors._view = SimpleNamespace(say=told.append, spans=[], wall=lambda since: since)
        crew = lambda: Crew(None, changed, told.append, 60.0)  # noqa: E731
        actors.generators, actors.judges, actors.trainers, actors.searchers, actors.verifiers = (crew() for _ in range(5))
        searcher = Scripted("searcher", told, adopt="a unit")
        actors.searchers.hire(Member("searcher", searcher, ready=True))
        actors.verifiers.hire(Member("verifier", Scripted("verifier", told), ready=True))
        await asyncio.wait_for(actors.adopt("teacher", list(range(7)), done.append, None), 30)
        assert done == ["a unit"] * 7 and [call[:3] for call in told] == [("searcher", "adopt", unit) for unit in range(7)]
        assert told[0][3].generator is None and told[0][3].verifier.name == "verifier"
        assert {(span.actor, span.phase) for span in actors._view.spans} == {("searcher", "teacher"), ("verifier", "teacher")}

    asyncio.run(main())
