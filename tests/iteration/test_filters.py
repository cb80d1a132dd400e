import pyarrow as pa

from iteration.examples import ANSWER, DECISION, decide
from iteration.filters.cap import Cap
from iteration.filters.correct import Correct
from iteration.filters.distinct import Distinct


def table(*rows):
    """rows: (problem, state, text)."""
    columns = {
        "id": [f"t{i}" for i in range(len(rows))],
        "problem_id": [row[0] for row in rows],
        "level": [4] * len(rows),
        "state": [row[1] for row in rows],
        "answer": [""] * len(rows),
        "why": ["because"] * len(rows),
        "answer_text": [row[2] for row in rows],
        "tokens": [3] * len(rows),
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
        "distinct: the same answer is kept already",
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
