"""Python against tests: functions (HumanEval, MBPP) and whole programs (APPS). Only what the code returns or prints counts.

The answer runs as a guest behind walls of its own. The tests run elsewhere and see plain data, so nothing that the answer does
to itself can make them pass: it never sees them, cannot patch what compares, and where it ends early it has not answered.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration.protocols import Sandbox
from iteration.types import Call, Outcome, Problem, State, Verdict

_BLOCK = re.compile(r"```(?:[Pp]ython3?|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LOUD = 5  # tests whose failure is told


def source_of(text: str, prefix: str, entry: str) -> str:
    """The answer's code: its last block between ``` that defines `entry`, else its last block, else all of it.

    prefix: what the model was to go on from; it stands before the code where that does not define `entry` itself.
    """
    blocks = _BLOCK.findall(text)
    named = re.compile(rf"^(?:async\s+)?(?:def|class)\s+{re.escape(entry)}\b|^{re.escape(entry)}\s*=", re.MULTILINE)
    found = next((block for block in reversed(blocks) if entry and named.search(block)), blocks[-1] if blocks else text)
    if not prefix or not entry:
        return found
    if named.search(found):
        return prefix[: named.search(prefix).start()] + "\n" + found if named.search(prefix) else found
    return prefix + found


# what runs in the sandbox


class _Watched:
    """Counts what each test came to; an assertion that fails does not end those behind it."""

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
    """The answer's process is there no more."""


class _Apart(ast.NodeTransformer):
    """Each assertion as a call of `test`, its condition as a function without arguments."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        condition = ast.Lambda(ast.arguments([], [], None, [], [], None, []), node.test)
        call = ast.Call(ast.Name("__test__", ast.Load()), [condition, ast.Constant(ast.unparse(node.test)[:120])], [])
        return ast.copy_location(ast.Expr(call), node)


def judge(guest, spec: dict, text: str) -> dict:
    """Run an answer's tests: {"broken": why} for code that is none, else {"passed", "tests", "whys", "behaviour"}."""
    source = source_of(text, spec.get("prefix", ""), spec.get("entry", ""))
    if not source.strip():
        return {"broken": "no code"}
    try:
        compile(source, "answer.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"broken": f"{type(error).__name__}: {error}"[:200]}
    replies = hashlib.blake2b(digest_size=8)
    results = _programs(guest, spec, source, replies) if "inputs" in spec else _functions(guest, spec, source, replies)
    whys = [why for passed, why in results if not passed]
    return {
        "passed": [passed for passed, _ in results],
        "whys": whys[:_LOUD],
        "behaviour": replies.hexdigest(),
    }


def _functions(guest, spec: dict, source: str, replies) -> list[tuple[bool, str]]:
    defined = guest.define(source)
    if "value" not in defined:
        return [(False, _why(defined))] * max(1, len(spec.get("asserts", ())))

    def proxy(name: str):
        def asked(*arguments: object, **keywords: object) -> object:
            reply = guest.call(name, arguments, keywords)
            replies.update(repr(reply)[:100_000].encode("utf-8", "replace"))
            if "gone" in reply:
                raise Gone(reply["gone"])
            if "raised" in reply:
                kind, message = reply["raised"]
                known = getattr(builtins, kind, None)
                fit = isinstance(known, type) and issubclass(known, Exception) and known is not Exception
                raise (known if fit and not issubclass(known, UnicodeError) else RuntimeError)(message)
            return reply["value"]

        return asked

    watched = _Watched()
    names: dict = {"__name__": "tests", "__test__": watched.test}
    if spec.get("setup"):
        exec(compile(spec["setup"], "setup.py", "exec"), names)
    whole = ast.parse("\n".join([spec.get("check", ""), *spec.get("asserts", ())]))
    wanted = {node.id for node in ast.walk(whole) if isinstance(node, ast.Name)}
    bound = {node.id for node in ast.walk(whole) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in ast.walk(whole) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for name in wanted - bound:
        if name not in names and not hasattr(builtins, name):
            names[name] = proxy(name)
    if spec.get("entry"):
        names[spec["entry"]] = proxy(spec["entry"])  # also where the setup holds what the model was to go on from
    try:
        exec(compile(ast.fix_missing_locations(_Apart().visit(whole)), "tests.py", "exec"), names)
        if spec.get("check"):
            names["check"](proxy(spec["entry"]))
    except Gone as error:
        watched.results.append((False, str(error)))
    except Exception as error:
        watched.results.append((False, f"{type(error).__name__}: {error}"))
    missing = len(spec.get("asserts", ())) - len(watched.results)
    return (watched.results or [(False, "no test ran")]) + [(False, "not run")] * max(0, missing)


def _programs(guest, spec: dict, source: str, replies) -> list[tuple[bool, str]]:
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
        elif not same_output(printed, expected):
            results.append((False, f"test {number}: printed {printed[:40]!r}, not {expected[:40]!r}"))
        else:
            results.append((True, ""))
    return results


def same_output(printed: str, expected: str) -> bool:
    """Equal but for white space at the ends of lines and of the text."""
    lines = [[line.rstrip() for line in text.strip().splitlines()] for text in (printed, expected)]
    return lines[0] == lines[1]


def _why(reply: dict) -> str:
    return reply.get("gone") or ": ".join(reply.get("raised", ["no value"]))


@dataclass
class Code:
    partial: bool = False  # reward the share of tests that pass; otherwise 1 for all of them and 0 for any fewer
    seconds: float = 2.0  # of CPU for all tests of one answer

    executes: ClassVar[bool] = True
    version: ClassVar[str] = "1"

    def verify(self, problems: Sequence[Problem], answers: Sequence[str], sandbox: Sandbox) -> list[Verdict]:
        specs: list[dict | None] = []
        for problem in problems:
            try:
                specs.append(spec_of(problem))
            except ValueError:
                specs.append(None)
        calls = [
            Call("iteration.verify.code:judge", [spec, answer], guest=True)
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
    """A problem's tests: {"entry", "check"} | {"asserts"} | {"inputs", "outputs"}, each also with "prefix" and "setup".

    Raises ValueError where the problem's answer is none of them.
    """
    spec = json.loads(problem.answer)
    if not isinstance(spec, dict) or not ({"check", "asserts", "inputs"} & set(spec)):
        raise ValueError("no tests")
    return spec
