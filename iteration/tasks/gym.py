"""The tasks of reasoning-gym by name: synthetic problems, made as they are needed and scored by the task's own scorer.

A problem carries all that its scorer looks at: some tasks make other problems of the same seed in another process.
Source: Stojanovski et al. 2025, https://github.com/open-thought/reasoning-gym. Eight are refused, with the reason.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iteration.errors import UserError
from iteration.parts import has_prompt
from iteration.types import Problem

NO_GOLD = "gives no answer of its own, so nothing shows that its scorer accepts a right one"
REFUSED = {
    "game_of_life_halting": "accepts every answer that is not empty",
    "puzzle24": "accepts any four numbers that make 24, also others than the puzzle's",
    "composite": "is a mixture of other tasks; name one of those",
    "boxnet": NO_GOLD,
    "graph_color": NO_GOLD,
    "propositional_logic": NO_GOLD,
    "rubiks_cube": NO_GOLD,
    "rush_hour": NO_GOLD,
}
TEST_SHARE = 10  # one problem in ten, by its hash, is held out


@dataclass
class Gym:
    task: str = ""  # the task's name, e.g. chain_sum
    config: dict[str, Any] = field(default_factory=dict)  # the task's own options, e.g. {min_terms: 2}
    template: str = "{prompt}\nPut the final answer between <answer> and </answer>."  # what the model is shown

    def __post_init__(self) -> None:
        has_prompt(self)
        check_name(self.task)
        self._dataset(0)

    def _dataset(self, seed: int, size: int = 1) -> Any:
        import reasoning_gym

        try:
            return reasoning_gym.create_dataset(self.task, size=size, seed=seed, **self.config)
        except (TypeError, AssertionError, ValueError) as error:
            raise UserError(f"task.config: {self.task} does not take {self.config}: {str(error)[:150]}") from None

    def levels(self) -> Sequence[int]:
        return [0]

    def splits(self) -> tuple[str, ...]:
        return "train", "test"

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        problems: dict[str, Problem] = {}
        # A tenth of all problems is held out, by a hash: the splits never overlap, whatever is drawn.
        wanted = 3 * n * {"train": 1, "test": TEST_SHARE}[split] + 20
        seed = int(rng.integers(2**31))
        dataset = self._dataset(seed, wanted)
        for index in range(wanted):
            if len(problems) == n:
                break
            try:
                entry = dataset[index]
            except (IndexError, StopIteration):
                break
            mark = hashlib.blake2b(entry["question"].encode(), digest_size=8).hexdigest()
            if (int(mark[:2], 16) % TEST_SHARE == 0) == (split == "test"):
                where = {"task": self.task, "config": self.config, "answer": entry["answer"], "entry": plain(entry)}
                problems.setdefault(mark, Problem(f"{self.task}-{mark}", entry["question"], json.dumps(where)))
        return list(problems.values())

    def prompt(self, problem: Problem) -> str:
        return self.template.replace("{prompt}", problem.prompt)


def plain(value: object) -> object:
    """A problem's entry as JSON that keeps what JSON does not: ["t", ...] is a tuple, ["d", [key, value], ...] a dict.

    Raises UserError for a value of another kind. iteration/verify/gym.py reads it.
    """
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return ["d", *([plain(key), plain(each)] for key, each in value.items())]
    if isinstance(value, (tuple, list)):
        return ["t" if isinstance(value, tuple) else "l", *map(plain, value)]
    raise UserError(f"task.task: its problems hold a {type(value).__name__}, which cannot be stored; choose another task")


def check_name(name: str) -> None:
    """Raises UserError for a task that does not exist or cannot be trusted."""
    if importlib.util.find_spec("reasoning_gym") is None:
        raise UserError("task.name=gym needs the package reasoning-gym; ./launch.sh setup gym, or pip install reasoning-gym")
    import reasoning_gym  # noqa: F401
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(DATASETS))}"
        raise UserError(f"task.task: reasoning-gym has no task {name!r}; {hint}")
    if name in REFUSED:
        raise UserError(f"task.task={name} is refused: it {REFUSED[name]}")
