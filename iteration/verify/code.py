"""Python against tests: functions (HumanEval, MBPP, APPS by name) and whole programs (APPS). Only values and output count.

The answer runs as a guest in a sandbox of its own. The tests run in another process and see plain data: the answer never sees
them and cannot patch what compares, and where it ends early it has not answered. A function that a test calls has to be defined
by the answer, also where Python has a builtin of that name.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration.parts import above
from iteration.programs import bound, defined, loaded, source_of
from iteration.protocols import Sandbox
from iteration.types import Call, Outcome, Problem, State, Verdict

BUILTIN = frozenset(dir(builtins))
# Builtins that tests put around a call of the answer's function, as in `assert set(f(3)) == {1, 2}`.
AROUND = ("set", "sorted", "list", "tuple", "dict", "next", "iter", "len", "isinstance", "type", "repr", "str")
AROUND += ("round", "abs", "int", "float", "bool", "all", "any")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
PLAIN = (int, float, complex, str, bytes, list, tuple, dict, set, frozenset, type(None))  # values of constants
_LOUD = 5  # failed tests that the verdict names


# what runs in the sandbox


class _Watched:
    """Records the result of each test; an assertion that fails does not stop those after it."""

    def __init__(self) -> None:
        self.results: list[tuple[bool, str]] = []

    def test(self, holds, text: str) -> None:
        try:
            passed, why = bool(holds()), "does not hold"
        except Gone as error:
            self.results.append((False, f"{text}: {error}"))
            raise
        except Exception as error:
            passed, why = False, f"{type(error).__name__}: {error}"
        self.results.append((passed, "" if passed else f"{text}: {why}"))


class Gone(BaseException):
    """The answer's process has ended."""


class Unasked(BaseException):
    """A test cannot be posed to the answer, so there is no verdict."""


class _Apart(ast.NodeTransformer):
    """Each assertion as a call of `test`, its condition as a function without arguments."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        condition = ast.Lambda(ast.arguments([], [], None, [], [], None, []), node.test)
        call = ast.Call(ast.Name("__test__", ast.Load()), [condition, ast.Constant(ast.unparse(node.test)[:120])], [])
        return ast.copy_location(ast.Expr(call), node)


def judge(guest, spec: dict, text: str, tolerance: float = 0.0) -> dict:
    """Run an answer's tests: {"broken": why} if it is not code, else {"passed", "whys", "behaviour"}."""
    tests = Tests(spec)
    source = source_of(text, spec.get("prefix", ""), tests.names)
    if not source.strip():
        return {"broken": "no code"}
    try:
        compile(source, "answer.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"broken": f"{type(error).__name__}: {error}"[:200]}
    replies = hashlib.blake2b(digest_size=8)
    if tests.tree is not None:
        results = _functions(guest, tests, source, replies)
    else:
        results = (_calls if spec.get("entry") else _programs)(guest, spec, source, replies, tolerance)
    whys = [why for passed, why in results if not passed]
    return {
        "passed": [passed for passed, _ in results],
        "whys": whys[:_LOUD],
        "behaviour": replies.hexdigest(),
    }


class Tests:
    """A spec's tests, and who defines the names that they use.

    names: those of the answer; required: those that it has to define; ours: the setup code that runs on this side; theirs: the
    part of it that uses names of the answer, e.g. its classes, and runs with the answer; remote: the names that part binds.
    """

    def __init__(self, spec: dict):
        self.tree, self.check, self.entry = None, bool(spec.get("check")), spec.get("entry", "")
        self.count, self.ours, self.theirs, self.remote = len(spec.get("asserts", ())), "", "", set()
        self.names = [name for name in (self.entry, spec.get("class", "")) if name]
        self.required = [self.entry] if self.entry else []
        if "inputs" in spec:
            return
        self.tree = ast.parse("\n".join([spec.get("check", ""), *spec.get("asserts", ())]))
        reference = set(spec.get("names", ()))
        given = self._split(ast.parse(spec.get("setup", "")), reference)
        used = loaded(self.tree) - bound(self.tree) - given - self.remote
        unknown = used - BUILTIN - self._modules(used)
        others = (used & reference) | unknown - {self.entry}
        if not others and not self.entry:
            others = self._outermost()
        self.names += sorted(others, key=lambda name: (name not in self.called(), name))
        self.required = self.required or self.names
        if not self.names:
            raise ValueError("no test asks the answer for anything")

    def _split(self, setup: ast.Module, reference: set[str]) -> set[str]:
        """Divide the setup's statements into ours and theirs. Returns the names that are bound on this side."""
        foreign = loaded(setup) - BUILTIN - bound(setup) | (loaded(setup) & reference - bound(setup))
        ours, theirs = [], []
        for node in setup.body:
            if loaded(node) & (foreign | self.remote):
                theirs.append(node)
                self.remote |= defined(ast.Module([node], []))
            else:
                ours.append(node)
        kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
        shared = [node for node in ours if isinstance(node, kinds)] if theirs else []
        self.ours = ast.unparse(ast.Module(ours, []))
        self.theirs = ast.unparse(ast.Module([*shared, *theirs], []))
        return defined(ast.Module(ours, []))

    def _modules(self, used: set[str]) -> set[str]:
        """Standard modules that tests use, as in `math.pi`, without importing them: they are imported on this side."""
        bases = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Attribute)}
        plain = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and id(node) not in bases}
        modules = {name for name in used - BUILTIN - plain if name in sys.stdlib_module_names}
        self.ours += "".join(f"\nimport {name}" for name in sorted(modules))
        return modules

    def called(self) -> list[str]:
        """Names that are called, outermost first."""
        nodes = [node for test in self.tree.body for node in ast.walk(test)]  # breadth first
        return [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]

    def _outermost(self) -> set[str]:
        """For tests that call builtins only: the one that they mean, which the answer has to define."""
        each = [[name for name in Tests.called(_Of(test)) if name in BUILTIN] for test in self.tree.body]
        firsts = [next((name for name in names if name not in AROUND), names[0]) for names in each if names]
        return {name for name, _ in Counter(firsts).most_common(1)}


