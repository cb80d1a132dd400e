"""Policy, verifier and judges of `respond`, backed by actors. The requests of all problems of a unit share one message."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from jinja2 import TemplateError
from ray.exceptions import RayActorError

from cluster.engine import WISH, Generate, lists
from iteration.chat import messages_of
from iteration.errors import UserError
from iteration.examples import flat
from iteration.protocols import Ends, Value
from iteration.respond import close, seed_of
from iteration.teacher import Given
from iteration.types import Expand, Node, Problem, State, Step, Tree, Verdict

CUT = Step(np.zeros(0, np.int32), np.zeros(0, np.float32), "", False, cut=True)  # an answer without room for another token


class Batcher:
    """Batches the requests of one turn of the event loop into one message to an actor."""

    def __init__(self, send: Callable):
        self._send = send  # takes a list of requests, returns an awaitable list of replies
        self._waiting: list[tuple[object, asyncio.Future]] = []
        self._tasks: set[asyncio.Task] = set()
        self._since: dict[asyncio.Future, tuple[str, float]] = {}  # pending requests: problem, start

    async def ask(self, problem: Problem, request: object) -> object:
        """Send a request for one problem; returns the reply."""
        future = asyncio.get_running_loop().create_future()
        self._since[future] = problem.id, time.monotonic()
        future.add_done_callback(lambda future: self._since.pop(future, None))
        if not self._waiting:
            # Runs after every coroutine that is ready in this turn.
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((request, future))
        return await future

    def waiting(self) -> list[tuple[str, float]]:
        """(problem id, seconds) of each pending request."""
        now = time.monotonic()
        return [(problem, now - since) for problem, since in self._since.values()]

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
    """`Policy` over a Generator actor: the wishes of all problems are sent as one Arrow table."""

    def __init__(self, tokenizer, prompts: dict[str, str], options: Generate, send: Callable, logprobs: bool = False):
        self._tokenizer = tokenizer
        self._prompts = prompts  # by problem id
        self._options, self._logprobs = options, logprobs  # of every token, whatever a wish asks for
        self.batch = Batcher(self._propose)
        self._send = send  # takes a table WISH, returns an awaitable table STEP

    def show(self, problem: Problem) -> Step:
        token_ids = encode(self._tokenizer, self._prompts[problem.id])
        text = shown(self._tokenizer, self._prompts[problem.id])
        return Step(token_ids, np.zeros(len(token_ids), np.float32), text, False)

    async def propose(self, tree: Tree, wishes: list[Expand]) -> list[list[Step]]:
        return await self.batch.ask(tree.problem, (tree, wishes))

    async def _propose(self, asked: list[tuple[Tree, list[Expand]]]) -> list[list[list[Step]]]:
        wanted, prompts, seeds, rooms = [], [], [], []
        for tree, wishes in asked:
            born = len(tree.nodes)  # seeds differ by the index of a wish's first new node
            for wish in wishes:
                pieces = [node.step.token_ids for node in tree.path(wish.node)]
                prompts.append(np.concatenate(pieces))
                seeds.append(seed_of(tree.seed, wish.node, born) if self._options.seeded else None)
                answered = len(prompts[-1]) - len(pieces[0])
                rooms.append(min(self._options.max_tokens - answered, self._options.context - len(prompts[-1])))
                wanted.append(wish)
                born += wish.n
        # An answer without room for another token is cut here; for a prompt without room the engine raises.
        going = [i for i, (wish, room) in enumerate(zip(wanted, rooms, strict=True)) if room > 0 or not wish.node]
        grown = [[CUT] * wish.n for wish in wanted]
        if going:
            wishes = pa.table(
                [
                    lists([prompts[i] for i in going], pa.int32()),
                    pa.array([wanted[i].n for i in going], pa.int32()),
                    pa.array([wanted[i].whole for i in going]),
                    pa.array([wanted[i].temperature for i in going], pa.float32()),
                    pa.array([max(1, rooms[i]) for i in going], pa.int32()),
                    pa.array([self._logprobs or wanted[i].logprobs for i in going]),
                    pa.array([seeds[i] for i in going], pa.int64()),
                ],
                schema=WISH,
            )
            before = [prompts[i][-1:] for i in going]
            for i, replies in zip(going, steps(await self._send(wishes), before, self._tokenizer), strict=True):
                grown[i] = replies
        each = iter(grown)
        return [[next(each) for _ in wishes] for _, wishes in asked]


class RemoteVerifier:
    """`AsyncVerifier` over Verifier actors: the answers of all problems are sent as one message.

    Failed verdicts are retried once on each other actor; if there is no other, on the first again.
    """

    def __init__(self, sends: list[Callable]):
        self._sends = sends  # each takes problems and answers, and returns an awaitable list of verdicts
        self.batch = Batcher(self._verify)

    async def verify(self, problem: Problem, answers: list[str]) -> list[Verdict]:
        return await self.batch.ask(problem, (problem, answers))

    async def _verify(self, asked: list[tuple[Problem, list[str]]]) -> list[list[Verdict]]:
        problems = [problem for problem, answers in asked for _ in answers]
        texts = [answer for _, answers in asked for answer in answers]
        verdicts = list(await self._sends[0](problems, texts))
        for send in self._sends[1:] or self._sends:
            again = [i for i, verdict in enumerate(verdicts) if verdict.state == State.FAILED]
            if not again:
                break
            with contextlib.suppress(RayActorError):  # their verdicts stay `failed`
                retried = await send([problems[i] for i in again], [texts[i] for i in again])
                for i, verdict in zip(again, retried, strict=True):
                    verdicts[i] = verdict
        each = iter(verdicts)
        return [[next(each) for _ in answers] for _, answers in asked]


class RemoteJudge:
    """A learned `Judge` over a Judge actor: the prefixes of all problems are sent as one table, each prefix once."""

    def __init__(self, part: Value, ends: Ends, send: Callable):
        self._part, self._ends = part, ends
        self._send = send  # takes a table with the column token_ids, returns an awaitable float32 array
        self.batch = Batcher(self._score)
        self._known: dict[bytes, float] = {}

    async def score(self, tree: Tree, nodes: Sequence[Node]) -> list[list[float]]:
        return await self.batch.ask(tree.problem, (tree, nodes))

    def worth(self, scores: Sequence[float]) -> float:
        return self._part.worth(scores)

    async def _score(self, asked: list[tuple[Tree, Sequence[Node]]]) -> list[list[list[float]]]:
        wanted: dict[bytes, np.ndarray] = {}
        keys = []
        for tree, nodes in asked:
            keys.append([])
            for node in nodes:
                before = [each.step.token_ids for each in tree.path(node.parent)]
                whole = np.concatenate([*before, node.step.token_ids])
                start = len(whole) - len(node.step.token_ids)
                cuts = self._part.cuts(node.step.token_ids, self._ends, node.step.final)
                keys[-1].append([whole[: start + cut].tobytes() for cut in cuts.tolist()])
                for key, cut in zip(keys[-1][-1], cuts.tolist(), strict=True):
                    if key not in self._known and key not in wanted:
                        wanted[key] = whole[: start + cut]
                        tree.cost.judge_tokens += start + cut
        if wanted:
            scores = await self._send(pa.table([lists(list(wanted.values()), pa.int32())], ["token_ids"]))
            self._known.update(zip(wanted, scores.tolist(), strict=True))
        return [[[self._known[key] for key in node] for node in tree] for tree in keys]


class StepJudge:
    """A `Judge` without a model: scores are the verifier's verdicts on the steps, from a Verifier actor."""

    def __init__(self, send: Callable):
        self._send = send  # takes problems and answers, returns an awaitable list of lists of verdicts
        self.batch = Batcher(self._score)

    async def score(self, tree: Tree, nodes: Sequence[Node]) -> list[list[float]]:
        return await self.batch.ask(tree.problem, (tree, nodes))

    def worth(self, scores: Sequence[float]) -> float:
        return scores[-1]

    async def _score(self, asked: list[tuple[Tree, Sequence[Node]]]) -> list[list[list[float]]]:
        pairs = [(tree, node) for tree, nodes in asked for node in nodes]
        texts = [tree.answer(node.index) for tree, node in pairs]
        verdicts = await self._send([tree.problem for tree, _ in pairs], texts)
        each = iter(zip(pairs, verdicts, strict=True))
        return [[self._values(*next(each)) for _ in nodes] for _, nodes in asked]

    @staticmethod
    def _values(pair: tuple[Tree, Node], verdicts: list[Verdict]) -> list[float]:
        """For each step inside the node: 1 where it and all steps before it are correct, else 0."""
        right = np.cumprod([verdict.state == State.CORRECT for verdict in verdicts]).astype(float).tolist()
        inside = sum(bool(line.strip()) for line in pair[1].step.text.splitlines())
        return right[len(right) - inside :] if inside else []


