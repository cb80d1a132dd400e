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
from iteration.verify.code import Code, alike, same_output, source_of

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


def test_a_test_calls_the_answer_and_never_a_builtin(box):
    spec = {"asserts": ["assert max(4, 9) == 9", "assert max(2, 1) == 2"]}
    texts = (
        "x = 1",
        "def max(a, b): return a",
        "def max(a, b):\n    return a if a > b else b",
        "max = lambda a, b: sorted([a, b])[1]",
    )
    states = [verdict.state for verdict in judged(box, spec, *texts)]
    assert states == [State.WRONG, State.WRONG, State.CORRECT, State.CORRECT]
    assert "does not define max" in judged(box, spec, "x = 1")[0].why


@pytest.mark.parametrize(
    ("test", "name", "good", "bad"),
    [
        ("assert set(sum(2)) == {1, 2}", "sum", "return [2, 1]", "return [1]"),
        ("assert sum([1, 2]) == 3", "sum", "return 3", "return 2"),
        ("assert len('abc') == 3", "len", "return 3", "return 2"),
        ("assert 9 == max(4, 9)", "max", "return 9", "return 4"),
        ("assert round(pow(2, 3), 1) == 8.0", "pow", "return 8", "return 9"),
        ("assert not any([0])", "any", "return False", "return True"),
        ("assert hex(255) == '0xff'", "hex", "return '0xff'", "return 'ff'"),
    ],
)
def test_functions_that_are_named_like_builtins(box, test, name, good, bad):
    texts = [f"def {name}(*a):\n    {body}" for body in (good, bad)] + ["pass", f"import builtins\nbuiltins.{name} = 1"]
    states = [verdict.state for verdict in judged(box, {"asserts": [test]}, *texts)]
    assert states == [State.CORRECT, State.WRONG, State.WRONG, State.WRONG]


def test_what_is_not_defined_cannot_be_expected_to_fail(box):
    """A test that expects any error of the answer's is not passed by an answer without the function."""
    check = "def check(candidate):\n    try:\n        candidate(-1)\n    except Exception:\n        assert True\n"
    found = judged(box, {"entry": "f", "check": check}, "def f(x): raise KeyError", "x = 1", "f: int")
    assert [verdict.state for verdict in found] == [State.CORRECT, State.WRONG, State.WRONG]


def mbpp(code, tests, setup="", imports=()):
    row = {"test_list": tests, "test_setup_code": setup, "test_imports": list(imports), "code": code}
    return json.loads(Mbpp.answer(SHAPE, row))


SHAPE = Mbpp.__new__(Mbpp)  # a task without files; its options are the defaults
NODE = "class Node:\n    def __init__(self, d):\n        self.d = d\n        self.left = self.right = None\n"
DEPTH = "def depth(n):\n    return 0 if n is None else 1 + max(depth(n.left), depth(n.right))\n"
TREE = "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)\nother = Node(4)\n"


