"""The quickstart at reduced size: it learns, it keeps its books, and its folder tells everything."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.folder.store import Store
from iteration.examples import generated, token_counts
from iteration.types import State
from tests.integration.conftest import flywheel, long

WARM = "model.warm_start.tokens=1200000"


def table(folder, pattern):
    import pyarrow as pa

    return pa.concat_tables([pq.ParquetFile(path).read() for path in sorted(folder.glob(pattern))])


def test_it_learns_on_held_out_problems(small):
    folder, _ = small
    first, last = (json.loads((folder / f"rounds/r0000{n}.json").read_text()) for n in (0, 2))
    for level in (0, 1):
        before, after = first["scores"][level], last["scores"][level]
        assert after["low"] > before["high"], "held-out pass@1 rose beyond both intervals"
        assert after["pass_k"] > before["pass_k"]


def test_rounds_tell_what_happened(small):
    folder, _ = small
    for number in (1, 2):
        record = json.loads((folder / f"rounds/r0000{number}.json").read_text())
        assert record["trained"] == f"m0000{number}" and record["model_in"] == f"m0000{number - 1}"
        assert record["logprob_drift"] < 1e-4
        counts = record["counts"]
        assert counts["problems"] == 160 and counts["answers"] == 160 * 16 and counts["failed"] == 0
        assert 0 < counts["kept"] <= counts["correct"] and counts["steps"] > 0
        assert record["tokens"]["search"] > 0 and record["tokens"]["train"] >= 80_000
        assert {"search", "train", "update", "measure"} <= set(record["seconds"])


def test_the_books_agree(small):
    folder, _ = small
    plan = pq.ParquetFile(folder / "plans/r00001/train.parquet").read()
    traces = table(folder, "traces/r00001/train/*.parquet")
    roots = traces.filter(pq_equal(traces, "node", 0))
    assert sorted(roots["problem_id"].to_pylist()) == sorted(plan["id"].to_pylist())
    ends = [state for state in traces["state"].to_pylist() if state]
    record = json.loads((folder / "rounds/r00001.json").read_text())
    assert ends.count(State.CORRECT) == record["counts"]["correct"]
    decisions = pq.ParquetFile(folder / "filters/r00001.parquet").read()
    assert len(decisions) == len(ends) == 160 * 16
    kept = {row["id"] for row in decisions.to_pylist() if not row["reason"]}
    manifest = pq.ParquetFile(folder / "manifests/r00001.parquet").read()
    assert set(manifest["trace_id"].to_pylist()) == kept
    assert set(traces["model_version"].to_pylist()) == {"m00000"}


def pq_equal(rows, column, value):
    import pyarrow.compute as pc

    return pc.equal(rows[column], value)


def test_nothing_held_out_was_trained_on(small):
    folder, _ = small
    held_out = set(pq.ParquetFile(folder / "plans/r00000/test.parquet").read()["id"].to_pylist())
    trained = {id for path in folder.glob("plans/*/train.parquet") for id in pq.ParquetFile(path).read()["id"].to_pylist()}
    assert held_out and not held_out & trained
    assert not [name for name in table(folder, "manifests/*.parquet")["trace_id"].to_pylist() if "/test/" in name]


def test_logprobs_are_those_of_the_model_that_answered(small):
    import torch
    from transformers import AutoModelForCausalLM

    folder, _ = small
    model = AutoModelForCausalLM.from_pretrained(folder / "models/m00001", dtype=torch.float32)
    rows = pq.ParquetFile(folder / "traces/r00002/train/u00000.parquet").read().slice(0, 9).to_pylist()
    prompt = rows[0]["token_ids"]
    for row in rows[1:]:
        assert row["model_version"] == "m00001"
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([prompt + row["token_ids"]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        own = scores.gather(1, torch.tensor(row["token_ids"])[:, None])[:, 0].numpy()
        assert np.abs(own - np.array(row["logprobs"])).max() < 1e-4


def test_the_terminal_says_what_a_person_wants_to_know(small):
    folder, said = small
    for words in (
        "first model",
        "engines",
        "held-out pass@1",
        "dashboard http://127.0.0.1",
        "promoted",
        "logprobs of m00001 within",
        "pass@1 %",
        "distinct",
    ):
        assert words in said
    assert f"last model: {folder}/models/m00002" in said
    assert "rounds=5" in said and "./launch.sh why r00002/train/" in said


def test_status_needs_only_the_folder(small):
    folder, _ = small
    said = flywheel("status", str(folder))
    assert "2 of 2 rounds finished" in said and "level 3" in said


def test_why_tells_a_trace_s_whole_story(small):
    folder, _ = small
    decisions = pq.ParquetFile(folder / "filters/r00001.parquet").read().to_pylist()
    kept = next(row for row in decisions if not row["reason"])
    said = flywheel("why", kept["id"], "--run", str(folder))
    for words in (
        kept["problem_id"],
        "round 1",
        "m00000",
        "verdict   correct",
        "filter    kept",
        "manifest r00001",
        "-> m00001",
    ):
        assert words in said
    wrong = next(row for row in decisions if row["reason"].startswith("correct: wrong"))
    said = flywheel("why", wrong["id"], "--run", str(folder))
    assert "verdict   wrong: line" in said and "left out by correct" in said and "trained" not in said
    assert "never trained on" in flywheel("why", "r00001/test/u00000/t000/n0001", "--run", str(folder))
    assert "no trace id" in flywheel("why", "nonsense", "--run", str(folder), status=2)


@pytest.mark.parametrize(
    ("option", "said"),
    [("seed=1", "seed is 0 in this run, but 1 was asked for"), ("rounds=1", "rounds is 2 in this run, but 1 was asked for")],
)
def test_a_changed_config_is_refused_with_both_values(small, option, said):
    folder, _ = small
    options = ["problems=160", "unit=16", "measure.levels=[3,4]", "measure.problems=100"]
    words = ["run", "configs/quickstart.yaml", f"run.dir={folder}", "rounds=2", *options, "train.tokens=80000", WARM, option]
    assert said in flywheel(*words, status=2)


def test_a_second_driver_is_refused_by_the_name_of_the_first(small):
    import os

    from iteration.errors import UserError

    folder, _ = small
    with Store(folder).claim(), pytest.raises(UserError, match=f"process {os.getpid()} on"), Store(folder).claim():
        pass


def test_a_fork_begins_with_the_rounds_of_another_run(small, tmp_path):
    """Only the linking: the rounds after it are an ordinary run (and are run by the tests below)."""
    from cluster.folder.book import Book
    from cluster.folder.forks import fork
    from iteration.errors import UserError

    folder, _ = small
    store = Store(tmp_path / "fork").open()
    fork(store, f"{folder}@1")
    assert [record["number"] for record in Book(store).records()] == [0, 1]
    assert store.units("traces/r00001/train") == set(range(10)) and not store.units("traces/r00002/train")
    assert store.has("models/m00001/model", ".safetensors") and not store.has("models/m00002", "")
    with pytest.raises(UserError, match="with a finished round"):
        fork(store, f"{folder}@7")


@long
def test_a_model_that_training_ruined_is_not_promoted(small, tmp_path):
    """A fork of the run goes on with an absurd learning rate; the round after it still starts from the good model."""
    folder, _ = small
    options = ["problems=32", "unit=16", "measure.levels=[3]", "measure.problems=100", "train.tokens=20000", "train.lr=3"]
    words = ["run", "configs/quickstart.yaml", f"run.dir={tmp_path / 'fork'}", f"run.fork={folder}@1", *options]
    said = flywheel(*words, "rounds=3", "placement.dashboard=false")
    second, third = (json.loads((tmp_path / f"fork/rounds/r0000{n}.json").read_text()) for n in (2, 3))
    assert not second["promoted"] and second["trained"] == "m00002" and second["model_out"] == "m00001"
    assert third["model_in"] == "m00001"
    assert "not promoted, worse beyond noise" in said and "2 kept m00001" in said


def test_two_ranks_train_the_same_model_though_one_is_killed(small, tmp_path):
    """The second round again, in a fork with other options, on two ranks (FSDP2 over gloo), one of which is killed."""
    import psutil
    from safetensors.torch import load_file

    from tests.integration.conftest import start, wait_for

    folder, _ = small
    run = tmp_path / "run"
    options = [
        "problems=160",
        "unit=16",
        "measure.levels=[3,4]",
        "measure.problems=100",
        "train.tokens=80000",
        "rounds=2",
        WARM,
    ]
    ranks = ["train.ranks=2", "train.threads=1", "train.micro_rows=4", "train.checkpoint=2", "placement.dashboard=false"]
    process = start("run", "configs/quickstart.yaml", f"run.dir={run}", f"run.fork={folder}@1", *options, *ranks)
    assert wait_for(lambda: any((run / "checkpoints/m00002").glob("s*/progress.json")), process)
    family = psutil.Process(process.pid).children(recursive=True)
    trainers = [child for child in family if "ray::Trainer" in "".join(child.cmdline())]
    assert len(trainers) == 2
    trainers[1].kill()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "the trainer was lost at step" in said and "round 2" in said, said
    assert (run / "rounds/r00001.json").samefile(folder / "rounds/r00001.json"), "what it begins with is linked"
    record = json.loads((run / "models/m00002/training.json").read_text())
    assert len(record["lives"]) == 2 and 0 < record["lives"][0] < record["lives"][1] == record["steps"]
    calm, stormy = (load_file(each / "models/m00002/model.safetensors") for each in (folder, run))
    assert max(float((calm[name] - stormy[name]).abs().max()) for name in calm) < 0.02
    mine, theirs = (json.loads((each / "models/m00002/training.json").read_text()) for each in (run, folder))
    assert mine["loss_first"] == pytest.approx(theirs["loss_first"], rel=1e-3) and mine["gradient_norm"] > 0


def test_an_engine_that_dies_is_replaced_and_what_it_held_is_done_again(small, tmp_path):
    """Its searches go on with answers of the first round to the problems that it did not solve."""
    import psutil

    from tests.integration.conftest import start, wait_for

    folder, _ = small
    run = tmp_path / "run"
    options = ["problems=64", "unit=8", "measure.levels=[3]", "placement.dashboard=false", "rounds=2", f"run.fork={folder}@1"]
    options += ["retry=0.5", "search=continued", "search.n=16", "judge=oracle", "train.tokens=20000", "train.threads=1"]
    process = start("run", "configs/quickstart.yaml", f"run.dir={run}", *options)
    assert wait_for(lambda: (run / "traces/r00002/train").is_dir(), process)
    family = psutil.Process(process.pid).children(recursive=True)
    (engine,) = [child for child in family if "ray::Generator" in "".join(child.cmdline())]
    engine.kill()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "generator-0 died" in said and "is retried" in said, said
    nodes = table(run, "traces/r00002/train/*.parquet")
    old = nodes.filter(nodes["origin"].is_valid())
    assert len(old) and set(old["model_version"].to_pylist()) == {"m00000"} and set(old["state"].to_pylist()) == {None}
    by_id = {row["id"]: row for row in nodes.select(["id", "node", "parent", "depth", "value", "origin"]).to_pylist()}
    below = [row for row in by_id.values() if row["parent"] > 0 and row["origin"] is None]
    above = [by_id[f"{row['id'][:-4]}{row['parent']:04d}"] for row in below]
    assert below and all(row["origin"] and row["value"] == 1 for row in above), "from beginnings whose every step is right"
    said = flywheel("why", below[0]["id"], "--run", str(run))
    assert f"begun     with {below[0]['depth'] - 1} of the steps of r00001/" in said
    record = json.loads((run / "rounds/r00002.json").read_text())
    assert record["counts"]["answers"] == 64 * 16 and record["counts"]["units_aside"] == 0
    everything = int(token_counts(nodes)[nodes["node"].to_numpy() > 0].sum())
    assert record["tokens"]["search"] == int(generated(nodes).sum()) < everything
