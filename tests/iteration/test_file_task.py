import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteration.chat import messages_of
from iteration.errors import UserError
from iteration.rows import json_rows, text_of
from iteration.tasks.file import File
from iteration.tasks.gsm8k import Gsm8k
from iteration.tasks.math import Math
from iteration.tasks.mbpp import Mbpp


def lines(path, rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = [{"prompt": f"{i} + 1?", "answer": str(i + 1), "hard": i % 2} for i in range(200)]


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.parquet"])
def test_problems_of_every_kind_of_file(tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        lines(path, ROWS)
    task = File(train=str(path), level_key="hard", template="Q: {prompt}\nA:")
    assert task.levels() == [0, 1]
    drawn = [task.draw(split, level, 1000, np.random.default_rng(0)) for split in ("train", "test") for level in (0, 1)]
    ids = [problem.id for some in drawn for problem in some]
    assert len(ids) == len(set(ids)) == 200
    assert 5 < len(drawn[2]) + len(drawn[3]) < 50, "about a tenth is held out"
    problem = drawn[0][0]
    assert task.prompt(problem) == f"Q: {problem.prompt}\nA:" and int(problem.answer) == int(problem.prompt.split()[0]) + 1


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_problem_in_two_files_is_named(tmp_path, split):
    train, other = lines(tmp_path / "a.jsonl", ROWS[:100]), lines(tmp_path / "b.jsonl", ROWS[97:150])
    with pytest.raises(UserError) as error:
        File(train=train, **{split: other})
    assert (
        "b.jsonl: row 1 is also row 98 of" in str(error.value)
        and "'97 + 1?'" in str(error.value)
        and "\n" not in str(error.value)
    )


def test_three_splits(tmp_path):
    names = {"train": ROWS[:100], "validation": ROWS[100:150], "test": ROWS[150:]}
    task = File(**{split: lines(tmp_path / f"{split}.jsonl", rows) for split, rows in names.items()})
    for split, rows in names.items():
        assert {p.prompt for p in task.draw(split, 0, 1000, np.random.default_rng(0))} == {row["prompt"] for row in rows}
    assert sum(len(task.all(split)) for split in task.splits()) == 200
    with pytest.raises(UserError, match="task.validation is missing"):
        File(train=lines(tmp_path / "x.jsonl", ROWS)).draw("validation", 0, 1, np.random.default_rng(0))
    only_test = File(test=lines(tmp_path / "y.jsonl", ROWS))
    with pytest.raises(UserError, match="task.train is missing"):
        only_test.levels()


def test_csv_and_names(tmp_path):
    (tmp_path / "p.csv").write_text('name,question,answer,level\nq1,"1 + 1,\nor so?",2,Level 3\nq2,2 + 2?,4,Level 1\n')
    task = File(test=str(tmp_path / "p.csv"), prompt_key="question", id_key="name", level_key="level")
    assert [(p.prompt, p.answer, p.level) for p in task.all("train") + task.all("test")] == [
        ("1 + 1,\nor so?", "2", 3),
        ("2 + 2?", "4", 1),
    ]
    assert task.names["q2"].prompt == "2 + 2?"


def test_forms(tmp_path):
    gsm = Gsm8k(test=lines(tmp_path / "g.jsonl", [{"question": "How many?", "answer": "2 and 3\n#### 5"}]))
    assert gsm.all("test")[0].answer.endswith("#### 5") and "####" in gsm.prompt(gsm.all("test")[0])
    math = Math(test=lines(tmp_path / "m.jsonl", [{"problem": "x?", "solution": "so \\boxed{5}", "level": "Level 4"}]))
    assert math.all("test")[0].level == 4 and "\\boxed" in math.prompt(math.all("test")[0])
    with pytest.raises(UserError, match="row 1: test_list is empty"):
        Mbpp(test=lines(tmp_path / "b.jsonl", [{"text": "t", "test_list": [], "test_setup_code": ""}]))


GSM8K = Path(__file__).parents[3] / "shared/data/gsm8k"


@pytest.mark.skipif(not GSM8K.is_dir(), reason=f"no data: {GSM8K} is not there")
def test_gsm8k_as_it_is():
    task = Gsm8k(train=str(GSM8K / "train.jsonl.gz"), test=str(GSM8K / "test.jsonl.gz"))
    assert len(task.draw("train", 0, 10_000, np.random.default_rng(0))) == 7473
    assert len(task.draw("test", 0, 10_000, np.random.default_rng(0))) == 1319


def test_mistakes_are_one_line_that_names_the_file(tmp_path):
    good = lines(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "bad.jsonl").write_text("{not json")
    for options, said in [
        ({}, "task.train is missing"),
        ({"train": "none.jsonl"}, "there is no file none.jsonl"),
        ({"train": str(tmp_path / "bad.jsonl")}, "bad.jsonl: none of its 1 rows can be used: row 1: not JSON"),
        ({"train": good, "prompt_key": "promt"}, "no column 'promt'; did you mean 'prompt'? (found: prompt, answer, hard)"),
        ({"train": good, "template": "no place"}, "template is 'no place'; expected a text with {prompt} in it"),
        ({"train": good, "bad_rows": "ignore"}, "bad_rows is 'ignore'; expected skip or refuse"),
    ]:
        with pytest.raises((UserError, ValueError)) as error:  # a ValueError gets its section where the part is made
            File(**options)
        assert said in str(error.value) and "\n" not in str(error.value)


def answers_of(path, **options) -> list[str]:
    return [problem.answer for problem in File(test=str(path), **options).all("test")]


JSON_VALUES = {
    "0": "0",
    "false": "false",
    "0.00001": "0.00001",
    "1e-05": "1e-05",
    "5.0": "5.0",
    "2.50": "2.50",
    str(2**100): str(2**100),
    "12345678901234567": "12345678901234567",
    "123456789012345678.123456789": "123456789012345678.123456789",
    "-3": "-3",
    '"2024-01-05"': "2024-01-05",
    '"2024-01-05T10:00:00Z"': "2024-01-05T10:00:00Z",
    '"007"': "007",
    '"caf\\u00e9"': "café",
}


def test_json_values_keep_their_text_in_a_column_of_mixed_types(tmp_path):
    path = tmp_path / "p.jsonl"
    odd = ["null", "1", '"x"', '{"a": [1]}', "[[]]"]  # an unused column that has no one type
    path.write_text(
        "".join(f'{{"prompt": "p{i}", "answer": {text}, "odd": {odd[i % 5]}}}\n' for i, text in enumerate(JSON_VALUES))
    )
    assert answers_of(path) == list(JSON_VALUES.values())


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**30), 10**30)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
def test_a_json_answer_is_the_text_of_the_file(value):
    written = json.dumps(value)
    rows = json_rows(f'{{"prompt": "p", "answer": {written}}}\n').rows
    assert text_of(rows[0]["answer"]) == (value if isinstance(value, str) else written)


