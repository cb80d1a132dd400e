"""Python against tests: functions (HumanEval, MBPP, APPS by name) and whole programs (APPS). Only values and output count.

The answer runs as a guest in a sandbox of its own. The tests run in another process and see plain data: the answer never sees
them and cannot patch what compares, and where it ends early it has not answered. A function that a test calls has to be defined
by the answer, also where Python has a builtin of that name.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration.assertions import Assertions, theirs_of
from iteration.parts import above
from iteration.programs import source_of
from iteration.protocols import Sandbox
from iteration.types import Call, Outcome, Problem, State, Verdict

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
# Errors that take other arguments than a message, and those by which an iteration ends without a word.
UNFIT = (UnicodeError, StopIteration, StopAsyncIteration)
PARTS = ("entry", "check", "asserts", "setup", "names")  # of a spec with assertions
SPACE = " \t\r\v\f"  # at the ends of lines that a program prints
_CLASS = re.compile(r"[A-Z]\w*[a-z]\w*")
PLAIN = (int, float, complex, str, bytes, list, tuple, dict, set, frozenset, type(None))  # values of constants
_LOUD = 5  # failed tests that the verdict names


# what runs in the sandbox


class Gone(BaseException):
    """The answer's process has ended."""


class Unasked(BaseException):
    """The tests cannot grade this answer, or any answer, so there is no verdict."""


class _Results:
    """The result of each assertion. One that fails does not stop those after it."""

    def __init__(self) -> None:
        self.all: list[tuple[bool, str]] = []
        self.asked = 0  # how often the answer was asked for a value

    def holds(self, condition: object, text: str) -> None:
        self.add("" if condition and condition is not NotImplemented else f"{text}: does not hold")

    def broke(self, text: str) -> None:
        self.add(f"{text}: {told(sys.exception())}")

    def add(self, why: str) -> None:
        self.all.append((not why, why))


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


tests_of = functools.lru_cache(256)(Assertions)  # as several answers to one problem are graded


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value or ""


def grade(guest, spec: dict, text: str, tolerance: float = 0.0) -> dict:
    """Run an answer's tests: {"broken": why} if it is not code, else {"passed", "whys", "behaviour"}."""
    tests = None if "inputs" in spec else tests_of(*(_hashable(spec.get(key)) for key in PARTS))
    names = tests.names if tests else [spec[key] for key in ("entry", "class") if key in spec]
    source = source_of(text, spec.get("prefix", ""), names)
    if not source.strip():
        return {"broken": "no code"}
    try:
        compile(source, "answer.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"broken": told(error)[:200]}
    replies = hashlib.blake2b(digest_size=8)
    if tests:
        results = _functions(guest, spec, tests, source, replies)
    else:
        results = (_calls if spec.get("entry") else _programs)(guest, spec, source, replies, tolerance)
    whys = [why for passed, why in results if not passed]
    return {
        "passed": [passed for passed, _ in results],
        "whys": whys[:_LOUD],
        "behaviour": replies.hexdigest(),
    }


def _functions(guest, spec: dict, tests: Assertions, source: str, replies) -> list[tuple[bool, str]]:
    results = _Results()

    def value_of(reply: dict) -> object:
        results.asked += 1
        replies.update(repr(reply)[:100_000].encode("utf-8", "replace"))
        if "gone" in reply:
            raise Gone(reply["gone"])
        if "raised" in reply:
            kind, message = reply["raised"]
            known = getattr(builtins, kind, None)
            fit = isinstance(known, type) and issubclass(known, Exception) and known is not Exception
            raise (known if fit and not issubclass(known, UNFIT) else RuntimeError)(message)
        return reply["value"]

    def told_by(asked: Callable[..., dict], *given: object) -> object:
        try:
            reply = asked(*given)
        except TypeError as error:
            raise Unasked(str(error)) from None
        return value_of(reply)

    def proxy(name: str):
        return lambda *arguments, **keywords: told_by(guest.call, name, arguments, keywords)

    def operate(name: str, *arguments: object, **keywords: object) -> object:
        return told_by(guest.operate, name, arguments, keywords)

    def value(name: str) -> object:
        return proxy(name) if name in tests.called else value_of(guest.get(name))

    names: dict = {"__name__": "tests", "__holds__": results.holds, "__broke__": results.broke, "__Exception__": Exception}
    names |= {theirs_of(name): proxy(name) for name in tests.asked}
    classes = {name for name in tests.asked if _CLASS.fullmatch(name)}
    if classes:
        guest.objects(operate)
    exec(tests.setup, names)
    why = _undefined(guest.define(source, names=sorted(tests.asked), after=tests.theirs))
    if why:
        return [(False, why)] * len(tests.codes)
    try:
        for name in classes:
            found = value_of(guest.get(name))
            if not isinstance(found, PLAIN):
                vars(found)["_makes"] = True
                names[theirs_of(name)] = found
        names |= {name: value(name) for name in sorted(tests.remote)}
        for name in tests.asked - tests.called - {spec.get("entry")} - classes:
            found = value(name)
            names[theirs_of(name)] = found if isinstance(found, PLAIN) else proxy(name)
    except (Gone, Exception) as error:
        return [(False, told(error))] * len(tests.codes)
    for number, (code, silent) in enumerate(tests.codes, 1):
        before = len(results.all)
        try:
            exec(code, names)
            if spec.get("check"):
                names["check"](names[theirs_of(spec["entry"])])
            if silent is not None and len(results.all) == before:
                results.add("" if silent else "no assertion was reached")
        except Gone as error:
            results.add(str(error))
            return results.all + [(False, "not run")] * (len(tests.codes) - number)
        except Exception as error:
            results.add(told(error))
    if not (results.all and results.asked):
        raise Unasked("the tests assert nothing of what the answer returns")
    return results.all


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
    lines = [[line.rstrip(SPACE) for line in text.strip(SPACE + "\n").split("\n")] for text in (printed, expected)]
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
    return (value == told) is True  # an array compares its elements


def _why(reply: dict) -> str:
    return reply.get("gone") or ": ".join(reply.get("raised", ["no value"]))


@dataclass
class Code:
    partial: bool = False  # reward the share of tests that pass; otherwise 1 for all of them and 0 for any fewer
    seconds: float = 3.0  # of CPU for all tests of one answer
    # Two integers have to be equal; judges of programming contests often take 1e-6.
    tolerance: float = 0.0  # of printed numbers and of what an APPS function returns: absolute, above 1 relative; 0 is exact

    executes: ClassVar[bool] = True
    version: ClassVar[str] = "4"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance is {self.tolerance}; expected 0 or more and below 1, e.g. 1e-6")
        above(self, seconds=0)

    def verify(self, problems: Sequence[Problem], answers: Sequence[str], sandbox: Sandbox) -> list[Verdict]:
        specs: list[dict | None] = []
        for problem in problems:
            try:
                specs.append(spec_of(problem))
            except ValueError:
                specs.append(None)
        calls = [
            Call("iteration.verify.code:grade", [spec, answer, self.tolerance], guest=True)
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
