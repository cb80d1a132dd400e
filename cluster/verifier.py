"""Grading of finished answers, in an actor or at the command line. A verifier that breaks yields `failed`, never `wrong`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cluster.folder.place import store_at
from cluster.folder.replies import Replies
from cluster.folder.store import Store
from cluster.sandbox.walls import Sandbox, SandboxOptions, check
from iteration.parts import Part
from iteration.protocols import Asks, BringsProgram, Sandboxed, Versioned
from iteration.types import Problem, State, Verdict


class Grader:
    """A verifier and its sandbox, if it needs one. sandbox: the fields of SandboxOptions; store: of a run, for its memory."""

    def __init__(self, part: Part, sandbox: dict | None = None, store: Store | None = None):
        self._part = part.make()
        self.tag = tag(part)
        self.sandbox = None
        if store and isinstance(self._part, Asks):
            self._part.remember(Replies(store))
        if isinstance(self._part, Sandboxed):
            own = self._part if isinstance(self._part, BringsProgram) else None
            needs = (own.program, own.folders, own.reserves) if own else ()
            self.sandbox = Sandbox(SandboxOptions(**(sandbox or {})), self._part.executes, self._part.seconds, *needs)

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """One verdict per pair, on the text after the thinking. An answer that breaks the verifier affects no other answer."""
        stated = [behind_thinking(answer) for answer in answers]
        asked = [(problem, text) for problem, text in zip(problems, stated, strict=True) if text is not None]
        graded = iter(self._graded([problem for problem, _ in asked], [text for _, text in asked]) if asked else ())
        return [UNFINISHED if text is None else next(graded) for text in stated]

    def _graded(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        try:
            more = (self.sandbox,) if self.sandbox else ()
            verdicts = self._part.verify(problems, answers, *more)
            if len(verdicts) != len(answers):
                raise RuntimeError(f"{len(verdicts)} verdicts for {len(answers)} answers")
            return list(verdicts)
        except Exception as error:
            if len(problems) == 1:
                return [Verdict(State.FAILED, why=f"the verifier broke: {type(error).__name__}: {error}")]
            return [self._graded([problem], [answer])[0] for problem, answer in zip(problems, answers, strict=True)]

    def steps(self, problem: Problem, answer: str) -> list[Verdict]:
        return self._part.steps(problem, answer)

    def close(self) -> None:
        if self.sandbox:
            self.sandbox.close()


UNFINISHED = Verdict(State.UNPARSEABLE, why="its thinking has no end: no </think>")


def behind_thinking(answer: str) -> str | None:
    """The part of an answer after <think> ... </think>, as in chat templates; None where the thinking never ends."""
    *_, stated = answer.rpartition("</think>")
    return None if "<think>" in stated else stated


def tag(part: Part) -> str:
    """The verifier's name, version and options (those that decide), stored with every verdict."""
    made = part.make()
    version = made.version if isinstance(made, Versioned) else "1"
    besides = made.incidental if isinstance(made, Asks) else ()
    options = {name: value for name, value in part.options.items() if name not in besides}
    return f"{part.name} {version} {json.dumps(options, sort_keys=True)}"


def check_walls(kind: str, part: object, options: SandboxOptions) -> None:
    """Raises UserError where a verifier runs model-written code, but this machine has no sandbox for it."""
    if isinstance(part, Sandboxed) and part.executes:
        check(options, True, kind)


class Verifier:
    """Ray actor that grades with the run's verifier `part`, or with others that a call names. root: the place of the run."""

    def __init__(self, number: int, part: Part, sandbox: dict | None = None, root: str = ""):
        self._number, self._own, self._sandbox, self._store = number, part, sandbox, store_at(root) if root else None
        self._graders: dict[str, Grader] = {}

    def _grader(self, part: Part) -> Grader:
        key = json.dumps(part.section(), sort_keys=True)
        if key not in self._graders:
            self._graders[key] = Grader(part, self._sandbox, self._store)
        return self._graders[key]

    def __repr__(self) -> str:
        return f"Verifier {self._number}"

    def ready(self) -> str:
        """The node that it runs on. Raises UserError where the verifier cannot work there, e.g. without a sandbox."""
        self._grader(self._own)
        return here()

    def verify(self, problems: list[Problem], answers: list[str], part: Part | None = None) -> list[Verdict]:
        """One verdict per pair, by the run's verifier or by another `part`."""
        return self._grader(part or self._own).verify(problems, answers)

    def audit(self, key: int, problems: list[Problem], answers: list[str], part: Part) -> tuple[int, list[Verdict]]:
        """(key, verdicts) of another verifier `part` on a batch; key: the batch's number."""
        return key, self._grader(part).verify(problems, answers)

    def steps(self, problems: list[Problem], answers: list[str]) -> list[list[Verdict]]:
        """For each answer, finished or not, one verdict per step. Raises errors of the verifier."""
        own = self._grader(self._own)
        return [own.steps(problem, answer) for problem, answer in zip(problems, answers, strict=True)]


def here() -> str:
    """The id of the node that this actor runs on."""
    import ray

    return ray.get_runtime_context().get_node_id()
