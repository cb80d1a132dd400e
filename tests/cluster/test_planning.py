"""Which problems a plan holds when files change or prompts are too long, on a store without actors."""

import dataclasses
import json

import pytest

from cluster.config import load
from cluster.folder.book import problem_of
from cluster.folder.forks import fork
from cluster.remote import encode
from cluster.run import Run
from cluster.view import View
from iteration import tiny
from iteration.errors import UserError
from iteration.tasks.expressions import VOCABULARY

OPTIONS = ["task.name=file", "verify.name=exact", "problems=200", "unit=8", "measure.levels=[0]", "measure.samples=1"]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


class Lines(View):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, line):
        self.said.append(line)


def rows(names, **more) -> list[dict]:
    return [{"prompt": name if isinstance(name, list) else f"{name} + 1 =", "answer": "1"} | more for name in names]


def write(path, found) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def start(folder, *options) -> Run:
    """A run in `folder` with its first model, checked as each life of a run checks it."""
    run = Run(load("configs/quickstart.yaml", [f"run.dir={folder / 'run'}", *OPTIONS, *options]), view=Lines())
    if not run.store.has("models/m00000", ""):
        tiny.build(run.store.root / "models" / "m00000", VOCABULARY, tiny.Shape(hidden_size=32, layers=1), 0)
    return run


def begin(run) -> None:
    run.planning.check()
    run.planning.held_out(run.test)


def prompts(run, plan: str) -> set[str]:
    return set(run.store.table(f"plans/{plan}", ["prompt"])["prompt"].to_pylist())


@pytest.mark.parametrize("measured", [7, 3])
def test_held_out_problems_that_moved_into_the_training_file_are_not_trained_on(tmp_path, measured):
    """Neither those that a measurement asks nor the others of the test file."""
    held, kept = rows(range(7)), rows(range(100, 120))
    train, test = write(tmp_path / "train.jsonl", kept), write(tmp_path / "test.jsonl", held)
    options = [f"task.train={train}", f"task.test={test}", f"measure.problems={measured}"]
    first = start(tmp_path, *options)
    begin(first)
    assert first.view.said == []
    write(tmp_path / "train.jsonl", kept + held), write(tmp_path / "test.jsonl", rows(range(50, 57)))
    second = start(tmp_path, *options)
    begin(second)
    assert [line.split(" since")[0] for line in second.view.said] == [
        f"WARNING: {test} has changed",
        f"WARNING: {train} has changed",
    ]
    second.planning.round(1)
    assert prompts(second, "r00001/train") == {row["prompt"] for row in kept}


def test_a_held_out_problem_is_known_by_its_prompt_too(tmp_path):
    held, kept = rows(range(7)), rows(range(100, 120))
    train, test = write(tmp_path / "train.jsonl", kept), write(tmp_path / "test.jsonl", held)
    run = start(tmp_path, f"task.train={train}", f"task.test={test}")
    run.planning.held_out(run.test)  # a run of an older version has no record of its files
    write(tmp_path / "train.jsonl", kept + held), write(tmp_path / "test.jsonl", rows(range(50, 57)))
    again = start(tmp_path, f"task.train={train}", f"task.test={test}")
    again.planning.round(1)
    assert prompts(again, "r00001/train") == {row["prompt"] for row in kept}


def test_the_same_files_are_nothing_to_say_and_rows_may_be_added(tmp_path):
    train = write(tmp_path / "train.jsonl", rows(range(100)))
    first = start(tmp_path, f"task.train={train}")
    begin(first)
    same = start(tmp_path, f"task.train={train}")
    begin(same)
    assert same.view.said == []
    write(tmp_path / "train.jsonl", rows(range(150)))
    more = start(tmp_path, f"task.train={train}")
    begin(more)
    assert len(more.view.said) == 1
    more.planning.round(1)
    trained, held = prompts(more, "r00001/train"), prompts(more, "r00000/test")
    assert not trained & held and any(f"{i} + 1 =" in trained for i in range(100, 150))


