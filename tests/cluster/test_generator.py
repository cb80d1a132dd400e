"""The engine's actor without an engine."""

import asyncio
import dataclasses
import os
import sys
from types import SimpleNamespace

import pytest

from cluster.engine import Engine, Generate, Served, batches, engine_arguments, environment, stops
from cluster.generator import Generator, last_line
from iteration.steps import StepEnds


def test_an_actor_does_not_outlive_its_engine(monkeypatch):
    """It exits without telling Ray, which then restarts both; other errors go to the caller."""
    from cluster.generator import alive

    class EngineDeadError(Exception):
        pass

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setitem(sys.modules, "vllm.v1.engine.exceptions", SimpleNamespace(EngineDeadError=EngineDeadError))
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit, match="1"), alive():
        raise EngineDeadError
    with pytest.raises(ValueError, match="x"), alive():
        raise ValueError("x")


def test_who_is_asked_for_other_weights_than_it_serves_says_so():
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
        ({"gpus": 0.25, "sleep": True}, {"gpu_memory_utilization": 0.45}),  # the engine of a value model has the other half
        ({"gpus": 1, "max_seqs": 100}, {"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64, 100]}),
        ({"gpus": 1, "dtype": "bfloat16"}, {"dtype": "bfloat16"}),
        ({"gpus": 4}, {"tensor_parallel_size": 4, "pipeline_parallel_size": 1, "distributed_executor_backend": "mp"}),
        ({"gpus": 4, "pipeline": 2}, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}),
    ],
)
def test_what_vllm_is_told_on_gpus(options, wanted):
    """Against vLLM's own class of arguments: every name is one of them."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    found = engine_arguments("folder", Generate(**options, transfer="nccl"))
    assert {name: found[name] for name in wanted} == wanted
    assert set(found) <= {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    assert found["weight_transfer_config"].backend == "nccl"


def test_every_batch_size_has_a_graph():
    assert batches(1) == [1] and batches(2) == [1, 2] and batches(512) == [2**k for k in range(10)]
    assert batches(513) == [*batches(512), 513]


def test_two_engines_on_gpus_do_not_draw_the_same_numbers():
    """Their requests have no seeds, and both engines search parts of the same round."""
    one, other = (engine_arguments("folder", Generate(gpus=1))["seed"] for _ in range(2))
    assert one != other and "seed" not in engine_arguments("folder", Generate())


def test_the_environment_of_an_engine(monkeypatch):
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    gpu, cpu = environment(1), environment(0)
    assert gpu["VLLM_USE_FLASHINFER_SAMPLER"] == "0" and gpu["VLLM_CACHE_ROOT"] == "~/.cache/vllm"
    assert gpu["VLLM_LOGGING_LEVEL"] == "INFO" and cpu["VLLM_LOGGING_LEVEL"] == "ERROR"
    assert "VLLM_ALLOW_INSECURE_SERIALIZATION" in environment(0.5, "ipc") and "TORCHDYNAMO_DISABLE" not in gpu
    monkeypatch.setenv("VLLM_CACHE_ROOT", "elsewhere")
    assert environment(1)["VLLM_CACHE_ROOT"] == "elsewhere"


def asked(step_end: str, texts: list[str], whole: bool = False, **wish):
    """What vLLM is asked for a wish, with a vocabulary."""
    engine = Engine.__new__(Engine)
    engine.options, engine._ends = Generate(step_end=step_end, temperature=0.5), {1}
    engine._stops = stops(StepEnds(texts, step_end), step_end)
    lean = {"n": 2, "whole": whole, "temperature": 2.0, "max_tokens": 9, "logprobs": False, "seed": None}
    return engine._sampling(lean | wish)


def test_a_request_asks_for_no_more_than_its_wish():
    lean = asked("\n", ["<pad>", "<eos>", "\n", "1"], whole=True)
    assert lean.logprobs is None and lean.seed is None and not lean.detokenize
    assert lean.stop_token_ids == [1] and not lean.stop and lean.temperature == 1.0
    rich = asked("\n", ["<pad>", "<eos>", "\n", "1"], logprobs=True, seed=7)
    assert rich.logprobs == 0 and rich.seed == 7 and rich.stop_token_ids == [1, 2] and not rich.detokenize and not rich.stop


def test_the_end_of_a_step_is_a_token_where_the_tokenizer_allows():
    """Else vLLM looks for it in the text, and only then it decodes."""
    assert asked("\n", ["a", "<eos>", "\n", ".\n"]).stop_token_ids == [1, 2, 3], "inside a token, too"
    spelt = ("\n\n", ["a", "<eos>", "\n", "\n\n"]), ("\n", ["a", "<eos>"]), ("\n", ["\n"] * 999), ("。", ["。"])
    for step_end, texts in spelt:
        text = asked(step_end, texts)
        assert text.stop == [step_end] and text.detokenize and text.stop_token_ids == [1]
    whole = asked("\n\n", ["a", "<eos>", "\n"], whole=True)
    assert not whole.stop and not whole.detokenize
    assert asked("</step>", ["a", "<eos>", "</step>", "<", "/"]).stop == ["</step>"]
    assert asked("</step>", ["a", "<eos>", "</step>", "/"]).stop_token_ids == [1, 2], "no other tokens spell it"


def test_the_log_tells_what_an_engine_does(tmp_path):
    log = tmp_path / "out"
    assert last_line(log) == ""
    log.write_text("hello\n")
    assert last_line(log) == ""
    log.write_text(
        "(EngineCore pid=7) INFO 11-27 19:40:27 [gpu_model_runner.py:4000] Starting to load model m...\n"
        "(EngineCore pid=7) WARNING 11-27 19:40:29 [v1/worker/gpu.py:12] Capturing CUDA graphs\nCapturing: 10%|#   |\n"
    )
    assert last_line(log) == "Capturing CUDA graphs"
    log.write_text("x" * 50_000 + log.read_text())
    assert last_line(log) == "Capturing CUDA graphs"
