"""Traces made elsewhere, as files of other programs have them."""

import asyncio
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iteration.errors import UserError
from iteration.tasks.expressions import Expressions
from iteration.tasks.file import File
from iteration.traces import Traces

SYSTEM = {"role": "system", "content": "Be short."}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def written(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def task(tmp_path):
    rows = [{"prompt": f"{i} + 1?", "answer": str(i + 1), "name": f"sum-{i}"} for i in range(8)]
    chat = [{"prompt": [user("chat?")], "answer": "yes"}]
    train, test = written(tmp_path / "p.jsonl", [*rows[:6], *chat]), written(tmp_path / "t.jsonl", rows[6:])
    return File(train=train, test=test, template="Q: {prompt}\nA:", id_key="name", bad_rows="skip")


def given(traces, task):
    """{the problem's prompt: its answers}"""
    prompts = [task.prompt(problem) for problem in traces.problems]
    several = asyncio.run(traces.answers(traces.problems, prompts))
    return {problem.prompt: each for problem, each in zip(traces.problems, several, strict=True)}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 1?", "completion": "3"},
        {"prompt": "Q: 2 + 1?\nA:", "response": "3"},
        {"prompt": [user("2 + 1?")], "completion": [assistant("3")]},
        {"prompt": [SYSTEM, user("2 + 1?")], "output": "3"},
        {"messages": [user("2 + 1?"), assistant("3")]},
        {"messages": [SYSTEM, user("Q: 2 + 1?\nA:"), assistant("3")], "prompt": "<user>Q: 2 + 1?", "completion": "3"},
        {"id": "sum-2", "completion": "3"},
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_row_is_an_answer_to_its_problem(task, tmp_path, row, form):
    path, rows = tmp_path / f"traces.{form}", [row, row]
    pq.write_table(pa.Table.from_pylist(rows), path) if form == "parquet" else written(path, rows)
    found = given(Traces(str(path), task), task)
    answer, _ = found["2 + 1?"]
    assert (answer.text, answer.model, answer.origin) == ("3", str(path), f"{path}, row 1")


def test_several_files_and_answers_and_whose_they_are(task, tmp_path):
    one = written(tmp_path / "a.jsonl", [{"prompt": "0 + 1?", "completion": "1", "model": "big"}] * 2)
    two = written(tmp_path / "b.jsonl", ["\n", {"prompt": "0 + 1?", "completion": "2"}, {"prompt": "chat?", "completion": ""}])
    traces = Traces([one, two], task)
    first, chat = given(traces, task).values()
    assert [(each.text, each.model) for each in first] == [("1", "big"), ("1", "big"), ("2", two)]
    assert [each.text for each in chat] == [""] and first[2].origin == f"{two}, row 1 (line 2)"
    assert traces.doing() == "4 answers to 2 problems"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{broken\n", "row 2: not JSON: "),
        ("[1]\n", "row 2: found a list, expected an object"),
        ({"prompt": "9 + 1?", "completion": "10"}, "row 2: '9 [+] 1.' is no problem of the task; take the row out"),
        ({"completion": "10"}, "row 2: it has neither problem_id, prompt nor messages"),
        ({"prompt": "1 + 1?"}, "row 2: it has no answer; expected completion, response, output, or messages"),
        ({"messages": [user("1 + 1?")]}, "row 2: the prompt's messages do not end|row 2: its messages do not end"),
        ({"prompt": "1 + 1?", "completion": {"a": 1}}, "row 2: found a struct"),
        ({"prompt": "1 + 1?", "completion": [user("2")]}, "row 2: its messages do not end with the text of an assistant"),
        ({"prompt": [assistant("1 + 1?")], "completion": "2"}, "row 2: the prompt's messages do not end with a message of the"),
    ],
)
def test_a_row_that_is_no_answer_is_named(task, tmp_path, row, said):
    path = written(tmp_path / "traces.jsonl", [{"prompt": "1 + 1?", "completion": "2"}, row])
    with pytest.raises(UserError, match=said) as raised:
        Traces(path, task)
    assert str(raised.value).startswith(f"begin.traces={path}: ") and "\n" not in str(raised.value)


def test_files_that_cannot_be_used(task, tmp_path):
    with pytest.raises(UserError, match="found no rows"):
        Traces(written(tmp_path / "none.jsonl", []), task)
    with pytest.raises(UserError, match="begin.traces: there is no file nowhere.jsonl"):
        Traces("nowhere.jsonl", task)
    with pytest.raises(UserError, match="needs a task whose problems can be listed"):
        Traces(written(tmp_path / "a.jsonl", [{"prompt": "1", "completion": "1"}]), Expressions())
    traces = Traces(written(tmp_path / "b.jsonl", [{"prompt": "1 + 1?", "completion": "2"}]), task)
    with pytest.raises(UserError, match="no answer to p-.* any more; give back the file that the run began with"):
        asyncio.run(traces.answers(task.all("train")[:3], ["", "", ""]))