def test_a_prompt_that_is_too_long_is_found_at_the_start(tmp_path):
    long = [{"prompt": "1 + " * 60 + f"{i} =", "answer": "1"} for i in range(5)]
    train = write(tmp_path / "train.jsonl", rows(range(100, 120)) + long)
    test = write(tmp_path / "test.jsonl", rows(range(7)) + [{"prompt": "2 + " * 60, "answer": "1"}])
    options = [f"task.train={train}", f"task.test={test}", "generate.context=64"]
    run = start(tmp_path, *options)
    begin(run)
    (line,) = run.view.said
    assert line.startswith("WARNING: skipped 6 problems (p-") and line.count("p-") == 3 and "generate.context is 64" in line
    run.planning.round(1)
    assert prompts(run, "r00001/train") == {row["prompt"] for row in rows(range(100, 120))}
    assert len(prompts(run, "r00000/test")) == 7
    with pytest.raises(UserError, match=r"6 problems .* or task.bad_rows=skip"):
        start(tmp_path, *options, "task.bad_rows=refuse").planning.check()


def test_as_many_problems_as_asked_for_come_beside_those_that_are_left_out(tmp_path):
    long = [{"prompt": "1 + " * 60 + f"{i} =", "answer": "1"} for i in range(50)]
    train, test = write(tmp_path / "train.jsonl", rows(range(50)) + long), write(tmp_path / "test.jsonl", rows(range(90, 95)))
    run = start(tmp_path, f"task.train={train}", f"task.test={test}", "generate.context=64", "problems=40")
    begin(run)
    run.planning.round(1)
    assert len(prompts(run, "r00001/train")) == 40


def test_bad_rows_are_said_when_the_run_starts(tmp_path):
    train = write(tmp_path / "train.jsonl", rows(range(30)) + rows(["x"], answer=None))
    assert start(tmp_path, f"task.train={train}").view.said == [
        f"WARNING: {train}: skipped 1 of 31 rows: row 31: it has no value for answer"
    ]


CHAT = [{"role": "system", "content": "1"}, {"role": "user", "content": "2"}, {"role": "assistant", "content": "3"}]
CHAT += [{"role": "user", "content": "4 + 1 ="}]


def test_messages_go_through_the_chat_template_and_need_one(tmp_path):
    train = write(tmp_path / "train.jsonl", rows([[*CHAT, {"role": "user", "content": str(i)}] for i in range(30)]))
    run = start(tmp_path, f"task.train={train}")
    with pytest.raises(UserError, match="the model's tokenizer has no chat template") as error:
        run.planning.check()
    assert "\n" not in str(error.value)
    tokenizer = run.planning.tokenizer
    tokenizer.chat_template = TEMPLATE
    run.planning.check()
    run.planning.held_out(run.test)
    shown = run.store.table("plans/r00000/test", ["shown"])["shown"][0].as_py()
    last = json.loads(shown)["messages"][-1]["content"]
    text = f"system: 1\nuser: 2\nassistant: 3\nuser: 4 + 1 =\nuser: {last}\n"
    assert encode(tokenizer, shown).tolist() == tokenizer(text, add_special_tokens=False).input_ids
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(
        UserError, match=r"does not take the messages of a prompt \(system, user, .*: System role not supported"
    ):
        encode(tokenizer, shown)


def test_relative_paths_of_actors_are_absolute_on_another_cluster(tmp_path, monkeypatch):
    config = load("configs/quickstart.yaml", ["run.dir=runs/x", "model.path=own", "placement.dashboard=false"])
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    here, there = Run(config), Run(config, "auto")
    assert (here.options.model.path, there.options.model.path) == ("own", str(tmp_path / "own"))
    assert there.config.model.path == "own", "what is recorded is what was typed"
    with pytest.raises(UserError, match=r"model.path: there is no \./none in this folder"):
        Run(load("", [f"{key}={value}" for key, value in NEEDED.items()] + ["model.path=./none"]), "auto")


