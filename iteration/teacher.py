"""Answers made elsewhere: what they are, and a teacher behind an OpenAI-compatible endpoint that gives them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from iteration.chat import messages_of
from iteration.errors import UserError
from iteration.parts import above, at_least
from iteration.types import Problem

KEY = "OPENAI_API_KEY"
URL = re.compile(r"https?://([^\s/:@[\]]+|\[[\da-fA-F:]+\])(:\d+)?(/\S*)?")
MINUTE = 60.0  # seconds over which a rate is counted
PAUSE, LONGEST = 0.5, 8.0  # seconds before a reply that cannot be read is asked for again: the first time, at most


@dataclass
class Begin:
    """Answers made elsewhere that round 1 is trained on, beside the model's own."""

    traces: Any = ""  # a file of them (or a list, or a pattern): columns completion and prompt, or messages
    endpoint: str = ""  # an OpenAI-compatible server that answers round 1's problems, e.g. http://localhost:8000/v1
    model: str = ""  # the teacher: the name of a model of that server
    key: str = KEY  # the environment variable that holds the server's key; a server of your own may need none
    n: int = 4  # the teacher's answers to each problem
    temperature: float = 1.0  # the teacher's
    request: dict[str, Any] = field(default_factory=dict)  # more fields of each request, e.g. {top_p: 0.9}; null leaves one out
    concurrency: int = 8  # requests in flight
    requests_per_minute: int = 0  # at most; 0: no limit
    tokens_per_minute: int = 0  # at most, prompts included; 0: no limit
    retries: int = 5  # of a request, with growing pauses or those that the server asks for (Retry-After)
    seconds: float = 600.0  # limit of one reply

    def __post_init__(self) -> None:
        at_least(self, n=1, temperature=0, concurrency=1, requests_per_minute=0, tokens_per_minute=0, retries=0)
        above(self, seconds=0)
        if {"model", "messages", "stream", "n"} & set(self.request):
            raise ValueError(f"request is {dict(self.request)}; expected no model, messages, stream or n")
        if self.endpoint and not URL.fullmatch(self.endpoint):
            raise ValueError(f"endpoint is {self.endpoint!r}; expected a server, e.g. http://localhost:8000/v1")
        if bool(self.endpoint) != bool(self.model):
            raise ValueError(f"endpoint is {self.endpoint!r} and model {self.model!r}; expected both, or neither")


@dataclass(frozen=True, slots=True)
class Given:
    """An answer made elsewhere, or (`failed`) why there is none."""

    text: str
    model: str  # who made it
    origin: str  # where it comes from: a file and its row, or an endpoint
    cut: bool = False  # truncated by a token limit
    failed: str = ""


class Pace:
    """Lets callers pass in their order, so that no minute has more requests and tokens than the limits; 0: no limit."""

    def __init__(self, requests: int, tokens: int):
        self._requests, self._tokens = requests, tokens
        self._spent: deque[list[float]] = deque()  # [when, tokens] of each request of the last minute
        self._turn = asyncio.Lock()

    async def enter(self, tokens: float) -> list[float]:
        """Wait until a request of about `tokens` tokens is within the limits. Returns its entry: [when, tokens], to correct."""
        async with self._turn:
            while not self._fits(tokens):
                # Entries are corrected meanwhile, so it looks again every second.
                await asyncio.sleep(min(1.0, max(0.001, self._spent[0][0] + MINUTE - time.monotonic())))
            entry = [time.monotonic(), tokens]
            self._spent.append(entry)
            return entry

    def _fits(self, tokens: float) -> bool:
        while self._spent and time.monotonic() - self._spent[0][0] >= MINUTE:
            self._spent.popleft()
        few = not self._requests or len(self._spent) < self._requests
        # One request alone may be larger than the limit.
        return not self._spent or few and (not self._tokens or sum(each[1] for each in self._spent) + tokens <= self._tokens)


