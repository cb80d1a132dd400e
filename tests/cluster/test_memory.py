"""The memory of a run's processes, from its config alone: known arithmetic."""

import pytest
from transformers import AutoConfig

from cluster.config import load
from cluster.memory import GB, OVERHEAD, engine, holdings, model_config, shape_of, trainer
from cluster.train.options import Train


def test_a_shape_is_read_without_weights(model):
    shape = shape_of(AutoConfig.from_pretrained(model["8"]))
    assert shape.parameters == pytest.approx(8.19e9, rel=0.01)
    assert (shape.layers, shape.width, shape.inner, shape.vocabulary) == (36, 4096, 12288, 151936)
    assert shape.cached == 2 * 36 * 8 * 128, "keys and values of the grouped heads"
    assert 36 * shape.block + 2 * 4096 * 151936 == pytest.approx(shape.parameters, rel=0.01)


def test_the_trainer_s_bytes(model):
    shape = shape_of(AutoConfig.from_pretrained(model["8"]))
    one = trainer(shape, Train(gpus=1, rows=8, micro_rows=1, row_tokens=4096), 80 * GB)
    states = ("weights (float32)", "gradients", "moments")
    assert sum(one.parts[name] for name in states) == pytest.approx(16 * shape.parameters) and not one.fits
    four = trainer(shape, Train(gpus=1, ranks=4, micro_rows=1, row_tokens=4096), 80 * GB)
    assert sum(four.parts[name] for name in states) == pytest.approx(4 * shape.parameters)
    assert four.parts["activations"] == 36 * 4096 * (27 * 4096 + 8.5 * 12288) and four.limit == 80 * GB - OVERHEAD
    less = trainer(shape, Train(gpus=1, ranks=4, micro_rows=1, row_tokens=4096, recompute=True), 80 * GB)
    assert less.parts["activations"] < four.parts["activations"] / 10
    lora = trainer(shape, Train(gpus=1, lora=16, micro_rows=1, row_tokens=4096), 80 * GB)
    assert sum(lora.parts[name] for name in states) < 0.3 * sum(one.parts[name] for name in states)


def test_on_cpu_a_checkpoint_is_copied_in_the_same_memory(model):
    shape = shape_of(AutoConfig.from_pretrained(model["1.7"]))
    here, there = (trainer(shape, Train(gpus=gpus, bf16=False), 200 * GB) for gpus in (0, 1))
    assert here.parts["a checkpoint being written"] > 12 * shape.parameters and "libraries" in here.parts
    assert here.limit == 200 * GB and set(here.parts) - set(there.parts) == {"a checkpoint being written", "libraries"}


def test_engines_that_sleep_leave_the_gpu_to_the_trainer(model):
    file = "configs/gpu.yaml"
    options = load(file, [f"model.path={model['1.7']}"])
    shape = shape_of(model_config(model["1.7"], options))
    trains, answers = holdings(options, shape, 24 * GB, 64 * GB)
    assert trains.limit == 24 * GB - 2 * OVERHEAD and answers.limit == pytest.approx(0.9 * 24 * GB)
    options = load(file, [f"model.path={model['1.7']}", "generate.sleep=false"])
    trains, answers = holdings(options, shape, 24 * GB, 64 * GB)
    assert trains.limit == 12 * GB - OVERHEAD and answers.limit == pytest.approx(0.45 * 24 * GB)


def test_an_engine_s_cache_is_what_is_left(model):
    shape, options = shape_of(AutoConfig.from_pretrained(model["8"])), load("configs/gpus.yaml", []).generate
    held = engine(shape, options, 1, 80 * GB)
    assert held.parts["weights"] == 2 * shape.parameters and held.fits and held.total == pytest.approx(72 * GB)
    assert "holds 118 answers of 3,072 tokens, fewer than generate.max_seqs=512" in held.notes[0]
    assert not engine(shape, options, 1, 16 * GB).fits


def test_a_judge_is_counted_where_one_is_taught(model):
    shape = shape_of(AutoConfig.from_pretrained(model["1.7"]))
    names = lambda *options: [h.name for h in holdings(load("configs/gpus.yaml", list(options)), shape, GB, GB)]  # noqa: E731
    assert names() == ["trainer x 4", "generator x 4"] and names("judge=process", "train_judge.row_tokens=3072") == [
        *names(),
        "judge",
    ]
    assert names("judge=oracle", "train_judge.row_tokens=3072") == names(), "it holds no model"
