"""Every command in README.md and docs/ is run, or at least parsed by the real parser and loaded against the real config.

A block fenced by ```bash is run as it stands, in order within its page, in a scratch folder. An HTML comment above the fence
says why it is not: <!-- takes: 5 minutes --> or <!-- needs: WORD --> with a word of NEEDS. Blocks that need a run are run by
tests/integration/test_docs.py. The verbs of all others are run on scripted actors (tests/scripted.py), with SMALL options, and
with files and folders in place of the names that stand for the reader's. What cannot be run so (UNRUN, benchmarks, clusters,
packages) is parsed: verbs, options, files, and KEY=VALUE against the config.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import io
import json
import os
import pkgutil
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.scripted import play_on_script

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
QUICKSTART = "configs/quickstart.yaml"
NEEDS = {"run", "model", "data", "gpu", "cluster", "packages", "server", "endpoint"}
UNRUN = {"setup", "test", "torture", "submit", "stop"}  # they install, run tests, kill, need a cluster, or a run at work
MEASURE = ["measure.problems=4", "measure.samples=4"]
RUN = ["problems=4", "unit=4", "train.tokens=100", *MEASURE]
COMPARE = ["compare.seeds=[0]", "compare.problems=2", "compare.samples=4", "compare.source_problems=2"]
SMALL = {"run": RUN, "compare": RUN + COMPARE, "eval": ["unit=4", *MEASURE]}  # what a verb's options are replaced by
PROGRAMS = {"apt-get", "cat", "docker", "pip", "printf", "ssh", "kubectl", "sbatch"}  # only their names are looked at
FENCE = re.compile(r"```(\w*)\s*$")
INLINE = re.compile(r"`((?:\./launch\.sh|\.venv/bin/python)(?: [^`]*)?)`")
MARK = re.compile(r"<!-- (needs|takes): (.+) -->$")


class Wrong(Exception):
    """A page names something that does not exist."""


@dataclass(frozen=True)
class Block:
    """A fenced block of commands."""

    place: str  # PAGE:LINE
    text: str
    needs: str = ""  # a word of NEEDS, or a time; empty: it is run

    def commands(self) -> list[list[str]]:
        """The words of each command."""
        found = []
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
            words.whitespace_split, words.commenters = True, "#"
            parts: list[list[str]] = [[]]
            for word in words:
                if set(word) <= set(";&|"):
                    parts.append([])
                elif set(word) <= set("<>"):
                    parts[-1].append(">")
                else:
                    parts[-1].append(word)
            found += [part[: part.index(">")] if ">" in part else part for part in parts if part]
        return found


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are fenced by ```bash or ```sh. Raises Wrong for a mark or a fence that is none."""
    found, lines, at = [], page.read_text().splitlines(), 0
    while at < len(lines):
        fence, before = FENCE.match(lines[at]), lines[at - 1].strip() if at else ""
        at += 1
        if not fence:
            continue
        place, start = f"{page.name}:{at}", at
        if "```" not in lines[start:]:
            raise Wrong(f"{place}: this block has no end")
        at = lines.index("```", start) + 1
        if fence[1] in ("bash", "sh"):
            mark = MARK.match(before)
            if before.startswith("<!--") and not (mark and (mark[1] == "takes" or mark[2] in NEEDS)):
                raise Wrong(f"{place}: found {before}, expected takes: TIME, or needs: one of {', '.join(sorted(NEEDS))}")
            found.append(Block(place, "\n".join(lines[start : at - 1]), mark[2] if mark else ""))
    return found


def inline(page: Path) -> list[Block]:
    """The commands that stand in the text and the tables of a page."""
    lines = page.read_text().splitlines()
    return [Block(f"{page.name}:{at}", text) for at, line in enumerate(lines, 1) for text in INLINE.findall(line)]


