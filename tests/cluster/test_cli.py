"""The command line: every verb is in the help, and what is cheap stays cheap."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cluster.cli import VERBS, WIDTH, example, main, parser
from cluster.config import load
from iteration.config import read
from tests.cluster.folder.folders import old, young

TOP = Path(__file__).parents[2]


def said(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_teaches_every_verb(capsys):
    whole = said(capsys, "--help")
    for verb in VERBS:
        assert re.search(rf"\n    {verb}\s", whole) and f"usage: flywheel {verb} " in said(capsys, verb, "--help")
    for verb in ("run", "verify", "submit"):
        assert f"\n  flywheel {verb} " in whole, "an example"


def test_every_file_in_verbs_is_a_verb_or_what_verbs_share():
    files = {path.stem for path in (TOP / "cluster" / "verbs").glob("*.py")}
    assert files == {*VERBS, "__init__", "driving"}


def test_examples_fit_the_width_of_a_terminal():
    assert example("flywheel runs  a table") == f"  {'flywheel runs':<36}  a table"
    long = example(f"flywheel runs {'x' * 30}  a table")
    assert long.splitlines() == [f"  flywheel runs {'x' * 30}", "      a table"]
    assert example(f"flywheel runs  {'x' * WIDTH}").count("\n") == 1


def test_the_help_needs_no_package_and_a_verb_imports_only_its_own():
    """-S: Python without site-packages."""
    shown = subprocess.run([sys.executable, "-S", "-m", "cluster.cli", "--help"], cwd=TOP, capture_output=True, text=True)
    assert shown.returncode == 0 and "flywheel run" in shown.stdout, shown.stderr
    code = "import sys; from cluster.cli import parser; parser(['runs']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()
    assert "cluster.verbs.runs" in loaded
    assert not {"cluster.verbs.run", "ray", "torch", "pyarrow", "rich", "omegaconf"} & set(loaded)


@pytest.mark.parametrize("words", [["runs", "."], ["doctor", "eval"], ["status", "eval"]], ids=" ".join)
def test_looking_at_a_run_imports_nothing_large(words, tmp_path):
    """What they import takes a quarter of a second, mostly pyarrow's: python -X importtime -m cluster.cli runs ."""
    with tarfile.open(TOP / "tests/data/runs-a7743d8.tar.gz") as runs:
        runs.extractall(tmp_path, filter="data")
    code = f"import sys; from cluster.cli import main; main({words}); print(*sys.modules, file=sys.stderr)"
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(TOP)}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    loaded = set(shown.stderr.split())
    assert {"pyarrow", "cluster.folder.book"} <= loaded and shown.stdout
    assert not {"torch", "ray", "vllm", "transformers", "pandas", "scipy", "sympy", "cluster.run", "vl_convert"} & loaded


def test_the_help_of_run_lists_every_option_with_default_and_meaning(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = said(capsys, "run", "--help")
    assert not [line for line in text.splitlines() if len(line) > 80]
    for line in (
        "search.n=12 ",
        "whole answers per problem",
        "train.tokens=160000 ",
        "model.warm_start.lr=0.002 ",
        "with filters: {cap: {}}:",
        "filters.cap.per_problem=4 ",
        "with track: {wandb: {}}:",
        "track.wandb.project=flywheel",
        "with verify.name=replay:",
        "with audit.name=NAME: the options of verify.name=NAME",
        "end with a line: ####\n      ANSWER\n      what the model is shown",
        "name=(required)",
    ):
        assert line in text
    assert "with search" not in said(capsys, "status", "--help")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["run", "configs/quickstart.yaml", "seach.n=1"], "did you mean 'search'?"),
        (["status", "nowhere"], "nowhere: no run there"),
        (["why", "x", "--run", "nowhere"], "no run there"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, words, message):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("flywheel: ") and error.count("\n") == 1


