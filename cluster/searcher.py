"""The actor that drives a unit's problems at once through `respond`, and commits what came of them."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from cluster.engine import WISH
from cluster.store import TRACE, Store, round_key, unit_key
from iteration.config import part_class
from iteration.respond import respond, seed_of
from iteration.types import Expand, Problem, Step, Tree, Verdict


@dataclass(frozen=True, slots=True)
class Unit:
    """A fixed block of problems of one round: what is searched, committed and redone as a whole."""

    round: int
    split: str  # train or test
    number: int
    problems: list[Problem]
    prompts: list[str]
    model: str  # version of the weights that answer

    @property
    def key(self) -> str:
        return unit_key(self.round, self.split, self.number)


@dataclass(slots=True)
class Done:
    """What the driver is told of a committed unit. Only a hint: the listing of the store is the truth."""

    key: str
    tokens: int = 0
    states: Counter = field(default_factory=Counter)
    won: bool = True  # False: another searcher had committed the unit before


class Batcher:
    """Gathers what is asked for in one turn of the event loop into one message to an actor."""

    def __init__(self, send: Callable):
        self._send = send  # takes a list of requests, returns an awaitable list of replies
        self._waiting: list[tuple[object, asyncio.Future]] = []
        self._tasks: set[asyncio.Task] = set()

    async def ask(self, request: object) -> object:
        future = asyncio.get_running_loop().create_future()
        if not self._waiting:
            # Behind every coroutine that is ready to run in this turn.
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((request, future))
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        task = asyncio.create_task(self._exchange(waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(self, waiting: list[tuple[object, asyncio.Future]]) -> None:
        try:
            replies = await self._send([request for request, _ in waiting])
            for (_, future), reply in zip(waiting, replies, strict=True):
                if not future.done():
                    future.set_result(reply)
        except Exception as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)


class RemotePolicy:
    """`Policy` over a Generator actor: the wishes of all problems cross as one Arrow table."""

    def __init__(self, tokenizer, prompts: dict[str, str], send: Callable):
        self._tokenizer = tokenizer
        self._prompts = prompts  # by problem id
        self._batch = Batcher(self._propose)
        self._send = send  # takes a table WISH, returns an awaitable table STEP

    def show(self, problem: Problem) -> Step:
        text = self._prompts[problem.id]
        token_ids = encode(self._tokenizer, text)
        return Step(token_ids, np.zeros(len(token_ids), np.float32), text, False)

    async def propose(self, tree: Tree, wish: Expand) -> list[Step]:
        return await self._batch.ask((tree, wish))

    async def _propose(self, asked: list[tuple[Tree, Expand]]) -> list[list[Step]]:
        prompts = [np.concatenate([node.step.token_ids for node in tree.path(wish.node)]) for tree, wish in asked]
        seeds = [seed_of(tree.seed, wish.node, len(tree.nodes)) for tree, wish in asked]
        wishes = pa.table(
            [
                lists(prompts, pa.int32()),
                pa.array([wish.n for _, wish in asked], pa.int32()),
                pa.array([wish.whole for _, wish in asked]),
                pa.array(seeds, pa.int64()),
            ],
            schema=WISH,
        )
        return steps(await self._send(wishes), len(asked))


class RemoteVerifier:
    """`AsyncVerifier` over a Verifier actor: the ends of all problems cross as one message."""

    def __init__(self, send: Callable):
        self._send = send  # takes problems and answers, returns an awaitable list of verdicts
        self._batch = Batcher(self._verify)

    async def verify(self, problem: Problem, answers: list[str]) -> list[Verdict]:
        return await self._batch.ask((problem, answers))

    async def _verify(self, asked: list[tuple[Problem, list[str]]]) -> list[list[Verdict]]:
        problems = [problem for problem, answers in asked for _ in answers]
        verdicts = iter(await self._send(problems, [answer for _, answers in asked for answer in answers]))
        return [[next(verdicts) for _ in answers] for _, answers in asked]


class Searcher:
    """Async Ray actor. It holds no state that a new one would not have."""

    def __init__(self, number: int, root: str, model: str, budget: int, seed: int, actors: dict):
        from transformers import AutoTokenizer

        self._number = number
        self._store = Store(root)
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._budget, self._seed = budget, seed
        self._generators, self._verifiers = actors["generators"], actors["verifiers"]

    def __repr__(self) -> str:
        return f"Searcher {self._number}"

    async def ready(self) -> bool:
        return True

    async def search(self, unit: Unit, search: tuple[str, dict]) -> Done:
        """Search a unit and commit it. search: its name and options, e.g. ("sample", {"n": 4}).

        Errors of the engine are raised and nothing is committed: a unit exists whole or not at all.
        """
        explorer = part_class("search", "iteration.search", search[0])(**search[1])
        generator = self._generators[unit.number % len(self._generators)]
        verifier = self._verifiers[unit.number % len(self._verifiers)]
        prompts = {problem.id: prompt for problem, prompt in zip(unit.problems, unit.prompts, strict=True)}
        policy = RemotePolicy(self._tokenizer, prompts, generator.generate.remote)
        ends = RemoteVerifier(verifier.verify.remote)
        seeds = [seed_of(self._seed, unit.key, problem.id) for problem in unit.problems]
        jobs = [
            respond(problem, explorer, policy, ends, None, self._budget, seed)
            for problem, seed in zip(unit.problems, seeds, strict=True)
        ]
        trees = await asyncio.gather(*jobs)
        stale = {node.step.model for tree in trees for node in tree.nodes[1:]} - {unit.model}
        if stale:
            raise RuntimeError(f"{unit.key} was to be answered by {unit.model}, but {', '.join(sorted(stale))} answered")
        won = self._store.put_table(unit.key, table(unit, trees))
        states = Counter(str(node.verdict.state) for tree in trees for node in tree.nodes if node.verdict)
        return Done(unit.key, sum(tree.cost.tokens for tree in trees), states, won)


def encode(tokenizer, prompt: str) -> np.ndarray:
    """The prompt's tokens, int32 [p], through the chat template where the tokenizer has one."""
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return np.array(tokenizer(prompt, add_special_tokens=False).input_ids, np.int32)
    return np.array(tokenizer(prompt).input_ids, np.int32)


