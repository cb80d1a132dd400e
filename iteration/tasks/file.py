"""Problems from files (JSONL, Parquet, CSV, also compressed) or from a data set: one a row, with a prompt and an answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iteration.chat import filled, messages_of, prompt_text
from iteration.errors import UserError
from iteration.parts import did_you_mean, has_prompt, one_of
from iteration.rows import Rows, hub_rows, read_rows, sources, text_of, value_of
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
        if not (self.train or self.test):
            of_files, of_dataset = "task.train=FILE.jsonl (or .parquet, .csv)", "task.train=SPLIT, e.g. task.train=train"
            raise UserError(f"task.train is missing: type {of_dataset if self.dataset else of_files}")
        has_prompt(self)
        one_of(self, bad_rows=("skip", "refuse"))
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        self._problems: dict[str, list[Problem]] = {}
        self.names: dict[str, Problem] = {}  # by the column id_key
        self.skipped: list[str] = []  # what was left out of each source, for people
        self._digests: dict[str, str] = {}  # of the problems of each source
        self._shown: dict[str, str] = {}  # what the model is shown, by the mark of the first problem with that text
        seen: dict[str, tuple[str, str]] = {}  # where each problem stands
        for split, name in named.items():
            problems = self._split(name, split) if name else {}
            for mark, (source, row, problem) in problems.items():
                if mark in seen:
                    there, other = seen[mark]
                    raise UserError(
                        f"{source}: {row} is also {other} of {there}: {problem.prompt[:50]!r} ({problem.id}); splits "
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

    def answer(self, row: dict) -> str:
        """What a row's answer is, for the verifier. Raises ValueError where it has none that can be used."""
        return text_of(row[self.answer_key])

    def _split(self, names: Any, split: str) -> dict[str, tuple[str, str, Problem]]:
        """{mark: (source, row, problem)}; of rows with one prompt the first counts."""
        problems: dict[str, tuple[str, str, Problem]] = {}
        if self.dataset:
            rows = {f"{self.dataset}:{names}": hub_rows(self.dataset, self.config, str(names))}
        else:
            rows = {name: read_rows(name, f"task.{split}") for name in sources(names, f"task.{split}")}
        for name, each in rows.items():
            self._read(name, each, problems)
        return problems

    def _read(self, name: str, source: Rows, problems: dict[str, tuple[str, str, Problem]]) -> None:
        """Add the problems of one source."""
        if any(isinstance(row, dict) for row in source.rows):
            self._check_columns(name, source)
        digest, bad, repeated = hashlib.blake2b(digest_size=16), [], []
        for number, row in enumerate(source.rows, 1):
            place = source.place(number)
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                row = row | {column: value_of(row, column) for column in self.columns().values()}
                problem = self._problem(row)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                bad.append(f"{place}: {error}")
                continue
            mark, shown = _mark(problem.prompt), self.prompt(problem)
            if self._shown.setdefault(mark, shown) != shown:  # the same text, but shown with other tests: another problem
                mark = _mark(shown)
            fresh = mark not in problems
            there, first, known = problems.setdefault(mark, (name, place, replace(problem, id=f"p-{mark}")))
            digest.update(f"{mark} {known.level} {known.answer}\n".encode())
            other = first if there == name else f"{first} of {there}"
            if problem.answer != known.answer:
                bad.append(f"{place}: the prompt of {other}, but another answer")
                continue
            if not fresh:
                repeated.append(f"{place} is {other}")
            if self.id_key and row[self.id_key] is not None:
                self.names[text_of(row[self.id_key])] = known
        self._digests[name] = digest.hexdigest()
        self._tell(name, bad, repeated, len(source.rows))

    def _check_columns(self, name: str, source: Rows) -> None:
        for option, column in self.columns().items():
            head = column if column in source.columns else column.partition(".")[0]
            if head in source.odd:
                raise UserError(f"{name}: column {head!r} cannot be read: {source.odd[head]}; type task.{option}=COLUMN")
            if source.columns.count(head) > 1:
                raise UserError(f"{name}: {source.columns.count(head)} columns are named {head!r}; rename all but one")
            if head not in source.columns:
                near = did_you_mean(column, source.columns)
                found = ", ".join(each if each.isprintable() else repr(each) for each in source.columns)
                raise UserError(f"{name}: no column {column!r}{near} (found: {found}); type task.{option}=COLUMN")

    def _problem(self, row: dict) -> Problem:
        """A row's problem, without its id. Raises ValueError where it has no usable prompt, answer or level."""
        prompt = row[self.prompt_key]
        level = whole_number(row[self.level_key]) if self.level_key else 0
        answer = None if prompt is None or row[self.answer_key] is None else self.answer(row)
        missing = {self.prompt_key: prompt, self.answer_key: answer, self.level_key: level}
        for column, value in missing.items():
            if value is None and column == self.level_key and row[column] is not None:
                raise ValueError(f"{column} is {text_of(row[column])!r}, which has no whole number in it")
            if value is None or (isinstance(value, str) and not value.strip()):
                raise ValueError(f"it has no value for {column}")
        text = prompt_text(prompt)
        if messages_of(text) and (type(self).answer, type(self).prompt) != (File.answer, File.prompt):
            raise ValueError(f"{self.prompt_key} is a list of messages; this task needs text")
        return Problem("", text, answer, level)

    def _tell(self, name: str, bad: list[str], repeated: list[str], rows: int) -> None:
        """Say which rows are left out. Raises UserError where none can be used, or where bad rows are refused."""
        if not rows:
            raise UserError(f"{name}: found no rows, expected one for each problem")
        if len(bad) == rows:
            raise UserError(f"{name}: none of its {rows} rows can be used: {_first(bad)}")
        if bad and self.bad_rows == "refuse":
            count = f"{len(bad)} of {rows} rows cannot be used"
            raise UserError(f"{name}: {count}: {_first(bad)}; correct them, or type task.bad_rows=skip")
        if bad:
            self.skipped.append(f"{name}: skipped {len(bad)} of {rows} rows: {_first(bad)}")
        if repeated:
            self.skipped.append(f"{name}: {len(repeated)} of {rows} rows repeat a problem; it counts once: {_first(repeated)}")


def _first(lines: list[str]) -> str:
    return "; ".join(lines[:NAMED]) + ("; ..." if len(lines) > NAMED else "")


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
