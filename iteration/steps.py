"""Where steps end in an answer's tokens, and what each step is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from iteration.examples import flat, paths, tree_of
from iteration.protocols import Ends
from iteration.types import Begun, State, Step, Verdict


class StepEnds:
    """Where steps end in tokens: `ends[token_ids]` is bool [t], true for the token with which a step ends.

    texts: of each token of the vocabulary, str [vocabulary]; step_end: what ends a step: a line end, an empty line, a tag. It
    may lie inside a token, or take several. A model's vocabulary may be padded: ids beyond the tokenizer's have no text.
    """

    def __init__(self, texts: Sequence[str], step_end: str):
        known = [*texts, ""]  # the last one stands for all ids beyond
        self._texts, self._step_end = np.array(known, object), step_end
        self._lengths = np.array([len(text) for text in known], np.int64)
        self._inside = np.array([step_end in text for text in known], bool)

    def __getitem__(self, token_ids: np.ndarray) -> np.ndarray:
        token_ids = np.minimum(token_ids, len(self._texts) - 1)
        if len(self._step_end) == 1:  # which no two tokens can share
            return self._inside[token_ids]
        found = np.zeros(len(token_ids), bool)
        text, stops = "".join(self._texts[token_ids]), np.cumsum(self._lengths[token_ids])
        at = text.find(self._step_end)
        while at >= 0:
            at += len(self._step_end)
            found[np.searchsorted(stops, at)] = True
            at = text.find(self._step_end, at)
        return found


def step_ends(tokenizer: Any, step_end: str) -> StepEnds:
    """tokenizer: a Hugging Face tokenizer."""
    return StepEnds(tokenizer.batch_decode([[i] for i in range(len(tokenizer))]), step_end)


def step_cuts(token_ids: np.ndarray, ends: Ends, final: bool) -> np.ndarray:
    """After how many tokens each step of a piece of an answer has ended: int64 [steps]; the last with the answer if `final`."""
    cuts = np.flatnonzero(ends[token_ids]) + 1
    if final and len(token_ids) and (not len(cuts) or cuts[-1] < len(token_ids)):
        cuts = np.append(cuts, len(token_ids))
    return cuts.astype(np.int64)


def leaves(nodes: pa.Table) -> list[int]:
    """The rows (TRACE) below which nothing hangs, roots left out."""
    parents, numbers = nodes["parent"].to_numpy(), nodes["node"].to_numpy()
    inner = set((np.arange(len(nodes)) - numbers + parents)[parents >= 0].tolist())
    return [i for i in range(len(nodes)) if numbers[i] and i not in inner]


def begun(nodes: pa.Table, trees: set[str], ends: Ends, decode: Callable[[np.ndarray], str]) -> dict[str, list[Begun]]:
    """The answers of some trees of a unit (TRACE), each cut into its steps, by the tree's id.

    decode: the text of tokens. What cannot be cut without changing its text stays one step.
    """
    names = nodes["id"].to_pylist()
    wanted = [i for i in leaves(nodes) if tree_of(names[i]) in trees]
    tokens, offsets = flat(nodes, "token_ids")
    logprobs, _ = flat(nodes, "logprobs")
    texts, finals, models, states = (nodes[name].to_pylist() for name in ("text", "final", "model_version", "state"))
    found: dict[str, list[Begun]] = {tree: [] for tree in trees}
    for route in paths(nodes, np.array(wanted, np.int64)):
        steps = []
        for i in route[1:]:
            first, stop = int(offsets[i]), int(offsets[i + 1])
            cuts = first + step_cuts(tokens[first:stop], ends, final=False)
            cuts = [*(cut for cut in cuts.tolist() if cut < stop), stop]
            pieces = spoken(tokens[first:stop], [cut - first for cut in cuts], texts[i], decode)
            if not pieces:
                cuts, pieces = [stop], [texts[i]]
            for begin, end, piece in zip([first, *cuts], cuts, pieces, strict=False):
                last = end == stop
                cut = last and not finals[i] and states[i] is not None  # a limit ended it
                steps.append(Step(tokens[begin:end], logprobs[begin:end], piece, last and finals[i], models[i], cut))
        if steps:
            found[tree_of(names[route[-1]])].append(Begun(names[route[-1]], steps))
    return found


def spoken(token_ids: np.ndarray, cuts: list[int], text: str, decode: Callable[[np.ndarray], str]) -> list[str]:
    """A text cut where its tokens are cut (the last cut is their end); nothing where the pieces do not make the text."""
    pieces = []
    for begin, end in zip([0, *cuts], cuts, strict=False):
        before = decode(token_ids[begin - 1 : begin]) if begin else ""  # a word may begin with a space only behind another
        piece = decode(token_ids[max(0, begin - 1) : end])
        if not piece.startswith(before):
            return []
        pieces.append(piece[len(before) :])
    joined = "".join(pieces)
    lead = text[: len(text) - len(joined)]
    if not text.endswith(joined) or lead.strip():
        return []
    return [lead + pieces[0], *pieces[1:]]


class Answers:
    """The distinct answers of a unit's nodes (TRACE): each leaf of each tree, with the path that leads to it."""

    def __init__(self, nodes: pa.Table):
        values, offsets = flat(nodes, "token_ids")
        states, texts, finals = (nodes[name].to_pylist() for name in ("state", "text", "final"))
        problems = nodes["problem_id"].to_pylist()
        self.prompts: list[np.ndarray] = []  # int32 [p] each
        self.tokens: list[np.ndarray] = []  # of the answer: int32 [t] each
        self.texts: list[str] = []
        self.problems: list[str] = []
        self.finals: list[bool] = []
        self.states: list[str | None] = []
        self.counts: list[int] = []  # how often each distinct answer stands there
        places: dict[tuple, int] = {}
        for route in paths(nodes, np.array(leaves(nodes), np.int64)):
            pieces = [values[offsets[i] : offsets[i + 1]] for i in route]
            answer, end = np.concatenate(pieces[1:]), route[-1]
            place = places.setdefault((problems[end], answer.tobytes(), states[end]), len(places))
            if place < len(self.counts):
                self.counts[place] += 1
                continue
            self.prompts.append(pieces[0])
            self.tokens.append(answer)
            self.texts.append("".join(texts[i] for i in route[1:]))
            self.problems.append(problems[end])
            self.finals.append(finals[end])
            self.states.append(states[end])
            self.counts.append(1)

    def __len__(self) -> int:
        return len(self.counts)


