"""MBPP and APPS rows in their published forms: what the model is shown, and what the verifier is told."""

import json

import numpy as np
import pytest

from iteration.errors import UserError
from iteration.tasks.apps import Apps
from iteration.tasks.humaneval import Humaneval
from iteration.tasks.mbpp import Mbpp, of_reference

FULL = {
    "task_id": 1,
    "text": "Find it.",
    "code": "def f(x):\r\n  return x",
    "test_list": ["assert f(1) == 1"],
    "test_setup_code": "",
}
SANITIZED = {
    "task_id": 2,
    "prompt": "Find pi.",
    "code": "import math\ndef g():\n    return math.pi",
    "test_imports": ["import math"],
}
SANITIZED |= {"test_list": ["assert math.isclose(g(), math.pi)"], "source_file": "a.ipynb"}
STARTER = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        "


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_mbpp_in_both_published_forms(tmp_path):
    full, sanitized = written(tmp_path / "a.jsonl", [FULL]), written(tmp_path / "b.jsonl", [SANITIZED])
    (problem,) = Mbpp(test=full).all("test")
    assert json.loads(problem.answer) == {"asserts": ["assert f(1) == 1"], "setup": "", "names": ["f"]}
    assert Mbpp(test=full).prompt(problem) == "Find it. Your code should pass this test:\nassert f(1) == 1\n"
    (problem,) = Mbpp(test=sanitized, prompt_key="prompt").all("test")
    spec = json.loads(problem.answer)
    assert spec["setup"].splitlines() == ["import math"] * 2 and spec["names"] == ["g"]
    with pytest.raises(UserError, match="no column 'tests_setup'.*task.setup_key=COLUMN"):
        Mbpp(test=full, setup_key="tests_setup")
    assert json.loads(Mbpp(test=full, code_key="").all("test")[0].answer)["names"] == []


@pytest.mark.parametrize(
    ("value", "asserts"),
    [
        ("assert f(1) == 1\nassert f(2) == 2", ["assert f(1) == 1", "assert f(2) == 2"]),
        ("['assert f(1) == 1', \"assert f('a') == 'a'\"]", ["assert f(1) == 1", "assert f('a') == 'a'"]),
        ('["assert f(1) == 1"]', ["assert f(1) == 1"]),
        ("assert f(1) == 1", ["assert f(1) == 1"]),
    ],
)
def test_a_list_of_tests_may_be_one_text(tmp_path, value, asserts):
    (problem,) = Mbpp(test=written(tmp_path / "a.jsonl", [FULL | {"test_list": value}])).all("test")
    assert json.loads(problem.answer)["asserts"] == asserts


@pytest.mark.parametrize("value", ["Write a test.", "['assert f(1)' 'assert f(2)']", [1], ["assert f(1", ""], {"a": 1}, []])
def test_a_list_of_tests_that_cannot_be_read_is_named(tmp_path, value):
    with pytest.raises(UserError, match="a.jsonl.*row 1: test_list is") as error:
        Mbpp(test=written(tmp_path / "a.jsonl", [FULL | {"test_list": value}]))
    assert "\n" not in str(error.value)


def test_two_mbpp_problems_with_one_text_are_two(tmp_path):
    other = FULL | {"task_id": 3, "code": "def h(x): return 2", "test_list": ["assert h(1) == 2"]}
    task = Mbpp(test=written(tmp_path / "a.jsonl", [FULL, other, FULL]), id_key="task_id")
    one, two = task.all("test")
    assert one.prompt == two.prompt and one.id != two.id
    assert "f(1)" in task.prompt(one) and "h(1)" in task.prompt(two) and "h(1)" in task.names["3"].answer
    assert task.names["1"] == one
    again = written(tmp_path / "b.jsonl", [other])
    with pytest.raises(UserError, match="is also row"):
        Mbpp(train=written(tmp_path / "c.jsonl", [FULL, other]), test=again)
    apart = Mbpp(train=written(tmp_path / "d.jsonl", [FULL]), test=again)
    assert len(apart.all("train") + apart.all("test")) == 2