class Teacher:
    """A model behind an endpoint. longest: tokens of an answer. Raises UserError where it has no client or no key."""

    problems: Sequence[Problem] = ()  # it answers whatever it is asked

    def __init__(self, options: Begin, longest: int):
        try:
            import openai
        except ImportError:
            raise UserError("begin.endpoint needs the package openai; type: pip install openai") from None
        key = os.environ.get(options.key, "").strip()
        if not key and options.key != KEY:
            raise UserError(f"begin.key={options.key}: this environment variable is not set; type: export {options.key}=KEY")
        self._openai, self._options, self._longest, self._secret = openai, options, longest, key
        self._client = openai.AsyncOpenAI(
            base_url=options.endpoint, api_key=key or "none", max_retries=options.retries, timeout=options.seconds
        )
        self._turns = asyncio.Semaphore(options.concurrency)
        self._pace = Pace(options.requests_per_minute, options.tokens_per_minute)
        self._asking = self._tokens = 0  # requests in flight; tokens of all replies, prompts included

    def doing(self) -> str:
        """What it waits for and what it has done."""
        asking = f"{self._asking} requests to {self._options.endpoint} are pending, " if self._asking else ""
        return f"{asking}{self._tokens:,} tokens by {self._options.model}"

    async def close(self) -> None:
        await self._client.close()

    async def answers(self, problems: Sequence[Problem], prompts: Sequence[str]) -> list[list[Given]]:
        """The answers to each problem. prompts: as the task shows them, without a chat template.

        An answer that the server refuses to give is `failed`. Raises UserError where it gives none, or cannot be asked.
        """
        jobs = [asyncio.ensure_future(self._asked(prompt)) for prompt in prompts]
        try:
            given = await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
        if len(given) > 1 and all(each.failed for several in given for each in several):
            raise self._error(f"it answers no problem of a unit: {given[0][0].failed}", "see begin.model and begin.request")
        return given

    async def _asked(self, prompt: str) -> list[Given]:
        """n answers; with as many requests as a server needs that gives fewer at once."""
        messages = messages_of(prompt) or [{"role": "user", "content": prompt}]
        given: list[Given] = []
        async with self._turns:
            self._asking += 1
            try:
                while len(given) < self._options.n:
                    given += await self._replied(messages, self._options.n - len(given))
            finally:
                self._asking -= 1
        return given[: self._options.n]

    async def _replied(self, messages: list[dict], n: int) -> list[Given]:
        """The answers of one request, at least one. Raises UserError where there is no reply."""
        body = {"n": n, "max_tokens": self._longest, "temperature": self._options.temperature} | self._options.request
        body = {key: value for key, value in body.items() if value is not None}
        prompt = sum(len(each["content"]) for each in messages) / 4
        for attempt in itertools.count():
            entry = await self._pace.enter(prompt + n * self._longest)
            try:
                reply = await self._client.chat.completions.create(
                    model=self._options.model, messages=messages, extra_body=body
                )
                choices = choices_of(reply)
                break
            except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
                return [self._given(failed=f"the endpoint refused the prompt: {self._said(error)}")] * n
            except self._openai.APIError as error:
                raise self._down(error) from None
            except ValueError as error:
                if attempt == self._options.retries:
                    raise self._error(f"its reply cannot be read: {error}", "see whether it serves chat completions") from None
                await asyncio.sleep(min(LONGEST, PAUSE * 2**attempt))
        with contextlib.suppress(AttributeError, TypeError):  # a server need not count
            entry[1] = float(reply.usage.total_tokens)
        self._tokens += int(entry[1])
        withheld = "the endpoint withheld the answer (content_filter)"
        return [self._given(text, why == "length", withheld * (why == "content_filter")) for text, why in choices]

    def _given(self, text: str = "", cut: bool = False, failed: str = "") -> Given:
        return Given(text, self._options.model, self._options.endpoint, cut, failed)

    def _down(self, error: Any) -> UserError:
        """What to do about an error that would meet every request. error: openai.APIError."""
        status = error.status_code if isinstance(error, self._openai.APIStatusError) else 0
        if status in (401, 403):
            hint = f"type: export {self._options.key}=KEY, or begin.key=NAME of the variable that holds it"
            return self._error(f"it refuses the key in {self._options.key}: {self._said(error)}", hint)
        if status == 404:
            return self._error(f"it has no model {self._options.model!r}: {self._said(error)}", "type begin.model=NAME")
        what = f"after {self._options.retries} retries: {self._said(error)}"
        return self._error(what, "start it, or type begin.endpoint=URL")

    def _said(self, error: Any) -> str:
        """The message of an error, in one line and without the key: the server's own where it has one."""
        own = error.body.get("message") if isinstance(error.body, dict) else None
        line = " ".join(str(own or str(error.__cause__ or "") or error).split())[:200]
        return line.replace(self._secret, "***") if self._secret else line

    def _error(self, what: str, hint: str) -> UserError:
        kept = "committed answers are kept, and the same command resumes"
        return UserError(f"begin.endpoint={self._options.endpoint}: {what}; {hint}; {kept}")


def choices_of(reply: Any) -> list[tuple[str, str | None]]:
    """(text, why it ended) of each answer in a reply. Raises ValueError where it is no chat completion."""
    try:
        choices = [(each.message.content or "", each.finish_reason) for each in reply.choices]
    except (AttributeError, TypeError):
        choices = []
    if not choices or not all(isinstance(text, str) for text, _ in choices):
        raise ValueError(f"found {' '.join(str(reply).split())[:80]!r}, expected a chat completion")
    return choices
