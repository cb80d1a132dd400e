"""MATH's form: a problem, a solution with the answer in \\boxed{}, and "Level 5". Source: Hendrycks et al. 2021."""

from __future__ import annotations

from dataclasses import dataclass

from iteration.tasks.file import File


@dataclass
class Math(File):
    prompt_key: str = "problem"  # column of the problem's text
    answer_key: str = "solution"  # column of its solution, or of the answer alone
    level_key: str = "level"  # a column whose first whole number orders problems by difficulty
    template: str = "{prompt}\nWork it out step by step, and put the final answer in \\boxed{}."  # what the model is shown
