import argparse
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli import parser
from cluster.engine import Generate
from cluster.folder.layout import TRACE, filter_key, unit_key
from cluster.remote import RemotePolicy
from cluster.searcher import Unit, table
from cluster.verbs import traces
from cluster.verbs.traces import Wanted, export
from iteration import tiny
from iteration.errors import UserError
from iteration.tasks.expressions import VOCABULARY
from iteration.types import Expand, History, Problem, State, Tree, Verdict
from tests.cluster.folder.folders import TEST, TRAIN, plan, search, young
from tests.worlds import step


@pytest.fixture
def book(tmp_path):
    """Twelve answers of round 1, the first is kept; two held-out ones; a unit that was set aside."""
    book = young(tmp_path / "run")
    plan(book, TRAIN, 1)
    states = (State.CORRECT, State.WRONG, State.UNPARSEABLE)
    ids = [name for unit in (0, 1) for name in search(book, TRAIN, 1, unit, states)]
    reasons = ["" if name == ids[0] else "correct: wrong" for name in ids]
    book.store.put_table(filter_key(1), pa.table({"id": ids, "reason": reasons}))
    plan(book, TEST, 0)
    search(book, TEST, 0, 0, (State.CORRECT,))
    book.store.set_aside(unit_key(0, "test", 1), TRACE, "it kills")
    return book


def ids(book, tmp_path, **wanted) -> list[str]:
    export(book, Wanted(**wanted), tmp_path / "out.parquet")
    return pq.read_table(tmp_path / "out.parquet")["id"].to_pylist()


def test_answers_are_chosen_by_state_problem_round_arm_and_what_was_kept(book, tmp_path):
    assert len(ids(book, tmp_path)) == 12
    assert ids(book, tmp_path, kept=True) == ["r00001/train/u00000/t000/n0001"]
    assert len(ids(book, tmp_path, state="wrong")) == 4
    assert len(ids(book, tmp_path, problem="p1")) == 3 and len(ids(book, tmp_path, problem="3?")) == 3
    assert len(ids(book, tmp_path, arm="test")) == 2 and len(ids(book, tmp_path, round=1)) == 12
    with pytest.raises(UserError, match=r"no train answers of round 2 \(there are: \[1\]\)"):
        ids(book, tmp_path, round=2)
    with pytest.raises(UserError, match="no answers of 'beam'"):
        ids(book, tmp_path, arm="beam")
    with pytest.raises(UserError, match="found the ending '.csv'"):
        export(book, Wanted(), tmp_path / "out.csv")


def test_an_export_holds_messages_and_whether_an_answer_was_kept(book, tmp_path):
    export(book, Wanted(), tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0]["messages"] == [{"role": "user", "content": "0?"}, {"role": "assistant", "content": "0 answer"}]
    assert [row["kept"] for row in rows[:3]] == [True, False, False] and rows[0]["model"] == "m00000"
    export(book, Wanted(arm="test"), tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["kept"] for row in rows] == [None, None], "held-out answers are not decided on"


def test_pages(book, capsys):
    assert parser(["traces"]).parse_args(["traces", "RUN", "--split", "test"]).arm == "test", "its older name"
    every = {"problem": "", "state": None, "kept": False, "round": None, "arm": "train", "to": ""}
    assert traces.act(argparse.Namespace(run=book.store.place, page=1, **every)) == 0
    said = capsys.readouterr().out
    assert said.count("r00001/train/") == 10 and "n0001, kept" in said
    assert said.endswith(f"next page: ./launch.sh traces {book.store.place} --page 2\n")
    assert traces.act(argparse.Namespace(run=book.store.place, page=2, **every)) == 0
    said = capsys.readouterr().out
    assert said.count("r00001/train/") == 2 and "12 answers fit" in said
    assert traces.act(argparse.Namespace(run=book.store.place, page=3, **every)) == 0
    assert "no more answers fit" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--kept", "--state", "wrong", "--round", "2", "--arm", "test"], ["--problem", "a b"]])
def test_the_next_page_is_of_the_same_answers(words):
    known = parser(["traces"]).parse_args(["traces", "RUN", *words])
    wanted = Wanted(known.problem, known.state or "", known.kept, known.round, known.arm)
    again = parser(["traces"]).parse_args(["traces", "RUN", *wanted.words()])
    assert vars(again) == vars(known)


def test_messages_of_a_prompt_are_exported_as_messages():
    chat = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1?"}]
    assert traces.asked(json.dumps({"messages": chat})) == chat
    assert traces.asked("1?") == [{"role": "user", "content": "1?"}]


@pytest.fixture
def chat(tmp_path):
    """(a run whose model has a chat template, that model's folder): two answers to each problem."""
    from transformers import AutoTokenizer

    tiny.build(tmp_path / "model", VOCABULARY, tiny.Shape(32, 1, 1, 1, 32, 32), 0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '( ' if m['role'] == 'user' else '' }}{{ m['content'] }}"
        "{{ ' )' if m['role'] == 'user' else '<eos>' }}{% endfor %}{{ '\\n' if add_generation_prompt else '' }}"
    )
    tokenizer.save_pretrained(tmp_path / "model")
    problems = [Problem(f"p{i}", f"{i} + 5", str(i + 5)) for i in range(4)]
    policy = RemotePolicy(tokenizer, {problem.id: problem.prompt for problem in problems}, Generate(), None)
    book, trees = young(tmp_path / "run"), []
    plan(book, TRAIN, 1, problems, size=4)
    for problem in problems:
        trees.append(Tree.root(problem, policy.show(problem), 0))
        answers = [step(text, model="m00000") for text in ("5 + 5", problem.answer)]
        for node in trees[-1].grow([Expand(0, 2, True)], [answers]):
            node.verdict = Verdict(State.CORRECT, problem.answer, 1.0)
    unit = Unit(TRAIN, 1, 0, problems, [problem.prompt for problem in problems], "m00000", [History()] * 4)
    book.store.put_table(unit.key, table(unit, trees))
    return book, tmp_path / "model"


def test_a_prompt_is_written_as_the_model_was_shown_it(chat, tmp_path):
    book, _ = chat
    export(book, Wanted(), tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[3])
    assert (row["prompt"], row["completion"]) == ("( 1 + 5 )\n", "6")
    assert row["messages"] == [{"role": "user", "content": "1 + 5"}, {"role": "assistant", "content": "6"}]


@pytest.mark.parametrize("columns", [["messages"], ["prompt", "completion"], []])
def test_trl_trains_on_an_export(chat, tmp_path, columns):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    from transformers import AutoTokenizer

    book, model = chat
    export(book, Wanted(), tmp_path / "out.jsonl")
    data = datasets.Dataset.from_json(str(tmp_path / "out.jsonl"), cache_dir=str(tmp_path / "cache"))
    data = data.select_columns(columns) if columns else data  # the file as it is
    options = trl.SFTConfig(str(tmp_path / "sft"), max_steps=1, use_cpu=True, bf16=False, report_to="none", save_strategy="no")
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = trl.SFTTrainer(str(model), options, train_dataset=data, processing_class=tokenizer)
    assert 0 < trainer.train().training_loss < 10 and trainer.state.global_step == 1
    seen = trainer.train_dataset[3]["input_ids"]
    shown = "( 1 + 5 )6<eos>" if columns == ["messages"] else "( 1 + 5 )\n6<eos>"
    assert seen == tokenizer(shown, add_special_tokens=False).input_ids
