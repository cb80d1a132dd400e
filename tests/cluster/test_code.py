"""The code verifier in the real sandbox: known programs, and HumanEval with mutants of every solution."""

import ast
import gzip
import json
import re
from pathlib import Path

import pytest

from cluster.sandbox.walls import Sandbox, SandboxOptions, why_no_walls
from iteration.tasks.apps import Apps
from iteration.tasks.humaneval import Humaneval
from iteration.tasks.mbpp import Mbpp
from iteration.types import Problem, State
from iteration.verify.code import Code, same_output, source_of

pytestmark = pytest.mark.engine
HUMANEVAL = Path(__file__).parents[3] / "shared/data/humaneval/HumanEval.jsonl.gz"


@pytest.fixture(scope="module")
def box():
    sandbox = Sandbox(SandboxOptions(name="rlimits" if why_no_walls() else "bubblewrap"), True, 2.0)
    yield sandbox
    sandbox.close()


def judged(box, spec, *answers, **options):
    return Code(**options).verify([Problem("p", "", json.dumps(spec))] * len(answers), list(answers), box)


ASSERTS = {"asserts": ["assert f(2) == 4", "assert f(3) == 9", "assert f(-1) == 1"]}


def test_results_test_by_test(box):
    texts = "def f(x): return x * x", "def f(x): return x + 2", "def f(x) return", " \n"
    right, half, syntax, empty = judged(box, ASSERTS, *texts)
    assert (right.state, right.reward, right.why) == (State.CORRECT, 1.0, "3 of 3 tests")
    assert (half.state, half.reward) == (State.WRONG, 0.0)
    assert half.why.startswith("2 of 3 tests (.F.); f(3) == 9: does not hold"), half.why
    assert (syntax.state, empty.state) == (State.UNPARSEABLE,) * 2 and "SyntaxError" in syntax.why
    (partial,) = judged(box, ASSERTS, "def f(x): return 4", partial=True)
    assert (partial.state, partial.reward) == (State.WRONG, pytest.approx(1 / 3))


def test_answers_that_behave_alike_vote_together(box):
    one, other, third = judged(box, ASSERTS, "def f(x): return x * x", "def f(n):\n    return n ** 2", "def f(x): return x")
    assert one.answer == other.answer != third.answer


def test_blocks_and_completions():
    text = "First:\n```python\ndef g(): pass\n```\nthen\n"
    text += "```python\ndef f(x):\n    return 1\n```\nRun it:\n```python\nprint(f(1))\n```"
    assert source_of(text, "", "f") == "def f(x):\n    return 1\n"
    assert source_of(text, "", "") == "print(f(1))\n"
    prefix = "import math\n\ndef f(x):\n    '''Doc.'''\n"
    assert source_of("    return math.pi", prefix, "f") == prefix + "    return math.pi"
    assert source_of(text, prefix, "f") == "import math\n\n\ndef f(x):\n    return 1\n", "written anew it keeps the imports"
    assert source_of("```\nnot closed", "", "") == "not closed"


def test_whole_programs_by_their_output(box):
    spec = {"inputs": ["1 2\n", "5 7\n"], "outputs": ["3", "12\n"]}
    good = "a, b = map(int, input().split())\nprint(a + b)"
    found = judged(
        box, spec, good, "print(3)", "import sys\nprint(3)\nsys.exit(1)", "raise ValueError('no')", "while True: pass"
    )
    assert [verdict.state for verdict in found] == [State.CORRECT] + [State.WRONG] * 4
    assert "test 2: printed '3" in found[1].why and "status 1" in found[2].why and "ValueError: no" in found[3].why
    counter = "import os\nn = len(os.listdir('.'))\nopen(f'x{n}', 'w')\n" + good
    assert judged(box, spec, counter)[0].state == State.CORRECT
    assert same_output("a \nb\n\n", "a\nb") and not same_output("a b", "a  b")


def test_tests_that_catch_and_compare_as_they_do_in_process(box):
    spec = {
        "setup": "import math\nclass Near:\n    pass\n",
        "asserts": [
            "assert math.isclose(f(1), 1.0)",
            "assert set(g()) == {1, 2}",
            "assert isinstance(h(), tuple)",
            "assert list(i()) == [0, 1, 2]",
            "assert j(Pair(1, 2)) == 3",
        ],
    }
    answer = (
        "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def f(x): return x * 1.0\ndef g(): return [2, 1]\n"
        "def h(): return ()\ndef i(): return iter(range(3))\ndef j(p): return p.a + p.b"
    )
    (verdict,) = judged(box, spec, answer)
    assert verdict.state == State.CORRECT, verdict


def test_an_exception_of_the_answer_can_be_expected(box):
    check = "def check(candidate):\n    try:\n        candidate(-1)\n    except ValueError:\n        pass\n"
    check += "    else:\n        assert False\n"
    check += "    assert candidate(4) == 2"
    spec = {"entry": "root", "check": check}
    good = "def root(x):\n    if x < 0:\n        raise ValueError('negative')\n    return 2"
    found = judged(box, spec, good, "def root(x): return 2")
    assert [verdict.state for verdict in found] == [State.CORRECT, State.WRONG]


def test_a_problem_without_tests_is_not_a_wrong_answer(box):
    problems = [Problem("a", "", "no json"), Problem("b", "", json.dumps(ASSERTS)), Problem("c", "", "{}")]
    states = [verdict.state for verdict in Code().verify(problems, ["def f(x): return x * x"] * 3, box)]
    assert states == [State.FAILED, State.CORRECT, State.FAILED]
    broken = {"entry": "f", "check": "def check(candidate) oops"}
    assert judged(box, broken, "def f(x): return 1")[0].state == State.FAILED


