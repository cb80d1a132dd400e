"""Traces made elsewhere: files of prompts and completions, as answers to a task's problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iteration.chat import chat_text, messages_of, prompt_text
from iteration.errors import UserError
from iteration.protocols import Enumerable, Named, Task
from iteration.rows import check_readable, read_rows, sources, text_of, value_of
from iteration.teacher import Given
from iteration.types import Problem

IDS = ("problem_id", "task_id", "id")
COMPLETIONS = ("completion", "response", "output")


class Traces:
    """The answers of files, a source as `Teacher` is. names: as begin.traces names them. Raises UserError naming a bad row."""

    def __init__(self, names: Any, task: Task):
        if not isinstance(task, Enumerable):
            raise UserError("begin.traces needs a task whose problems can be listed, e.g. task.name=file")
        known: dict[str, Problem] = {}
        for problem in (problem for split in task.splits() for problem in task.all(split)):
            for name in (problem.id, *called(problem.prompt), *called(task.prompt(problem))):
                known.setdefault(name, problem)
        known |= task.names if isinstance(task, Named) else {}
        self.problems: list[Problem] = []
        self._given: dict[str, list[Given]] = {}  # by the problem's id
        for file in sources(names, "begin.traces"):
            self._read(file, known)

    def _read(self, file: str, known: dict[str, Problem]) -> None:
        table = read_rows(file, "begin.traces")
        if not table.rows:
            raise UserError(f"begin.traces={file}: found no rows, expected one for each answer")
        for number, row in enumerate(table.rows, 1):
            place = table.place(number)
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                problem, text = matched(row, known)
                model = text_of(value_of(row, "model") or file)
            except ValueError as error:
                raise UserError(f"begin.traces={file}: {place}: {error}") from None
            if problem.id not in self._given:
                self.problems.append(problem)
            self._given.setdefault(problem.id, []).append(Given(text, model, f"{file}, {place}"))

    def doing(self) -> str:
        return f"{sum(map(len, self._given.values())):,} answers to {len(self.problems):,} problems"

    async def close(self) -> None:
        pass

    async def answers(self, problems: Sequence[Problem], prompts: Sequence[str]) -> list[list[Given]]:
        missing = [problem.id for problem in problems if problem.id not in self._given]
        if missing:
            raise UserError(f"begin.traces: no answer to {missing[0]} any more; give back the file that the run began with")
        return [self._given[problem.id] for problem in problems]


def matched(row: dict, known: dict[str, Problem]) -> tuple[Problem, str]:
    """(the problem, the answer) of a row. Raises ValueError where it has none."""
    prompt, messages = value_of(row, "prompt"), value_of(row, "messages")
    answer = next((row[name] for name in COMPLETIONS if row.get(name) is not None), None)
    names = [text_of(value_of(row, name)) for name in IDS if row.get(name) is not None]
    names += called(prompt_text(prompt)) if prompt is not None else []
    if isinstance(messages, list) and messages:
        answer = messages[-1:] if answer is None else answer
        names += called(chat_text(messages[:-1]))
    if answer is None:
        raise ValueError(f"it has no answer; expected {', '.join(COMPLETIONS)}, or messages that end with one")
    problem = next((known[name] for name in names if name in known), None)
    if problem is None:
        asked = f"{names[-1][:50]!r} is no problem of the task" if names else "it has neither problem_id, prompt nor messages"
        raise ValueError(f"{asked}; take the row out, or put its problem into the task's files")
    return problem, spoken(answer)


def called(prompt: str) -> list[str]:
    """What a prompt may be called elsewhere: its text, and of a chat that begins with it the user's message alone."""
    chat = messages_of(prompt) or []
    users = [message["content"] for message in chat if message["role"] == "user"]
    return [prompt, *users] if len(users) == 1 and all(each["role"] != "assistant" for each in chat) else [prompt]


def spoken(answer: Any) -> str:
    """An answer's text: its own, or that of the assistant's message in a list. Raises ValueError where it is neither."""
    check_readable(answer)
    if not isinstance(answer, list):
        return text_of(answer)
    last = answer[-1] if answer else None
    if not isinstance(last, dict) or last.get("role") != "assistant" or not isinstance(last.get("content"), str):
        raise ValueError("its messages do not end with the text of an assistant")
    return last["content"]
