"""What a run would take, from its config alone: known arithmetic, and the profiles that ship."""

import io

import pytest
from rich.console import Console
from transformers import Qwen3Config

from cluster.cli import main
from cluster.run import load
from cluster.train.trainer import Train
from cluster.verbs.plan import GB, OVERHEAD, engine, holdings, shape_of, show, trainer
from iteration.errors import UserError

SHAPES = {  # of well-known models of these sizes
    "1.7": {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144},
    "8": {"hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 12288},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    def folder(size):
        where = tmp_path_factory.mktemp("shape") / size
        common = {"vocab_size": 151936, "num_key_value_heads": 8, "head_dim": 128, "dtype": "bfloat16"}
        Qwen3Config(**common, **SHAPES[size], tie_word_embeddings=size == "1.7").save_pretrained(where)
        return str(where)

    return {size: folder(size) for size in SHAPES}


def test_a_shape_is_read_without_weights(model):
    from transformers import AutoConfig

    shape = shape_of(AutoConfig.from_pretrained(model["8"]))
    assert shape.parameters == pytest.approx(8.19e9, rel=0.01) and shape.sixteen
    assert (shape.layers, shape.width, shape.vocabulary) == (36, 4096, 151936)
    assert shape.cached == 2 * 36 * 8 * 128, "keys and values of the grouped heads"
    assert 36 * shape.block + 2 * 4096 * 151936 == pytest.approx(shape.parameters, rel=0.01)


def test_the_trainer_s_bytes(model):
    from transformers import AutoConfig

    shape = shape_of(AutoConfig.from_pretrained(model["8"]))
    one = trainer(shape, Train(gpus=1, rows=8, micro_rows=1, row_tokens=4096), 80 * GB)
    states = ("weights (float32)", "gradients", "moments")
    assert sum(one.parts[name] for name in states) == pytest.approx(16 * shape.parameters) and not one.fits
    four = trainer(shape, Train(gpus=1, ranks=4, micro_rows=1, row_tokens=4096), 80 * GB)
    assert sum(four.parts[name] for name in states) == pytest.approx(4 * shape.parameters)
    assert four.parts["activations"] == 36 * 34 * 4096 * 4096 and four.limit == 80 * GB - OVERHEAD
    less = trainer(shape, Train(gpus=1, ranks=4, micro_rows=1, row_tokens=4096, recompute=True), 80 * GB)
    assert less.parts["activations"] < four.parts["activations"] / 10
    lora = trainer(shape, Train(gpus=1, lora=16, micro_rows=1, row_tokens=4096), 80 * GB)
    assert sum(lora.parts[name] for name in states) < 0.3 * sum(one.parts[name] for name in states)


def test_on_cpu_a_checkpoint_is_copied_in_the_same_memory(model):
    from transformers import AutoConfig

    shape = shape_of(AutoConfig.from_pretrained(model["1.7"]))
    here, there = (trainer(shape, Train(gpus=gpus, bf16=False), 200 * GB) for gpus in (0, 1))
    assert here.parts["a checkpoint being written"] > 12 * shape.parameters and "libraries" in here.parts
    assert here.limit == 200 * GB and set(here.parts) - set(there.parts) == {"a checkpoint being written", "libraries"}


def test_engines_that_sleep_leave_the_gpu_to_the_trainer(model):
    file = "configs/gpu.yaml"
    options = load(file, [f"model.path={model['1.7']}"])
    from cluster.verbs.plan import model_config

    shape = shape_of(model_config(model["1.7"], options))
    trains, answers = holdings(options, shape, 24 * GB, 64 * GB)
    assert trains.limit == 24 * GB - 2 * OVERHEAD and answers.limit == pytest.approx(0.9 * 24 * GB)
    options = load(file, [f"model.path={model['1.7']}", "generate.sleep=false"])
    trains, answers = holdings(options, shape, 24 * GB, 64 * GB)
    assert trains.limit == 12 * GB - OVERHEAD and answers.limit == pytest.approx(0.45 * 24 * GB)


def test_an_engine_s_cache_is_what_is_left(model):
    from transformers import AutoConfig

    shape, options = shape_of(AutoConfig.from_pretrained(model["8"])), load("configs/gpus.yaml", []).generate
    held = engine(shape, options, 1, 80 * GB)
    assert held.parts["weights"] == 2 * shape.parameters and held.fits and held.total == pytest.approx(72 * GB)
    assert "holds 118 answers of 3,072 tokens, fewer than generate.max_seqs=512" in held.notes[0]
    assert not engine(shape, options, 1, 16 * GB).fits


@pytest.mark.parametrize(("config", "size", "gpu"), [("gpu", "1.7", 24), ("gpus", "8", 80), ("nodes", "8", 80)])
def test_the_profiles_fit_where_they_say(model, config, size, gpu):
    console = Console(file=io.StringIO(), width=120)
    file = f"configs/{config}.yaml"
    assert show(file, load(file, [f"model.path={model[size]}"]), gpu, console) == 0
    said = console.file.getvalue()
    wanted = {"gpu": "1 GPUs of 24 GB", "gpus": "8 GPUs of 80 GB", "nodes": "16 GPUs of 80 GB"}[config]
    assert wanted in said and "does not fit" not in said


def test_what_does_not_fit_says_what_to_type(model, capsys):
    assert main(["plan", "configs/gpus.yaml", f"model.path={model['8']}", "train.ranks=1", "--gpu-gb", "80"]) == 1
    said = capsys.readouterr().out
    assert "trainer needs 142.3 GB, but may take 78.5; type train.ranks=N for more devices" in said
    assert main(["plan", "configs/gpus.yaml", "model.path=nowhere", "--gpu-gb", "80"]) == 2
    assert "model.path nowhere: no Hugging Face model there" in capsys.readouterr().err
    assert main(["plan", "configs/gpus.yaml", f"model.path={model['8']}"]) in (1, 2)
    with pytest.raises(UserError, match="generate.gpus is 1.5; expected a share of a GPU or a whole number"):
        load("configs/gpus.yaml", ["generate.gpus=1.5"])


def test_the_quickstart_needs_no_gpu_and_no_folder(capsys):
    assert main(["plan", "configs/quickstart.yaml"]) == 0
    said = capsys.readouterr().out
    assert "0.45 million parameters" in said and "0 GPUs" in said and "1,365 answers of 128 tokens" in said


def test_an_evaluation_and_a_comparison_can_be_planned(capsys):
    assert main(["plan", "configs/coverage.yaml"]) == 0 and main(["plan", "configs/compare.yaml"]) == 0
    assert "judge" in capsys.readouterr().out


def test_a_judge_is_counted_where_one_is_taught(model):
    from transformers import AutoConfig

    shape = shape_of(AutoConfig.from_pretrained(model["1.7"]))
    names = lambda *options: [h.actor for h in holdings(load("configs/gpus.yaml", list(options)), shape, GB, GB)]  # noqa: E731
    assert names() == ["trainer x 4", "generator x 4"] and names("judge=process", "train_judge.row_tokens=3072") == [
        *names(),
        "judge",
    ]
    assert names("judge=oracle", "train_judge.row_tokens=3072") == names(), "it holds no model"
