"""`flywheel plan`, as a person types it, and the profiles that ship."""

import io

import pytest
from rich.console import Console

from cluster.cli import main
from cluster.config import load
from cluster.verbs.plan import show
from iteration.errors import UserError


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
    assert "trainer needs 150.5 GB, but may take 78.5; type train.ranks=N for more devices" in said
    assert main(["plan", "configs/gpus.yaml", "model.path=nowhere", "--gpu-gb", "80"]) == 2
    assert "model.path nowhere: no Hugging Face model there" in capsys.readouterr().err
    assert main(["plan", "configs/gpus.yaml", f"model.path={model['8']}"]) in (1, 2)
    with pytest.raises(UserError, match="generate.gpus is 1.5; expected auto, a share of a GPU or a whole number"):
        load("configs/gpus.yaml", ["generate.gpus=1.5"])


def test_the_quickstart_needs_no_gpu_and_no_folder(capsys):
    assert main(["plan", "configs/quickstart.yaml"]) == 0
    said = capsys.readouterr().out
    assert "0.45 million parameters" in said and "0 GPUs" in said and "1,365 answers of 128 tokens" in said


def test_an_evaluation_and_a_comparison_can_be_planned(capsys):
    assert main(["plan", "configs/coverage.yaml"]) == 0 and main(["plan", "configs/compare.yaml"]) == 0
    assert "judge" in capsys.readouterr().out
