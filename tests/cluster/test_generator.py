"""The engine's actor without an engine."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

SCRIPT = """
from vllm.v1.engine.exceptions import EngineDeadError
from cluster.generator import alive
with alive():
    raise {error}
"""


@pytest.mark.parametrize(("error", "status"), [("EngineDeadError()", 1), ("ValueError('x')", 3)])
def test_an_actor_does_not_outlive_its_engine(error, status):
    """It exits without a word to Ray, which then starts both anew; other errors are the caller's."""
    script = f"import sys\ntry:\n{''.join(f'    {line}' + chr(10) for line in SCRIPT.format(error=error).splitlines())}"
    script += "except ValueError:\n    sys.exit(3)\nexcept BaseException:\n    sys.exit(4)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == status, done.stderr


def test_who_is_asked_for_other_weights_than_it_serves_says_so():
    import asyncio

    from cluster.engine import Generate
    from cluster.generator import Generator

    async def wake():
        pass

    async def ask():
        generator = Generator(0, "nowhere", Generate())
        generator._engine = SimpleNamespace(version="m00002", wake=wake)
        with pytest.raises(RuntimeError, match="m00001 was asked for, but Generator 0 serves m00002"):
            await generator._serving("m00001")
        assert (await generator._serving("m00002")).version == "m00002"

    asyncio.run(ask())


def test_an_engine_sleeps_and_wakes_once_however_many_ask():
    import asyncio

    from cluster.engine import Generate, Served

    told = []

    class Vllm:
        async def sleep(self, level):
            await asyncio.sleep(0)
            told.append(f"sleep {level}")

        async def wake_up(self):
            await asyncio.sleep(0)
            told.append("wake")

    async def ask():
        served = Served.__new__(Served)
        served.options, served._engine, served._asleep, served._turning = Generate(), Vllm(), False, asyncio.Lock()
        await served.wake()
        await asyncio.gather(*(served.sleep() for _ in range(3)))
        await asyncio.gather(*(served.wake() for _ in range(3)))

    asyncio.run(ask())
    assert told == ["sleep 1", "wake"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"gpus": 1}, {"gpu_memory_utilization": 0.9, "enable_sleep_mode": False}),
        ({"gpus": 0.5}, {"gpu_memory_utilization": 0.45}),
        ({"gpus": 0.5, "sleep": True}, {"gpu_memory_utilization": 0.9, "enable_sleep_mode": True}),
        ({"gpus": 4}, {"tensor_parallel_size": 4, "pipeline_parallel_size": 1, "distributed_executor_backend": "mp"}),
        ({"gpus": 4, "pipeline": 2}, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}),
    ],
)
def test_what_vllm_is_told_on_gpus(options, wanted):
    """Against vLLM's own class of arguments: every name is one of them."""
    import dataclasses

    from vllm.engine.arg_utils import AsyncEngineArgs

    from cluster.engine import Generate, engine_arguments

    found = engine_arguments("folder", Generate(**options, transfer="nccl"))
    assert {name: found[name] for name in wanted} == wanted
    assert set(found) <= {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    assert found["weight_transfer_config"].backend == "nccl"
