"""HumanEval's form: the head of a Python function to complete, and a function `check` of tests. Source: Chen et al. 2021."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass

from iteration.tasks.file import File


@dataclass
class Humaneval(File):
    id_key: str = "task_id"  # column of the problem's own name
    answer_key: str = "test"  # column of the tests, a text that defines check(candidate)
    entry_key: str = "entry_point"  # column of the function's name
    template: str = "{prompt}"  # what the model is shown; its answer completes the function or defines it

    def columns(self) -> dict[str, str]:
        return super().columns() | {"entry_key": self.entry_key}

    def answer(self, row: dict) -> str:
        # Some tests use helpers that stand before the function: the tests' side has them too, with an empty function.
        prompt = row[self.prompt_key]
        return json.dumps(
            {"entry": row[self.entry_key], "check": row[self.answer_key], "setup": helpers(prompt), "prefix": prompt}
        )


def helpers(prompt: str) -> str:
    """The prompt with an empty function; "" where it is no head of a function."""
    code = f"{prompt}\n    pass\n"
    try:
        ast.parse(code)
    except SyntaxError:
        return ""
    return code
