"""Rejects answers that state the result before they derive it: they teach the model to guess and justify.

An answer of several steps is rejected if its first step contains the final answer as a separate word, the prompt does not, and
the final answer is too long to match by chance. STaR's rationalisations are of this kind. Source: Zelikman et al. 2022, STaR,
section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from iteration.filters.distinct import canonical
from iteration.parts import at_least


@dataclass
class Hindsight:
    steps: int = 3  # answers of fewer steps are left alone
    characters: int = 2  # shorter final answers (a digit) may match by chance

    def __post_init__(self) -> None:
        at_least(self, steps=1, characters=1)

    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        columns = (traces[name].to_pylist() for name in ("prompt", "answer_text", "answer"))
        return [self.one(*row) for row in zip(*columns, strict=True)]

    def one(self, prompt: str, text: str, answer: str) -> str:
        lines = canonical(text)
        known = " ".join(canonical(answer or ""))
        if len(lines) < self.steps or len(known) < self.characters:
            return ""
        if f" {known} " in f" {words(lines[0])} " and f" {known} " not in f" {words(' '.join(canonical(prompt)))} ":
            return f"the answer {known!r} stands in the first of {len(lines)} steps"
        return ""


def words(line: str) -> str:
    """The line with punctuation around its words taken off."""
    return " ".join(word.strip(".,;:!?()[]{}*$'\"=") for word in line.split())