# name: (the row, right answers, wrong answers); the reference solution is always one of the right ones
ROWS = {
    "setup uses the answer's class": (
        mbpp(NODE + DEPTH, ["assert depth(root) == 3", "assert depth(other) == 1"], TREE),
        ["class Node:\n    left = right = None\n    def __init__(self, *a): pass\n" + DEPTH],
        [DEPTH, NODE + "def depth(n): return 3", "def depth(n): return 3"],
    ),
    "setup with an import of its own": (
        mbpp("def f(x): return x * 2", ["assert f(HALF) == math.floor(2.0)"], "import math\nHALF = math.floor(1.5)"),
        ["f = lambda x: x + x"],
        ["def f(x): return x", "HALF = 1"],
    ),
    "a class of the setup's own as an error": (
        mbpp("def f(x): return [x]", ["assert f(1) == [1]", "assert not isinstance(f(1), Odd)"], "class Odd(Exception): pass"),
        [],
        ["def f(x): return x"],
    ),
    "a type as argument": (
        mbpp(
            "def rest(t, k): return [x for x in t if not isinstance(x, k)]",
            ["assert rest((4, 7.7), int) == [7.7]", "assert rest((7, 'S'), str) == [7]"],
        ),
        ["def rest(t, k):\n    return [x for x in t if type(x) is not k]"],
        ["def rest(t, k): return [7.7]", "def rest(t, k): return [x for x in t if not isinstance(x, int)]"],
    ),
    "a builtin as argument, a type as value": (
        mbpp("def f(g, x): return g(x) if x else int", ["assert f(sorted, [2, 1]) == [1, 2]", "assert f(len, ()) == int"]),
        [],
        ["def f(g, x): return x", "def f(g, x): return sorted(x) if x else float"],
    ),
    "the answer's import": (
        mbpp("import sys\ndef size(t): return sys.getsizeof(t)", ["assert size((1, 2)) == sys.getsizeof((1, 2))"]),
        ["from sys import getsizeof as size", "import sys as s\ndef size(t): return s.getsizeof(t)"],
        ["def size(t): return 0", "class sys:\n    getsizeof = staticmethod(lambda t: 0)\ndef size(t): return 0"],
    ),
    "a name that the answer imports": (
        mbpp("from collections import Counter\ndef c(t): return Counter(t)", ["assert c('aab') == Counter('aab')"]),
        ["def c(t): return {x: t.count(x) for x in t}"],
        [
            "def c(t): return {}",
            "class Counter:\n    def __init__(s, t): pass\n    def __eq__(s, o): return True\ndef c(t): return Counter(t)",
            "from unittest.mock import ANY\nCounter = lambda t: ANY\ndef c(t): return 1",
        ],
    ),
    "a constant and a function of the answer's": (
        mbpp("N = 2\ndef f(x): return x * N", ["assert f(3) == 3 * N", "assert list(map(f, [1, N])) == [2, 4]"]),
        ["def f(x): return x + x\nN = 2"],
        ["def f(x): return x * 2", "N = 2\ndef f(x): return x", "N = f = 2"],
    ),
    "test_imports": (
        mbpp("def third(x): return x / 3", ["assert math.isclose(third(1), 0.333, rel_tol=0.01)"], "", ["import math"]),
        [],
        ["def third(x): return 0.3", "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef third(x): return 1"],
    ),
    "a module of the library that nobody imports": (
        {"asserts": ["assert math.isclose(third(1), 0.333, rel_tol=0.01)"]},
        ["def third(x): return x / 3"],
        ["def third(x): return 0.3", "math = third = None", "x = 1"],
    ),
    "named like a builtin": (
        mbpp("def sum(a, b): return a + b", ["assert sum(10, 15) == 25"]),
        [],
        ["x = 1", "def sum(a, b): return 24"],
    ),
    "ranges and views": (
        mbpp("def f(n): return range(n)", ["assert list(f(3)) == [0, 1, 2]", "assert sorted(f(2)) == [0, 1]"]),
        [
            "def f(n): return dict.fromkeys(range(n)).keys()",
            "def f(n): return {i: i for i in range(n)}.values()",
            "def f(n): yield from range(n)",
        ],
        ["def f(n): return range(n + 1)", "def f(n): return {n: n}.items()"],
    ),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_as_they_are_published(box, kind):
    spec, right, wrong = ROWS[kind]
    found = judged(box, spec, *right, *wrong)
    states = [verdict.state for verdict in found]
    assert states == [State.CORRECT] * len(right) + [State.WRONG] * len(wrong), [v.why for v in found]


REFERENCES = {
    "setup uses the answer's class": NODE + DEPTH,
    "a type as argument": "def rest(t, k): return [x for x in t if not isinstance(x, k)]",
    "a builtin as argument, a type as value": "def f(g, x): return g(x) if x else int",
    "the answer's import": "import sys\ndef size(t): return sys.getsizeof(t)",
    "a name that the answer imports": "from collections import Counter\ndef c(t): return Counter(t)",
    "test_imports": "def third(x): return x / 3",
    "a constant and a function of the answer's": "N = 2\ndef f(x): return x * N",
    "named like a builtin": "def sum(a, b): return a + b",
    "ranges and views": "def f(n): return range(n)",
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_reference_solutions_are_right(box, kind):
    spec = ROWS[kind][0]
    texts = [REFERENCES[kind], f"Sure:\n\n``` Python\n{REFERENCES[kind]}\n```\nDone."]
    assert [verdict.state for verdict in judged(box, spec, *texts)] == [State.CORRECT] * 2


def test_an_argument_that_cannot_be_handed_over_is_no_wrong_answer(box):
    spec = {"asserts": ["assert f(Own()) == 1"], "setup": "class Own: pass"}
    for test in ("assert f(Own()) == 1", "assert f(lambda x: x) == 1", "assert f(x=open) == open"):
        (verdict,) = judged(box, spec | {"asserts": [test]}, "def f(x): return 1")
        assert verdict.state == (State.WRONG if "open" in test else State.FAILED), verdict
        assert "open" in test or "only plain values can be passed to the answer" in verdict.why


def test_exit_and_quit_are_as_in_python(box):
    spec = {"inputs": ["3\n"], "outputs": ["6"]}
    double = "print(int(input()) * 2)\n"
    ends = "exit()", "quit()", "exit(0)", "exit(None)", "exit(1)", "quit('no')"
    states = [verdict.state for verdict in judged(box, spec, *(double + end for end in ends), "exit()\n" + double)]
    assert states == [State.CORRECT] * 4 + [State.WRONG] * 3
    assert judged(box, ASSERTS, "def f(x):\n    exit()")[0].state == State.WRONG


def test_a_tolerance_for_what_is_printed(box):
    spec = {"inputs": [""], "outputs": ["0.3333333333 7"]}
    texts = "print(1/3, 7)", "print(0.3334, 7)", "print(1/3, 8)", "print(1/3)", "print('0.3333333333', 7)"
    exact = [verdict.state == State.CORRECT for verdict in judged(box, spec, *texts)]
    near = [verdict.state == State.CORRECT for verdict in judged(box, spec, *texts, tolerance=1e-6)]
    assert (exact, near) == ([False] * 4 + [True], [True, False, False, False, True])


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("0.33333333", "0.3333333333", True),
        ("0.3334", "0.3333333333", False),
        ("1000000.5", "1000000.6", True),
        ("1000000.5", "1000003", False),
        ("3.0", "3", True),
        ("3", "3.0000001", True),
        ("1000000", "1000001", False),
        ("1e20", "100000000000000000000", True),
        ("nan", "0.5", False),
        ("inf", "inf", True),
        ("1e999", "2e999", False),
        ("1_0.0", "10.0", False),
        ("YES 0.1", "NO 0.1", False),
        ("0.1\n0.2", "0.1 0.2", False),
        ("-0.1", "0.1", False),
        ("0.1 0.2", "0.1", False),
    ],
)
def test_tolerances(printed, expected, same):
    assert same_output(printed, expected, 1e-6) == same
    assert same_output(expected, expected, 1e-6) and same_output(printed, expected) == (printed == expected)


