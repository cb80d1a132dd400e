import io
from collections import Counter

import pytest
from rich.console import Console

from cluster.console import fitting, rounds_table
from cluster.searcher import Done
from cluster.view import View


def record(number, promoted=True, failed=0):
    score = {"level": 4, "problems": 9, "samples": 4, "pass_1": 0.5, "low": 0.4, "high": 0.6, "k": 4, "pass_k": 0.75}
    counts = {"kept": 12, "failed": failed} if number else {}
    return {
        "number": number,
        "model_in": "m00000",
        "model_out": f"m0000{number if promoted else 0}",
        "promoted": promoted,
        "reason": "worse beyond noise",
        "scores": [score],
        "counts": counts,
        "tokens": {"search": 12345},
        "diversity": {"distinct_correct": 1.5, "k": 4, "pass_k": 0.5, "entropy": 0.25} if number else None,
        "judge": f"j0000{number}-process" if number else "",
        "calibration": [
            {"level": 4, "answers": 9, "auc": 0.9, "step_auc": None, "reliability": [], "vote": 0.6, "majority": 0.5}
        ],
        "seconds": {"search": 3.4, "train": 5.2},
    }


def drawn(view) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(view._render())
    return console.file.getvalue()


def test_the_live_view_says_round_phase_units_rate_solve_rate_and_time_left():
    view = View(5, Console(file=io.StringIO()))
    view.round_done(record(0))
    assert "known after round 1" in drawn(view)
    with view.phase(3, "search", 20, 4) as phase:
        phase.unit_done(Done("k", 100, Counter(correct=3, wrong=1, failed=4)))
        view._seen[0] = (view._seen[0][0] - 2, 0)
        view.tick(20_000, (0, 0))
        text = drawn(view)
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80, "it fits a terminal of 80 columns"
        assert "round 3 of 5" in text and "search" in text and "5/20 units" in text and "tokens/s" in text
        assert "75.0% solved" in text, "failed verdicts count neither way"
        with view.phase(2, "train"):
            view.tick(0, (7, 50))
            assert "7/50 steps" in drawn(view) and "round 3 of 5" in drawn(view), "with lag=1 both are shown"
    view.round_done(record(4))
    assert "about 8 s left" in drawn(view), "one round is left, and a round takes 8.6 s"
    said = view.console.file.getvalue()
    assert "round 3  search" in said and "5 units, 75.0% solved" in said and "50 steps" in said and "50 units" not in said


@pytest.mark.parametrize(("rounds", "rest"), [(5, "; the run's time left is known after round 1"), (0, "")])
def test_before_the_first_round_is_done_the_phase_s_own_time_left_is_said(monkeypatch, rounds, rest):
    clock = [100.0]
    monkeypatch.setattr("cluster.view.time.monotonic", lambda: clock[0])
    view = View(rounds, Console(file=io.StringIO()))
    with view.phase(0, "first model"):
        clock[0] += 30  # it prepares
        for steps, left in ((1000, None), (1100, "9 min 0 s"), (1250, "6 min 0 s"), (2000, "0 s")):  # resumed at step 1000
            view.tick(0, (steps, 2000))
            said = drawn(view)
            assert f"{steps}/2000 steps" in said and (left is None or f"first model: about {left} left{rest}" in said), said
            assert ("about" in said) == (left is not None)
            clock[0] += 60
        view.tick(0, (0, 2000))
        assert "about" not in drawn(view), "a trainer that lost its checkpoint begins again"
    with view.phase(0, "measure", 20, 10) as phase:
        clock[0] += 60
        phase.unit_done(Done("k", 100, Counter()))
        assert "measure: about 9 min 0 s left" in drawn(view), "10 of the 20 units were there before"


def test_no_minute_has_60_seconds(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("cluster.view.time.monotonic", lambda: clock[0])
    view = View(2, Console(file=io.StringIO()))
    view.round_done(record(1) | {"seconds": {"search": 59.7}})
    assert "about 59 s left" in drawn(view)


def test_what_needs_attention_is_said():
    view = View(5, Console(file=io.StringIO()))
    view.round_done(record(1, promoted=False, failed=3))
    said = view.console.file.getvalue()
    assert "WARNING: the verifier failed on 3 searched and 0 held-out answers" in said and "worse beyond noise" in said
    assert "1.5 distinct correct answers per problem, 50.0% solved by 4 answers, entropy 0.25" in said
    assert "j00001-process at level 4: AUC 0.900, vote by the judge 60.0%, plain vote 50.0%" in said


def test_the_table_fits_a_terminal_of_80_columns():
    console = Console(file=io.StringIO(), width=80)
    score = record(0)["scores"][0] | {"pass_1": 1.0, "low": 0.925, "high": 1.0, "pass_k": 1.0}
    two = [each | {"scores": [score, score | {"level": 6}]} for each in (record(0), record(1), record(2, promoted=False))]
    for records, lines in (([record(0), record(1), record(2, promoted=False)], 3), (two, 6)):
        fitting(console, rounds_table(records), rounds_table(records, stacked=True))
        text = console.file.getvalue()
        shown = "100.0 [92.5, 100.0]" if lines == 6 else "50.0 [40.0, 60.0]"
        assert sum(shown in line for line in text.splitlines()) == lines, "no number is cut or broken"
        assert text.count("12,345") == 3 and "2 kept m00000" in text and "…" not in text
        console.file.truncate(console.file.seek(0))
    wide = Console(file=io.StringIO(), width=100)
    fitting(wide, rounds_table(two), rounds_table(two, stacked=True))
    assert wide.file.getvalue().count("100.0 [92.5, 100.0]") == 6 and "level 6" in wide.file.getvalue()


def test_tokens_a_second_are_counted_over_some_seconds(monkeypatch):
    """They arrive in bursts, as whole requests end; between two of them nothing stands still."""
    clock = [100.0]
    monkeypatch.setattr("cluster.view.time.monotonic", lambda: clock[0])
    view = View(1, Console(file=io.StringIO()))
    for second in range(1, 41):
        clock[0] += 1
        view.tick(1000 * (second // 5) * 5, (0, 0))
        assert second < 16 or 600 < view.rate < 1400, (second, view.rate)
    for _ in range(17):
        clock[0] += 1
        view.tick(40_000, (0, 0))
    assert view.rate == 0
    clock[0] += 1
    view.tick(5, (0, 0))
    assert view.rate == 0, "an engine that was started anew counts from nothing"
