"""Multiple choice (GPQA's form): a question, its right answer and wrong ones, in an order that is drawn for each problem.

A problem keeps its order: it stands in the plan, and in what the verifier says. With `orders` a question is several problems.
Source: Rein et al. 2023.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from iteration.errors import UserError
from iteration.parts import at_least
from iteration.rows import text_of
from iteration.tasks.file import File
from iteration.types import Problem

LETTERS = "ABCDEFGHIJ"


@dataclass
class Choice(File):
    prompt_key: str = "Question"  # column of the question
    answer_key: str = "Correct Answer"  # column of the right answer
    wrong_keys: list[str] = field(  # columns of the wrong ones, or one column with a list of them
        default_factory=lambda: ["Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]
    )
    orders: int = 1  # in which each question is asked; as many as there are samples, with search.n=1: an order for each sample
    template: str = "{prompt}\n\nThink step by step, and end with a line: Answer: LETTER"  # what the model is shown

    def __post_init__(self) -> None:
        at_least(self, orders=1)
        if not self.wrong_keys:
            raise ValueError("wrong_keys is []; expected the columns of the wrong answers")
        super().__post_init__()

    def columns(self) -> dict[str, str]:
        return super().columns() | {f"wrong_keys[{i}]": name for i, name in enumerate(self.wrong_keys)}

    def answer(self, row: dict) -> str:
        wrong = [row[name] for name in self.wrong_keys]
        wrong = [text_of(each) for some in wrong for each in (some if isinstance(some, list) else [some]) if each is not None]
        options = [text_of(row[self.answer_key]).strip(), *(each.strip() for each in wrong)]
        if not 1 < len(options) <= len(LETTERS):
            raise ValueError(f"{len(options)} options; expected 2 to {len(LETTERS)}")
        if len(set(options)) < len(options):
            raise ValueError("two of its options are the same")
        return json.dumps({"options": options})  # the right one first; `draw` puts them in order

    def prompt(self, problem: Problem) -> str:
        """As it is drawn, in its order; as it stands in the file, with the right answer first."""
        options = json.loads(problem.answer).get("options")
        return super().prompt(shuffled(problem, range(len(options))) if options else problem)

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        questions = super().draw(split, level, max(1, n // self.orders), rng)
        asked = [(problem, place) for problem in questions for place in range(self.orders)]
        drawn = [shuffled(problem, rng.permutation(len(options_of(problem)))) for problem, _ in asked]
        if self.orders == 1:
            return drawn
        return [replace(each, id=f"{each.id}/{place}", question=each.id) for each, (_, place) in zip(drawn, asked, strict=True)]


def options_of(problem: Problem) -> list[str]:
    return json.loads(problem.answer)["options"]


def shuffled(problem: Problem, order: Sequence[int]) -> Problem:
    """The problem with its options in this order; order[i] is the option, counted from 0, that stands at place i."""
    options = options_of(problem)
    if sorted(order) != list(range(len(options))):
        raise UserError(f"{problem.id}: {list(order)} is no order of {len(options)} options")
    shown = "\n".join(f"{LETTERS[place]}) {options[option]}" for place, option in enumerate(order))
    stored = {"right": LETTERS[list(order).index(0)], "order": [int(each) for each in order]}
    return replace(problem, prompt=f"{problem.prompt}\n\n{shown}", answer=json.dumps(stored))