def encode(tokenizer, prompt: str) -> np.ndarray:
    """The prompt's tokens, int32 [p], as `shown`, without an end of text that the tokenizer appends."""
    text = shown(tokenizer, prompt)
    if tokenizer.chat_template:
        return np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32)
    token_ids = tokenizer(text).input_ids
    if token_ids and token_ids[-1] == tokenizer.eos_token_id:
        plain = tokenizer(text, add_special_tokens=False).input_ids
        if ends(token_ids, token_ids[-1]) > ends(plain, token_ids[-1]):
            token_ids = token_ids[:-1]
    return np.array(token_ids, np.int32)


def ends(token_ids: list[int], end: int) -> int:
    """How many of the last tokens are the end of text."""
    return next((i for i, each in enumerate(reversed(token_ids)) if each != end), len(token_ids))


def shown(tokenizer, prompt: str) -> str:
    """The prompt as the model is shown it: through the chat template where the tokenizer has one.

    Raises UserError for a prompt that is a list of messages (iteration/chat.py) where the template cannot show it.
    """
    messages = messages_of(prompt)
    if tokenizer.chat_template:
        chat = messages or [{"role": "user", "content": prompt}]
        try:
            return tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in chat)
            raise UserError(f"the model's chat template does not take the messages of a prompt ({roles}): {error}") from None
    if messages:
        raise UserError(
            "the prompts are lists of messages, but the model's tokenizer has no chat template; take a chat model, or "
            "type task.prompt_key=COLUMN of a column of text"
        )
    return prompt