@dataclass
class _Of:
    test: ast.stmt

    @property
    def tree(self) -> ast.Module:
        return ast.Module([self.test], [])


def _functions(guest, tests: Tests, source: str, replies) -> list[tuple[bool, str]]:
    def value_of(reply: dict) -> object:
        replies.update(repr(reply)[:100_000].encode("utf-8", "replace"))
        if "gone" in reply:
            raise Gone(reply["gone"])
        if "raised" in reply:
            kind, message = reply["raised"]
            known = getattr(builtins, kind, None)
            fit = isinstance(known, type) and issubclass(known, Exception) and known is not Exception
            raise (known if fit and not issubclass(known, UnicodeError) else RuntimeError)(message)
        return reply["value"]

    def proxy(name: str):
        def asked(*arguments: object, **keywords: object) -> object:
            try:
                reply = guest.call(name, arguments, keywords)
            except TypeError as error:
                raise Unasked(str(error)) from None
            return value_of(reply)

        return asked

    watched = _Watched()
    names: dict = {"__name__": "tests", "__test__": watched.test}
    exec(compile(tests.ours, "setup.py", "exec"), names)
    why = _undefined(guest.define(source, names=tests.required, after=tests.theirs))
    if why:
        return [(False, why)] * max(1, tests.count)
    names |= {name: proxy(name) for name in tests.names}  # also where the setup holds what the model was to complete
    try:
        for name in sorted(tests.remote & loaded(tests.tree)):
            names[name] = value_of(guest.get(name))
        for name in set(tests.names) - set(tests.called()) - {tests.entry}:
            value = value_of(guest.get(name))
            names[name] = value if isinstance(value, PLAIN) else names[name]
        exec(compile(ast.fix_missing_locations(_Apart().visit(tests.tree)), "tests.py", "exec"), names)
        if tests.check:
            names["check"](proxy(tests.entry))
    except Gone as error:
        watched.results.append((False, str(error)))
    except Exception as error:
        watched.results.append((False, f"{type(error).__name__}: {error}"))
    missing = tests.count - len(watched.results)
    return (watched.results or [(False, "no test ran")]) + [(False, "not run")] * max(0, missing)


