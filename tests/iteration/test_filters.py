from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteration.examples import ANSWER, DECISION, decide
from iteration.filters.balance import Balance
from iteration.filters.cap import Cap
from iteration.filters.correct import Correct
from iteration.filters.distinct import Distinct, canonical
from iteration.filters.hindsight import Hindsight


def table(*rows):
    """rows: (problem, state, text[, solve rate[, answer]])."""
    columns = {
        "id": [f"t{i}" for i in range(len(rows))],
        "problem_id": [row[0] for row in rows],
        "level": [4] * len(rows),
        "state": [row[1] for row in rows],
        "answer": [row[4] if len(row) > 4 else "" for row in rows],
        "why": ["because"] * len(rows),
        "answer_text": [row[2] for row in rows],
        "tokens": [3] * len(rows),
        "prompt": ["what is it?"] * len(rows),
        "rate": [row[3] if len(row) > 3 else 0.5 for row in rows],
    }
    return pa.table(columns, schema=ANSWER)


NONE = DECISION.empty_table()
CHAIN = {"correct": Correct(), "distinct": Distinct(), "cap": Cap(2)}


def test_every_decision_has_its_reason():
    found = decide(
        table(
            ("a", "correct", "1"),
            ("a", "wrong", "2"),
            ("a", "failed", "3"),
            ("a", "correct", " 1 \n"),
            ("a", "correct", "1 1"),
            ("a", "correct", "1 2"),
            ("b", "correct", "1"),
        ),
        NONE,
        CHAIN,
    )
    assert found["reason"].to_pylist() == [
        "",
        "correct: wrong: because",
        "correct: failed: because",
        "distinct: an answer with the same steps is kept already",
        "",
        "cap: more than 2 for this problem",
        "",
    ]


def test_earlier_rounds_count():
    earlier = decide(table(("a", "correct", "1"), ("a", "correct", "2")), NONE, CHAIN)
    found = decide(table(("a", "correct", "1"), ("a", "correct", "3"), ("b", "correct", "1")), earlier, CHAIN)
    assert [reason.partition(":")[0] for reason in found["reason"].to_pylist()] == ["distinct", "cap", ""]


def test_nothing_in_nothing_out():
    assert len(decide(table(), NONE, CHAIN)) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1 + 2\n\n3", "1 + 2 \n3.", True),
        ("It costs 1,200.50 dollars", "it costs  1200.5 dollars;", True),
        ("07", "7", True),
        ("0.0", "0", True),
        ("1 + 2\n3", "1 + 2 3", False),
        ("1.05", "1.5", False),
        ("10", "1", False),
    ],
)
def test_steps_are_compared_not_strings(one, other, same):
    assert (canonical(one) == canonical(other)) == same


@given(st.lists(st.floats(0, 1), max_size=80), st.sampled_from([0.3, 0.4, 0.6]))
def test_no_difficulty_has_more_than_its_share_where_that_is_possible(rates, share):
    reasons = Balance(share=share).keep(table(*[("p", "correct", "x", rate) for rate in rates]), NONE)
    bins = [min(3, int(rate * 4)) for rate in table(*[("p", "correct", "x", rate) for rate in rates])["rate"].to_pylist()]
    counts, kept = Counter(bins), Counter(b for b, reason in zip(bins, reasons, strict=True) if not reason)
    assert set(kept) == set(counts)
    least = min(counts.values(), default=0)
    if len(counts) * share >= 1 and len(counts) > 1:
        assert max(kept.values()) <= max(least, share * sum(kept.values()) + 1e-9)
    if len(counts) == 1:
        assert kept == counts, "there is nothing to balance against"


def test_balance_says_which_bin_was_full():
    rows = [("p", "correct", "x", 0.9)] * 8 + [("q", "correct", "x", 0.1)] * 2
    reasons = decide(table(*rows), NONE, {"balance": Balance(share=0.5)})["reason"].to_pylist()
    assert reasons == [""] * 2 + ["balance: more than 2 from bin 4 of 4 of solve rates"] * 6 + [""] * 2
    with pytest.raises(ValueError, match="share is 0"):
        Balance(share=0)


@pytest.mark.parametrize(
    ("text", "answer", "kept"),
    [
        ("It must be 42.\n6 * 7 is what is asked\nso 42", "42", False),
        ("6 * 7 is what is asked\n6 * 7 = 42\nso 42", "42", True),
        ("42\nso 42", "42", True),  # too short to be made up backwards
        ("5 and 7\n12 - 7\n5", "5", True),  # a digit may stand anywhere
        ("what is 420?\nno\nso 42", "42", True),
    ],
)
def test_an_answer_that_knows_the_end_first_is_left_out(text, answer, kept):
    (reason,) = Hindsight().keep(table(("p", "correct", text, 0.5, answer)), NONE)
    assert (reason == "") == kept


def test_an_answer_that_the_prompt_holds_may_be_repeated():
    assert Hindsight().one("is it 42 or 43?", "42 or 43\nlet me see\n42", "42") == ""
