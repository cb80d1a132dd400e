"""Process reward model (PRM): a score after each step, how likely it is correct (or, trained on rollouts, to end well).

With exact labels a score is about its step alone, and an answer is worth their product: on `expressions` that is learnt far
sooner than "everything so far is right" (docs/experiments.md).
Source: Lightman et al. 2023, Let's Verify Step by Step (exact labels, product); Wang et al. 2024, Math-Shepherd (rollouts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from iteration.choose import AGGREGATES
from iteration.parts import one_of
from iteration.protocols import Ends
from iteration.steps import Answers, exact, rollouts, step_cuts
from iteration.types import Examples, Verdict


@dataclass
class Process:
    labels: str = "auto"  # steps: the verifier's verdict on each; rollouts: share of answers through it that end well; auto
    aggregate: str = "product"  # what an answer's scores make it worth: product, min or mean of them, or the last

    learned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of(self, labels=("auto", "steps", "rollouts"), aggregate=tuple(AGGREGATES))

    def cuts(self, token_ids: np.ndarray, ends: Ends, final: bool) -> np.ndarray:
        return step_cuts(token_ids, ends, final)

    def worth(self, scores: Sequence[float]) -> float:
        return AGGREGATES[self.aggregate](np.asarray(scores))

    def examples(self, nodes: pa.Table, ends: Ends, steps: Callable[[str, str], list[Verdict]] | None) -> Examples:
        if self.labels == "steps" and steps is None:
            raise ValueError("judge.labels is steps, but the verifier cannot grade steps; type judge.labels=rollouts")
        answers = Answers(nodes)
        cuts = [step_cuts(t, ends, final) for t, final in zip(answers.tokens, answers.finals, strict=True)]
        if steps is None or self.labels == "rollouts":
            labels = rollouts(answers, cuts)
        else:
            labels = [
                exact(steps(problem, text), state, final, len(at))
                for problem, text, state, final, at in zip(
                    answers.problems, answers.texts, answers.states, answers.finals, cuts, strict=True
                )
            ]
        sequences, weights, wanted = [], [], []
        for prompt, tokens, at, label in zip(answers.prompts, answers.tokens, cuts, labels, strict=True):
            known = np.flatnonzero(~np.isnan(label))
            weight, target = np.zeros(len(prompt) + len(tokens), np.float32), np.zeros(len(prompt) + len(tokens), np.float32)
            places = len(prompt) + at[known] - 1
            weight[places], target[places] = 1.0, label[known]
            if len(known):
                sequences.append([prompt, tokens]), weights.append(weight), wanted.append(target)
        joined = [[np.concatenate(each)] for each in sequences]
        return Examples.of(joined, weights, wanted)
