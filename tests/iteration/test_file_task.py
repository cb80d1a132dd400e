import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iteration.errors import UserError
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
    assert len(task.all()) == 200
    with pytest.raises(UserError, match="task.validation is missing"):
        File(train=lines(tmp_path / "x.jsonl", ROWS)).draw("validation", 0, 1, np.random.default_rng(0))
    only_test = File(test=lines(tmp_path / "y.jsonl", ROWS))
    with pytest.raises(UserError, match="task.train is missing"):
        only_test.levels()


def test_csv_and_names(tmp_path):
    (tmp_path / "p.csv").write_text('name,question,answer,level\nq1,"1 + 1,\nor so?",2,Level 3\nq2,2 + 2?,4,Level 1\n')
    task = File(test=str(tmp_path / "p.csv"), prompt_key="question", id_key="name", level_key="level")
    assert [(p.prompt, p.answer, p.level) for p in task.all()] == [("1 + 1,\nor so?", "2", 3), ("2 + 2?", "4", 1)]
    assert task.names["q2"].prompt == "2 + 2?"


def test_forms(tmp_path):
    gsm = Gsm8k(test=lines(tmp_path / "g.jsonl", [{"question": "How many?", "answer": "2 and 3\n#### 5"}]))
    assert gsm.all()[0].answer.endswith("#### 5") and "####" in gsm.prompt(gsm.all()[0])
    math = Math(test=lines(tmp_path / "m.jsonl", [{"problem": "x?", "solution": "so \\boxed{5}", "level": "Level 4"}]))
    assert math.all()[0].level == 4 and "\\boxed" in math.prompt(math.all()[0])
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
        ({"train": str(tmp_path / "bad.jsonl")}, "bad.jsonl: neither JSONL, Parquet nor CSV"),
        ({"train": good, "prompt_key": "promt"}, "no column 'promt'; did you mean 'prompt'? (found: prompt, answer, hard)"),
        ({"train": good, "template": "no place"}, "task.template"),
        ({"train": lines(tmp_path / "n.jsonl", [*ROWS, {"prompt": None, "answer": "1"}])}, "row 201 has no value"),
    ]:
        with pytest.raises(UserError) as error:
            File(**options)
        assert said in str(error.value) and "\n" not in str(error.value)