NEEDED = {"name": "x", "task": "expressions", "search": "sample", "verify": "exact"}


def test_a_fork_keeps_what_was_held_out(tmp_path):
    held, kept = rows(range(7)), rows(range(100, 120))
    train, test = write(tmp_path / "train.jsonl", kept), write(tmp_path / "test.jsonl", held)
    options = [f"task.train={train}", f"task.test={test}", "measure.problems=3"]
    first = start(tmp_path, *options)
    begin(first)
    first.store.put_json("rounds/r00000", {})
    write(tmp_path / "train.jsonl", kept + held), write(tmp_path / "test.jsonl", rows(range(50, 57)))
    other = start(tmp_path / "fork", *options)
    fork(other.store, f"{first.store.root}@0")
    begin(other)
    other.planning.round(1)
    assert prompts(other, "r00001/train") == {row["prompt"] for row in kept}


def test_a_multiple_choice_question_is_too_long_with_its_options(tmp_path):
    keys = {"Question": "{} + 1 =", "Correct Answer": "1", **{f"Incorrect Answer {i}": f"{i + 1}" for i in (1, 2, 3)}}
    found = [{key: text.format(i) for key, text in keys.items()} for i in range(40)]
    found[3]["Incorrect Answer 2"] = "1 + " * 200
    train, test = write(tmp_path / "train.jsonl", found[:20]), write(tmp_path / "test.jsonl", found[20:])
    options = ["task.name=choice", "verify.name=choice", f"task.train={train}", f"task.test={test}", "generate.context=200"]
    run = start(tmp_path, *options)
    begin(run)
    assert len(run.view.said) == 1 and "WARNING: skipped problem p-" in run.view.said[0]
    run.planning.round(1)
    assert run.store.table("plans/r00001/train").num_rows == 19


def test_fresh_held_out_problems_are_none_that_were_trained_on(tmp_path):
    train, test = write(tmp_path / "train.jsonl", rows(range(100, 120))), write(tmp_path / "test.jsonl", rows(range(7)))
    options = [f"task.train={train}", f"task.test={test}", "measure.problems=3"]
    first = start(tmp_path, *options)
    begin(first)
    first.planning.round(1)
    write(tmp_path / "train.jsonl", rows(range(100, 110))), write(tmp_path / "test.jsonl", rows([*range(7), *range(110, 120)]))
    second = start(tmp_path, *options)
    begin(second)
    second.planning.fresh(dataclasses.replace(second.test, plan="compare"), [0], 20, second.test)
    found = prompts(second, "r00000/compare")
    assert len(found) == 4 and found | prompts(second, "r00000/test") == {row["prompt"] for row in rows(range(7))}


def test_a_plan_keeps_which_problems_are_variants_of_one_question(tmp_path):
    choice = [
        {"Question": f"{i}?", "Correct Answer": "a"} | {f"Incorrect Answer {n}": f"b{n}" for n in (1, 2, 3)} for i in range(4)
    ]
    options = ["task.name=choice", "task.orders=3", "verify.name=choice", f"task.test={write(tmp_path / 'c.jsonl', choice)}"]
    run = start(tmp_path, *options, "rounds=0", "measure.problems=12", "generate.context=256", "train.row_tokens=256")
    begin(run)
    held_out = run.book.problems(run.test, 0).values()
    assert len(held_out) == 12 and len({problem.counted for problem in held_out}) == 4
    assert {problem.id for problem in held_out} == {
        f"{question}/{i}" for question in {p.question for p in held_out} for i in range(3)
    }


def test_variants_of_an_older_plan_are_known_by_their_ids():
    def counted(name: str) -> str:
        return problem_of({"id": name, "prompt": "", "answer": "", "level": 0}).counted

    assert counted("algebra/17") == "algebra/17" and counted("a/b/1") == "a/b/1", "other ids are taken whole"
    assert counted("p-0123456789abcdef/3") == counted("p-0123456789abcdef/12") == "p-0123456789abcdef"
