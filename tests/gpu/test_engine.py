"""Engines on a GPU: sleep and wake, and new weights by each way that one GPU has."""

import numpy as np
import pytest
import torch

PROMPT = np.array([8, 3, 9, 2], np.int32)


@pytest.mark.engine
def test_an_engine_sleeps_and_wakes_with_the_same_weights():
    import ray

    from tests.bench.bench_gpu import engine_world

    with engine_world("smoke", "host", 0.5) as (start, _):
        engine = start("engine")
        ray.get(engine.update.remote("m00000"))
        tokens, logprobs = ray.get(engine.greedy.remote(PROMPT, "m00000"))
        awake = torch.cuda.mem_get_info()[0]
        ray.get(engine.sleep.remote())
        assert torch.cuda.mem_get_info()[0] > awake + 4e9, "most of its memory is free"
        again, same = ray.get(engine.greedy.remote(PROMPT, "m00000"))
        assert np.array_equal(tokens, again) and np.allclose(logprobs, same, atol=1e-2)
        ray.get(engine.close.remote())


@pytest.mark.engine
def test_the_trainer_sends_weights_to_an_engine_on_the_same_gpu():
    import ray

    from tests.bench.bench_gpu import engine_world

    with engine_world("smoke", "ipc", 0.45) as (start, train):
        engine, trainer = start("engine"), train()
        ray.get(engine.update.remote("m00000"))
        tokens, _ = ray.get(engine.greedy.remote(PROMPT, "m00000"))
        ray.get(engine.update.remote("m00001", [trainer]))  # the same weights under another name
        again, _ = ray.get(engine.greedy.remote(PROMPT, "m00001"))
        assert np.array_equal(tokens, again)
        ray.get(engine.close.remote())