def adopt(tree: Tree, given: Sequence[Given], tokenizer, options: Generate) -> None:
    """Add answers made elsewhere to a tree that holds only its prompt, in the model's own tokens; their logprobs are unknown.

    One that is too long is cut where the model's own would be. What the tokenizer cannot write is `unparseable`.
    """
    prompt = tree.nodes[0].step
    room = max(1, min(options.max_tokens, options.context - len(prompt.token_ids)))
    for each in given:
        said = each.text.removesuffix(tokenizer.eos_token)  # some files have it
        whole = [] if each.failed else written(tokenizer, prompt, said)
        cut = each.cut or len(whole) >= room
        token_ids = np.array((whole if cut or each.failed else [*whole, tokenizer.eos_token_id])[:room], np.int32)
        (text,) = continued(tokenizer, [prompt.token_ids[-1:]], [token_ids])
        final = not cut and not each.failed
        node = Node(len(tree.nodes), 0, 1, Step(token_ids, None, text, final, each.model, cut), origin=each.origin)
        if each.failed:
            node.verdict = Verdict(State.FAILED, why=each.failed)
        elif final and "".join(text.split()) != "".join(said.split()):
            node.verdict = Verdict(State.UNPARSEABLE, why="the model's tokenizer cannot write this text")
        elif cut:
            close([node], [True])
        tree.nodes.append(node)


def written(tokenizer, prompt: Step, text: str) -> list[int]:
    """The tokens of an answer behind its prompt, without an end of text."""
    before = prompt.token_ids.tolist()
    both = tokenizer(prompt.text + text, add_special_tokens=not tokenizer.chat_template).input_ids
    joined = both[: len(before)] == before  # else the end of the prompt and the answer's begin share a token
    token_ids = both[len(before) :] if joined else tokenizer(text, add_special_tokens=False).input_ids
    return token_ids[: len(token_ids) - ends(token_ids, tokenizer.eos_token_id)]


def steps(replies: pa.Table, before: list[np.ndarray], tokenizer) -> list[list[Step]]:
    """The steps of a table STEP, by wish; token_ids and logprobs are views into the table. before: each wish's last token."""
    grown: list[list[Step]] = [[] for _ in before]
    tokens, logprobs = flat(replies, "token_ids"), flat(replies, "logprobs")
    known = replies["logprobs"].is_valid().to_pylist()
    wishes, finals, models, cuts = (replies[name].to_pylist() for name in ("wish", "final", "model", "cut"))
    pieces = [row_of(tokens, i) for i in range(len(replies))]
    texts = continued(tokenizer, [before[wish] for wish in wishes], pieces)
    for i, wish in enumerate(wishes):
        scores = row_of(logprobs, i) if known[i] else None
        grown[wish].append(Step(pieces[i], scores, texts[i], finals[i], models[i], cuts[i]))
    return grown


def row_of(column: tuple[np.ndarray, np.ndarray], i: int) -> np.ndarray:
    """A row of a list column, given as values and offsets: a view."""
    values, offsets = column
    return values[offsets[i] : offsets[i + 1]]


def continued(tokenizer, before: list[np.ndarray], pieces: list[np.ndarray]) -> list[str]:
    """The text of each piece of tokens behind the tokens `before` it, without special tokens."""

    def decode(token_ids: list[np.ndarray]) -> list[str]:
        whole = [each.tolist() for each in token_ids]
        return tokenizer.batch_decode(whole, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    # Some tokenizers add a leading space only after another token.
    both = decode([np.concatenate(each) for each in zip(before, pieces, strict=True)])
    distinct = {each.tobytes(): each for each in before}
    known = dict(zip(distinct, decode(list(distinct.values())), strict=True))
    leads = [known[each.tobytes()] for each in before]
    odd = [i for i, (text, lead) in enumerate(zip(both, leads, strict=True)) if not text.startswith(lead)]
    alone = dict(zip(odd, decode([pieces[i] for i in odd]), strict=True)) if odd else {}
    return [alone.get(i, text[len(lead) :]) for i, (text, lead) in enumerate(zip(both, leads, strict=True))]
