"""The actor that judges ends. A verifier that raises yields `failed`, which is never counted as wrong."""

from __future__ import annotations

from iteration.config import part_class
from iteration.types import Problem, State, Verdict


class Verifier:
    def __init__(self, number: int, name: str, options: dict):
        self._number = number
        self._verifier = part_class("verify", "iteration.verify", name)(**options)

    def __repr__(self) -> str:
        return f"Verifier {self._number}"

    def ready(self) -> str:
        return here()

    def verify(self, problems: list[Problem], answers: list[str]) -> list[Verdict]:
        """One verdict for each pair. A batch that breaks the verifier is judged again one by one."""
        try:
            return self._verifier.verify(problems, answers)
        except Exception as error:
            if len(problems) == 1:
                return [Verdict(State.FAILED, why=f"the verifier broke: {type(error).__name__}: {error}")]
            return [self.verify([problem], [answer])[0] for problem, answer in zip(problems, answers, strict=True)]

    def steps(self, problems: list[Problem], answers: list[str]) -> list[list[Verdict]]:
        """For each answer, which need not be finished, one verdict for each step. Errors of the verifier are raised."""
        return [self._verifier.steps(problem, answer) for problem, answer in zip(problems, answers, strict=True)]


def here() -> str:
    """The node that an actor runs on."""
    import ray

    return ray.get_runtime_context().get_node_id()
