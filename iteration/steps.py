"""Boundaries of steps in an answer's tokens, and labels of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from iteration.examples import flat, paths, tree_of
from iteration.protocols import Ends
from iteration.types import Begun, State, Step, Verdict


class StepEnds:
    """Ends of steps in tokens: `ends[token_ids]` is bool [t], true at the last token of a step.

    texts: the text of each token of the vocabulary, str [vocabulary]; step_end: the delimiter of steps: a newline, an empty
    line, a tag. It may be part of a token, or span several. A model's vocabulary may be padded: ids beyond have no text.
    """

    def __init__(self, texts: Sequence[str], step_end: str):
        known = [*texts, ""]  # the last one stands for all ids beyond
        self._texts, self._step_end = np.array(known, object), step_end
        self._lengths = np.array([len(text) for text in known], np.int64)
        self._inside = np.array([step_end in text for text in known], bool)
        begins = tuple(step_end[:k] for k in range(1, len(step_end)))
        self._spans = not step_end.isascii() or any(text.endswith(begins) for text in known)

    def tokens(self) -> list[int] | None:
        """The ids that end a step; None where the delimiter may span tokens: no single token then shows the end of a step."""
        return None if self._spans else np.flatnonzero(self._inside).tolist()

    def __getitem__(self, token_ids: np.ndarray) -> np.ndarray:
        token_ids = np.minimum(token_ids, len(self._texts) - 1)
        if not self._spans:
            return self._inside[token_ids]
        ends = np.zeros(len(token_ids), bool)
        text, stops = "".join(self._texts[token_ids]), np.cumsum(self._lengths[token_ids])
        at = text.find(self._step_end)
        while at >= 0:
            at += len(self._step_end)
            ends[np.searchsorted(stops, at)] = True
            at = text.find(self._step_end, at)
        return ends


def step_ends(tokenizer: Any, step_end: str) -> StepEnds:
    """The ends of steps for a Hugging Face tokenizer."""
    return StepEnds(tokenizer.batch_decode([[i] for i in range(len(tokenizer))]), step_end)


def step_cuts(token_ids: np.ndarray, ends: Ends, final: bool) -> np.ndarray:
    """The number of tokens up to the end of each step of a piece: int64 [steps]. If `final`, the last step ends the piece."""
    cuts = np.flatnonzero(ends[token_ids]) + 1
    if final and len(token_ids) and (not len(cuts) or cuts[-1] < len(token_ids)):
        cuts = np.append(cuts, len(token_ids))
    return cuts.astype(np.int64)


def leaves(nodes: pa.Table) -> list[int]:
    """The row indices (TRACE) of nodes without children, roots excluded."""
    parents, numbers = nodes["parent"].to_numpy(), nodes["node"].to_numpy()
    inner = set((np.arange(len(nodes)) - numbers + parents)[parents >= 0].tolist())
    return [i for i in range(len(nodes)) if numbers[i] and i not in inner]


def begun(nodes: pa.Table, trees: set[str], ends: Ends, decode: Callable[[np.ndarray], str]) -> dict[str, list[Begun]]:
    """The answers of some trees of a unit (TRACE), split into steps, by tree id.

    decode: the text of tokens. A piece that cannot be split without changing its text stays one step.
    """
    names = nodes["id"].to_pylist()
    wanted = [i for i in leaves(nodes) if tree_of(names[i]) in trees]
    tokens, offsets = flat(nodes, "token_ids")
    logprobs, shifted = flat(nodes, "logprobs")
    known = nodes["logprobs"].is_valid().to_pylist()
    texts, finals, models, states = (nodes[name].to_pylist() for name in ("text", "final", "model_version", "state"))
    by_tree: dict[str, list[Begun]] = {tree: [] for tree in trees}
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
                cut = last and not finals[i] and states[i] is not None  # truncated by a limit
                shift = int(shifted[i]) - first
                scores = logprobs[begin + shift : end + shift] if known[i] else None
                steps.append(Step(tokens[begin:end], scores, piece, last and finals[i], models[i], cut))
        if steps:
            by_tree[tree_of(names[route[-1]])].append(Begun(names[route[-1]], steps))
    return by_tree


def spoken(token_ids: np.ndarray, cuts: list[int], text: str, decode: Callable[[np.ndarray], str]) -> list[str]:
    """A text split where its tokens are split (the last cut is their end); empty where the pieces do not add up to the text."""
    pieces = []
    for begin, end in zip([0, *cuts], cuts, strict=False):
        # Some tokenizers add a leading space only after another token.
        before = decode(token_ids[begin - 1 : begin]) if begin else ""
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
    """The distinct answers of a unit's nodes (TRACE): the path to each leaf of each tree."""

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
        self.counts: list[int] = []  # occurrences of each distinct answer
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
    """Labels of an answer's steps: each step's own verdict, also after a mistake; NaN for a step without one.

    If all steps of a finished answer are correct, the label of the last is that of the whole answer (it may stop too early).
    The product of such labels is 1 until the first mistake. Returns float32 [cuts].
    """
    right = np.array([verdict.state == State.CORRECT for verdict in verdicts], np.float32)[:cuts]
    if final and cuts and right.all() and cuts - 1 <= len(right) <= cuts:
        # Also where only the end-of-text token is left.
        right = np.append(right[: cuts - 1], np.float32(state == State.CORRECT))
    return np.append(right, np.full(cuts - len(right), np.nan, np.float32))


def rollouts(answers: Answers, cuts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Monte-Carlo labels: for each step of each answer the share of correct ones among the answers through it.

    An answer passes through a step if its tokens up to the step are the same. Failed verdicts and unfinished answers are not
    counted; a step without a graded answer gets NaN. Source: Wang et al. 2024, Math-Shepherd, soft estimation.
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