def exact(verdicts: Sequence[Verdict], state: str | None, final: bool, cuts: int) -> np.ndarray:
    """Labels of an answer's steps: each step's own verdict, also behind a mistake; NaN for a step without one.

    The last step of a finished answer whose steps are all correct is correct only if the whole is (it may stop too early).
    The product of such labels is 1 as long as there is no mistake. Returns float32 [cuts].
    """
    right = np.array([verdict.state == State.CORRECT for verdict in verdicts], np.float32)[:cuts]
    if final and cuts and right.all() and cuts - 1 <= len(right) <= cuts:
        right = np.append(right[: cuts - 1], np.float32(state == State.CORRECT))  # also where only the end of text is left
    return np.append(right, np.full(cuts - len(right), np.nan, np.float32))


def rollouts(answers: Answers, cuts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Monte-Carlo labels: for each step of each answer the share of the answers through it that ended well.

    An answer with the same tokens up to a step went through it. Broken verdicts and answers that did not end count for
    nothing; a step with no judged answer gets NaN. Source: Wang et al. 2024, Math-Shepherd, soft estimation.
    """
    counts: dict[tuple[str, bytes], list[int]] = {}
    keys = []
    for problem, tokens, at in zip(answers.problems, answers.tokens, cuts, strict=True):
        keys.append([(problem, tokens[:cut].tobytes()) for cut in at.tolist()])
    for each, state, n in zip(keys, answers.states, answers.counts, strict=True):
        if state is not None and state != State.FAILED:
            for key in each:
                entry = counts.setdefault(key, [0, 0])
                entry[0] += n
                entry[1] += n * (state == State.CORRECT)
    nothing = (0, 0)
    shares = [[(c / n if n else np.nan) for n, c in (counts.get(key, nothing) for key in each)] for each in keys]
    return [np.array(share, np.float32) for share in shares]
