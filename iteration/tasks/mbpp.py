"""MBPP's form: what a function is to do, and a list of assertions, of which the first is shown. Source: Austin et al. 2021."""

from __future__ import annotations

import json
from dataclasses import dataclass

from iteration.tasks.file import File
from iteration.types import Problem


@dataclass
class Mbpp(File):
    prompt_key: str = "text"  # column of the problem's text ("prompt" in the sanitized version)
    answer_key: str = "test_list"  # column of the tests, a list of assertions
    setup_key: str = "test_setup_code"  # column of code that the tests need, or ""
    template: str = "{prompt} Your code should pass this test:\n{test}\n"  # what the model is shown

    def columns(self) -> dict[str, str]:
        return super().columns() | ({"setup_key": self.setup_key} if self.setup_key else {})

    def prompt(self, problem: Problem) -> str:
        return super().prompt(problem).replace("{test}", json.loads(problem.answer)["asserts"][0])

    def answer(self, row: dict) -> str:
        tests = row[self.answer_key]
        if not tests:
            raise ValueError(f"{self.answer_key} is empty; expected a list of assertions")
        return json.dumps({"asserts": list(tests), "setup": (self.setup_key and row[self.setup_key]) or ""})
