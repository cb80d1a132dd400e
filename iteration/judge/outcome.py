"""Outcome reward model (ORM): one score for a whole answer, how likely it is correct.

Source: Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from iteration.protocols import Ends
from iteration.steps import Answers
from iteration.types import Examples, State, Verdict


@dataclass
class Outcome:
    learned: ClassVar[bool] = True

    def cuts(self, token_ids: np.ndarray, ends: Ends, final: bool) -> np.ndarray:
        return np.array([len(token_ids)] if final and len(token_ids) else [], np.int64)

    def worth(self, scores: Sequence[float]) -> float:
        return scores[-1]

    def examples(self, nodes: pa.Table, ends: Ends, steps: Callable[[str, str], list[Verdict]] | None) -> Examples:
        answers = Answers(nodes)
        sequences, weights, labels = [], [], []
        for prompt, tokens, final, state in zip(answers.prompts, answers.tokens, answers.finals, answers.states, strict=True):
            if not final or state is None or state == State.FAILED:
                continue
            last = np.zeros(len(prompt) + len(tokens), np.float32)
            last[-1] = 1.0
            sequences.append([np.concatenate([prompt, tokens])])
            weights.append(last)
            labels.append(last * (state == State.CORRECT))
        return Examples.of(sequences, weights, labels)