def test_mbpp_and_apps_forms(box, tmp_path):
    rows = [{"text": "Square it.", "test_list": ["assert sq(3) == 9", "assert sq(2) == 4"], "test_setup_code": ""}] * 1
    (tmp_path / "mbpp.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (problem,) = Mbpp(test=str(tmp_path / "mbpp.jsonl")).all()
    assert "assert sq(3) == 9" in Mbpp(test=str(tmp_path / "mbpp.jsonl")).prompt(problem)
    states = [v.state for v in Code().verify([problem] * 2, ["def sq(x): return x * x", "def sq(x): return 9"], box)]
    assert states == [State.CORRECT, State.WRONG]
    named = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, [7]]}
    rows = [
        {"question": "Add.", "input_output": json.dumps({"inputs": ["1 2"], "outputs": ["3"]})},
        {"question": "Add as a function.", "input_output": json.dumps(named)},
    ]
    (tmp_path / "apps.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    by_io, by_name = Apps(test=str(tmp_path / "apps.jsonl")).all()
    good, wrong = "def add(a, b):\n    return a + b", "def add(a, b):\n    return a"
    states = [
        v.state for v in Code().verify([by_io, by_name, by_name], ["print(sum(map(int, input().split())))", good, wrong], box)
    ]
    assert states == [State.CORRECT, State.CORRECT, State.WRONG]


# HumanEval

needs_humaneval = pytest.mark.skipif(not HUMANEVAL.is_file(), reason=f"no data: {HUMANEVAL} is not there")


def rows():
    with gzip.open(HUMANEVAL, "rt") as file:
        return [json.loads(line) for line in file]


class _Constants(ast.NodeTransformer):
    """Each number, text and truth in the code replaced by another, no two in the same way."""

    def __init__(self):
        self.count = 0

    def visit_Expr(self, node):
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # a docstring

    def visit_IfExp(self, node):
        if isinstance(node.orelse, ast.Constant) and node.orelse.value is None:
            self.count += 1
            node.orelse = ast.Constant("none")
        return self.generic_visit(node)

    def visit_Constant(self, node):
        value = node.value
        if value is None:
            return node
        self.count += 1
        if isinstance(value, bool):
            return ast.Constant(not value)
        if isinstance(value, (int, float)):
            return ast.Constant(value + 4 + 3 * self.count)
        if isinstance(value, str):
            return ast.Constant(value + "?!")
        return node


class _Returns(ast.NodeTransformer):
    """Every return gives a constant that is no problem's answer."""

    def visit_Return(self, node):
        return ast.Return(ast.Constant("wrong"))


def wrong_constant(row):
    """The solution with its constants changed; where it has none, a wrong constant stands for what it returns."""
    source = row["prompt"] + row["canonical_solution"]
    tree = ast.parse(source)
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == row["entry_point"])
    change = _Constants()
    function.body = [change.visit(part) for part in function.body]
    if not change.count:
        function.body = [_Returns().visit(part) for part in function.body]
    return ast.unparse(ast.fix_missing_locations(tree))


MUTANTS = {
    "empty body": lambda row: row["prompt"] + "    pass\n",
    "wrong constant": wrong_constant,
    "early return": lambda row: row["prompt"] + "    return None\n" + row["canonical_solution"],
    "printed expectation": lambda row: row["prompt"] + f"    print({row['test']!r})\n",
    "patched assert": lambda row: (
        "import builtins\nclass AssertionError(Exception):\n    pass\nbuiltins.AssertionError = AssertionError\n"
        + row["prompt"]
        + "    raise AssertionError\n"
    ),
    "sys.exit(0)": lambda row: row["prompt"] + "    import sys\n    sys.exit(0)\n",
    "exit when defined": lambda row: row["prompt"] + row["canonical_solution"] + "\nimport os\nos._exit(0)\n",
    "monkeypatched comparison": lambda row: (
        "class Same:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "    def __lt__(self, other): return True\n    def __sub__(self, other): return 0\n"
        "    def __abs__(self): return 0\n    def __bool__(self): return True\n    def __len__(self): return 3\n"
        "    def __iter__(self): return iter(())\n    def __hash__(self): return 1\n" + row["prompt"] + "    return Same()\n"
    ),
}


@needs_humaneval
def test_all_canonical_solutions_pass(box):
    problems = Humaneval(test=str(HUMANEVAL)).all()
    assert len(problems) == 164
    verdicts = Code().verify(problems, [row["canonical_solution"] for row in rows()], box)
    assert [(p.id, v) for p, v in zip(problems, verdicts, strict=True) if v.state != State.CORRECT] == []
    whole = [f"Here it is:\n```python\n{row['prompt']}{row['canonical_solution']}\n```\nDone." for row in rows()[:40]]
    assert {v.state for v in Code().verify(problems[:40], whole, box)} == {State.CORRECT}, "also written anew in a block"


@needs_humaneval
@pytest.mark.parametrize("kind", MUTANTS)
def test_all_mutants_fail(box, kind):
    problems, found = Humaneval(test=str(HUMANEVAL)).all(), rows()
    pairs = [(p, MUTANTS[kind](row)) for p, row in zip(problems, found, strict=True)]
    assert len(pairs) == 164
    verdicts = Code().verify([p for p, _ in pairs], [text for _, text in pairs], box)
    survived = [p.prompt for (p, _), v in zip(pairs, verdicts, strict=True) if v.state != State.WRONG]
    assert [re.search(r"def (\w+)", text)[1] for text in survived] == []
