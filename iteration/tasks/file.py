"""Problems from JSONL, Parquet or CSV files (plain or .gz): one problem a row, with a prompt and an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from iteration.config import UserError, did_you_mean
from iteration.types import Problem


@dataclass
class File:
    train: str = ""  # file of problems to train on
    validation: str = ""  # file of problems to choose models by (measure.split=validation)
    test: str = ""  # file of held-out problems; without one, a tenth of `train` is held out by a hash of the prompt
    prompt_key: str = "prompt"  # column of the problem's text
    answer_key: str = "answer"  # column of its answer
    id_key: str = ""  # a column with the problem's own name, by which a file of answers may name it
    level_key: str = ""  # a column whose first whole number orders problems by difficulty; without one all have level 0
    template: str = "{prompt}"  # what the model is shown

    def __post_init__(self) -> None:
        if not (self.train or self.test):
            raise UserError("task.train is missing: type task.train=FILE.jsonl (or .parquet, .csv)")
        if "{prompt}" not in self.template:
            raise UserError(f"task.template: found {self.template!r}, expected a text with {{prompt}} in it")
        files = {"train": self.train, "validation": self.validation, "test": self.test}
        self._problems: dict[str, list[Problem]] = {}
        self.names: dict[str, Problem] = {}  # by the column id_key
        self._shown: dict[str, str] = {}  # what the model is shown, by the mark of the first problem with that text
        seen: dict[str, tuple[str, int]] = {}  # where each problem stands
        for split, name in files.items():
            rows = self._read(name, split) if name else {}
            for mark, (row, problem) in rows.items():
                if mark in seen:
                    there, at = seen[mark]
                    raise UserError(
                        f"{name}: row {row} is also row {at} of {there}: {problem.prompt[:50]!r} ({problem.id}); splits must "
                        "not mix: take it out of one of them"
                    )
            seen |= {mark: (name, row) for mark, (row, _) in rows.items()}
            self._problems[split] = [problem for _, problem in rows.values()]
        if not self.test:
            whole = self._problems["train"]
            self._problems["test"] = [problem for problem in whole if _held_out(problem)]
            self._problems["train"] = [problem for problem in whole if not _held_out(problem)]
        for split in ("train", "test"):
            if not self._problems[split] and (self.train or split == "test"):
                raise UserError(f"{self.train or self.test}: no problems are left for {split}")

    def levels(self) -> Sequence[int]:
        if not self._problems["train"]:
            raise UserError("task.train is missing: there is nothing to train on; type task.train=FILE")
        return sorted({problem.level for problem in self._problems["train"]})

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split, problems in self._problems.items() if problems)

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        if not self._problems[split]:
            raise UserError(f"task.{split} is missing; type task.{split}=FILE")
        found = [problem for problem in self._problems[split] if problem.level == level]
        return [found[i] for i in rng.permutation(len(found))[:n]]

    def all(self, split: str) -> list[Problem]:
        """Every problem of a split, in the order of its file."""
        return self._problems[split]

    def prompt(self, problem: Problem) -> str:
        return self.template.replace("{prompt}", problem.prompt)

    def columns(self) -> dict[str, str]:
        """The columns that are needed, by the option that names each."""
        keys = {name: getattr(self, name) for name in ("prompt_key", "answer_key", "id_key", "level_key")}
        return {name: column for name, column in keys.items() if column}

    def answer(self, row: dict) -> str | None:
        """What a row's answer is, for the verifier; None where there is none."""
        value = row[self.answer_key]
        return None if value is None else str(value)

    def _read(self, name: str, split: str) -> dict[str, tuple[int, Problem]]:
        """{mark of the prompt: (row, problem)}; of equal prompts the first counts."""
        table = read_table(name, f"task.{split}")
        for option, column in self.columns().items():
            if column not in table.column_names:
                near = did_you_mean(column, table.column_names)
                raise UserError(
                    f"{name}: no column {column!r}{near} (found: {', '.join(table.column_names)}); type task.{option}=COLUMN"
                )
        found: dict[str, tuple[int, Problem]] = {}
        for number, row in enumerate(table.to_pylist(), 1):
            prompt, level = row[self.prompt_key], whole_number(row[self.level_key]) if self.level_key else 0
            try:
                answer = self.answer(row)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise UserError(f"{name}: row {number}: {error}") from None
            if prompt is None or answer is None or level is None:
                raise UserError(f"{name}: row {number} has no value for the prompt, the answer or the level")
            problem = Problem("", str(prompt), answer, level)
            mark, shown = _mark(problem.prompt), self.prompt(problem)
            if self._shown.setdefault(mark, shown) != shown:  # the same text, but shown with other tests: another problem
                mark = _mark(shown)
            found.setdefault(mark, (number, replace(problem, id=f"p-{mark}")))
            if self.id_key:
                self.names[str(row[self.id_key])] = found[mark][1]
        return found


def read_table(name: str, key: str) -> pa.Table:
    """A file of rows. Raises UserError naming the file, and the option `key` where there is none."""
    path = Path(name)
    try:
        if ".parquet" in path.suffixes:
            return pyarrow.parquet.read_table(path)
        with pa.input_stream(path) as stream:
            if ".csv" in path.suffixes:
                options = pyarrow.csv.ParseOptions(newlines_in_values=True)
                return pyarrow.csv.read_csv(stream, parse_options=options)
            return pyarrow.json.read_json(stream, pyarrow.json.ReadOptions(block_size=64 << 20))
    except FileNotFoundError:
        raise UserError(f"{key}: there is no file {name}; type {key}=FILE.jsonl (or .parquet, .csv)") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{name}: neither JSONL, Parquet nor CSV: {str(error).splitlines()[0]}") from None


def whole_number(value: object) -> int | None:
    """The first whole number in a value ("Level 5" is 5), or None."""
    digits = "".join(c if c.isdigit() else " " for c in str(value)).split() if value is not None else []
    return int(digits[0]) if digits else None


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _held_out(problem: Problem) -> bool:
    return int(problem.id[2:4], 16) % 10 == 0
