"""What the verbs share that drive a run: how work ends, what is resumed, which trace is shown as an example."""

import os
import signal
import sys
import time

import pyarrow as pa
import pytest
from ray.exceptions import RayActorError

from cluster.comparison import Comparison
from cluster.evaluation import Evaluation
from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.folder.layout import arm_key, filter_key, record_key
from cluster.folder.store import Store
from cluster.run import Run
from cluster.verbs.driving import first_cause, first_kept, guarded, kind_of
from iteration.errors import UserError
from iteration.parts import SEARCH, Part


@pytest.fixture(autouse=True)
def handler():
    """SIGTERM as it was before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def fails(error):
    def work():
        raise error

    return work


def test_finished_work_is_status_0(tmp_path):
    assert guarded(lambda: None, tmp_path / "error.log", "again") == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("ray_starts", [False, True])
def test_sigterm_is_status_75_and_says_how_to_resume(tmp_path, capsys, ray_starts):
    """While Ray starts, SIGTERM is handled by Ray, which exits."""

    def work():
        if ray_starts:
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    assert guarded(work, tmp_path / "error.log", "./launch.sh resume runs/x") == 75
    said = capsys.readouterr().err
    assert said == "flywheel: stopped by SIGTERM; committed work is kept. Resume with: ./launch.sh resume runs/x\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("broken\nin two lines"), "flywheel: RuntimeError: broken (traceback: "),
        (RayActorError(), "flywheel: an actor died: "),
        (ExceptionGroup("several", [ExceptionGroup("inner", [KeyError("first")]), OSError("second")]), "flywheel: KeyError: "),
        (ValueError(), "flywheel: ValueError: no message (traceback: "),
    ],
)
def test_a_defect_is_one_line_and_status_1(tmp_path, capsys, error, said):
    assert guarded(fails(error), tmp_path / "error.log", "again") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(said) and second == "flywheel: committed work is kept; resume with: again"
    assert "Traceback" in (tmp_path / "error.log").read_text()


def test_what_the_user_can_mend_is_raised_as_it_is(tmp_path):
    with pytest.raises(UserError, match="^rounds is 0$"):
        guarded(fails(ExceptionGroup("several", [UserError("rounds is 0")])), tmp_path / "error.log", "again")
    with pytest.raises(KeyboardInterrupt):
        guarded(fails(KeyboardInterrupt()), tmp_path / "error.log", "again")
    assert not list(tmp_path.iterdir())


def test_the_first_cause():
    inner = KeyError("x")
    assert first_cause(ExceptionGroup("a", [ExceptionGroup("b", [inner]), OSError()])) is inner and first_cause(inner) is inner


@pytest.mark.parametrize(
    ("config", "kind"), [("quickstart", Run), ("compare", Comparison), ("coverage", Evaluation)], ids=["run", "compare", "eval"]
)
def test_the_sections_say_what_runs_a_config(config, kind):
    found, checked = kind_of(f"configs/{config}.yaml", ["seed=7"])
    assert found is kind and checked.seed == 7


def test_the_example_is_of_the_newest_round_that_kept_any(tmp_path):
    store = Store(tmp_path).open()
    store.put_text("config.yaml", "rounds: 3\n")
    search = Part(SEARCH, "sample", {})
    for arm in (
        Arm("a", "search", "train", "train", search, None, 9, False),
        Arm("b", "measure", "test", "test", search, None, 9, True),
    ):
        store.put_json(arm_key(arm.name), arm.record())
    assert first_kept(Book(store)) == ""
    reasons = {1: ["", ""], 2: ["cap", ""], 3: ["cap", "correct"]}
    for number in range(4):
        store.put_json(record_key(number), {"verdicts": ""})
        if number:
            rows = {"id": [f"r{number}-{i}" for i in range(2)], "reason": reasons[number]}
            store.put_table(filter_key(number), pa.table(rows))
    assert first_kept(Book(store)) == "r2-1"
