"""Problems from a JSONL or Parquet file (plain or .gz): one problem a row, with a prompt and an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from iteration.config import UserError, did_you_mean
from iteration.types import Problem


@dataclass
class File:
    train: str = ""  # file of problems to train on
    test: str = ""  # file of held-out problems; without one, a tenth of `train` is held out by a hash of the prompt
    prompt_key: str = "prompt"  # column of the problem's text
    answer_key: str = "answer"  # column of its answer
    level_key: str = ""  # a whole number that orders problems by difficulty; without one all have level 0
    template: str = "{prompt}"  # what the model is shown

    def __post_init__(self) -> None:
        if not self.train:
            raise UserError("task.train is missing: type task.train=FILE.jsonl (or .parquet)")
        if "{prompt}" not in self.template:
            raise UserError(f"task.template: found {self.template!r}, expected a text with {{prompt}} in it")
        train = self._read(self.train, "train")
        test = self._read(self.test, "test") if self.test else [problem for problem in train if _held_out(problem)]
        # The hash is of the prompt: a problem that stands in both files is trained on in neither case.
        held_out = {problem.id for problem in test}
        self._problems = {"train": [problem for problem in train if problem.id not in held_out], "test": test}
        for split, problems in self._problems.items():
            if not problems:
                raise UserError(f"{self.train}: no problems are left for {split}")

    def levels(self) -> Sequence[int]:
        return sorted({problem.level for problem in self._problems["train"]})

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        found = [problem for problem in self._problems[split] if problem.level == level]
        return [found[i] for i in rng.permutation(len(found))[:n]]

    def prompt(self, problem: Problem) -> str:
        return self.template.replace("{prompt}", problem.prompt)

    def _read(self, name: str, key: str) -> list[Problem]:
        path = Path(name)
        try:
            if ".parquet" in path.suffixes:
                table = pyarrow.parquet.read_table(path)
            else:
                with pa.input_stream(path) as stream:
                    table = pyarrow.json.read_json(stream)
        except FileNotFoundError:
            raise UserError(f"task.{key}: there is no file {name}; type task.{key}=FILE.jsonl (or .parquet)") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{name}: neither JSONL nor Parquet: {str(error).splitlines()[0]}") from None
        for option, column in (("prompt_key", self.prompt_key), ("answer_key", self.answer_key), ("level_key", self.level_key)):
            if column and column not in table.column_names:
                near = did_you_mean(column, table.column_names)
                raise UserError(
                    f"{name}: no column {column!r}{near} (found: {', '.join(table.column_names)}); type task.{option}=COLUMN"
                )
        prompts, texts = table[self.prompt_key].to_pylist(), table[self.answer_key].to_pylist()
        levels = table[self.level_key].to_pylist() if self.level_key else [0] * len(table)
        found: dict[str, Problem] = {}
        for row, (prompt, answer, level) in enumerate(zip(prompts, texts, levels, strict=True), 1):
            if prompt is None or answer is None or level is None:
                raise UserError(f"{name}: row {row} has no value for the prompt, the answer or the level")
            mark = hashlib.blake2b(str(prompt).encode(), digest_size=8).hexdigest()
            found.setdefault(mark, Problem(f"p-{mark}", str(prompt), str(answer), int(level)))
        return list(found.values())


def _held_out(problem: Problem) -> bool:
    return int(problem.id[2:4], 16) % 10 == 0
