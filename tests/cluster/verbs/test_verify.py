"""`flywheel verify`, as a person types it."""

import json

import pytest

from cluster.cli import main
from iteration.errors import UserError
from iteration.parts import VERIFY, Part

ROWS = [
    {"expected": "\\frac{1}{2}", "answer": "So it is 0.5."},
    {"expected": "72", "answer": "Natalia sold [bold]71[/bold] clips."},
    {"expected": "72", "answer": "I do not know"},
    {"expected": "x^2+1", "answer": "\\boxed{1+x^2}"},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return str(path)


def test_a_table_of_verdicts(file, capsys):
    assert main(["verify", "math", file]) == 0
    said = capsys.readouterr().out
    assert "4 answers: 2 correct, 1 wrong, 1 unparseable, 0 failed; 50.0% of those graded are correct" in said
    assert "[bold]71[/bold]" in said and "71, not 72" in said and "verdicts a second" in said
    assert said.index("row 2") < said.index("row 1"), "what is not correct stands first"
    assert main(["verify", "math", file, "read=boxed", "--rows", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 of 4 rows" in said and "3 unparseable" in said


def test_a_config_and_the_names_of_its_problems(tmp_path, capsys):
    problems = tmp_path / "problems.jsonl"
    problems.write_text("\n".join(json.dumps({"name": f"q{i}", "prompt": f"{i} + 1?", "answer": i + 1}) for i in range(20)))
    config = tmp_path / "c.yaml"
    config.write_text(f"task: {{name: file, test: {problems}, id_key: name}}\nverify: {{name: exact}}\n")
    answers = tmp_path / "answers.csv"
    answers.write_text("id,completion\nq3,it is 4\nq5,it is 4\n")
    assert main(["verify", str(config), str(answers)]) == 0
    assert "2 answers: 1 correct, 1 wrong" in capsys.readouterr().out
    answers.write_text("id,completion\nq3,it is 4\nq99,it is 4\n")
    assert main(["verify", str(config), str(answers)]) == 2
    assert "row 2 (line 3) has id 'q99', which names no problem of the task" in capsys.readouterr().err


def test_the_command_line_goes_before_the_config(tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}", "answer": f"{i}"}) + "\n" for i in range(40)))
    config = tmp_path / "c.yaml"
    config.write_text(
        f"task: {{name: file, train: {tmp_path / 'p.jsonl'}}}\nverify: {{name: code}}\nsandbox: {{name: rlimits}}\n"
    )
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "3", "answer": "3"}) + "\n")
    assert main(["verify", str(config), str(tmp_path / "a.jsonl"), "sandbox=none"]) == 2
    assert "expected bubblewrap or rlimits" in capsys.readouterr().err


def test_a_config_may_name_a_part_in_short_and_the_command_line_another(tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}", "answer": f"{i}"}) + "\n" for i in range(40)))
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "3", "answer": "3"}) + "\n")
    short, long = tmp_path / "short.yaml", tmp_path / "long.yaml"
    short.write_text(f"task: {{name: file, train: {tmp_path / 'p.jsonl'}}}\nverify: exact\nsandbox: rlimits\n")
    long.write_text(f"task: {{name: file, train: {tmp_path / 'p.jsonl'}}}\nverify: {{name: code, seconds: 1}}\n")
    assert main(["verify", str(short), str(tmp_path / "a.jsonl")]) == 0
    assert main(["verify", str(long), str(tmp_path / "a.jsonl"), "verify=exact"]) == 0, "code's seconds are not exact's"
    assert capsys.readouterr().out.count("1 answers: 1 correct") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "maths", "FILE"], "there is no 'maths'; did you mean 'math'?"),
        (["verify", "math", "none.jsonl"], "there is no file none.jsonl"),
        (["verify", "math", "FILE", "reed=boxed"], "unknown key 'reed'; did you mean 'read'?"),
        (["verify", "math", "FILE", "read=best"], "expected auto, boxed or last"),
        (["verify", "math", "FILE", "boxed"], "found 'boxed', expected KEY=VALUE"),
        (["verify", "code", "FILE", "sandbox=none"], "expected bubblewrap or rlimits"),
        (["verify", "code", "FILE", "sandbox.memory_mb=0"], "sandbox: memory_mb is 0; expected at least 64"),
        (["verify", "code", "FILE", "sandbox.processes=-1"], "sandbox: processes is -1; expected at least 2"),
        (["verify", "code", "FILE", "sandbox.files_mb=0"], "sandbox: files_mb is 0; expected at least 1"),
        (["verify", "code", "FILE", "seconds=0"], "verify: seconds is 0.0; expected more than 0"),
        (["verify", "code", "FILE", "tolerance=-1"], "verify: tolerance is -1.0; expected 0 or more"),
        (["verify", "code", "FILE", "sandbox.memory=1"], "unknown key 'memory'; did you mean 'memory_mb'?"),
    ],
)
def test_mistakes_are_one_line(file, capsys, words, said):
    assert main([file if word == "FILE" else word for word in words]) == 2
    found = capsys.readouterr().err
    assert said in found and found.count("\n") == 1


