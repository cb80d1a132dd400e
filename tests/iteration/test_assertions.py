"""Which names of tests are the answer's, and which say what is right."""

import ast

import pytest

from iteration.assertions import Assertions, asked_of


@pytest.mark.parametrize(
    ("tests", "names", "asked", "right"),
    [
        ("assert f(1) == 2", "f", "f", ""),
        ("assert 2 == f(1)", "f", "f", ""),
        ("assert abs(f(1) - 2) < EPS", "f EPS", "f", "EPS"),
        ("assert close(f(1), 2)", "f close", "f", "close"),
        ("assert not close(f(1), 2) and f(3)", "f close", "f", "close"),
        ("check(f(1), 2)", "f check", "f", "check"),
        ("assert f(1) == g(1)", "f g", "f", "g"),
        ("assert f(1) == Point(1, 2)", "f Point", "f", "Point"),
        ("assert Point(1, 2) == f(1)", "f Point", "f", "Point"),
        ("assert f(Point(1, 2)) == Point(2, 1)", "f Point", "f Point", "Point"),
        ("assert f(Node(1))", "f Node", "f Node", ""),
        ("assert f([Pair(1, 2)], 4) == 3", "f Pair", "f Pair", ""),
        ("assert dec(enc('a')) == 'a'", "dec enc", "dec enc", ""),
        ("assert list(map(f, [1, 2])) == [2, 4]", "f", "f", ""),
        ("assert f(f(1)) == 1", "f", "f", ""),
    ],
)
def test_who_defines_a_name(tests, names, asked, right):
    assert asked_of(ast.parse(tests), set(names.split())) == (set(asked.split()), set(right.split()))


@pytest.mark.parametrize(
    ("asserts", "setup", "asked"),
    [
        (["assert sorted(f(1)) == [1]"], "", {"f"}),
        (["assert max(4, 9) == 9"], "", {"max"}),
        (["EPS = 1e-6", "assert abs(f(1)) < EPS"], "", {"f"}),
        (["from math import isclose", "assert isclose(f(1), 2)"], "", {"f"}),
        (["assert math.isclose(f(1), 2)"], "", {"f"}),
        (["assert close(f(1), 2)"], "def close(a, b): return a == b", {"f"}),
        (["check(1, 2)"], "def check(a, b): assert f(a) == b", {"f"}),
    ],
)
def test_what_tests_define_or_import_is_not_asked_for(asserts, setup, asked):
    assert Assertions("", "", asserts, setup, ()).asked == asked


@pytest.mark.parametrize(
    ("entry", "check", "asserts", "said"),
    [
        ("", "", ["assert isclose(f(1), 2)"], "the tests use isclose, which they do not define"),
        ("", "", ["assert abs(f(1)) < EPS"], "the tests use EPS"),
        ("f", "def check(candidate): assert help(candidate(1)) < EPS", [], "the tests use EPS"),
        ("f", "assert f(1)", [], "no test asks the answer for anything"),
        ("", "", ["assert True"], "no test asks the answer for anything"),
        ("", "", ["x = 1"], "no test asks the answer for anything"),
    ],
)
def test_what_cannot_grade_any_answer_is_refused(entry, check, asserts, said):
    with pytest.raises(ValueError, match=said):
        Assertions(entry, check, asserts, "", ())


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("assert f(1)", False),
        ("for x in f(1): assert x", False),
        ("if f(1) != 2: raise ValueError", True),
        ("import numpy\nnumpy.testing.assert_allclose(f(1), 2)", True),
        ("try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass", True),
        ("f(1)", None),
        ("def test(): assert f(1)", None),
    ],
)
def test_a_test_that_records_nothing(text, result):
    ((_, found),) = Assertions("", "", [text], "", ["f"]).codes
    assert found is result
