"""GSM8K's form: a word problem, and a solution whose answer stands behind ####. Source: Cobbe et al. 2021."""

from __future__ import annotations

from dataclasses import dataclass

from iteration.tasks.file import File


@dataclass
class Gsm8k(File):
    prompt_key: str = "question"  # column of the problem's text
    template: str = "{prompt}\nWork it out step by step, and end with a line: #### ANSWER"  # what the model is shown