@pytest.mark.parametrize(
    ("value", "told", "same"),
    [
        ((1, 2), [1, 2], True),
        ([(1, "a"), [2]], [[1, "a"], [2]], True),
        ([1, 2], [2, 1], False),
        ({1: 2}, {"1": 2}, True),
        ({"1": (2,)}, {"1": [2]}, True),
        ({1: 2, 3: 4}, {"1": 2}, False),
        ({1, 2}, [1, 2], False),
        ("12", [1, 2], False),
        ("1", 1, False),
        (1.0, 1, True),
        (None, None, True),
        (0.1 + 0.2, 0.3, False),
        ([], {}, False),
        (object(), 1, False),
    ],
)
def test_returned_values_are_as_json_has_them(value, told, same):
    assert alike(value, told) == same


def test_returned_numbers_have_the_tolerance_too():
    assert alike([0.1 + 0.2], [0.3], 1e-6) and not alike(0.31, 0.3, 1e-6) and not alike(1000000, 1000001, 1e-5)


def test_options_are_checked():
    for wrong in (-1e-9, 1.0, float("nan")):
        with pytest.raises(ValueError, match="verify.tolerance is"):
            Code(tolerance=wrong)
    with pytest.raises(ValueError, match="seconds is"):
        Code(seconds=0)


