"""From trees to training examples: their answers, which of them are kept and why, their order and their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
import pyarrow as pa

from iteration.protocols import Filter
from iteration.types import State

Key = TypeVar("Key")
ANSWER = pa.schema(
    [
        ("id", pa.string()),  # id of the final node
        ("problem_id", pa.string()),
        ("level", pa.int32()),
        ("state", pa.string()),
        ("answer", pa.string()),  # canonical
        ("why", pa.string()),
        ("answer_text", pa.large_string()),  # the whole answer, without the prompt
        ("tokens", pa.int32()),  # prompt and answer
        ("prompt", pa.large_string()),  # as the model saw it
        ("rate", pa.float32()),  # share of correct ones among the problem's graded answers of this round
    ]
)
DECISION = ANSWER.append(pa.field("reason", pa.string()))  # "" where kept


def paths(nodes: pa.Table, ends: np.ndarray) -> list[list[int]]:
    """For each row index in `ends`, the row indices from the root to it. The rows of a tree are contiguous and in order."""
    parents, numbers = nodes["parent"].to_numpy(), nodes["node"].to_numpy()
    routes = []
    for end in ends.tolist():
        path = [end]
        root = end - int(numbers[end])  # node 0 of the same tree
        while parents[path[-1]] >= 0:
            path.append(root + int(parents[path[-1]]))
        routes.append(path[::-1])
    return routes


def trees(nodes: pa.Table) -> list[tuple[int, int]]:
    """(first row, row behind the last) of each tree of a unit; none of a unit that was set aside."""
    starts = np.flatnonzero(nodes["node"].to_numpy() == 0).tolist()
    return list(zip(starts, [*starts[1:], len(nodes)], strict=True)) if starts else []


def token_counts(nodes: pa.Table) -> np.ndarray:
    """Tokens of each row: int64 [rows]."""
    return np.diff(flat(nodes, "token_ids")[1])


def generated(nodes: pa.Table) -> np.ndarray:
    """Generated tokens of each row: int64 [rows]; 0 for prompts and for steps copied from earlier rounds."""
    counts = token_counts(nodes)
    counts[nodes["node"].to_numpy() == 0] = 0
    if "origin" in nodes.column_names:  # tables of an older version lack the column
        counts[nodes["origin"].is_valid().to_numpy()] = 0
    return counts


def tree_of(name: str) -> str:
    """The tree id of a node id: r00003/train/u00042/t007 of r00003/train/u00042/t007/n0045."""
    return name.rpartition("/")[0]


def tally(keys: Iterable[Key], states: Iterable[str | None]) -> dict[Key, list[int]]:
    """{key: [graded answers, correct ones]}, e.g. by problem; failed verdicts and nodes without one are not counted."""
    table: dict[Key, list[int]] = {}
    for key, state in zip(keys, states, strict=True):
        counts = table.setdefault(key, [0, 0])
        counts[0] += state is not None and state != State.FAILED
        counts[1] += state == State.CORRECT
    return table


def answers(nodes: pa.Table) -> pa.Table:
    """One row (schema ANSWER) for each node with a verdict."""
    ends = np.flatnonzero(nodes["state"].is_valid().to_numpy())
    texts, tokens = nodes["text"].to_pylist(), token_counts(nodes)
    routes = paths(nodes, ends)
    columns = {name: nodes[name].take(pa.array(ends)) for name in ANSWER.names if name in nodes.column_names}
    columns["answer_text"] = pa.array(["".join(texts[i] for i in route[1:]) for route in routes], pa.large_string())
    columns["tokens"] = pa.array([int(tokens[route].sum()) for route in routes], pa.int32())
    columns["prompt"] = pa.array([texts[route[0]] for route in routes], pa.large_string())
    problems = columns["problem_id"].to_pylist()
    counts = tally(problems, columns["state"].to_pylist())
    columns["rate"] = pa.array([counts[p][1] / max(1, counts[p][0]) for p in problems], pa.float32())
    return pa.table([columns[name] for name in ANSWER.names], schema=ANSWER)


def decide(candidates: pa.Table, earlier: pa.Table, filters: Mapping[str, Filter]) -> pa.Table:
    """Apply each filter to the answers (ANSWER) that the previous ones kept. Returns all, with their `reason` (DECISION)."""
    reasons = [""] * len(candidates)
    left = np.arange(len(candidates))
    for name, each in filters.items():
        verdicts = each.keep(candidates.take(left), earlier)
        for index, reason in zip(left.tolist(), verdicts, strict=True):
            if reason:
                reasons[index] = f"{name}: {reason}"
        left = left[[not reason for reason in verdicts]]
    return candidates.append_column(DECISION.field("reason"), pa.array(reasons, pa.string()))


def order(tokens: np.ndarray, budget: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The training order: (indices, epochs), both int64 [m]; each epoch is shuffled, until `budget` tokens.

    tokens: of each example, int [n]. Each example is used once per epoch; the last epoch may be partial.
    """
    tokens = np.asarray(tokens, np.int64)
    if not len(tokens) or budget <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    epochs = int(np.ceil(budget / tokens.sum()))
    indices = np.concatenate([rng.permutation(len(tokens)) for _ in range(epochs)])
    keep = np.cumsum(tokens[indices]) - tokens[indices] < budget
    return indices[keep], np.repeat(np.arange(epochs), len(tokens))[keep]


def pieces(nodes: pa.Table, ids: list[str], column: str = "token_ids") -> list[list[np.ndarray]]:
    """For each node id the tokens (or logprobs) of each node from the root (the prompt) to it, [t] each."""
    rows = {name: i for i, name in enumerate(nodes["id"].to_pylist())}
    values, offsets = flat(nodes, column)
    routes = paths(nodes, np.array([rows[name] for name in ids], np.int64))
    return [[values[offsets[i] : offsets[i + 1]] for i in route] for route in routes]


def item_table(ids: list[str], tokens: list[int], against: list[str] | None = None) -> pa.Table:
    """The table that `Learn.items` returns."""
    columns = [pa.array(ids, pa.string()), pa.array(against or [""] * len(ids), pa.string()), pa.array(tokens, pa.int32())]
    return pa.table(columns, ["id", "against", "tokens"])


def flat(nodes: pa.Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(values, offsets) of a list column, offsets from 0."""
    lists = nodes[column].combine_chunks()
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    offsets = lists.offsets.to_numpy().astype(np.int64)
    values = lists.values.to_numpy()
    return values[offsets[0] : offsets[-1]] if len(offsets) else values, offsets - offsets[0]


def kept(decisions: pa.Table) -> pa.Table:
    """The rows of a decision table that are kept."""
    return decisions.filter(pa.array([not reason for reason in decisions["reason"].to_pylist()], pa.bool_()))