CSV_VALUES = ["007", "12:30", "true", "1e5", "0.10", "2024-01-05", "NaN", "0", " 7", "NA", '"a, b"']


def test_csv_values_keep_their_text(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("prompt,answer\r\n" + "".join(f"p{i},{text}\r\n" for i, text in enumerate(CSV_VALUES)))
    assert answers_of(path) == [text.strip('"') for text in CSV_VALUES]


def test_parquet_values_keep_their_digits(tmp_path):
    path, n = tmp_path / "p.parquet", 3
    columns = {
        "whole": (pa.array([0, 12345678901234567, -(2**63)]), ["0", "12345678901234567", str(-(2**63))]),
        "float": (pa.array([0.00001, 5.0, 1e16]), ["0.00001", "5.0", "10000000000000000.0"]),
        "single": (pa.array([0.1, 0.25, 1e-5], pa.float32()), ["0.1", "0.25", "0.00001"]),
        "decimal": (pa.array([Decimal("0.10"), Decimal("7.00"), Decimal("0.01")]), ["0.10", "7.00", "0.01"]),
        "date": (pa.array([date(2024, 1, 5)] * n), ["2024-01-05"] * n),
        "truth": (pa.array([True, False, True]), ["true", "false", "true"]),
        "dictionary": (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    }
    odd = {"odd": pa.array([b"\xff", None, b""]), "nested": pa.array([{"a": [1]}, None, None])}
    table = pa.table({"prompt": ["p0", "p1", "p2"]} | {name: values for name, (values, _) in columns.items()} | odd)
    pq.write_table(table, path)
    for name, (_, told) in columns.items():
        assert answers_of(path, answer_key=name) == told, name


def refused(said: str, **options) -> None:
    with pytest.raises(UserError) as error:
        File(**options)
    assert said in str(error.value) and "\n" not in str(error.value), str(error.value)


def test_bytes_and_another_encoding_name_the_file_and_the_column(tmp_path):
    path = tmp_path / "b.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "answer": [b"1", b"2"]}), path)
    refused("b.parquet: none of its 2 rows can be used: row 1: column 'answer': found bytes, expected text", test=str(path))
    for name, form, row in [
        ("l.jsonl", '{"prompt": "p", "answer": "1"}\n\n{"prompt": "caf\xe9", "answer": "1"}\n', "row 2 (line 3)"),
        ("l.csv", "prompt,answer\np,1\ncaf\xe9,1\n", "row 2 (line 3)"),
    ]:
        (tmp_path / name).write_bytes(form.encode("latin-1"))
        (said,) = File(test=str(tmp_path / name)).skipped
        assert f"{name}: skipped 1 of 2 rows: {row}: column 'prompt': byte 0xe9 is not UTF-8" in said
        refused(f"{name}: 1 of 2 rows cannot be used: {row}", test=str(tmp_path / name), bad_rows="refuse")
    (tmp_path / "unused.csv").write_bytes("prompt,answer,note\np,1,caf\xe9\n".encode("latin-1"))
    assert answers_of(tmp_path / "unused.csv") == ["1"]
    (tmp_path / "bom.csv").write_bytes("\ufeffprompt,answer\np,1\n".encode())
    assert answers_of(tmp_path / "bom.csv") == ["1"]


BAD = {
    "level is 'hard', which has no whole number in it": {"prompt": "x", "answer": "1", "level": "hard"},
    "it has no value for level": {"prompt": "x", "answer": "1"},
    "it has no value for answer": {"prompt": "x", "answer": None, "level": 1},
    "it has no value for prompt": {"answer": "1", "level": 1},
    "found a struct with the fields a; name one with a point": {"prompt": "x", "answer": {"a": 1}, "level": 1},
    "found a list": {"prompt": "x", "answer": [1], "level": 1},
    "found a number, expected an object": 7,
}


@pytest.mark.parametrize("said", BAD)
def test_a_bad_row_is_skipped_with_its_name_or_refused(tmp_path, said):
    rows = [{"prompt": f"p{i}", "answer": "1", "level": "Level 3"} for i in range(5)]
    path = lines(tmp_path / "p.jsonl", rows[:2] + [BAD[said]] + rows[2:])
    task = File(test=path, level_key="level")
    assert [problem.prompt for problem in task.all("test")] == [row["prompt"] for row in rows]
    assert len(task.skipped) == 1 and f"{path}: skipped 1 of 6 rows: row 3: " in task.skipped[0] and said in task.skipped[0]
    refused("1 of 6 rows cannot be used: row 3: ", test=path, level_key="level", bad_rows="refuse")


def test_three_bad_rows_are_named_and_all_are_counted(tmp_path):
    path = lines(tmp_path / "p.jsonl", [{"prompt": f"p{i}", "answer": "1" if i % 2 else None} for i in range(10)])
    (line,) = File(test=path).skipped
    assert "skipped 5 of 10 rows" in line and [f"row {i}:" in line for i in (1, 3, 5, 7)] == [True, True, True, False]
    path = tmp_path / "cut.jsonl"
    path.write_text('{"prompt": "p", "answer": "1"}\n{"prompt": "q", "ans')
    assert "row 2: not JSON" in File(test=str(path)).skipped[0]
    (tmp_path / "p.csv").write_text("prompt,answer\np,1\nq\nr,,3\ns,\n")
    (line,) = File(test=str(tmp_path / "p.csv")).skipped
    assert "skipped 3 of 4 rows: row 2 (line 3): found 1 fields, the header has 2; row 3 (line 4): found 3 fields" in line
    refused("none of its 1 rows can be used", test=lines(tmp_path / "none.jsonl", [{"prompt": "p", "answer": None}]))


CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": 'Say "1\n2".'}]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_messages_as_prompt_and_an_answer_in_a_struct(tmp_path, kind):
    path = tmp_path / f"v.{kind}"
    rows = [{"prompt": CHAT, "reward_model": {"style": "rule", "ground_truth": "12"}, "data_source": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), path) if kind == "parquet" else lines(path, rows)
    task = File(test=str(path), answer_key="reward_model.ground_truth", template="Q: {prompt} A:")
    (problem,) = task.all("test")
    assert problem.answer == "12" and messages_of(problem.prompt) == CHAT
    assert messages_of(task.prompt(problem)) == [CHAT[0], {"role": "user", "content": 'Q: Say "1\n2". A:'}]
    refused("no field 'truth' (it has style, ground_truth)", test=str(path), answer_key="reward_model.truth")
    refused("no column 'reward.x'", test=str(path), answer_key="reward.x")


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([], "do not end with a message of the user"),
        ([*CHAT, {"role": "assistant", "content": "1"}], "do not end with a message of the user"),
        ([{"from": "human", "value": "x"}], 'message 1 of the prompt is not {"role": ..., "content": TEXT}'),
        ([{"role": "human", "content": "x"}], "with a role of system"),
        ([{"role": "user", "content": [{"type": "image"}]}], "message 1 of the prompt has a part of type image; expected text"),
        ([{"role": "user", "content": ["x"]}], "message 1 of the prompt has content that is no text"),
        ([{"role": "user", "content": None}], "message 1 of the prompt has content that is no text"),
        ([{"role": "user", "content": "x", "tool_calls": [1]}], "message 1 of the prompt has tool_calls"),
        (["a", "b"], "message 1 of the prompt is not"),
        ({"text": "x"}, "found a struct with the fields text"),
        ("[{'role': 'user', 'content': 'x'}\n {'role': 'user', 'content': 'y'}]", "a form that cannot be read"),
        (
            "array([{'role': 'user', 'content': 'x'}], dtype=object)",
            "a form that cannot be read; store it as JSON or as a list",
        ),
        ("[{'role': 'user', 'content': open('x')}]", "a form that cannot be read"),
        ('[{"from": "human", "value": "x"}]', 'message 1 of the prompt is not {"role": ..., "content": TEXT}'),
        ('[{"role": "user", "content": "\\ud83d"}]', "half of a surrogate pair (\\ud83d), which is no character"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(tmp_path, prompt, said):
    refused(said, test=lines(tmp_path / "p.jsonl", [{"prompt": prompt, "answer": "1"}]))


def test_a_task_that_needs_text_refuses_messages(tmp_path):
    row = {"text": CHAT, "test_list": ["assert f(1) == 1"]}
    with pytest.raises(UserError, match="text is a list of messages; this task needs text"):
        Mbpp(test=lines(tmp_path / "p.jsonl", [row]))


def test_several_files_patterns_and_compression(tmp_path):
    names = [lines(tmp_path / f"part{i}.jsonl", ROWS[50 * i : 50 * i + 50]) for i in range(4)]
    whole = lines(tmp_path / "whole.jsonl", ROWS)
    with pa.output_stream(tmp_path / "z.jsonl.zst", compression="zstd") as file:
        file.write(Path(whole).read_bytes())
    told = File(train=whole).all("train")
    for train in (
        names,
        str(tmp_path / "part*.jsonl"),
        [names[0], str(tmp_path / "part[123].jsonl")],
        str(tmp_path / "z.jsonl.zst"),
    ):
        assert File(train=train).all("train") == told
    refused("task.train: no file matches none*.jsonl", train="none*.jsonl")
    refused("task.train: found 7, expected the name of a file", train=7)
    refused("part2.jsonl: row 1 is also row 1 of", train=names, test=names[2])


def test_a_folder_of_save_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk(tmp_path / "one")
    assert File(train=str(tmp_path / "one")).all("train") == File(train=lines(tmp_path / "a.jsonl", ROWS)).all("train")
    two = datasets.DatasetDict({"train": table.select(range(100)), "test": table.select(range(100, 200))})
    two.save_to_disk(tmp_path / "two")
    task = File(train=str(tmp_path / "two"), test=str(tmp_path / "two"))
    assert {problem.prompt for problem in task.all("test")} == {row["prompt"] for row in ROWS[100:]}
    refused("no split 'validation' (found: train, test)", test=str(tmp_path / "two"), validation=str(tmp_path / "two"))
    refused("a folder that save_to_disk did not make", train=str(tmp_path))


def test_a_data_set_by_name(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name, config, split):
        asked.append((name, config, split))
        return datasets.Dataset.from_list(ROWS[:100] if split == "train" else ROWS[100:])

    monkeypatch.setattr(datasets, "load_dataset", load)
    task = File(dataset="openai/gsm8k", config="main", train="train", test="test")
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    assert [len(task.all(split)) for split in ("train", "test")] == [100, 100]
    refused("task.train=SPLIT", dataset="openai/gsm8k")

    def fail(*_, **__):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    refused("task.dataset=x/y, split train: ConnectionError: no network", dataset="x/y", train="train")


def test_the_fingerprint_names_the_file_whose_problems_changed(tmp_path):
    names = {"train": lines(tmp_path / "a.jsonl", ROWS[:100]), "test": lines(tmp_path / "b.jsonl", ROWS[100:])}
    before = File(**names).fingerprint()
    assert list(before) == list(names.values()) and File(**names).fingerprint() == before
    lines(tmp_path / "b.jsonl", [*ROWS[100:199], ROWS[199] | {"answer": "7"}])
    after = File(**names).fingerprint()
    assert [name for name in before if before[name] != after[name]] == [names["test"]]
