"""MBPP's form: what a function is to do, and a list of assertions, of which the first is shown. Source: Austin et al. 2021."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass

from iteration.programs import defined, loaded
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
        tests = row[self.answer_key]
        if not tests:
            raise ValueError(f"{self.answer_key} is empty; expected a list of assertions")
        setup = [*(row.get(self.imports_key) or ()), row.get(self.setup_key) or ""]
        names, imports = of_reference(row.get(self.code_key) or "", "\n".join([*setup, *tests]))
        return json.dumps({"asserts": list(tests), "setup": "\n".join([*imports, *setup]), "names": names})


def of_reference(code: str, tests: str) -> tuple[list[str], list[str]]:
    """What tests use of the reference solution: the names that it defines, and its imports. Nothing where it does not parse."""
    try:
        body, used = ast.parse(code).body, loaded(ast.parse(tests))
    except (SyntaxError, ValueError):
        return [], []
    imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    others = ast.Module([node for node in body if node not in imports], [])
    needed = [node for node in imports if defined(ast.Module([node], [])) & used - defined(others)]
    return sorted(defined(others) & used), [ast.unparse(node) for node in needed]
