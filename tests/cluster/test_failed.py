"""A verifier that breaks: said in the round's line, and above a share it stops the run. The real driver on scripted actors."""

import pytest

import tests.scripted as loop
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.searcher import table
from cluster.view import View
from iteration.errors import UserError
from iteration.types import State, Verdict
from tests.cluster.test_loop import COMPARE, EVAL, ROUNDS, play  # noqa: F401 a fixture


def breaking(monkeypatch, arm: str, broken: int) -> None:
    """The verifier breaks on the first `broken` answers to each problem of an arm."""

    def written(unit, trees):
        for tree in trees if unit.arm.name == arm else ():
            for node in tree.nodes[1 : 1 + broken]:
                node.verdict = Verdict(State.FAILED, why="bwrap:\n no permission")
        return table(unit, trees)

    monkeypatch.setattr(loop, "table", written)


def hear(monkeypatch) -> list[str]:
    """The lines that the view says from now on."""
    told: list[str] = []
    monkeypatch.setattr(View, "say", lambda self, line: told.append(line))
    return told


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ("train", "the verifier failed on 16 searched answers, 100.0%"),
        ("test", "the verifier failed on 32 held-out answers, 100.0%"),
    ],
)
def test_a_run_whose_verifier_broke_stops_with_the_reasons(play, monkeypatch, arm, said):  # noqa: F811
    breaking(monkeypatch, arm, 4)
    with pytest.raises(UserError) as error:
        play("run")
    assert str(error.value).startswith(f"{said}: bwrap: no permission (") and "\n" not in str(error.value)
    with pytest.raises(UserError, match="Nothing is lost"):
        play("run")
    assert not [call for call in loop.Actors.calls if call[0] in ("search", "measure")], "it is committed"


def test_it_resumes_where_the_share_is_raised(play, monkeypatch):  # noqa: F811
    breaking(monkeypatch, "train", 1)
    with pytest.raises(UserError, match=r"4 searched answers, 25.0%.*failed_share=0.25 to"):
        play("run")
    told = hear(monkeypatch)
    folder, _ = play("run", "failed_share=0.25")
    records = Book(Store(folder)).records()
    assert len(records) == ROUNDS + 1 and [record["counts"]["failed"] for record in records[1:]] == [4] * ROUNDS
    assert sum("WARNING: the verifier failed on 4 searched and 0 held-out answers" in line for line in told) == ROUNDS


@pytest.mark.parametrize(
    ("kind", "options", "arm", "said"),
    [
        ("eval", [*EVAL, "judge.name=oracle"], "eval-beam-80", "held-out answers"),
        ("compare", COMPARE, "compare-beam-50", "held-out answers"),
        ("compare", COMPARE, "source-more", "searched answers"),
        ("compare", COMPARE, "test-more", "held-out answers"),
    ],
)
def test_an_arm_whose_verifier_broke_stops_too(play, monkeypatch, kind, options, arm, said):  # noqa: F811
    breaking(monkeypatch, arm, 4)
    for _ in range(2):  # also when it is resumed
        with pytest.raises(UserError, match=rf"{said}, [\d.]+%: bwrap: no permission"):
            play("run", *options, kind=kind)


def test_no_failed_verdict_says_nothing(play, monkeypatch):  # noqa: F811
    told = hear(monkeypatch)
    folder, _ = play("run")
    assert not any("verifier failed" in line for line in told)
    assert Book(Store(folder)).record(0)["counts"] == {"failed_held_out": 0}
