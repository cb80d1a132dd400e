"""APPS's form: a problem with inputs and outputs, for a whole program or for one function. Source: Hendrycks et al. 2021.

A row whose `input_output` has `fn_name` asks for a function of that name, or for a method of a class `Solution`. As on the site
that such problems come from, the usual imports are there already, and each test calls a new instance.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from iteration.tasks.file import File
from iteration.types import Problem

# What the published harness runs before an answer that is called by name, numpy excepted.
BEFORE = """
import bisect, collections, fractions, functools, heapq, itertools, math, random, re, string, sys, time
from bisect import *
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import *
from itertools import accumulate, combinations, permutations, product
from math import ceil, cos, exp, fabs, floor, gcd, log, log2, sin, sqrt, tan
from typing import *
"""
PROGRAM = "Write a Python program that reads standard input and prints the answer."


@dataclass
class Apps(File):
    prompt_key: str = "question"  # column of the problem's text
    answer_key: str = "input_output"  # column of {"inputs": [...], "outputs": [...]}, as JSON text or as a structure
    starter_key: str = "starter_code"  # column of code to begin with, which the model is shown, or ""
    # what the model is shown; {how}: whether it is to write a program or a function, and the code to begin with
    template: str = "{prompt}\n{how}"

    def columns(self) -> dict[str, str]:
        needed = self.starter_key and self.starter_key != Apps.starter_key
        return super().columns() | ({"starter_key": self.starter_key} if needed else {})

    def prompt(self, problem: Problem) -> str:
        spec = json.loads(problem.answer)
        starter = spec.get("prefix", "").strip()
        how = f"Write a Python function {spec['entry']}." if "entry" in spec else PROGRAM
        if starter:
            how = f"{'Complete this Python code' if 'entry' in spec else PROGRAM + ' Begin with'}:\n```python\n{starter}\n```"
        return super().prompt(problem).replace("{how}", how)

    def answer(self, row: dict) -> str:
        pairs = row[self.answer_key]
        try:
            pairs = json.loads(pairs) if isinstance(pairs, str) else pairs
        except ValueError as error:
            raise ValueError(f"{self.answer_key} is not JSON: {error}") from None
        if not isinstance(pairs, dict) or not all(isinstance(pairs.get(key), list) for key in ("inputs", "outputs")):
            raise ValueError(f'{self.answer_key} has no tests; expected {{"inputs": [...], "outputs": [...]}}')
        given, told = pairs["inputs"], pairs["outputs"]
        if not given or len(given) != len(told):
            raise ValueError(f"{self.answer_key} has {len(given)} inputs and {len(told)} outputs")
        starter = row.get(self.starter_key) or ""
        if pairs.get("fn_name"):
            spec = {"entry": pairs["fn_name"], "class": "Solution", "before": BEFORE}
            given = [arguments if isinstance(arguments, list) else [arguments] for arguments in given]
        else:
            spec = {}
            given, told = ([_text(each) for each in texts] for texts in (given, told))
        return json.dumps(spec | {"inputs": given, "outputs": told} | ({"prefix": starter} if starter else {}))


def _text(lines: object) -> str:
    return "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)
