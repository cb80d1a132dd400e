"""Whole sequences into fixed rows, so that no slot is spent on padding that could hold a token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from iteration.types import Examples

FULL = 0.97  # share of the slots in use


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimiser step's rows. All arrays are [rows, row_tokens].

    token_ids int64; positions int64, counted from 0 in each sequence (a new one begins where they are 0); weights and
    labels float32, as in `Examples`; items int64: which example of the batch a slot belongs to, -1 where it is unused.
    `tokens` counts the slots in use, `count` the examples.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    items: np.ndarray
    tokens: int
    count: int

    def rows(self, part: slice, counted: bool = True) -> dict[str, np.ndarray]:
        """Some of the rows by name, flattened behind the first two: token_ids and positions int64 [rows, row_tokens]; targets
        int64 [n], the slots of the tokens that have a weight and are not the first of their sequence (none where counted is
        False); their weights, labels and items [n]; offsets int32 [sequences + 1], where sequences begin, and the end."""
        token_ids, positions = self.token_ids[part], self.positions[part]
        targets = np.flatnonzero((self.weights[part] != 0) & (positions > 0) & counted)
        at_targets = {name: getattr(self, name)[part].reshape(-1)[targets] for name in ("weights", "labels", "items")}
        offsets = np.append(np.flatnonzero(positions == 0), positions.size).astype(np.int32)
        return {"token_ids": token_ids, "positions": positions, "targets": targets, "offsets": offsets} | at_targets


def pack(lengths: np.ndarray, row_tokens: int) -> list[list[int]]:
    """Indices of `lengths` grouped into rows of at most `row_tokens`: best fit, in whichever order needs fewer rows.

    Decreasing order is good for long sequences, the given order for many short ones of few different lengths. Where both leave
    more than 3 % of the slots unused, as with lengths that lie close together, each row gets those that fill it best.
    Raises ValueError for a sequence longer than a row, naming it.
    """
    if len(lengths) and int(lengths.max()) > row_tokens:
        worst = int(lengths.argmax())
        raise ValueError(
            f"example {worst} has {int(lengths.max())} tokens but train.row_tokens is {row_tokens}; raise train.row_tokens"
        )
    orders = np.argsort(-lengths, kind="stable"), np.arange(len(lengths))
    rows = min((_best_fit(lengths, order, row_tokens) for order in orders), key=len)
    if lengths.sum() < FULL * len(rows) * row_tokens:
        rows = min(rows, _fullest(lengths, row_tokens), key=len)
    return rows


def _best_fit(lengths: np.ndarray, order: np.ndarray, row_tokens: int) -> list[list[int]]:
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(row_tokens + 1)]  # by free slots
    for index, need in zip(order.tolist(), lengths[order].tolist(), strict=True):
        room = next((free for free in range(need, row_tokens + 1) if open_rows[free]), None)
        if room is None:
            row, room = len(rows), row_tokens
            rows.append([])
        else:
            row = open_rows[room].pop()
        rows[row].append(index)
        open_rows[room - need].append(row)
    return rows


def _fullest(lengths: np.ndarray, row_tokens: int) -> list[list[int]]:
    """Fill row by row: the longest sequence left, then the others whose lengths fill most of the remaining space.
    Source: minimum bin slack, Gupta and Ho 1999; the sums that can be reached are the bits of one number."""
    left: dict[int, list[int]] = {}
    for index in np.argsort(-lengths, kind="stable").tolist():
        left.setdefault(int(lengths[index]), []).append(index)
    rows: list[list[int]] = []
    while left:
        longest = next(iter(left))
        room, taken, steps = row_tokens - longest, [longest], []
        sums, mask = 1, (1 << (room + 1)) - 1
        for length, those in left.items():
            for _ in range(min(len(those) - (length == longest), room // length)):
                before, sums = sums, (sums | sums << length) & mask
                if sums == before:
                    break
                steps.append((length, before))
            if sums >> room:
                break
        best = sums.bit_length() - 1
        for length, before in reversed(steps):
            if not before >> best & 1:
                taken.append(length)
                best -= length
        rows.append([left[length].pop() for length in taken])
        for length in {*taken}:
            if not left[length]:
                del left[length]
    return rows


def batches(
    examples: Examples, order: np.ndarray, rows: int, row_tokens: int, rng: np.random.Generator, lookahead: int = 64
) -> Iterator[Batch]:
    """Batches of `rows` packed rows; every index of `order` (int64 [n]) is used exactly once.

    Packing looks at about `lookahead` batches' worth of examples at a time: enough for full rows while the order of
    training stays close to the given one. Rows and batches are shuffled within that window.
    """
    lengths = examples.lengths[order]
    ends = np.cumsum(lengths)
    start = 0
    while start < len(order):
        spent = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, spent + lookahead * rows * row_tokens)))
        window = order[start:stop]
        packed = pack(examples.lengths[window], row_tokens)
        shuffled = [packed[i] for i in rng.permutation(len(packed))]
        for i in range(0, len(shuffled), rows):
            yield batch_of(examples, [[int(window[j]) for j in row] for row in shuffled[i : i + rows]], row_tokens)
        start = stop


def batch_of(examples: Examples, rows: list[list[int]], row_tokens: int) -> Batch:
    """Lay the examples of each row side by side."""
    shape = len(rows), row_tokens
    token_ids, positions, items = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    weights, labels = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    tokens = count = 0
    for r, row in enumerate(rows):
        at = 0
        for index in row:
            begin, end = int(examples.offsets[index]), int(examples.offsets[index + 1])
            of, to = slice(begin, end), slice(at, at + end - begin)
            token_ids[r, to] = examples.token_ids[of]
            positions[r, to] = examples.positions[of]
            weights[r, to] = examples.weights[of]
            labels[r, to] = examples.labels[of]
            items[r, to] = count
            at, count = to.stop, count + 1
        tokens += at
        # Unused slots form a sequence of their own: their positions start again at 0, and no real token sees them.
        positions[r, at:] = np.arange(row_tokens - at)
    return Batch(token_ids, positions, weights, labels, items, tokens, count)