def _calls(guest, spec: dict, source: str, replies, tolerance: float) -> list[tuple[bool, str]]:
    """Call one function, or method of a class, with each input."""
    entry, of = spec["entry"], spec.get("class", "")
    pairs = list(zip(spec["inputs"], spec["outputs"], strict=True))
    why = _undefined(guest.define(source, names=[entry], before=spec.get("before", ""), of=of))
    if why:
        return [(False, why)] * len(pairs)
    results = []
    for number, (given, told) in enumerate(pairs, 1):
        reply = guest.call(entry, tuple(map(_numbered, given)), of=of)
        replies.update(repr(reply)[:100_000].encode("utf-8", "replace"))
        # Some rows hold the value that is expected, some a list of it.
        allowed = [told, told[0]] if isinstance(told, list) and len(told) == 1 else [told]
        if "value" not in reply:
            results.append((False, f"test {number}: {_why(reply)}"))
        elif not any(alike(reply["value"], each, tolerance) for each in allowed):
            results.append((False, f"test {number}: returned {repr(reply['value'])[:60]}, not {repr(told)[:60]}"))
        else:
            results.append((True, ""))
    return results


def _numbered(value: object) -> object:
    """An argument from JSON; a dict whose keys are all digits gets numbers for keys, as in the published harness."""
    if isinstance(value, dict) and value and all(key.lstrip("-").isdecimal() for key in value):
        return {int(key): each for key, each in value.items()}
    return value


def _undefined(reply: dict) -> str:
    """Why an answer cannot be tested: it did not run, or does not define what is tested; "" if it can."""
    missing = reply.get("value")
    if not isinstance(missing, list):
        return _why(reply) if "value" not in reply else "its module is not data"
    return f"it does not define {', '.join(map(str, missing))}" if missing else ""


def _programs(guest, spec: dict, source: str, replies, tolerance: float) -> list[tuple[bool, str]]:
    results = []
    for number, (given, expected) in enumerate(zip(spec["inputs"], spec["outputs"], strict=True), 1):
        reply = guest.program(source, given)
        replies.update(repr(reply)[:100_000].encode("utf-8", "replace"))
        if "value" not in reply or not isinstance(reply["value"], dict):
            results.append((False, f"test {number}: {_why(reply)}"))
            continue
        printed, status = str(reply["value"].get("stdout", "")), reply["value"].get("status")
        if status != 0:
            results.append((False, f"test {number}: status {status}: {str(reply['value'].get('error', ''))[-120:]}"))
        elif not same_output(printed, expected, tolerance):
            results.append((False, f"test {number}: printed {printed[:40]!r}, not {expected[:40]!r}"))
        else:
            results.append((True, ""))
    return results


def same_output(printed: str, expected: str, tolerance: float = 0.0) -> bool:
    """Equal except for white space at the ends of lines and of the text. tolerance: see `Code`."""
    lines = [[line.rstrip() for line in text.strip().splitlines()] for text in (printed, expected)]
    if lines[0] == lines[1] or not tolerance:
        return lines[0] == lines[1]
    words = [[line.split() for line in each] for each in lines]
    return [len(line) for line in words[0]] == [len(line) for line in words[1]] and all(
        _close(a, b, tolerance) for one, other in zip(*words, strict=True) for a, b in zip(one, other, strict=True)
    )


def _close(printed: str, expected: str, tolerance: float) -> bool:
    """The same word, or two numbers of which at least one is no integer and which differ by at most the tolerance."""
    if printed == expected:
        return True
    if not (_NUMBER.fullmatch(printed) and _NUMBER.fullmatch(expected)):
        return False
    return not {*".eE"}.isdisjoint(printed + expected) and _near(float(printed), float(expected), tolerance)


