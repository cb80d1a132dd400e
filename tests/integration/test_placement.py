"""Engines on several GPUs, on a real Ray whose GPUs are numbers: where their actors are placed."""

import asyncio
import os
import time

import pytest


class Engine:
    def process(self):
        return os.getpid()

    def sees(self):
        """(GPUs, the group that it is placed in)."""
        import ray
        from ray.util.placement_group import placement_group_table

        group = ray.util.get_current_placement_group()
        return ray.get_gpu_ids(), placement_group_table(group)["name"] if group else ""


@pytest.fixture(scope="module")
def machine():
    import ray

    ray.init(address="local", num_cpus=1, num_gpus=5, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray.nodes()[0]["NodeID"]
    ray.shutdown()


async def another(member, process):
    """Wait as the driver does for an actor that was killed, until it is another process."""
    from ray.exceptions import ActorDiedError

    from cluster.crew import Crew

    async def fit(each):
        if await each.handle.process.remote() == process:
            raise ActorDiedError()

    crew = Crew(fit, asyncio.Event(), print, 60)
    crew.hire(member)
    await crew.first(60)


class Slow(Engine):
    """Starts until a file is there."""

    def __init__(self, file):
        waited(file.exists)


def test_who_starts_does_not_wait_for_what_it_has(machine, tmp_path):
    """All GPUs are taken: by one that imports its libraries, and by others; one more has none."""
    import ray

    from cluster.head import placed, start_actor, usable_gpus, why_late

    assert usable_gpus() == 5
    starts = start_actor(Slow, "starts", (tmp_path / "go",), gpus=0.5)
    waited(lambda: placed(starts))
    others = [start_actor(Engine, f"engine-{i}", (), gpus=0.75) for i in range(5)]
    waited(lambda: sum(map(placed, others)) == 4)
    (late,), nodes = [each for each in others if not placed(each)], [node["Resources"] for node in ray.nodes()]
    assert placed(starts), "though its constructor has not returned"
    asked = starts.handle.process.remote()
    assert not ray.wait([asked], timeout=0)[0]
    (tmp_path / "go").touch()
    assert ray.get(asked, timeout=60)
    assert why_late(late, {"GPU": 0.5}, nodes) == f"{late.name} waits for 0.75 GPU; 0.5 of the cluster's are free"
    for each in (starts, *others):
        ray.kill(each.handle)
    waited(lambda: ray.available_resources().get("GPU") == 5)


def waited(done):
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_an_engine_on_several_gpus_has_a_placement_group_of_its_own(machine):
    import ray

    from cluster.head import placed, start_actor, why_late

    engines = [
        start_actor(Engine, "a", (), gpus=2),
        start_actor(Engine, "b", (), gpus=2, node=machine),
        start_actor(Engine, "c", (), gpus=1),
    ]
    seen = ray.get([each.handle.sees.remote() for each in engines], timeout=60)
    assert [group for _, group in seen] == ["a", "b", ""], "one GPU needs no group"
    assert sorted(gpu for gpus, _ in seen for gpu in gpus) == [0, 1, 2, 3, 4], "each its own"
    process = ray.get(engines[0].handle.process.remote(), timeout=60)
    ray.kill(engines[0].handle, no_restart=False)
    asyncio.run(another(engines[0], process))
    again = ray.get(engines[0].handle.sees.remote(), timeout=60)
    assert again == seen[0], "restarted, it has its place back"
    late, free = start_actor(Engine, "d", (), gpus=8), ray.available_resources()
    assert free.get("GPU", 0) == 0 and placed(engines[0]) and not placed(late), "its GPUs are kept for it"
    nodes = [node["Resources"] for node in ray.nodes()]
    assert why_late(late, free, nodes) == "d needs 8 GPU on one node, but the largest of 1 nodes has 5"
