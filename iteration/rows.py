"""Rows of JSONL, CSV, Parquet and Arrow files, with every value as it is written."""

from __future__ import annotations

import csv
import datetime
import decimal
import glob
import importlib.util
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from iteration.errors import UserError


class Written(float):
    """A number with a point or an exponent; str() is its text in the file."""

    def __new__(cls, text: str) -> Written:
        self = super().__new__(cls, text)
        self.text = text
        return self

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple:
        return Written, (self.text,)


@dataclass
class Rows:
    """The rows of one source. A row is a dict, or a text that says why it cannot be read."""

    columns: list[str]
    rows: list[dict[str, Any] | str]
    odd: dict[str, str] = field(default_factory=dict)  # columns that cannot be read, with their types


def sources(names: str | Sequence[str], key: str) -> list[str]:
    """The files that an option names: one, a list of them, or a pattern with * or ?. Raises UserError naming the option."""
    listed = names if isinstance(names, (list, tuple)) else [names]
    files: list[str] = []
    for name in listed:
        if not isinstance(name, str) or not name:
            raise UserError(f"{key}: found {name!r}, expected the name of a file")
        pattern = glob.has_magic(name) and not Path(name).exists()
        matches = sorted(glob.glob(name, recursive=True)) if pattern else [name]
        if not matches:
            raise UserError(f"{key}: no file matches {name}; type {key}=FILE.jsonl (or .parquet, .csv)")
        files += matches
    return files


def read_rows(name: str, key: str) -> Rows:
    """A file, or a folder made by `save_to_disk`. Raises UserError naming it, and the option `key` where it does not exist."""
    path = Path(name)
    try:
        if path.is_dir():
            return _saved(path, key)
        if ".parquet" in path.suffixes:
            return _columns(pyarrow.parquet.ParquetFile(path).read())
        data = _bytes(path)
        return csv_rows(data) if ".csv" in path.suffixes else json_rows(data)
    except FileNotFoundError:
        raise UserError(f"{key}: there is no file {name}; type {key}=FILE.jsonl (or .parquet, .csv)") from None
    except (pa.ArrowInvalid, OSError, EOFError, csv.Error, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name}: neither JSONL, Parquet nor CSV: {said}") from None


def hub_rows(name: str, config: str, split: str) -> Rows:
    """A split of a Hugging Face data set. Raises UserError where `datasets` is not installed or does not find it."""
    if importlib.util.find_spec("datasets") is None:
        raise UserError("task.dataset needs the package datasets; type: pip install datasets")
    import datasets

    try:
        table = datasets.load_dataset(name, config or None, split=split)
    except Exception as error:  # of many kinds: no network, no such name, configuration or split
        said = (str(error).strip().splitlines() or ["no message"])[0][:300]
        raise UserError(f"task.dataset={name}, split {split}: {type(error).__name__}: {said}") from None
    return _columns(table.with_format("arrow")[:])


def at(row: dict, column: str) -> Any:
    """A row's value in a column, or in a field of a struct (reward_model.ground_truth). Raises ValueError where it has none."""
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        if value is None:
            return None
        if not isinstance(value, dict) or part not in value:
            there = f"it has {', '.join(map(str, value))}" if isinstance(value, dict) else f"found {kind_of(value)}"
            raise ValueError(f"{column}: no field {part!r} ({there})")
        value = value[part]
    return value


def text_of(value: Any) -> str:
    """A value as text, as its file has it. Raises ValueError for what is no single value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Written)):
        return str(value)
    if isinstance(value, float):
        return np.format_float_positional(value, trim="0")
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    fields = f" with the fields {', '.join(map(str, value))}; name one with a point" if isinstance(value, dict) else ""
    raise ValueError(f"found {kind_of(value)}{fields}; expected text or a number")


def kind_of(value: Any) -> str:
    kinds = {dict: "a struct", list: "a list", bytes: "bytes", str: "text", bool: "true or false", int: "a number"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def check_readable(value: Any) -> None:
    """Raises UserError for bytes, and for text that is not UTF-8."""
    if isinstance(value, bytes):
        raise UserError("found bytes, expected text; store the column as text")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError("its text is not UTF-8; type: iconv -f LATIN1 -t UTF-8 FILE") from None
    if isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            check_readable(each)


def _bytes(path: Path) -> bytes:
    with pa.input_stream(path) as stream:  # .gz, .bz2, .zst and .lz4 are decompressed
        return stream.read()


def _decoded(data: bytes) -> str:
    """Bytes that are not UTF-8 stay as lone surrogates: only a column that is used refuses them."""
    return data.decode("utf-8-sig", "surrogateescape")


def json_rows(data: bytes) -> Rows:
    rows: list[dict | str] = []
    columns: dict[str, None] = {}
    for line in _decoded(data).split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=Written, parse_constant=Written)
        except (ValueError, RecursionError) as error:
            rows.append(f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
            rows.append(row)
        else:
            rows.append(f"found {kind_of(row)}, expected an object")
    return Rows(list(columns), rows)


def csv_rows(data: bytes) -> Rows:
    csv.field_size_limit(1 << 30)
    lines = csv.reader(io.StringIO(_decoded(data), newline=""), strict=True)
    columns = next(lines, [])
    rows: list[dict | str] = []
    for values in lines:
        if len(values) == len(columns):  # an empty field is a missing value
            rows.append({column: value or None for column, value in zip(columns, values, strict=True)})
        elif values:
            rows.append(f"found {len(values)} fields, the header has {len(columns)}")
    return Rows(columns, rows)


def _saved(path: Path, key: str) -> Rows:
    """A folder of `Dataset.save_to_disk`, or of `DatasetDict.save_to_disk`, whose split is named like the option."""
    split = key.rpartition(".")[2]
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
        if split not in splits:
            raise UserError(f"{path}: no split {split!r} (found: {', '.join(splits)}); type {key}={path}/{splits[0]}")
        path /= split
    if not (path / "state.json").is_file():
        raise UserError(f"{path}: a folder that save_to_disk did not make; type {key}='{path}/*.jsonl' for the files in it")
    tables = []
    for each in json.loads((path / "state.json").read_text())["_data_files"]:
        with pa.memory_map(str(path / each["filename"])) as stream:
            tables.append(pa.ipc.open_stream(stream).read_all())
    return _columns(pa.concat_tables(tables))


def _columns(table: pa.Table) -> Rows:
    rows: list[dict] = [{} for _ in range(len(table))]
    odd: dict[str, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            values = _values(column)
        except (pa.ArrowException, ValueError, OverflowError, ImportError) as error:
            odd[name] = f"{column.type} ({(str(error).splitlines() or [''])[0]})"
            continue
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return Rows(table.column_names, rows, odd)


def _values(column: pa.ChunkedArray) -> list:
    """As Python objects; float32 by its own shortest text (0.1, not 0.10000000149011612)."""
    values = column.to_pylist()
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        kind = np.float32 if pa.types.is_float32(column.type) else np.float16
        return [None if each is None else Written(np.format_float_positional(kind(each), trim="0")) for each in values]
    return values
