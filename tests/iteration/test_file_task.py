import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iteration.config import UserError
from iteration.tasks.file import File


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


def test_a_problem_in_both_files_is_not_trained_on(tmp_path):
    task = File(train=lines(tmp_path / "a.jsonl", ROWS), test=lines(tmp_path / "b.jsonl", ROWS[:50]))
    trained = {p.prompt for p in task.draw("train", 0, 1000, np.random.default_rng(0))}
    assert len(trained) == 150 and not trained & {row["prompt"] for row in ROWS[:50]}


def test_mistakes_are_one_line_that_names_the_file(tmp_path):
    good = lines(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "bad.jsonl").write_text("{not json")
    for options, said in [
        ({}, "task.train is missing"),
        ({"train": "none.jsonl"}, "there is no file none.jsonl"),
        ({"train": str(tmp_path / "bad.jsonl")}, "bad.jsonl: neither JSONL nor Parquet"),
        ({"train": good, "prompt_key": "promt"}, "no column 'promt'; did you mean 'prompt'? (found: prompt, answer, hard)"),
        ({"train": good, "template": "no place"}, "task.template"),
        ({"train": lines(tmp_path / "n.jsonl", [*ROWS, {"prompt": None, "answer": "1"}])}, "row 201 has no value"),
    ]:
        with pytest.raises(UserError) as error:
            File(**options)
        assert said in str(error.value) and "\n" not in str(error.value)