def check(words: list[str]) -> None:
    """Raises Wrong where a command names a program, verb, option, file or key that does not exist."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    program, *rest = words
    if program == ".venv/bin/python":
        if rest[:1] != ["-m"] or not (TOP / rest[1].replace(".", "/")).with_suffix(".py").is_file():
            raise Wrong(f"no module {' '.join(rest[1:2])}")
    elif program == "./launch.sh":
        check_launch(rest)
    elif program == "flywheel":
        check_verb(rest)
    elif program not in PROGRAMS:
        raise Wrong(f"unknown program {program}")


def check_launch(words: list[str]) -> None:
    verb, rest = (words[0], words[1:]) if words else ("", [])
    if verb in ("", "--help"):
        return
    if verb == "setup":
        strange = [word for word in rest if not (TOP / f"locks/{word}.txt").is_file()]
    elif verb == "test":
        strange = [word for word in rest if word != "all" and not (TOP / word.partition("::")[0]).exists()]
    elif verb == "torture":
        storm = (TOP / "tests/torture/storm.py").read_text()
        strange = [word for word in rest if word.startswith("-") and f'"{word}"' not in storm]
    else:
        return check_verb(words)
    if strange:
        raise Wrong(f"launch.sh {verb} knows no {' '.join(strange)}")


def check_verb(words: list[str]) -> None:
    from cluster.cli import parser
    from iteration.errors import UserError

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            known, rest = parser().parse_known_args(words)
    except SystemExit as end:
        if end.code:
            raise Wrong(said.getvalue().strip().splitlines()[-1]) from None
        return  # --help
    if [word for word in rest if word.startswith("-") or "=" not in word] or (rest and not hasattr(known, "options")):
        raise Wrong(f"{known.verb} knows no {' '.join(rest)}")
    try:
        check_options(known, [*getattr(known, "options", []), *rest])
    except UserError as error:
        raise Wrong(str(error)) from None


def check_options(known, options: list[str]) -> None:
    """Load KEY=VALUE against the config that the command names, else against the quickstart's. Raises UserError."""
    from cluster.verbs.eval import words

    if known.verb in ("run", "compare", "plan", "submit") and known.config != "mine.yaml":  # what init writes
        load(known.config, options)
    elif known.verb == "resume":
        load(QUICKSTART, options)
    elif known.verb == "verify":
        load(*(known.task, options) if known.task.endswith(".yaml") else (QUICKSTART, [f"verify={known.task}", *options]))
    elif known.verb == "regrade":
        own = [option if option.startswith("sandbox") else f"verify.{option}" for option in options]
        load(QUICKSTART, [f"verify={known.verifier}", *own])
    elif known.verb == "eval":
        options = words(known.model, known.task, known.search, known.budget, known.judge, options)
        options = [option for option in options if not option.startswith("eval.judge=")]  # it need not exist here
        learned = "judge.name=oracle" if known.judge else ""
        load(known.task if known.task.endswith(".yaml") else "", [*options, *filter(None, [learned])], evaluation=True)


def load(file: str, options: list[str], evaluation: bool = False) -> None:
    from cluster.evaluation import read
    from cluster.verbs.driving import kind_of

    if file and not (TOP / file).is_file():
        raise Wrong(f"no file {file}")
    read(file, options) if evaluation else kind_of(file, options)


def keys(section: str) -> set[str]:
    """The options of a section of the config, of all its parts."""
    from cluster.config import KINDS, Config

    own = {field.name: field.default_factory for field in dataclasses.fields(Config)}
    if dataclasses.is_dataclass(own[section]):
        return {field.name for field in dataclasses.fields(own[section])}
    kind = KINDS.get(section) or KINDS[f"{section}*"]
    names = [module.name for module in pkgutil.iter_modules(import_module(kind.package).__path__)]
    return {"name", *names} | {field.name for name in names for field in dataclasses.fields(kind.part_class(name))}


def scratch(folder: Path) -> dict[str, str]:
    """Make a folder in which ./launch.sh works, without setting up anything. Returns the environment."""
    for name in ("cluster", "iteration", "configs", "tests", "docs", "locks", "pyproject.toml"):
        (folder / name).symlink_to(TOP / name)
    shutil.copy(TOP / "launch.sh", folder)
    installed = {
        ".venv/bin/flywheel": f'exec "{sys.executable}" -m cluster.cli "$@"',
        ".venv/bin/python": f'exec "{sys.executable}" "$@"',
        "bin/nvidia-smi": "exit 1",
    }
    for name, text in installed.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    mark = 'echo "cpu $(cksum <locks/cpu.txt) $(cksum <pyproject.toml)" >.venv/installed'  # as launch.sh does
    subprocess.run(["bash", "-c", mark], cwd=folder, check=True)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(TOP), "HOME": str(folder)}


def run(block: Block, folder: Path, environment: dict[str, str]) -> None:
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{block.place}: {block.text}\n{done.stdout}{done.stderr}"


