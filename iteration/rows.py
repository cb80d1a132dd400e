"""Rows of JSONL, JSON, CSV, TSV, Parquet and Arrow files, with every value as it is written."""

from __future__ import annotations

import csv
import datetime
import decimal
import glob
import importlib.util
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from iteration.errors import UserError

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}  # by first bytes


_HALF = re.compile("[\ud800-\udfff]")


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


_JSON = json.JSONDecoder(parse_float=Written, parse_constant=Written)


@dataclass
class Rows:
    """The rows of one source. A row is a dict, or a text that says why it cannot be read."""

    columns: list[str]
    rows: list[dict[str, Any] | str]
    odd: dict[str, str] = field(default_factory=dict)  # columns that cannot be read, with their types
    lines: list[int] = field(default_factory=list)  # of a text file: the line that each row begins on, counted from 1

    def place(self, number: int) -> str:
        """How a message names a row, counted from 1."""
        line = self.lines[number - 1] if self.lines else number
        return f"row {number}" if line == number else f"row {number} (line {line})"


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
        return _saved(path, key) if path.is_dir() else _read(path)
    except FileNotFoundError:
        raise UserError(f"{key}: there is no file {name}; type {key}=FILE.jsonl (or .parquet, .csv)") from None
    except (pa.ArrowException, OSError, EOFError, ValueError, RecursionError) as error:
        said = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name}: cannot be read as JSONL, JSON, CSV, TSV, Parquet or Arrow: {said}") from None


def _read(path: Path) -> Rows:
    """Tables by their first bytes, text by the file's name: .csv and .tsv, or else JSON."""
    data = path.read_bytes()
    for start, compression in COMPRESSED.items():
        if data.startswith(start):
            data = pa.input_stream(pa.py_buffer(data), compression=compression).read()
    if data.startswith(b"PAR1"):
        return _columns(pyarrow.parquet.ParquetFile(pa.BufferReader(data)).read())
    if data.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        opened = pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream
        return _columns(opened(pa.BufferReader(data)).read_all())
    text = _decoded(data)
    if "\0" in text[:4096] and not text.lstrip().startswith(("{", "[")):
        raise ValueError("it is a binary file")
    form = next((each for each in reversed(path.name.lower().split(".")) if each in ("csv", "tsv", "json", "jsonl")), "")
    return csv_rows(text, "\t" if form == "tsv" else ",") if form in ("csv", "tsv") else json_rows(text)


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
    """Raises ValueError for bytes, and for text that is not UTF-8."""
    if isinstance(value, bytes):
        raise ValueError("found bytes, expected text; store the column as text")
    if isinstance(value, str) and not value.isascii() and (half := _HALF.search(value)):
        if half[0] < "\udc80" or half[0] > "\udcff":
            raise ValueError(f"half of a surrogate pair (\\u{ord(half[0]):x}), which is no character")
        raise ValueError(f"byte 0x{ord(half[0]) & 255:x} is not UTF-8; of a Latin-1 file, type: iconv -f LATIN1 -t UTF-8 FILE")
    if isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            check_readable(each)


def value_of(row: dict, column: str) -> Any:
    """What stands in a column; None for NaN. Raises ValueError for what cannot be read."""
    value = at(row, column)
    try:
        check_readable(value)
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}") from None
    return None if value != value else value


def _decoded(data: bytes) -> str:
    """Bytes that are not UTF-8 stay as lone surrogates: only a column that is used refuses them."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    return data.decode("utf-8-sig", "surrogateescape")


def json_rows(text: str) -> Rows:
    """Rows of JSONL, or of one JSON value: a list of objects, also as {"data": [...]} or under an only key."""
    try:
        whole = _JSON.decode(text)
    except (ValueError, RecursionError):
        if text.lstrip().startswith("["):
            raise
        numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows, lines = [_json_row(line) for _, line in numbered], [number for number, _ in numbered]
    else:
        if isinstance(whole, dict) and ("data" in whole or len(whole) == 1):
            inner = whole.get("data", next(iter(whole.values())))
            whole = inner if isinstance(inner, list) else whole
        rows, lines = [_object(each) for each in (whole if isinstance(whole, list) else [whole])], []
    return Rows(list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)), rows, lines=lines)


def _json_row(line: str) -> dict | str:
    try:
        return _object(_JSON.decode(line))
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"


def _object(value: Any) -> dict | str:
    return value if isinstance(value, dict) else f"found {kind_of(value)}, expected an object"


def csv_rows(text: str, delimiter: str = ",") -> Rows:
    csv.field_size_limit(1 << 30)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found = Rows([], [])
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return found
        except csv.Error as error:
            values = f"not CSV: {error}"
            if not found.columns:
                raise ValueError(f"line {line}, its header, is {values}") from None
            if "end of data" in str(error):  # all that follows is in one field
                raise ValueError(f"line {line}: a quote that is never closed") from None
        if not found.columns and isinstance(values, list):
            found.columns = values
        elif values:
            found.lines.append(line)
            found.rows.append(_csv_row(found.columns, values))


def _csv_row(columns: list[str], values: list[str] | str) -> dict | str:
    if isinstance(values, str):
        return values
    if len(values) != len(columns):
        return f"found {len(values)} fields, the header has {len(columns)}"
    return {column: value or None for column, value in zip(columns, values, strict=True)}  # an empty field is a missing value


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