def test_a_verb_is_needed(capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args([])
    assert end.value.code == 2


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_closed_pipe_is_no_traceback(tmp_path, more):
    for i in range(3):
        young(tmp_path / f"run{i}")
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "cluster.cli", "runs", str(tmp_path), *more]
    done = subprocess.run(words, cwd=TOP, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode and len(done.stderr.splitlines()) <= 1, done.stderr


def test_what_cannot_be_written_is_one_line(tmp_path, capsys):
    run = old(tmp_path) / "eval"
    (tmp_path / "file").touch()
    (run / "verdicts").touch()  # where a folder should be
    for verb, *words in (["report", "--to", f"{tmp_path}/file/r.html"], ["regrade", "--verifier", "exact"]):
        assert main([verb, str(run), *words]) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith(f"flywheel: {tmp_path}") and "\n" not in said, said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["traces", "RUN", "--page", "0"], "--page is 0; expected at least 1"),
        (["report", "RUN", "--price", "-1"], "--price is -1.0; expected at least 0"),
        (["eval", "models/m", "expressions"], "command line: verify.name is missing"),
        (["eval", "models/m", "expressions", "verify=replay", "--budget", "0"], "eval.budgets is [0]; expected at least 1"),
        (["eval", "models/m", "expressions", "verify=replay", "--search", "beam:keep=0"], "eval.arms.beam: keep is 0"),
    ],
)
def test_zero_and_negative_values_are_refused(tmp_path, capsys, words, said):
    young(tmp_path)
    assert main([str(tmp_path) if word == "RUN" else word for word in words]) == 2
    found = capsys.readouterr().err.strip()
    assert said in found and "\n" not in found


def test_init_writes_a_config_that_loads_and_replaces_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"{i} + {i}", "solution": str(2 * i)} for i in range(40)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "model").mkdir()
    assert main(["init", "plain"]) == 0
    assert main(["init", "own.yaml", "--model", "model", "--train", "sums.jsonl", "--verifier", "exact"]) == 0
    plain, own = load("plain.yaml", []), load("own.yaml", [])
    assert (plain.name, plain.task.name, plain.verify.name, plain.model.path) == ("plain", "expressions", "replay", "")
    assert (own.name, own.task.name, own.verify.name, own.model.path) == ("own", "file", "exact", "model")
    assert (own.task.train, own.task.prompt_key, own.task.answer_key) == ("sums.jsonl", "question", "solution")
    quickstart = load(str(TOP / "configs/quickstart.yaml"), ["name=plain"])
    assert plain == quickstart, "what init writes has been tried"
    before = (tmp_path / "own.yaml").read_text()
    assert main(["init", "own"]) == 2 and (tmp_path / "own.yaml").read_text() == before
    assert "own.yaml: File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "model"], "--model and --train go together"),
        (["--verifier", "mth"], "did you mean 'math'?"),
        (
            ["--model", "model", "--train", "other.jsonl"],
            "no column for task.prompt_key (found: a, b; expected prompt",
        ),
        (["--model", "model", "--train", "nothing.jsonl"], "there is no file nothing.jsonl"),
    ],
)
def test_init_refuses_in_one_line_and_leaves_no_file(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.jsonl").write_text('{"a": 1, "b": 2}\n')
    assert main(["init", "mine", *words]) == 2
    found = capsys.readouterr().err
    assert said in found and found.count("\n") == 1 and not (tmp_path / "mine.yaml").exists()


def test_a_config_that_ships_is_found_from_any_folder_and_one_s_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read("configs/quickstart.yaml") == read(TOP / "configs/quickstart.yaml")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/quickstart.yaml").write_text("name: own\n")
    assert read("configs/quickstart.yaml").name == "own"


def test_report_and_verify_print_json_for_programs(tmp_path, capsys):
    run = old(tmp_path) / "eval"
    assert main(["report", str(run), "--to", str(tmp_path / "r.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"event": "end", "report": str(tmp_path / "r.html"), "pictures": []}
    (tmp_path / "a.jsonl").write_text('{"id": "x", "answer": "1", "expected": "1"}\n{"answer": "2", "expected": "1"}\n')
    assert main(["verify", "exact", str(tmp_path / "a.jsonl"), "--json"]) == 0
    *rows, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(row["name"], row["state"], row["reward"]) for row in rows] == [("x", "correct", 1.0), ("row 2", "wrong", 0.0)]
    assert (end["answers"], end["correct"], end["wrong"], end["failed"]) == (2, 1, 1, 0)