@pytest.mark.parametrize(
    ("code", "tests", "names", "imports"),
    [
        ("import sys\ndef size(x): return 1", "assert size(1) == sys.getsizeof(1)", ["size"], ["import sys"]),
        ("from math import *\nimport re\ndef f(): pass", "assert f()", ["f"], []),
        ("class Node: pass\ndef f(n): pass", "n = Node()\nassert f(n)", ["Node", "f"], []),
        ("def sum(a): return a", "assert sum(1) == 1", ["sum"], []),
        ("import math\ndef math(): pass", "assert math()", ["math"], []),
        ("N = 2\nM = 3\ndef f(x): return N", "assert f(1) == N", ["N", "f"], ["N = 2"]),
        (
            "import math\nTOL = 1\ndef near(a, b): return math.fabs(a - b) < TOL\ndef f(): return 1",
            "assert near(f(), 1)",
            ["f", "near"],
            ["import math", "TOL = 1", "def near(a, b):\n    return math.fabs(a - b) < TOL"],
        ),
        ("def f(:", "assert f()", [], []),
    ],
)
def test_what_tests_use_of_a_reference_solution(code, tests, names, imports):
    assert of_reference(code, tests) == (names, imports)


def test_apps_rows_by_input_and_by_name(tmp_path):
    rows = [
        {
            "question": "Add.",
            "starter_code": "",
            "input_output": json.dumps({"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3", [7]]}),
        },
        {"question": "Sum.", "starter_code": STARTER, "input_output": {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}},
        {"question": "Count.", "starter_code": "", "input_output": {"fn_name": "count", "inputs": [{"1": 2}], "outputs": [1]}},
    ]
    texts = [
        row | {"input_output": row["input_output"] if isinstance(row["input_output"], str) else json.dumps(row["input_output"])}
        for row in rows
    ]
    task = Apps(test=written(tmp_path / "a.jsonl", texts))
    program, method, function = task.all("test")
    assert json.loads(program.answer) == {"inputs": ["1 2\n", "3\n4"], "outputs": ["3", "7"]}
    assert task.prompt(program) == "Add.\nWrite a Python program that reads standard input and prints the answer."
    spec = json.loads(method.answer)
    assert (spec["entry"], spec["class"], spec["inputs"], spec["outputs"]) == ("add", "Solution", [[1, 2]], [3])
    assert task.prompt(method) == f"Sum.\nComplete this Python code:\n```python\n{STARTER.strip()}\n```"
    assert task.prompt(function) == "Count.\nWrite a Python function count."
    assert json.loads(function.answer)["inputs"] == [[{"1": 2}]]
    begun = Apps(test=written(tmp_path / "b.jsonl", [texts[0] | {"starter_code": "n = int(input())"}]))
    assert begun.prompt(begun.all("test")[0]).endswith("prints the answer. Begin with:\n```python\nn = int(input())\n```")


@pytest.mark.parametrize(
    "pairs",
    [
        "",
        "{",
        {},
        {"inputs": [], "outputs": []},
        {"inputs": ["1"], "outputs": []},
        {"fn_name": "f", "inputs": [[1]], "outputs": []},
    ],
)
def test_an_apps_row_without_tests_is_named(tmp_path, pairs):
    row = {"question": "q", "input_output": pairs if pairs == "{" else json.dumps(pairs)}
    with pytest.raises(UserError, match="row 1: input_output (has|is not JSON)") as error:
        Apps(test=written(tmp_path / "a.jsonl", [row]))
    assert "\n" not in str(error.value)


def test_splits_are_disjoint(tmp_path):
    mbpp = [FULL | {"text": f"Find {i}."} for i in range(60)]
    human = [{"task_id": f"H/{i}", "prompt": f"def f{i}():\n", "test": "", "entry_point": f"f{i}"} for i in range(60)]
    apps = [{"question": f"Add {i}.", "input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]})} for i in range(60)]
    for kind, rows in ((Mbpp, mbpp), (Humaneval, human), (Apps, apps)):
        task = kind(train=written(tmp_path / "t.jsonl", rows[:40]), validation=written(tmp_path / "v.jsonl", rows[40:]))
        assert set(task.splits()) == {"train", "test", "validation"}
        found = [p.id for split in task.splits() for p in task.draw(split, 0, 100, np.random.default_rng(0))]
        assert len(found) == len(set(found)) == 60