def test_apps_rows_that_name_a_function(box):
    task = Apps.__new__(Apps)
    starter = "class Solution:\n    def total(self, xs: List[int], more: Dict[int, int]) -> int:\n        "
    pairs = {"fn_name": "total", "inputs": [[[1, 2], {"3": 4}], [[], {"5": 5}]], "outputs": [7, [0]]}
    spec = json.loads(task.answer({"input_output": json.dumps(pairs), "starter_code": starter}))
    body = "return sum(xs) + more.get(3, 0)"
    state = "class Solution:\n    def __init__(self): self.n = 0\n    def total(self, xs, more):\n        self.n += 1\n        "
    right = [
        starter + body,
        f"def total(xs, more):\n    {body}",
        f"Here:\n```python\n{starter}{body}\n```",
        f"        {body}",
        body,
        state + body + " if self.n == 1 else 'kept'",
        "def total(xs, more):\n    return reduce(lambda a, b: a + b, xs, more.get(3, 0))",
    ]
    other = "class Other:\n    def total(self, xs, more): " + body
    wrong = [starter + "return 7", "x = 1", "class Solution: pass", other, "def total(xs): return 7", starter + "return str(7)"]
    found = judged(box, spec, *right, *wrong)
    states = [verdict.state for verdict in found]
    assert states == [State.CORRECT] * len(right) + [State.WRONG] * len(wrong), [(v.state, v.why) for v in found]


def test_what_runs_before_an_apps_answer_is_no_answer(box):
    spec = json.loads(Apps.__new__(Apps).answer({"input_output": {"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2]}}))
    found = judged(
        box,
        spec,
        "x = 1",
        "def gcd(a, b): return 2",
        "from math import gcd",
        "def gcd(a, b): return 3",
        "def f(a, b): return 2",
    )
    assert [verdict.state for verdict in found] == [State.WRONG, State.CORRECT, State.CORRECT, State.WRONG, State.WRONG]


def test_blocks_and_completions():
    text = "First:\n```python\ndef g(): pass\n```\nthen\n"
    text += "```python\ndef f(x):\n    return 1\n```\nRun it:\n```python\nprint(f(1))\n```"
    assert source_of(text, "", ("f",)) == "def f(x):\n    return 1\n"
    assert source_of(text) == "print(f(1))\n"
    prefix = "import math\n\ndef f(x):\n    '''Doc.'''\n"
    assert source_of("    return math.pi", prefix, ("f",)) == prefix + "    return math.pi"
    assert source_of(text, prefix, ("f",)) == "import math\n\n\ndef f(x):\n    return 1\n", "written anew it keeps the imports"
    assert source_of("```\nnot closed") == "not closed\n"


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
    (problem,) = Mbpp(test=str(tmp_path / "mbpp.jsonl")).all("test")
    assert "assert sq(3) == 9" in Mbpp(test=str(tmp_path / "mbpp.jsonl")).prompt(problem)
    states = [v.state for v in Code().verify([problem] * 2, ["def sq(x): return x * x", "def sq(x): return 9"], box)]
    assert states == [State.CORRECT, State.WRONG]
    named = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, [7]]}
    rows = [
        {"question": "Add.", "input_output": json.dumps({"inputs": ["1 2"], "outputs": ["3"]})},
        {"question": "Add as a function.", "input_output": json.dumps(named)},
    ]
    (tmp_path / "apps.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    by_io, by_name = Apps(test=str(tmp_path / "apps.jsonl")).all("test")
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
    problems = Humaneval(test=str(HUMANEVAL)).all("test")
    assert len(problems) == 164
    verdicts = Code().verify(problems, [row["canonical_solution"] for row in rows()], box)
    assert [(p.id, v) for p, v in zip(problems, verdicts, strict=True) if v.state != State.CORRECT] == []
    whole = [f"Here it is:\n```python\n{row['prompt']}{row['canonical_solution']}\n```\nDone." for row in rows()[:40]]
    assert {v.state for v in Code().verify(problems[:40], whole, box)} == {State.CORRECT}, "also written anew in a block"


@needs_humaneval
@pytest.mark.parametrize("kind", MUTANTS)
def test_all_mutants_fail(box, kind):
    problems, found = Humaneval(test=str(HUMANEVAL)).all("test"), rows()
    pairs = [(p, MUTANTS[kind](row)) for p, row in zip(problems, found, strict=True)]
    assert len(pairs) == 164
    verdicts = Code().verify([p for p, _ in pairs], [text for _, text in pairs], box)
    survived = [p.prompt for (p, _), v in zip(pairs, verdicts, strict=True) if v.state != State.WRONG]
    assert [re.search(r"def (\w+)", text)[1] for text in survived] == []
