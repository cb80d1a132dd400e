"""Run folders made by commit a7743d8, before arms were written down, are resumed by today's driver and trainer.

Searches are scripted: an engine reads nothing of a run folder but a model, whose form is Hugging Face's.
"""

import dataclasses
import json
import shutil

import pytest

import cluster.run as driver
from cluster.cli import main
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.train.options import Model, TrainJudge
from cluster.train.trainer import Trainer
from tests.cluster.folder.folders import old
from tests.scripted import Actors, play_on_script


class Learning(Actors):
    """Trainings are real: today's trainer reads the old manifests, traces and models."""

    async def train(self, method, model, *arguments):
        if method != "train":
            return await super().train(method, model, *arguments)
        options = dataclasses.replace(self.options.train, threads=1)
        return Trainer(str(self.store.root), Model(), options, TrainJudge(), 0).train(model, *arguments)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    play_on_script(monkeypatch)
    monkeypatch.setattr(driver.Run, "staff", Learning)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return old(tmp_path)


def units(folder, pattern):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob(pattern))}


def test_a_comparison_that_was_killed_is_resumed(folders, capsys):
    """Killed while it searched its last arm; what was done stays as it was, byte for byte."""
    seed = folders / "compare" / "seed0"
    before = units(seed, "traces/*/*/*.parquet")
    for lost in ("compared.json", "traces/r00003/test-mcts", "models/m00003-mcts", "traces/r00002/compare-beam-250-40"):
        shutil.rmtree(seed / lost) if (seed / lost).is_dir() else (seed / lost).unlink()
    book = Book(Store(seed))
    assert not book.finished()
    kept = units(seed, "traces/*/*/*.parquet")
    assert main(["resume", str(seed)]) == 0
    said = capsys.readouterr().out
    assert f"resuming {seed}: round 2 is finished" in said and "WARNING" not in said
    after = units(seed, "traces/*/*/*.parquet")
    assert set(after) == set(before) and {name: after[name] for name in kept} == kept
    assert book.finished() and set(book.arms()) == {
        "train", "test", "compare-sample", "compare-beam-60", "compare-beam-250-40", "source-sample", "source-mcts",
        "test-sample", "test-mcts",
    }  # fmt: skip
    trained = book.store.json("models/m00003-mcts/training")
    assert book.store.has("models/m00003-mcts/model", ".safetensors") and trained["examples"] > 0


def test_an_evaluation_that_was_killed_is_resumed(folders):
    folder = folders / "eval"
    before = units(folder, "traces/*/*/*.parquet")
    (folder / "evaluated.json").unlink()
    shutil.rmtree(folder / "traces/r00000/eval-mcts-60")
    # Its judge is already in the folder; the paths that it was made from are gone, as on another machine.
    judge, model = folders / "compare/seed0/judges/j00002-process", folders / "compare/seed0/models/m00002"
    text = (folder / "config.yaml").read_text()
    text = text.replace("runs/compare/seed0/models/m00002", str(model)).replace(
        "runs/compare/seed0/judges/j00002-process", str(judge)
    )
    (folder / "config.yaml").write_text(text)
    assert main(["resume", str(folder)]) == 0
    after = units(folder, "traces/*/*/*.parquet")
    assert set(after) == set(before)
    assert [name for name in before if after[name] != before[name]] == [
        name for name in before if name.startswith("traces/r00000/eval-mcts-60")
    ]
    assert Book(Store(folder)).finished()
    assert set(json.loads((folder / "evaluated.json").read_text())) == {"splits", "spans", "seconds"}
