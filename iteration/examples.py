"""Trees to training examples: which answers there are, which are kept and why, and their tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from iteration.protocols import Filter
from iteration.types import Examples

ANSWER = pa.schema(
    [
        ("id", pa.string()),  # the id of the node that ended
        ("problem_id", pa.string()),
        ("level", pa.int32()),
        ("state", pa.string()),
        ("answer", pa.string()),  # canonical
        ("why", pa.string()),
        ("answer_text", pa.large_string()),  # the whole answer, prompt excluded
        ("tokens", pa.int32()),  # prompt and answer
    ]
)
DECISION = ANSWER.append(pa.field("reason", pa.string()))  # "" where kept


def paths(nodes: pa.Table, ends: np.ndarray) -> list[list[int]]:
    """For each row index in `ends`, the row indices from the root to it. Rows of one tree stand together, in order."""
    parents, numbers = nodes["parent"].to_numpy(), nodes["node"].to_numpy()
    found = []
    for end in ends.tolist():
        path = [end]
        root = end - int(numbers[end])  # node 0 of the same tree
        while parents[path[-1]] >= 0:
            path.append(root + int(parents[path[-1]]))
        found.append(path[::-1])
    return found


def token_counts(nodes: pa.Table) -> np.ndarray:
    """Tokens of each row: int64 [rows]."""
    return np.diff(_flat(nodes, "token_ids")[1])


def answers(nodes: pa.Table) -> pa.Table:
    """One row (schema ANSWER) for each node with a verdict."""
    ends = np.flatnonzero(nodes["state"].is_valid().to_numpy())
    texts, counts = nodes["text"].to_pylist(), token_counts(nodes)
    routes = paths(nodes, ends)
    columns = {name: nodes[name].take(pa.array(ends)) for name in ANSWER.names if name in nodes.column_names}
    columns["answer_text"] = pa.array(["".join(texts[i] for i in route[1:]) for route in routes], pa.large_string())
    columns["tokens"] = pa.array([int(counts[route].sum()) for route in routes], pa.int32())
    return pa.table([columns[name] for name in ANSWER.names], schema=ANSWER)


def decide(found: pa.Table, earlier: pa.Table, filters: Mapping[str, Filter]) -> pa.Table:
    """Ask each filter in turn about what those before it kept. Returns `found` with the `reason` column (DECISION)."""
    reasons = [""] * len(found)
    left = np.arange(len(found))
    for name, each in filters.items():
        verdicts = each.keep(found.take(left), earlier)
        for index, reason in zip(left.tolist(), verdicts, strict=True):
            if reason:
                reasons[index] = f"{name}: {reason}"
        left = left[[not reason for reason in verdicts]]
    return found.append_column(DECISION.field("reason"), pa.array(reasons, pa.string()))


def order(tokens: np.ndarray, budget: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """In which order to train: (indices, epochs), both int64 [m]; epoch after epoch, shuffled, until `budget` tokens.

    tokens: of each example, int [n]. Each example is used once in an epoch; the last epoch may be cut short.
    """
    tokens = np.asarray(tokens, np.int64)
    if not len(tokens) or budget <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    epochs = int(np.ceil(budget / tokens.sum()))
    indices = np.concatenate([rng.permutation(len(tokens)) for _ in range(epochs)])
    keep = np.cumsum(tokens[indices]) - tokens[indices] < budget
    return indices[keep], np.repeat(np.arange(epochs), len(tokens))[keep]


def examples(nodes: pa.Table, ids: list[str]) -> Examples:
    """The tokens of the answers whose last nodes are `ids`; loss on everything after the prompt."""
    rows = {name: i for i, name in enumerate(nodes["id"].to_pylist())}
    values, offsets = _flat(nodes, "token_ids")
    pieces, prompts, lengths = [], [], []
    for route in paths(nodes, np.array([rows[name] for name in ids], np.int64)):
        parts = [values[offsets[i] : offsets[i + 1]] for i in route]
        pieces += parts
        prompts.append(len(parts[0]))
        lengths.append(sum(map(len, parts)))
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    token_ids = np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
    within = np.arange(len(token_ids)) - np.repeat(ends[:-1], lengths)
    mask = within >= np.repeat(np.array(prompts, np.int64), lengths)
    return Examples(token_ids, mask, ends, np.ones(len(ids), np.float32))


def _flat(nodes: pa.Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(values, offsets) of a list column, offsets from 0."""
    lists = nodes[column].combine_chunks()
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    offsets = lists.offsets.to_numpy().astype(np.int64)
    values = lists.values.to_numpy()
    return values[offsets[0] : offsets[-1]] if len(offsets) else values, offsets - offsets[0]
