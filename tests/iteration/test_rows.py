"""Files as they are brought: each is read, or one line says what was found."""

import bz2
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from iteration.chat import messages_of, prompt_text
from iteration.errors import UserError
from iteration.tasks.choice import Choice
from iteration.tasks.file import File

ROWS = [{"prompt": f"p{i}", "answer": str(i)} for i in range(3)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "prompt,answer\n" + "".join(f"p{i},{i}\n" for i in range(3))


def table_bytes(write) -> bytes:
    file = io.BytesIO()
    write(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


PARQUET = table_bytes(pq.write_table)
READ = {
    "x.csv.jsonl": JSONL,
    "x.jsonl.csv": CSV,
    "X.CSV": CSV,
    "x.jsonl": "\r\n\r\n" + JSONL.replace("\n", "\r\n"),
    "bom.jsonl": "\ufeff" + JSONL,
    "none": JSONL,
    "x.txt": JSONL,
    "X.JSON": json.dumps(ROWS),
    "pretty.json": json.dumps(ROWS, indent=2),
    "list.jsonl": json.dumps(ROWS, indent=1),
    "data.json": json.dumps({"version": 1, "data": ROWS}),
    "only.json": json.dumps({"problems": ROWS}, indent=2),
    "lines.json": JSONL,
    "x.tsv": CSV.replace(",", "\t"),
    "X.TSV.GZ": gzip.compress(CSV.replace(",", "\t").encode()),
    "x.jsonl.gz": gzip.compress(JSONL.encode()),
    "x.JSONL.GZ": gzip.compress(JSONL.encode()),
    "x.jsonl.bz2": bz2.compress(JSONL.encode()),
    "gzipped.jsonl": gzip.compress(JSONL.encode()),
    "not-gzipped.jsonl.gz": JSONL,
    "X.PARQUET": PARQUET,
    "no-suffix-parquet": PARQUET,
    "x.parquet.gz": gzip.compress(PARQUET),
    "x.feather": table_bytes(lambda table, file: pyarrow.feather.write_feather(table, file, compression="uncompressed")),
    "utf16.csv": CSV.encode("utf-16"),
    "utf16.jsonl": JSONL.encode("utf-16"),
    "quoted.csv": CSV.replace("p1", '"p1"'),
    "cr.csv": CSV.replace("\n", "\r"),
    "blank-lines.csv": CSV.replace("\n", "\n\n"),
    "a.b[1].jsonl": JSONL,
    "with space #1.jsonl": JSONL,
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_whatever_its_name(tmp_path, name):
    content = READ[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    task = File(test=str(tmp_path / name))
    assert [(problem.prompt, problem.answer) for problem in task.all("test")] == [(f"p{i}", str(i)) for i in range(3)]
    assert not task.skipped


REFUSED = {
    "empty.jsonl": (b"", "found no rows"),
    "empty.csv": (b"", "found no rows"),
    "blank.jsonl": (b"\n\n", "found no rows"),
    "header.csv": (b"prompt,answer\n", "found no rows"),
    "none.json": (b"[]", "found no rows"),
    "empty.gz": (gzip.compress(b""), "found no rows"),
    "empty.parquet": (table_bytes(lambda table, file: pq.write_table(table[:0], file)), "found no rows"),
    "broken.json": (b'[{"prompt": "p", "answer": "1"},\n]', "cannot be read as JSONL, JSON, CSV, TSV, Parquet or Arrow: "),
    "cut.parquet": (PARQUET[:-9], "cannot be read as"),
    "cut.jsonl.gz": (gzip.compress(JSONL.encode() * 100)[:-9], "cannot be read as"),
    "x.zip": (b"PK\x03\x04\x00\x00\x08", "it is a binary file"),
    "x.xlsx": (b"PK\x03\x04\x14\x00\x06\x00", "it is a binary file"),
    "semicolons.csv": (b"prompt;answer\np;1\n", "no column 'prompt'; did you mean 'prompt;answer'? (found: prompt;answer)"),
    "open.csv": (b'prompt,answer\np,1\nq,"2\nr,3\n', "line 3: a quote that is never closed"),
    "twice.csv": (b"prompt,answer,answer\np,1,2\n", "2 columns are named 'answer'; rename all but one"),
    "header-quote.csv": (b'"prom"pt,answer\np,1\n', "line 1, its header, is not CSV"),
    "header-line.csv": (b'"prom\npt",answer\np,1\n', "(found: 'prom\\npt', answer)"),
    "words.txt": (b"What is 1 + 1?\n", "none of its 1 rows can be used: row 1: not JSON"),
    "scalar.json": (b"7", "found a number, expected an object"),
    "columns.json": (b'{"prompt": ["p", "q"], "answer": ["1", "2"]}', "row 1: found a list; expected text or a number"),
    "deep.jsonl": (b"[" * 100000, "cannot be read as"),
    "config.json": (b'{"name": "x", "size": 3}', "no column 'prompt' (found: name, size); type task.prompt_key=COLUMN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_such_file_is_one_line(tmp_path, name):
    content, said = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        File(test=str(tmp_path / name))
    assert f"{name}: " in str(error.value) and said in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_may_not_be_read_and_a_folder(tmp_path):
    (tmp_path / "link.jsonl").symlink_to("link.jsonl")
    with pytest.raises(UserError, match=r"link\.jsonl: cannot be read as .*: Too many levels of symbolic links$"):
        File(test=str(tmp_path / "link.jsonl"))
    with pytest.raises(UserError, match="a folder that save_to_disk did not make; type task.test='"):
        File(test=str(tmp_path))


GOOD = b'{"prompt": "a", "answer": "1"}\n'
BAD_ROWS = {
    b'{"prompt": "caf\xe9", "answer": "1"}': "column 'prompt': byte 0xe9 is not UTF-8; of a Latin-1 file, type: iconv",
    b'{"prompt": "x", "answer": "\xff"}': "column 'answer': byte 0xff is not UTF-8",
    b'{"prompt": "\\ud83d", "answer": "1"}': "column 'prompt': half of a surrogate pair (\\ud83d), which is no character",
    b'{"prompt": [{"role": "user", "content": "\\udc00"}], "answer": "1"}': "column 'prompt': half of a surrogate pair",
    b'{"prompt": "\xed\xa0\x80", "answer": "1"}': "column 'prompt': byte 0xed is not UTF-8",
    b'{"prompt": NaN, "answer": "1"}': "it has no value for prompt",
    b'{"prompt": "x", "answer": NaN}': "it has no value for answer",
    b'{"prompt": "x", "answer": " "}': "it has no value for answer",
    b'{"prompt": "", "answer": "1"}': "it has no value for prompt",
    b'{"prompt": "a", "answer": "2"}': "the prompt of row 1, but another answer",
    b"{'prompt': 'x', 'answer': '1'}": "not JSON",
    b'{"prompt": "a\x00b", "answer": "1"}': "not JSON: Invalid control character",
}


@pytest.mark.parametrize("line", BAD_ROWS)
def test_one_bad_row_is_skipped_or_refused_by_file_and_line(tmp_path, line):
    path = tmp_path / "p.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD.replace(b"a", b"b", 1).replace(b'"bnswer"', b'"answer"'))
    task = File(test=str(path))
    (said,) = task.skipped
    assert f"p.jsonl: skipped 1 of 3 rows: row 2 (line 3): {BAD_ROWS[line]}" in said
    assert [problem.answer for problem in task.all("test")][0] == "1" and said.isprintable()
    with pytest.raises(UserError, match=r"p\.jsonl: 1 of 3 rows cannot be used: row 2 \(line 3\): ") as error:
        File(test=str(path), bad_rows="refuse")
    assert "\n" not in str(error.value)


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_that_repeat_a_prompt(tmp_path):
    rows = [*ROWS, ROWS[0], ROWS[1] | {"answer": "8"}, ROWS[2], ROWS[0]]
    task = File(test=write(tmp_path / "p.jsonl", rows))
    assert [problem.answer for problem in task.all("test")] == ["0", "1", "2"]
    bad, repeated = task.skipped
    assert bad.endswith("p.jsonl: skipped 1 of 7 rows: row 5: the prompt of row 2, but another answer")
    said = "p.jsonl: 3 of 7 rows repeat a problem; it counts once: row 4 is row 1; row 6 is row 3; row 7 is row 1"
    assert repeated.endswith(said)
    refused = {"test": write(tmp_path / "r.jsonl", rows), "bad_rows": "refuse"}
    with pytest.raises(
        UserError, match="r.jsonl: 1 of 7 rows cannot be used: row 5: the prompt of row 2, but another answer; c"
    ):
        File(**refused)
    assert File(test=write(tmp_path / "s.jsonl", [*ROWS, ROWS[0]]), bad_rows="refuse").skipped, "a repeated row is no bad row"


def test_a_prompt_with_another_answer_in_another_file_of_the_split(tmp_path):
    one, two = (
        write(tmp_path / "a.jsonl", ROWS),
        write(tmp_path / "b.jsonl", [ROWS[0] | {"answer": "9"}, {"prompt": "q", "answer": "1"}]),
    )
    (said,) = File(test=[one, two]).skipped
    assert said.endswith(f"b.jsonl: skipped 1 of 2 rows: row 1: the prompt of row 1 of {one}, but another answer")


def test_one_question_with_other_options_is_another_problem(tmp_path):
    rows = [
        {"prompt": "Which is even?", "right": "2", "wrong": ["1"]},
        {"prompt": "Which is even?", "right": "4", "wrong": ["3"]},
    ]
    task = Choice(test=write(tmp_path / "c.jsonl", rows), prompt_key="prompt", answer_key="right", wrong_keys=["wrong"])
    assert len(task.all("test")) == 2 and not task.skipped


CHAT = [{"role": "system", "content": "It's short."}, {"role": "user", "content": 'Say "é\n2".'}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "image": None}]}]


@pytest.mark.parametrize(
    "written",
    [json.dumps(CHAT), json.dumps(CHAT, indent=2), repr(CHAT), " " + repr(CHAT), json.dumps({"messages": CHAT}), CHAT],
)
def test_messages_as_text_are_messages(tmp_path, written):
    task = File(test=write(tmp_path / "p.jsonl", [{"prompt": written, "answer": "1"}]))
    assert messages_of(task.prompt(task.all("test")[0])) == CHAT


@pytest.mark.parametrize("written", [PARTS, json.dumps(PARTS), repr(PARTS)])
def test_parts_of_text_are_joined(written):
    assert messages_of(prompt_text(written)) == [{"role": "user", "content": "a\nb"}]


@pytest.mark.parametrize(
    "text", ["[1, 2, 3]", "[{x: 1}]", '{"a": 1}', "[INST] x [/INST]", '[{"name": "x"}]', "What is [{'a': 1}]?"]
)
def test_other_text_in_brackets_is_shown_as_it_is(text):
    assert prompt_text(text) == text


def test_a_repr_in_csv_is_read_as_messages(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,answer\n\"[{'role': 'user', 'content': 'x'}]\",1\n")
    assert messages_of(File(test=str(tmp_path / "p.csv")).all("test")[0].prompt) == [{"role": "user", "content": "x"}]