def _near(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(1.0, abs(b)) < float("inf")


def alike(value: object, told: object, tolerance: float = 0.0) -> bool:
    """Whether a returned value equals one from JSON, where tuples are lists and the keys of a dict are strings."""
    if isinstance(told, list):
        fits = isinstance(value, (list, tuple)) and len(value) == len(told)
        return fits and all(alike(a, b, tolerance) for a, b in zip(value, told, strict=True))
    if isinstance(told, dict):
        texts = {str(key): each for key, each in value.items()} if isinstance(value, dict) else {}
        fits = isinstance(value, dict) and texts.keys() == told.keys()
        return fits and all(alike(texts[key], told[key], tolerance) for key in told)
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (value, told))
    if tolerance and numbers and isinstance(value + told, float):
        return _near(float(value), float(told), tolerance)
    return value == told


def _why(reply: dict) -> str:
    return reply.get("gone") or ": ".join(reply.get("raised", ["no value"]))


@dataclass
class Code:
    partial: bool = False  # reward the share of tests that pass; otherwise 1 for all of them and 0 for any fewer
    seconds: float = 2.0  # of CPU for all tests of one answer
    # By how much a number that a program prints, or a function returns to an APPS row, may differ from the expected one:
    # absolutely, or relatively where that one is above 1. Two integers have to be equal. 0: exact; judges often take 1e-6.
    tolerance: float = 0.0

    executes: ClassVar[bool] = True
    version: ClassVar[str] = "2"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"verify.tolerance is {self.tolerance}; expected 0 or more and below 1, e.g. 1e-6")
        above(self, seconds=0)

    def verify(self, problems: Sequence[Problem], answers: Sequence[str], sandbox: Sandbox) -> list[Verdict]:
        specs: list[dict | None] = []
        for problem in problems:
            try:
                specs.append(spec_of(problem))
            except ValueError:
                specs.append(None)
        calls = [
            Call("iteration.verify.code:judge", [spec, answer, self.tolerance], guest=True)
            for spec, answer in zip(specs, answers, strict=True)
            if spec
        ]
        outcomes = iter(sandbox.run(calls))
        broken = Verdict(State.FAILED, why="the problem's own tests cannot be read (see iteration/tasks/humaneval.py)")
        return [self.verdict(next(outcomes)) if spec else broken for spec in specs]

    def verdict(self, outcome: Outcome) -> Verdict:
        if outcome.state in ("broke", "raised"):
            return Verdict(State.FAILED, why=f"the tests {outcome.state}: {outcome.why}"[:300])
        if outcome.state == "late":
            return Verdict(State.WRONG, why=f"the tests did not end: {outcome.guest or outcome.why}"[:300])
        told = outcome.value
        if "broken" in told:
            return Verdict(State.UNPARSEABLE, why=told["broken"])
        passed, tests = sum(told["passed"]), len(told["passed"])
        if passed == tests:
            return Verdict(State.CORRECT, told["behaviour"], 1.0, f"{passed} of {tests} tests")
        marks = "".join("." if each else "F" for each in told["passed"][:200])
        ended = f"; {outcome.guest}" if outcome.guest else ""
        why = f"{passed} of {tests} tests ({marks}){ended}; {'; '.join(told['whys'])}"
        return Verdict(State.WRONG, told["behaviour"], passed / tests if self.partial else 0.0, why[:500])


def spec_of(problem: Problem) -> dict:
    """A problem's tests, one of

    - {"entry": function, "check": source of check(candidate)};
    - {"asserts": [assertion, ...]}, with "names": what a reference solution defines, if there is one;
    - {"inputs": [text, ...], "outputs": [text, ...]}: of a whole program;
    - {"entry": function, "inputs": [arguments, ...], "outputs": [value, ...]}, with "class": one that may have it as a method,
      and "before": code that runs before the answer;

    each also with "prefix", what the model was to complete, and the first two with "setup", code that the tests need.
    Raises ValueError where the problem's answer is none of them.
    """
    spec = json.loads(problem.answer)
    if not isinstance(spec, dict) or not ({"check", "asserts", "inputs"} & set(spec)):
        raise ValueError("no tests")
    return spec
