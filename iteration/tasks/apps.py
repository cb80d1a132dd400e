"""APPS's form: a programming problem with inputs and outputs, for a whole program. Source: Hendrycks et al. 2021."""

from __future__ import annotations

import json
from dataclasses import dataclass

from iteration.tasks.file import File


@dataclass
class Apps(File):
    prompt_key: str = "question"  # column of the problem's text
    answer_key: str = "input_output"  # column of {"inputs": [...], "outputs": [...]}, as JSON text or as a structure
    template: str = "{prompt}\nWrite a Python program that reads standard input and prints the answer."  # what is shown

    def answer(self, row: dict) -> str:
        pairs = row[self.answer_key]
        pairs = json.loads(pairs) if isinstance(pairs, str) else pairs
        if pairs.get("fn_name"):
            tests = zip(pairs["inputs"], pairs["outputs"], strict=True)
            return json.dumps({"asserts": [asserted(pairs["fn_name"], given, told) for given, told in tests]})
        texts = {
            key: ["\n".join(each) if isinstance(each, list) else each for each in pairs[key]] for key in ("inputs", "outputs")
        }
        if not texts["inputs"] or len(texts["inputs"]) != len(texts["outputs"]):
            raise ValueError(f"{self.answer_key} has {len(texts['inputs'])} inputs and {len(texts['outputs'])} outputs")
        return json.dumps(texts)


def asserted(function: str, given: list, told: object) -> str:
    """A pair as an assertion; some rows hold the value that is expected, some a list of it."""
    allowed = [told, told[0]] if isinstance(told, list) and len(told) == 1 else [told]
    return f"assert {function}(*{given!r}) in {allowed!r}"
