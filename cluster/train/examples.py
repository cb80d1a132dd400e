"""Training examples from a run folder: those of a manifest, and labelled answers for value models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.folder.arm import Arm
from cluster.folder.book import Book
from cluster.folder.layout import manifest_key, unit_key, unit_of
from iteration import losses
from iteration.protocols import Ends, GradesSteps, Learn, Reads, Value
from iteration.types import Examples

COLUMNS = ["id", "node", "parent", "depth", "token_ids", "visits", "state"]  # of a trace, that every way to learn may read


def columns(learn: Learn) -> list[str]:
    """The columns of a trace that a way to learn reads."""
    return [*COLUMNS, *(learn.reads if isinstance(learn, Reads) else ())]


def manifest_table(items: pa.Table, indices: np.ndarray, epochs: np.ndarray) -> pa.Table:
    """The training examples in order: rows `indices` of what `Learn.items` returned."""
    taken = items.take(pa.array(indices))
    return pa.table({"trace_id": taken["id"], "against": taken["against"], "epoch": pa.array(epochs, pa.int32())})


def of_manifest(book: Book, model: str, learn: Learn) -> tuple[Examples, np.ndarray]:
    """(distinct examples, which of them to train on in order: int64 [items]) of a model's manifest."""
    manifest = book.store.table(manifest_key(model))
    items = list(zip(manifest["trace_id"].to_pylist(), manifest["against"].to_pylist(), strict=True))
    distinct = list(dict.fromkeys(items))
    place = {item: i for i, item in enumerate(distinct)}
    data, where = load_examples(book, distinct, learn)
    return data, where[[place[item] for item in items]]


def load_examples(book: Book, items: list[tuple[str, str]], learn: Learn) -> tuple[Examples, np.ndarray]:
    """The examples of items (trace id, trace id that it is compared with or ""), read unit by unit, and the index of each
    item's example: int64 [items]."""
    by_unit: dict[str, list[int]] = {}
    for index, (trace, _) in enumerate(items):
        by_unit.setdefault(unit_key(*unit_of(trace)), []).append(index)
    read = columns(learn)
    parts = [learn.examples(book.store.table(key, read), [items[i] for i in indices]) for key, indices in by_unit.items()]
    where = np.zeros(len(items), np.int64)
    where[[i for indices in by_unit.values() for i in indices]] = np.arange(len(items))
    return Examples.concat(parts), where


def labelled(book: Book, arm: Arm, number: int, judge: Value, ends: Ends, verifier: Any, tokens: int) -> Examples:
    """Labelled answers of an arm in round `number` and before, newest round first, until there are `tokens` tokens."""
    parts, read = [], 0
    for before in range(number, 0, -1):
        problems = book.problems(arm, before)
        steps = None
        if isinstance(verifier, GradesSteps):
            steps = lambda problem, answer, problems=problems: verifier.steps(problems[problem], answer)  # noqa: E731
        for key in book.units(arm, before):
            if read >= tokens:
                return Examples.concat(parts)
            parts.append(judge.examples(book.store.table(key), ends, steps))
            read += int(parts[-1].offsets[-1])
    return Examples.concat(parts)


class StepLabels:
    """A value model's objective: binary cross-entropy on labelled steps (cluster.train.fit.Objective)."""

    def objective(self, model: Any) -> Callable:
        return losses.binary

    def total(self, batch: Any) -> float:
        return float(batch.weights.sum())
