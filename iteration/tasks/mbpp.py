"""MBPP's form: what a function is to do, and a list of assertions, of which the first is shown. Source: Austin et al. 2021."""

from __future__ import annotations

import ast
import contextlib
import json
from dataclasses import dataclass

from iteration.assertions import asked_of
from iteration.programs import BUILTIN, defined, loaded, needed
from iteration.tasks.file import File
from iteration.types import Problem


@dataclass
class Mbpp(File):
    prompt_key: str = "text"  # column of the problem's text ("prompt" in the sanitized version)
    answer_key: str = "test_list"  # column of the tests, a list of assertions
    setup_key: str = "test_setup_code"  # column of code that the tests need, or ""; optional
    imports_key: str = "test_imports"  # column of a list of imports that the tests need, or ""; optional
    code_key: str = "code"  # column of the reference solution, of which only names and imports are read, or ""; optional
    template: str = "{prompt} Your code should pass this test:\n{test}\n"  # what the model is shown

    def columns(self) -> dict[str, str]:
        named = {name: getattr(self, name) for name in ("setup_key", "imports_key", "code_key")}
        return super().columns() | {name: column for name, column in named.items() if column not in ("", getattr(Mbpp, name))}

    def prompt(self, problem: Problem) -> str:
        return super().prompt(problem).replace("{test}", json.loads(problem.answer)["asserts"][0])

    def answer(self, row: dict) -> str:
        tests, imports = _texts(row[self.answer_key], self.answer_key), _texts(row.get(self.imports_key), self.imports_key)
        if not tests:
            raise ValueError(f"{self.answer_key} is empty; expected a list of assertions")
        setup = [*imports, row.get(self.setup_key) or ""]
        names, own = of_reference(row.get(self.code_key) or "", "\n".join([*setup, *tests]))
        return json.dumps({"asserts": tests, "setup": "\n".join([*own, *setup]), "names": names})


def _texts(value: object, key: str) -> list[str]:
    """A column's list of Python texts, which may be written as one text: a list in JSON or Python, or statements."""
    found = value
    if isinstance(value, str):
        for read in (json.loads, ast.literal_eval, _statements):
            with contextlib.suppress(ValueError, SyntaxError):
                found = read(value.strip())
            if isinstance(found, list):
                break
    found = [] if found is None else found
    try:
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise ValueError(type(value).__name__)
        ast.parse("\n".join(found))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{key} is no list of Python assertions ({error}): {str(value)[:60]!r}") from None
    return found


def _statements(text: str) -> list[str]:
    return [ast.get_source_segment(text, node) or "" for node in ast.parse(text).body]


def of_reference(code: str, tests: str) -> tuple[list[str], list[str]]:
    """What tests use of the reference solution: its names; its imports, and the code of what says what is right (`asked_of`).

    Nothing where it does not parse.
    """
    try:
        tree, tests_tree = ast.parse(code), ast.parse(tests)
    except (SyntaxError, ValueError):
        return [], []
    imports = ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    used, names = loaded(tests_tree), defined(ast.Module([node for node in tree.body if node not in imports.body], []))
    _, right = asked_of(tests_tree, names & used - BUILTIN or names & used)
    own = needed(tree, right | used & defined(imports) - names)
    return sorted(names & used), [ast.unparse(node) for node in own]