@pytest.fixture(autouse=True)
def _at_the_top(monkeypatch):
    monkeypatch.chdir(TOP)


SUMS = [json.dumps({"question": f"{i} + 1 = ?", "answer": f"#### {i + 1}"}) + "\n" for i in range(40)]
DATA = TOP.parent / "shared" / "data" / "humaneval" / "HumanEval.jsonl.gz"
READERS = {"RUN": "runs/quickstart", "MODEL": "runs/quickstart/models/m00000", "FOLDER": "runs/quickstart/models/m00000"}
READERS |= {"RUN1": "runs/quickstart", "RUN2": "runs/seed0", "TRAIN.jsonl": "train.jsonl", "TEST.jsonl": "test.jsonl"}
READER = re.compile(r"(?<![\w.])(" + "|".join(READERS) + r")(?![\w.])")


@pytest.fixture
def home(tmp_path_factory, monkeypatch):
    """A folder with what the pages call RUN, MODEL, TRAIN.jsonl and so on: a quickstart on scripted actors, and files."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    play_on_script(monkeypatch)
    folder = made_home(tmp_path_factory.mktemp)
    monkeypatch.chdir(folder)
    if not (folder / "runs/quickstart").exists():
        assert scripted(["./launch.sh"]) == scripted(["./launch.sh", "regrade", "RUN", "--verifier", "replay"]) == 0
        (folder / "runs/quickstart/judges/j00003-process").mkdir(parents=True)
        (folder / "runs/quickstart/judges/j00003-process/config.json").write_text("{}")
    return folder


@functools.cache
def made_home(new_folder) -> Path:
    folder = new_folder("home")
    (folder / "configs").symlink_to(TOP / "configs")
    (folder / "data/gsm8k").mkdir(parents=True)
    for name, rows in {"train": SUMS[:20], "test": SUMS[20:]}.items():
        (folder / f"{name}.jsonl").write_text("".join(rows))
        for path in (folder, folder / "data/gsm8k"):
            (path / f"{name}.jsonl.gz").write_bytes(gzip.compress("".join(rows).encode()))
    answers = [{"prompt": json.loads(row)["question"], "completion": "1"} for row in SUMS[:20]]
    (folder / "TRACES.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (folder / "ANSWERS.jsonl").write_text(json.dumps({"task_id": "HumanEval/0", "completion": "    return False\n"}) + "\n")
    if DATA.exists():
        shutil.copy(DATA, folder)
    (folder / "runs").mkdir()
    (folder / "runs/seed0").symlink_to("quickstart")
    return folder


def scripted(words: list[str]) -> int:
    """Run a verb of ./launch.sh in this process. Returns its exit status."""
    from cluster.cli import main

    words = [READER.sub(lambda name: READERS[name[1]], word) for word in words[1:]] or ["run", QUICKSTART]
    return main([*words, *SMALL.get(words[0], ())])


def runs_scripted(words: list[str]) -> bool:
    """Whether a command is run on scripted actors. Others are parsed only: see UNRUN and NEEDS."""
    if words[0] != "./launch.sh" or UNRUN & set(words[1:2]):
        return False
    if "configs/gym.yaml" in words and not find_spec("reasoning_gym"):
        return False
    if "configs/hex.yaml" in words:
        return False  # the scripted actors speak; whole games are played by tests/cluster/test_play.py
    return not any(word.endswith(DATA.name) for word in words) or (DATA.exists() and bool(shutil.which("bwrap")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_are_run_on_scripted_actors(page, home, capsys):
    for other in home.glob("runs/*/config.yaml"):
        if other.parent.name not in ("quickstart", "seed0"):
            shutil.rmtree(other.parent)
    failed = []
    for block in blocks(page):
        for words in block.commands() if block.needs not in ("", "run", "packages", "cluster", "server", "endpoint") else ():
            if runs_scripted(words) and scripted(words):
                failed.append(f"{block.place}: {shlex.join(words)}: {capsys.readouterr().err}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    wrong = []
    for block in [*blocks(page), *inline(page)]:
        for words in block.commands():
            try:
                check(words)
            except Wrong as error:
                wrong.append(f"{block.place}: {' '.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run(page, tmp_path):
    environment = scratch(tmp_path)
    for block in blocks(page):
        if not block.needs:
            run(block, tmp_path, environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_the_text_exist(page):
    from cluster.config import Config

    sections = {field.name for field in dataclasses.fields(Config)}
    for section, key in re.findall(r"`(\w+)\.(\w+)(?:=[^`\n]*)?`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if section in sections and key not in ("json", "yaml", "html"):
            assert key in keys(section), f"{page.name}: no option {section}.{key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        if urllib.parse.urlparse(target).scheme:
            continue
        other = page.parent / path if path else page
        assert other.exists(), f"{page.name}: {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", other.read_text(), re.MULTILINE)
            names = [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles]
            assert heading in names, f"{page.name}: {target}"


@pytest.mark.parametrize("page", [*PAGES, TOP / "CHANGELOG.md"], ids=lambda page: page.name)
def test_files_in_the_text_exist(page):
    named = re.findall(r"`((?:iteration|cluster|tests|configs|docs|locks)/[\w./-]*)`", page.read_text())
    assert not [name for name in named if not (TOP / name).exists()]


def test_the_readme_is_one_page_and_names_every_other():
    text = PAGES[0].read_text()
    assert len(text.splitlines()) <= 160
    assert not [page.name for page in PAGES[1:] if f"docs/{page.name}" not in text]


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_a_page_begins_with_its_command(page):
    first = blocks(page)[0]
    assert int(first.place.partition(":")[2]) < 12


@pytest.mark.parametrize(
    "line",
    [
        "./launch.sh walk configs/quickstart.yaml",
        "./launch.sh run configs/quickstart.yaml --fast",
        "./launch.sh run configs/slowstart.yaml",
        "./launch.sh run configs/quickstart.yaml train.speed=2",
        "./launch.sh run configs/quickstart.yaml rounds=many",
        "./launch.sh compare configs/compare.yaml compare.arm=1",
        "./launch.sh eval MODEL configs/coverage.yaml measure.sample=3",
        "./launch.sh eval MODEL expressions verify=replay --search beam:kept=2 --judge RUN/judges/j00003-process",
        "./launch.sh resume RUN placement.generator=2",
        "./launch.sh regrade RUN --verifier math reed=boxed",
        "./launch.sh verify maths ANSWERS.jsonl",
        "./launch.sh status",
        "./launch.sh status RUN rounds=2",
        "./launch.sh torture --hours 2",
        "./launch.sh setup gim",
        "./launch.sh test tests/iteration/test_maths.py",
        "FLYWHEEL_LONG=1 ./launch.sh tests",
        ".venv/bin/python -m tests.bench.bench_nothing",
        "true; rm -r runs",
    ],
)
def test_a_wrong_command_is_found(tmp_path, line):
    page = tmp_path / "page.md"
    page.write_text(f"```bash\n./launch.sh\n{line}\n```\n")
    with pytest.raises(Wrong):
        for words in blocks(page)[0].commands():
            check(words)


@pytest.mark.parametrize("text", ["<!-- needs: luck -->\n```bash\nls\n```", "<!-- slow -->\n```sh\nls\n```", "```bash\nls"])
def test_a_wrong_mark_is_found(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(f"{text}\n")
    with pytest.raises(Wrong):
        blocks(page)


def test_blocks_and_commands_are_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\n```\n\n<!-- takes: 5 minutes -->\n```bash\n./launch.sh # all of it\n```\n\n"
        "See `./launch.sh runs`.\n```sh\nA=1 ./launch.sh run x \\\n  a='{b: 1}' && cat y | cat > z; pip\n```\n"
    )
    slow, fast = blocks(page)
    assert (slow.needs, slow.commands()) == ("5 minutes", [["./launch.sh"]])
    assert [each.commands() for each in inline(page)] == [[["./launch.sh", "runs"]]]
    assert fast.needs == "" and fast.place == "page.md:11"
    assert fast.commands() == [["A=1", "./launch.sh", "run", "x", "a={b: 1}"], ["cat", "y"], ["cat"], ["pip"]]


def test_a_block_that_fails_is_found(tmp_path):
    environment = scratch(tmp_path)
    run(Block("page.md:1", "./launch.sh --help | cat > help.txt"), tmp_path, environment)
    assert "usage" in (tmp_path / "help.txt").read_text()
    with pytest.raises(AssertionError, match="no run there"):
        run(Block("page.md:1", "./launch.sh status runs/none"), tmp_path, environment)