def test_a_file_on_the_command_line_is_the_only_one_that_is_read(tmp_path, capsys):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"prompt": f"p{i}", "answer": i}) + "\n" for i in range(3)))
    config = tmp_path / "c.yaml"
    config.write_text("task: {name: file, train: not-there.jsonl, test: nor-this.jsonl}\nverify: {name: exact}\n")
    answers = tmp_path / "a.jsonl"
    answers.write_text('{"prompt": "p0", "answer": 0}\n{"prompt": "p2", "answer": 1}\n')
    test = f"task.test={tmp_path / 't.jsonl'}"
    for words in ([test], [test, "task.train="]):
        assert main(["verify", str(config), str(answers), *words]) == 0
        assert "2 answers: 1 correct, 1 wrong" in capsys.readouterr().out, "0 is an answer"
    assert main(["verify", str(config), str(answers)]) == 2
    assert "there is no file not-there.jsonl" in capsys.readouterr().err


def test_a_file_of_one_row_is_enough(tmp_path, capsys):
    """Nothing is trained on, so nothing is held out."""
    config, row, answers = (tmp_path / name for name in ("c.yaml", "t.jsonl", "a.jsonl"))
    config.write_text("task: {name: mbpp, train: none.jsonl, id_key: task_id}\nverify: {name: code}\nsandbox: rlimits\n")
    row.write_text(json.dumps({"task_id": 1, "text": "Square.", "test_list": "assert f(2) == 4", "code": ""}))
    answers.write_text(json.dumps({"task_id": "1", "completion": "def f(x): return x * x"}))
    assert main(["verify", str(config), str(answers), f"task.train={row}"]) == 0
    assert "1 answers: 1 correct" in capsys.readouterr().out
    row.write_text(json.dumps({"task_id": 1, "text": "Square.", "test_list": "no test", "code": ""}))
    assert main(["verify", str(config), str(answers), f"task.train={row}"]) == 2
    err = capsys.readouterr().err
    assert f"{row}: none of its 1 rows can be used: row 1: test_list is no list" in err and err.count("\n") == 1


def test_a_wrong_option_of_the_audit_is_named_there(tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "3", "answer": "3"}) + "\n")
    config = tmp_path / "c.yaml"
    config.write_text(
        f"task: {{name: file, train: {tmp_path / 'p.jsonl'}}}\nverify: exact\naudit: {{name: code, seconds: -1}}\n"
    )
    assert main(["verify", str(config), str(tmp_path / "p.jsonl")]) == 2
    err = capsys.readouterr().err
    assert "audit: seconds is -1.0; expected more than 0" in err and "verify" not in err
    with pytest.raises(UserError, match=r"^audit\.seconds is -1"):
        Part(VERIFY, "code", {"seconds": -1}).make("audit")


def test_a_row_of_answers_that_cannot_be_read_is_one_line(tmp_path, capsys):
    for text, said in [
        ('{"answer": "1", "expected": "1"}\n{"answ', "row 2: not JSON"),
        ('{"answer": {"a": 1}, "expected": "1"}\n', "row 1: column answer: found a struct"),
    ]:
        (tmp_path / "a.jsonl").write_text(text)
        assert main(["verify", "exact", str(tmp_path / "a.jsonl")]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_a_prompt_is_read_as_a_task_reads_it(tmp_path, capsys):
    """Messages that a program wrote as text are messages, and what is not UTF-8 is refused."""
    asked = json.dumps([{"role": "user", "content": "1 + 1?"}])
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": asked, "answer": "2"}) + "\n")
    config, answers = tmp_path / "c.yaml", tmp_path / "a.jsonl"
    config.write_text(f"task: {{name: file, test: {tmp_path / 'p.jsonl'}}}\nverify: {{name: exact}}\n")
    answers.write_text(json.dumps({"prompt": asked, "answer": "2"}) + "\n")
    assert main(["verify", str(config), str(answers)]) == 0
    assert "1 answers: 1 correct" in capsys.readouterr().out
    answers.write_bytes(b'{"expected": "2", "answer": "caf\xe9"}\n')
    assert main(["verify", "exact", str(answers)]) == 2
    assert "row 1: column 'answer': byte 0xe9 is not UTF-8" in capsys.readouterr().err
