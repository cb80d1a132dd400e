"""Two small folders that commit a7743d8 wrote, read by the verbs of today: a comparison's seed and an evaluation."""

import argparse
import json
import shutil

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from cluster.config import check_unchanged
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.report.gather import gather, write
from cluster.verbs import doctor, regrade, runs, status, traces, why
from cluster.verbs.driving import kind_of
from cluster.verifier import Grader
from iteration.errors import UserError
from iteration.parts import JUDGE, SEARCH, VERIFY, Part
from tests.cluster.folder.folders import old


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    return old(tmp_path_factory.mktemp("old"))


@pytest.fixture
def folder(unpacked, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(unpacked, tmp_path / "runs")


@pytest.fixture(scope="module")
def seed(unpacked):
    return Book(Store(unpacked / "compare" / "seed0"))


@pytest.fixture(scope="module")
def evaluation(unpacked):
    return Book(Store(unpacked / "eval"))


def test_the_arms_of_a_comparison_are_what_its_names_meant(seed):
    arms = seed.arms()
    assert set(arms) == {
        "train", "test", "compare-sample", "compare-beam-60", "compare-beam-250-40", "source-sample", "source-mcts",
        "test-sample", "test-mcts",
    }  # fmt: skip
    beam = arms["compare-beam-250-40"]
    assert (beam.title, beam.budget, beam.round, beam.blind, beam.plan) == ("beam-250", 40, 2, True, "compare")
    assert beam.search == Part(SEARCH, "beam", {"keep": 2, "width": 3, "times": 1000})
    assert beam.judge == Part(JUDGE, "oracle", {}) and arms["compare-beam-60"].judge.name == "process"
    source = arms["source-mcts"]
    assert (source.title, source.budget, source.round, source.blind, source.plan) == ("mcts", 60, 3, False, "train")
    measured = arms["test-mcts"]
    assert (measured.model, measured.round, measured.blind, measured.plan) == ("m00003-mcts", 3, True, "test")
    assert seed.train.name == "train" and seed.test.search == Part(SEARCH, "sample", {"n": 2})


def test_the_arms_of_an_evaluation(evaluation):
    named = {name: (arm.title, arm.budget, arm.search.name) for name, arm in evaluation.arms().items() if arm.round == 0}
    searches = [("beam", budget) for budget in (40, 60)] + [("mcts", budget) for budget in (40, 60)]
    assert named == {f"eval-{name}-{budget}": (name, budget, name) for name, budget in searches}
    assert all(arm.blind and arm.plan == "test" for name, arm in evaluation.arms().items() if name in named)


def test_every_unit_has_an_arm_and_its_problems(seed, evaluation):
    for book in (seed, evaluation):
        units = list(book.every_unit())
        assert len(units) == len(list(book.store.root.glob("traces/*/*/*.parquet"))) > 0
        for arm, number, key in units:
            assert set(book.unit(key, ["problem_id"])["problem_id"].to_pylist()) <= set(book.problems(arm, number))


def test_whole_folders_are_finished(folder):
    assert {run.folder.rpartition("runs/")[2]: run.state for run in runs.runs_in(folder)} == {
        "compare/seed0": "finished",
        "eval": "finished",
    }
    for name in ("compare/seed0", "eval"):
        assert doctor.examine(Book(Store(folder / name))) == ["finished"]
    (seed,) = (run for run in runs.runs_in(folder) if run.folder.endswith("seed0"))
    assert (seed.task, seed.search, seed.verifier, seed.finished, seed.wanted) == ("expressions", "sample", "replay", 2, 2)
    assert set(seed.pass_1) == {1, 2}


def test_a_fork_of_a_comparison_has_its_traces_but_no_such_section(folder):
    seed = folder / "compare" / "seed0"
    text = (seed / "config.yaml").read_text()
    config = OmegaConf.create(text)
    del config["compare"]
    del config["budget"]  # an option that a still older run did not have
    (seed / "config.yaml").write_text(OmegaConf.to_yaml(config))
    book = Book(Store(seed))
    assert set(book.arms()) == {"train", "test"}
    assert doctor.examine(book) and runs.runs_in(folder)


def states(folder) -> dict[str, str]:
    return {run.folder.rpartition("/")[2]: run.state for run in runs.runs_in(folder)}


def test_an_evaluation_killed_with_an_arm_missing_is_not_finished(folder):
    shutil.rmtree(folder / "eval" / "traces" / "r00000" / "eval-mcts-60")
    (folder / "eval" / "evaluated.json").unlink()
    first, *lines = doctor.examine(Book(Store(folder / "eval")))
    assert first == f"nobody works on it; resume with: ./launch.sh resume {folder / 'eval'}"
    assert lines == ["  arm eval-mcts-60 has 0 of 2 units of round 0", "  evaluated.json is missing"]
    assert states(folder)["eval"] == "stopped: arm eval-mcts-60 has 0 of 2 units of round 0"


def test_an_evaluation_killed_before_its_record_is_not_finished(folder):
    (folder / "eval" / "evaluated.json").unlink()
    assert doctor.examine(Book(Store(folder / "eval")))[1:] == ["  evaluated.json is missing"]
    assert states(folder)["eval"] == "stopped: evaluated.json is missing"


def test_units_set_aside_in_an_arm_are_not_hidden(folder):
    from cluster.folder.layout import TRACE

    (folder / "eval" / "traces" / "r00000" / "eval-beam-40" / "u00001.parquet").unlink()
    Store(folder / "eval").open().set_aside("traces/r00000/eval-beam-40/u00001", TRACE, "its actors died 3 times")
    book = Book(Store(folder / "eval"))
    assert doctor.examine(book) == ["finished", "set aside: traces/r00000/eval-beam-40/u00001: its actors died 3 times"]
    found = gather(book.store, "runs/eval")
    assert found.asides == 1 and len(next(arm for arm in found.arms if (arm.name, arm.budget) == ("beam", 40))) == 6


def test_a_seed_is_finished_only_with_the_tables_of_its_comparison(folder):
    (folder / "compare" / "tables.json").unlink()
    assert states(folder)["seed0"] == "stopped: the comparison's tables are missing"
    (said,) = doctor.examine(Book(Store(folder / "compare" / "seed0")))
    assert "the comparison's tables are missing" in said and "./launch.sh compare" in said


def test_a_seed_killed_in_its_sources_is_not_finished(folder):
    (folder / "compare" / "seed0" / "compared.json").unlink()
    shutil.rmtree(folder / "compare" / "seed0" / "traces" / "r00003")
    book = Book(Store(folder / "compare" / "seed0"))
    assert book.wanted() == 2, "the plan of the sources is no round of the run"
    assert [line.split()[1] for line in book.left()[:-1]] == ["source-sample", "test-sample", "source-mcts", "test-mcts"]
    assert book.left()[-1] == "compared.json is missing"


def test_status_names_the_arms_that_are_missing(folder, capsys):
    shutil.rmtree(folder / "eval" / "traces" / "r00000" / "eval-mcts-60")
    assert status.act(argparse.Namespace(run=str(folder / "eval"), json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["under_way"] == [{"round": 0, "phase": "eval-mcts-60", "committed": 0, "planned": 2}] and told["driver"] is None
    assert status.act(argparse.Namespace(run=str(folder / "eval"), json=False)) == 0
    said = capsys.readouterr().out
    assert "round 0  eval-mcts-60: 0 of 2 units committed" in said and "resume with" in said


def answer_of(book, name: str, kept: bool | None = None) -> str:
    """A finished answer of an arm that its decisions say this of."""
    arm = book.arm(name)
    number = book.rounds_of(arm)[-1]
    nodes = book.nodes(arm, number, ["id", "state"])
    ids = nodes.filter(nodes["state"].is_valid())["id"].to_pylist()
    reasons = book.reasons(arm, number) or {}
    return next(each for each in ids if kept is None or (reasons[each] == "") == kept)


@pytest.mark.parametrize("name", ["test", "compare-sample", "compare-beam-60", "test-mcts"])
def test_why_says_that_held_out_answers_are_for_measuring(seed, name):
    assert why.story(seed, answer_of(seed, name))[-1] == "filter    none: held-out, for measuring only, never trained on"


def test_why_says_so_of_an_evaluation_too(evaluation):
    assert why.story(evaluation, answer_of(evaluation, "eval-mcts-60"))[-1].startswith("filter    none: held-out")


def test_why_tells_a_trained_answer_s_models(seed):
    story = why.story(seed, answer_of(seed, "train", kept=True))
    trained = story[story.index("filter    kept") + 1 :]
    assert any("-> m00002, promoted" in line or "-> m00002, not promoted" in line for line in trained)
    assert any(line.startswith("trained   manifest r00003-mcts, ") and line.endswith("-> m00003-mcts") for line in trained)
    assert why.story(seed, answer_of(seed, "train", kept=False))[-1].startswith("filter    left out by correct: ")


@pytest.mark.parametrize("name", ["mcts", "sample"])
def test_why_of_a_source_goes_by_its_manifest(seed, name):
    story = why.story(seed, answer_of(seed, f"source-{name}", kept=False))
    assert story[-1].startswith("filter    left out by a filter or by train.tokens")
    listed = [trace for trace in seed.manifest(f"m00003-{name}") if trace.startswith(f"r00003/source-{name}/")]
    for trace in listed[:1]:
        *_, kept, trained = why.story(seed, trace)
        assert kept == "filter    kept" and trained.startswith(f"trained   manifest r00003-{name}, ")
        assert trained.endswith(f" -> m00003-{name}")


def test_why_of_a_source_without_a_manifest_is_not_yet_decided(folder):
    for path in (folder / "compare" / "seed0" / "manifests").glob("r00003-*"):
        path.unlink()
    book = Book(Store(folder / "compare" / "seed0"))
    assert why.story(book, answer_of(book, "source-mcts"))[-1] == "filter    not yet decided"


def test_a_comparison_s_seed_is_reported(seed, tmp_path):
    found = gather(seed.store, "runs/seed0")
    assert [each.name for each in found.held_out] == ["round 0", "round 1", "round 2"]
    assert [each.name for each in found.searched] == ["round 1", "round 2"]
    assert [(arm.name, arm.budget, arm.round) for arm in found.arms] == [("beam", 60, 2), ("beam-250", 40, 2), ("sample", 0, 2)]
    assert all(len(arm) == 6 for arm in found.arms), "three problems of each level"
    assert found.wanted_rounds == 2 and found.asides == 0 and len(found.prompts) == 12
    first = seed.record(0)["scores"][0]
    assert found.held_out[0].of(first["level"]).pass_1().mean == pytest.approx(first["pass_1"])
    path = write({"runs/seed0": seed.store}, "x", tmp_path / "report.html")
    assert "beam-250" in path.read_text(encoding="utf-8")


def test_an_evaluation_is_reported_with_its_arms_and_what_they_took(evaluation):
    found = gather(evaluation.store, "runs/eval")
    assert [(arm.name, arm.budget) for arm in found.arms] == [("beam", 40), ("beam", 60), ("mcts", 40), ("mcts", 60)]
    assert "eval-mcts-60" in found.rounds[0]["seconds"] and {"beam 40", "mcts 60"} <= set(found.work[0].flops)
    assert any(span.phase == "eval-mcts-60" for span in found.spans)


def test_answers_are_exported_by_arm(seed, evaluation, tmp_path):
    kept = tmp_path / "kept.parquet"
    assert traces.export(seed, traces.Wanted(kept=True), kept) == 0
    rows = pq.read_table(kept).to_pylist()
    decided = [row for number in (1, 2) for row in seed.decisions(seed.train, number).to_pylist() if not row["reason"]]
    assert {row["id"] for row in rows} == {row["id"] for row in decided} and all(row["kept"] for row in rows)
    assert {row["round"] for row in rows} <= {1, 2} and rows[0]["messages"][0]["role"] == "user"
    mcts = tmp_path / "mcts.jsonl"
    assert traces.export(evaluation, traces.Wanted(arm="eval-mcts-60"), mcts) == 0
    rows = [json.loads(line) for line in mcts.read_text(encoding="utf-8").splitlines()]
    assert rows and all(row["kept"] is None and row["id"].startswith("r00000/eval-mcts-60/") for row in rows)


def test_a_stored_regrading_is_read_and_another_one_is_made(folder):
    book = Book(Store(folder / "compare" / "seed0"))
    units = list(book.every_unit())
    assert all(book.verdicts("exact-473fc51b", key) is not None for _, _, key in units)
    grader, said = Grader(Part(VERIFY, "exact", {"read": "number"})), []
    book.store.open()
    changes = regrade.regrade(book, grader, "exact-new", lambda *done: said.append(done))
    assert said[-1] == (len(units), len(units)) and sum(changes.counts.values()) > 0
    assert all(book.verdicts("exact-new", key) is not None for _, _, key in units)


@pytest.mark.parametrize("name", ["compare/seed0", "eval"])
def test_a_config_without_today_s_options_is_resumed_unchanged(folder, name, monkeypatch):
    monkeypatch.chdir(folder.parent)  # its judge is named from there
    store = Store(folder / name)
    assert "failed_share" not in store.local("config.yaml").read_text()
    kind, config = kind_of(str(store.local("config.yaml")), [f"run.dir={store.root}"])
    assert (config.generate.gpus, config.train.gpus, config.drift) == (0, 0, 1e-3), "what it began with"
    check_unchanged(store, config, kind.schema)
    with pytest.raises(UserError, match="problems is 12 in this run, but 13 was asked for"):
        check_unchanged(store, kind_of(str(store.local("config.yaml")), ["problems=13"])[1], kind.schema)
