"""Verdicts given later, by another or a newer verifier: side files, joined with the answers by trace id.

verdicts/math-3fa2c1d0/verifier.json                 which verifier: name, version, options
verdicts/math-3fa2c1d0/r00003/train/u00042.parquet   its verdicts on the answers of a unit (schema VERDICT)
verdicts/math-3fa2c1d0/filters/r00003.parquet        what is kept by them, for a run with verdicts=math-3fa2c1d0
"""

from __future__ import annotations

import pyarrow as pa

from cluster.folder.layout import VERDICT, VERDICTS, set_key, verdict_key
from cluster.folder.store import Store
from iteration.errors import COMMAND, UserError
from iteration.types import State, Verdict


def verdict_table(names: list[str], verdicts: list[Verdict], verifier: str) -> pa.Table:
    columns = [
        names,
        [str(each.state) for each in verdicts],
        [each.answer for each in verdicts],
        [each.reward for each in verdicts],
        [each.why for each in verdicts],
        [verifier] * len(names),
    ]
    return pa.table([pa.array(column, each.type) for column, each in zip(columns, VERDICT, strict=True)], schema=VERDICT)


def given(table: pa.Table) -> list[Verdict]:
    rows = table.select(["state", "answer", "reward", "why"]).to_pylist()
    return [Verdict(State(row["state"]), row["answer"], row["reward"], row["why"]) for row in rows]


def apply(nodes: pa.Table, verdicts: pa.Table) -> pa.Table:
    """Nodes (TRACE) with the state, answer, reward, why and verifier that a regrading gives them."""
    place = {name: i for i, name in enumerate(nodes["id"].to_pylist())}
    rows = [place[name] for name in verdicts["id"].to_pylist()]
    for column in ("state", "answer", "reward", "why", "verifier"):
        if column not in nodes.column_names:
            continue
        values = nodes[column].to_pylist()
        for row, value in zip(rows, verdicts[column].to_pylist(), strict=True):
            values[row] = value
        index = nodes.column_names.index(column)
        nodes = nodes.set_column(index, nodes.schema.field(index), pa.array(values, nodes.schema.field(index).type))
    return nodes


def regraded(store: Store, nodes: pa.Table, name: str, units: list[str]) -> pa.Table:
    """The nodes (TRACE) of some units with the verdicts of regrading `name`."""
    return apply(nodes, pa.concat_tables([store.table(verdict_key(name, unit)) for unit in units]))


def begin(store: Store, name: str, verifier: str) -> None:
    """Commit which verifier (name, version, options) a regrading is by, before its first verdict."""
    store.put_json(set_key(name), {"verifier": verifier})


def check_set(store: Store, name: str) -> None:
    """Raises UserError where a run has no such regrading."""
    if not store.has(set_key(name), ".json"):
        known = ", ".join(store.names(VERDICTS)) or "none"
        raise UserError(
            f"verdicts={name}: {store.place} has no such verdicts (there: {known}); make them with: {COMMAND} regrade"
        )
