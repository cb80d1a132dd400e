"""Problems from files (JSONL, Parquet, CSV, also compressed) or from a data set: one a row, with a prompt and an answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iteration.chat import chat_text, filled, messages_of
from iteration.errors import UserError
from iteration.parts import did_you_mean
from iteration.rows import Rows, at, check_readable, hub_rows, read_rows, sources, text_of
from iteration.types import Problem

NAMED = 3  # bad rows that are named; the others are counted
HIGHEST = 2**31  # of a level


@dataclass
class File:
    train: Any = ""  # problems to train on: a file, a list of files, a pattern (data/*.jsonl), or a folder of save_to_disk
    validation: Any = ""  # problems to choose models by (measure.split=validation), likewise
    test: Any = ""  # held-out problems, likewise; without them, a tenth of `train` is held out by a hash of the prompt
    dataset: str = ""  # a Hugging Face data set by name; train, validation and test then name its splits
    config: str = ""  # which configuration of the data set
    prompt_key: str = "prompt"  # column of the problem's text, or of a list of messages; a.b is field b of a struct a
    answer_key: str = "answer"  # column of its answer
    id_key: str = ""  # a column with the problem's own name, by which a file of answers may name it
    level_key: str = ""  # a column whose first whole number orders problems by difficulty; without one all have level 0
    template: str = "{prompt}"  # what the model is shown; of messages, the last one is put into it
    bad_rows: str = "skip"  # rows without a usable value and prompts that are too long: skip them and say so, or refuse

    def __post_init__(self) -> None:
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        if not (self.train or self.test):
            of_files, of_dataset = "task.train=FILE.jsonl (or .parquet, .csv)", "task.train=SPLIT, e.g. task.train=train"
            raise UserError(f"task.train is missing: type {of_dataset if self.dataset else of_files}")
        if "{prompt}" not in self.template:
            raise UserError(f"task.template: found {self.template!r}, expected a text with {{prompt}} in it")
        if self.bad_rows not in ("skip", "refuse"):
            raise UserError(f"task.bad_rows: found {self.bad_rows!r}, expected skip or refuse")
        self._problems: dict[str, list[Problem]] = {}
        self.names: dict[str, Problem] = {}  # by the column id_key
        self.skipped: list[str] = []  # what was left out of each source, for people
        self._digests: dict[str, str] = {}  # of the problems of each source
        self._shown: dict[str, str] = {}  # what the model is shown, by the mark of the first problem with that text
        seen: dict[str, tuple[str, int]] = {}  # where each problem stands
        for split, name in named.items():
            problems = self._split(name, split) if name else {}
            for mark, (source, row, problem) in problems.items():
                if mark in seen:
                    there, other = seen[mark]
                    raise UserError(
                        f"{source}: row {row} is also row {other} of {there}: {problem.prompt[:50]!r} ({problem.id}); splits "
                        "must not mix: take it out of one of them"
                    )
            seen |= {mark: (source, row) for mark, (source, row, _) in problems.items()}
            self._problems[split] = [problem for _, _, problem in problems.values()]
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
        problems = [problem for problem in self._problems[split] if problem.level == level]
        return [problems[i] for i in rng.permutation(len(problems))[:n]]

    def all(self, split: str) -> list[Problem]:
        """Every problem of a split, in the order of its file."""
        return self._problems[split]

    def prompt(self, problem: Problem) -> str:
        return filled(self.template, problem.prompt)

    def fingerprint(self) -> dict[str, str]:
        """A digest of the problems of each source, by its name."""
        return self._digests

    def columns(self) -> dict[str, str]:
        """The columns that are needed, by the option that names each."""
        keys = {name: getattr(self, name) for name in ("prompt_key", "answer_key", "id_key", "level_key")}
        return {name: column for name, column in keys.items() if column}

    def answer(self, row: dict) -> str | None:
        """What a row's answer is, for the verifier; None where there is none."""
        value = row[self.answer_key]
        return None if value is None else text_of(value)

    def _split(self, names: Any, split: str) -> dict[str, tuple[str, int, Problem]]:
        """{mark: (source, row, problem)}; of equal problems the first counts."""
        problems: dict[str, tuple[str, int, Problem]] = {}
        if self.dataset:
            rows = {f"{self.dataset}:{names}": hub_rows(self.dataset, self.config, str(names))}
        else:
            rows = {name: read_rows(name, f"task.{split}") for name in sources(names, f"task.{split}")}
        for name, each in rows.items():
            for mark, (row, problem) in self._read(name, each).items():
                problems.setdefault(mark, (name, row, problem))
        return problems

    def _read(self, name: str, source: Rows) -> dict[str, tuple[int, Problem]]:
        """{mark: (row, problem)} of one source; of equal problems the first counts."""
        needed = self.columns()
        if any(isinstance(row, dict) for row in source.rows):
            self._check_columns(name, source)
        problems: dict[str, tuple[int, Problem]] = {}
        digest, bad = hashlib.blake2b(digest_size=16), []
        for number, row in enumerate(source.rows, 1):
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                row = row | {column: self._value(name, number, row, column) for column in needed.values()}
                problem = self._problem(row)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                bad.append(f"row {number}: {error}")
                continue
            mark, shown = _mark(problem.prompt), self.prompt(problem)
            if self._shown.setdefault(mark, shown) != shown:  # the same text, but shown with other tests: another problem
                mark = _mark(shown)
            problem = problems.setdefault(mark, (number, replace(problem, id=f"p-{mark}")))[1]
            digest.update(f"{mark} {problem.level} {problem.answer}\n".encode())
            if self.id_key and row[self.id_key] is not None:
                self.names[text_of(row[self.id_key])] = problem
        self._digests[name] = digest.hexdigest()
        self._tell(name, bad, len(source.rows))
        return problems

    def _check_columns(self, name: str, source: Rows) -> None:
        for option, column in self.columns().items():
            head = column if column in source.columns else column.partition(".")[0]
            if head in source.odd:
                raise UserError(f"{name}: column {head!r} cannot be read: {source.odd[head]}; type task.{option}=COLUMN")
            if head not in source.columns:
                near = did_you_mean(column, source.columns)
                raise UserError(
                    f"{name}: no column {column!r}{near} (found: {', '.join(source.columns)}); type task.{option}=COLUMN"
                )

    def _value(self, name: str, number: int, row: dict, column: str) -> Any:
        """Raises UserError for bytes and for text in another encoding, ValueError for a struct without the field."""
        value = at(row, column)
        try:
            check_readable(value)
        except UserError as error:
            raise UserError(f"{name}: column {column!r}, row {number}: {error}") from None
        return value

    def _problem(self, row: dict) -> Problem:
        """A row's problem, without its id. Raises ValueError where it has no usable prompt, answer or level."""
        prompt = row[self.prompt_key]
        level = whole_number(row[self.level_key]) if self.level_key else 0
        answer = None if prompt is None or row[self.answer_key] is None else self.answer(row)
        missing = {self.prompt_key: prompt, self.answer_key: answer, self.level_key: level}
        for column, value in missing.items():
            if value is None and column == self.level_key and row[column] is not None:
                raise ValueError(f"{column} is {text_of(row[column])!r}, which has no whole number in it")
            if value is None:
                raise ValueError(f"it has no value for {column}")
        if not isinstance(prompt, list):
            text = text_of(prompt)
            if messages_of(text) is not None:
                raise ValueError(f"{self.prompt_key} is text that reads as messages; store it as a list of messages")
        elif (type(self).answer, type(self).prompt) == (File.answer, File.prompt):
            text = chat_text(prompt)
        else:
            raise ValueError(f"{self.prompt_key} is a list; this task needs text")
        return Problem("", text, answer, level)

    def _tell(self, name: str, bad: list[str], rows: int) -> None:
        """Say which rows cannot be used. Raises UserError where none can, or where bad rows are refused."""
        named = "; ".join(bad[:NAMED]) + ("; ..." if len(bad) > NAMED else "")
        if bad and len(bad) == rows:
            raise UserError(f"{name}: none of its {rows} rows can be used: {named}")
        if bad and self.bad_rows == "refuse":
            count = f"{len(bad)} of {rows} rows cannot be used"
            raise UserError(f"{name}: {count}: {named}; correct them, or type task.bad_rows=skip")
        if bad:
            self.skipped.append(f"{name}: skipped {len(bad)} of {rows} rows: {named}")


def whole_number(value: Any) -> int | None:
    """The first whole number in a value ("Level 5" is 5), or None. Raises ValueError from 2^31 on."""
    digits = None if value is None else re.search(r"[0-9]+", text_of(value))
    if digits and int(digits[0]) >= HIGHEST:
        raise ValueError(f"a level of {digits[0]}; expected less than {HIGHEST}")
    return int(digits[0]) if digits else None


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _held_out(problem: Problem) -> bool:
    return int(problem.id[2:4], 16) % 10 == 0
