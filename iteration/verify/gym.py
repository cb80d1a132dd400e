"""reasoning-gym's own scorers, in the sandbox. Full marks are correct, less is wrong: some give partial credit for nothing.

The stored problem holds all that the scorer looks at, so no problem is generated again.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration.parts import above
from iteration.protocols import Sandbox
from iteration.types import Call, Outcome, Problem, State, Verdict
from iteration.verify.exact import last_line, last_number

# Scorers that evaluate the answer as Python. What reaches them is fenced in: no calls where a list of values is expected,
# and numbers, operators, single letters and a few functions where a formula is.
_LISTS = re.compile(r"[\w\s,.|'\"\[\]-]*")
_WORDS = "sin|cos|tan|sec|csc|cot|asin|acos|atan|sinh|cosh|tanh|exp|log|ln|sqrt|pi|Abs"
_FORMULA = re.compile(rf"(?:\s|\d++(?:\.\d*+)?|\.\d++|[-+*/^()]|\b(?:[^\W\d_]|{_WORDS})\b)*+")
FENCED = {
    "string_insertion": _LISTS,
    "spiral_matrix": _LISTS,
    "binary_matrix": _LISTS,
    "n_queens": _LISTS,
    "countdown": _FORMULA,
    "puzzle24": _FORMULA,
    "simple_integration": _FORMULA,
    "intermediate_integration": _FORMULA,
    "polynomial_multiplication": _FORMULA,
}
# For problems of earlier versions, stored without their entry: regenerated, these differ, and only the answer is scored.
UNSTABLE = ("isomorphic_strings", "list_functions", "polynomial_multiplication", "ransom_note")
LONGEST = 20_000  # characters of an answer
FULL = 1.0 - 1e-9
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)


def final(text: str) -> str:
    """What stands between the last <answer> and </answer>, else the whole text; no blank lines around it."""
    tagged = _TAGGED.findall(text)
    return (tagged[-1] if tagged else text).strip("\n").strip()


READ = {"tags": final, "number": last_number, "line": last_line}


def fence(task: str, answer: str) -> str:
    """Why a scorer that evaluates answers is not shown this one; "" where it may be."""
    if len(answer) > LONGEST:
        return f"{len(answer)} characters"
    if task in FENCED and ("__" in answer or not FENCED[task].fullmatch(answer)):
        return "not the kind of expression that is expected"
    return ""


# what runs in the sandbox


@functools.lru_cache(64)
def dataset(task: str, config: str, seed: int = 0, size: int = 1):
    import reasoning_gym

    return reasoning_gym.create_dataset(task, size=size, seed=seed, **json.loads(config))


def warm() -> None:
    import reasoning_gym  # noqa: F401


def entry_of(value: object) -> object:
    """What iteration/tasks/gym.py stored."""
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "d":
        return {entry_of(key): entry_of(each) for key, each in rest}
    return {"l": list, "t": tuple}[kind](map(entry_of, rest))


def score(where: dict, question: str, answer: str) -> float:
    """The task's score of an answer. Raises LookupError for a problem that is stored without its entry and cannot be remade."""
    config = json.dumps(where["config"])
    if "entry" in where:
        data, entry = dataset(where["task"], config), entry_of(where["entry"])
    else:
        data = dataset(where["task"], config, where["seed"], where["size"])
        entry = data[where["index"]] | {"answer": where["answer"]}
        if entry["question"] != question and where["task"] not in UNSTABLE:
            raise LookupError(f"{where['task']} made another problem this time; which version of reasoning-gym made the plan?")
    try:
        return float(data.score_answer(answer, entry))
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError, SyntaxError):
        return 0.0  # the scorer made nothing of the answer


@dataclass
class Gym:
    read: str = "tags"  # what the scorer is shown: what stands in <answer> tags (else all), or the last "number" or "line"
    seconds: float = 5.0  # of CPU for one answer

    executes: ClassVar[bool] = True
    version: ClassVar[str] = "2"

    def __post_init__(self) -> None:
        above(self, seconds=0)
        if self.read not in READ:
            raise ValueError(f"verify.read is {self.read!r}; expected {', '.join(READ)}")

    def verify(self, problems: Sequence[Problem], answers: Sequence[str], sandbox: Sandbox) -> list[Verdict]:
        finals = [READ[self.read](answer) for answer in answers]
        verdicts: list[Verdict | None] = []
        calls = []
        for problem, answer in zip(problems, finals, strict=True):
            try:
                where = json.loads(problem.answer)
                why = fence(where["task"], answer)
            except (ValueError, KeyError, TypeError):
                verdicts.append(Verdict(State.FAILED, why="this is no problem of reasoning-gym (task.name=gym)"))
                continue
            if not answer:
                verdicts.append(Verdict(State.UNPARSEABLE, why="no answer"))
            elif why:
                verdicts.append(Verdict(State.WRONG, answer[:200], why=why))
            else:
                verdicts.append(None)
                calls.append(Call("iteration.verify.gym:score", [where, problem.prompt, answer]))
        outcomes = iter(zip(calls, sandbox.run(calls), strict=True))
        return [verdict or self.verdict(*next(outcomes)) for verdict in verdicts]

    def verdict(self, call: Call, outcome: Outcome) -> Verdict:
        answer = call.arguments[2][:200]
        if outcome.state == "late" and call.arguments[0]["task"] in FENCED:
            return Verdict(State.WRONG, answer, why=f"evaluating it did not end: {outcome.why}")
        if outcome.state != "done":
            return Verdict(State.FAILED, answer, why=f"the scorer {outcome.state}: {outcome.why}"[:300])
        if outcome.value >= FULL:
            return Verdict(State.CORRECT, answer, 1.0)
        return Verdict(State.WRONG, answer, why=f"score {outcome.value:.3g}")