def lists(arrays: list[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    """Arrays as one Arrow list column, without a Python object per element."""
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int32)
    values = np.concatenate(arrays) if arrays else np.zeros(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, kind))


def steps(replies: pa.Table, wishes: int) -> list[list[Step]]:
    """A table STEP as steps, wish by wish; token_ids and logprobs are views into the table."""
    found: list[list[Step]] = [[] for _ in range(wishes)]
    tokens, logprobs = replies["token_ids"].combine_chunks(), replies["logprobs"].combine_chunks()
    offsets = tokens.offsets.to_numpy()
    flat_tokens, flat_logprobs = tokens.values.to_numpy(), logprobs.values.to_numpy()
    texts, finals, models = (replies[name].to_pylist() for name in ("text", "final", "model"))
    for i, wish in enumerate(replies["wish"].to_pylist()):
        part = slice(offsets[i], offsets[i + 1])
        found[wish].append(Step(flat_tokens[part], flat_logprobs[part], texts[i], finals[i], models[i]))
    return found


def table(unit: Unit, trees: list[Tree]) -> pa.Table:
    """A unit's trees as rows, schema TRACE: tree after tree, each from its root on."""
    rows = [(number, tree, node) for number, tree in enumerate(trees) for node in tree.nodes]
    verdicts = [node.verdict for _, _, node in rows]
    now = datetime.datetime.now(datetime.UTC)
    columns = {
        "id": [f"{round_key(unit.round)}/{unit.split}/u{unit.number:05d}/t{t:03d}/n{node.index:04d}" for t, _, node in rows],
        "round": [unit.round] * len(rows),
        "unit": [unit.number] * len(rows),
        "problem_id": [tree.problem.id for _, tree, _ in rows],
        "level": [tree.problem.level for _, tree, _ in rows],
        "tree": [number for number, _, _ in rows],
        "node": [node.index for _, _, node in rows],
        "parent": [node.parent for _, _, node in rows],
        "depth": [node.depth for _, _, node in rows],
        "token_ids": lists([node.step.token_ids for _, _, node in rows], pa.int32()),
        "logprobs": lists([node.step.logprobs for _, _, node in rows], pa.float32()),
        "text": [node.step.text for _, _, node in rows],
        "final": [node.step.final for _, _, node in rows],
        "value": [node.value for _, _, node in rows],
        "visits": [node.visits for _, _, node in rows],
        "prior": [node.prior for _, _, node in rows],
        "state": [verdict and str(verdict.state) for verdict in verdicts],
        "answer": [verdict and verdict.answer for verdict in verdicts],
        "reward": [verdict and verdict.reward for verdict in verdicts],
        "why": [verdict and verdict.why for verdict in verdicts],
        "model_version": [node.step.model or unit.model for _, _, node in rows],
        "seed": [tree.seed for _, tree, _ in rows],
        "created_at": [now] * len(rows),
    }
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in ((columns[field.name], field) for field in TRACE)
    ]
    return pa.table(arrays, schema=TRACE)
