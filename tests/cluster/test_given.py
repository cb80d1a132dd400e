"""Answers made elsewhere, in whole runs of the real driver on scripted actors: a teacher's and a file's."""

import asyncio
import json
import shutil
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from cluster.config import check_unchanged, load
from cluster.engine import Generate
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.given import given_arms
from cluster.remote import RemotePolicy, adopt
from cluster.report.gather import elsewhere, gather
from cluster.report.page import page
from cluster.searcher import Partners, Searcher
from cluster.verbs import why
from cluster.verbs.regrade import regrade
from cluster.verbs.traces import Wanted, chosen
from cluster.verbs.verify import grader_of
from iteration.errors import UserError
from iteration.teacher import Begin, Given
from iteration.types import Problem, State, Tree, Verdict
from tests.cluster.test_loop import EVERY, OPTIONS, SKILL, Killed, Mortal, content, play  # noqa: F401
from tests.cluster.test_run import commit, with_model
from tests.endpoint import Endpoint, completion, error
from tests.scripted import first_model, tokenizer
from tests.worlds import unit

pytest.importorskip("openai")
RIGHT, WRONG = " ".join(map(str, range(20))), "+"  # the scripted verifier looks for the expected number


def replies(body, k):
    return 200, completion(RIGHT, WRONG)


@pytest.fixture
def endpoint():
    endpoint = Endpoint(replies)
    with endpoint.serving() as url:
        endpoint.url = url
        yield endpoint


def asking(endpoint) -> list[str]:
    return [f"begin.endpoint={endpoint.url}", "begin.model=big", "begin.n=2", "begin.retries=0", "rounds=1"]


def nodes(folder, arm, number=1) -> list[dict]:
    book = Book(Store(folder))
    return book.nodes(book.arm(arm), number).to_pylist()


def test_a_teacher_s_answers_are_units_of_round_1_that_say_whose_they_are(play, endpoint):  # noqa: F811
    folder, calls = play("run", *asking(endpoint))
    book = Book(Store(folder))
    assert [call for call in calls if call[0] in ("teacher", "search")] == [("teacher", 1, "big")] * 2 + [
        ("search", 1, "m00000")
    ] * 2
    planned = book.plan(book.train, 1)
    assert sorted(endpoint.prompts) == sorted(planned["shown"].to_pylist()), "each problem of the round is asked once"
    rows = nodes(folder, "teacher")
    assert {row["problem_id"] for row in rows} == set(planned["id"].to_pylist())
    answers = [row for row in rows if row["node"]]
    assert {(row["model_version"], row["origin"], row["logprobs"]) for row in answers} == {("big", endpoint.url, None)}
    assert [row["state"] for row in answers] == ["correct", "wrong"] * 4
    record = book.record(1)
    kept = [row["id"] for row in answers if book.reasons(book.arm("teacher"), 1)[row["id"]] == ""]
    assert kept == [row["id"] for row in answers if row["state"] == "correct"]
    assert set(kept) < set(book.manifest("m00001")), "round 1 is trained on them, and on the model's own"
    assert record["counts"]["pool"] == record["counts"]["kept"] + len(kept)
    assert record["solve_rate"] == dict.fromkeys(record["solve_rate"], SKILL[0]), "the model's own"
    assert book.finished() and endpoint.asked[0][0]["max_tokens"] == 96

    assert elsewhere(book) == [["big", "teacher", "8", "4", "0", "4"]]
    assert "answers made elsewhere" in page([gather(book.store, "run")], "report")
    story = why.story(book, kept[0])
    assert "model     big (21 tokens)" in story and f"origin    {endpoint.url}, made elsewhere" in story
    (*_, last) = (row for table in chosen(book, Wanted(arm="teacher", kept=True)) for row in table.to_pylist())
    assert (last["model"], last["origin"], last["state"]) == ("big", endpoint.url, "correct")


def test_a_run_with_a_teacher_that_is_killed_at_any_commit_is_resumed_to_the_same_files(play, endpoint):  # noqa: F811
    whole = content(play("whole", *asking(endpoint))[0])
    again, folder = [], None

    def remember(body, k):
        done = [row["text"] for path in folder.glob("traces/r00001/teacher/*") for row in pq.read_table(path).to_pylist()]
        again.extend(text for text in done if text == body["messages"][-1]["content"])
        return replies(body, k)

    first = len(endpoint.asked)
    endpoint.reply, folder, deaths = remember, play.folder / "killed", 0
    while True:
        Mortal.left = 1
        try:
            play("killed", *asking(endpoint), store=Mortal, trusted=True)
            break
        except Killed:
            deaths += 1
    assert content(folder) == whole and deaths > 12
    assert not again, "no unit that is committed is asked for again"
    assert len(endpoint.asked) > first + 4, "it was killed while the teacher answered"


def test_a_server_that_goes_down_loses_nothing_and_may_be_another_one_afterwards(play, endpoint):  # noqa: F811
    endpoint.reply = lambda body, k: replies(body, k) if k < 2 else (500, error("out of memory"))
    options = [*asking(endpoint), "begin.concurrency=1"]
    with pytest.raises(UserError, match=f"begin.endpoint={endpoint.url}: after 0 retries: out of memory"):
        play("run", *options)
    folder = play.folder / "run"
    assert [path.name for path in folder.glob("traces/r00001/*/*")] == ["u00000.parquet"]
    assert not [row for row in nodes(folder, "teacher") if row["state"] == "failed"], "nothing counts against anybody"
    assert Book(Store(folder)).left()[1] == "arm teacher has 1 of 2 units of round 1"
    other = Endpoint(replies)
    with other.serving() as url:
        config = load("configs/quickstart.yaml", [*OPTIONS, *options, f"run.dir={folder}", f"begin.endpoint={url}"])
        check_unchanged(Store(folder), config)
        with pytest.raises(UserError, match="begin.model is 'big' in this run"):
            check_unchanged(
                Store(folder), load("configs/quickstart.yaml", [*OPTIONS, *options, f"run.dir={folder}", "begin.model=b"])
            )
        endpoint.reply = replies
        play("run", *options)
    asked = [endpoint.prompts.count(prompt) for prompt in endpoint.prompts[:2]]
    assert asked == [1, 1] and len(nodes(folder, "teacher")) == 4 * 3, "what was committed is not asked for again"


def test_filters_see_them_before_the_round_s_own(tmp_path):
    run = with_model(tmp_path / "run", "begin.endpoint=http://x/v1", "begin.model=big", "problems=8")
    run.planning.round(1)
    assert [arm.name for arm in run.trained_on(1)] == ["teacher", "train"] and run.trained_on(2) == [run.train]
    for arm in run.trained_on(1):
        for each in run.planning.units(arm, 1, "m", ""):
            commit(run, each, [[State.CORRECT, State.WRONG] for _ in each.problems])  # both arms the same texts
    run.filter(1)
    theirs, own = (
        [reason.partition(":")[0] for reason in run.decisions(arm, 1)["reason"].to_pylist()] for arm in run.trained_on(1)
    )
    assert theirs == ["", "correct"] * 8 and own == ["distinct", "correct"] * 8
    assert run.manifest(1) and set(run.book.manifest("m00001")) == set(run.decisions(run.others[0], 1)["id"].to_pylist()[::2])


def test_a_regrading_decides_on_them_too(play, endpoint):  # noqa: F811
    folder, _ = play("run", *asking(endpoint))
    book, grader = Book(Store(folder)), grader_of("exact", {}, {})
    regrade(book, grader, "exact-1", lambda done, units: None)
    play("run", *asking(endpoint)[:-1], "rounds=2", "verdicts=exact-1", "verify.name=exact")
    arm = book.arm("teacher")
    first, again = (book.decisions(arm, 1, ["id", "state"], name).to_pylist() for name in ("", "exact-1"))
    assert [row["id"] for row in first] == [row["id"] for row in again]
    assert [row["state"] for row in first] == ["correct", "wrong"] * 4 != [row["state"] for row in again]
    assert len(endpoint.asked) == 4, "a finished teacher is not asked in later rounds"


SUMS = [{"prompt": f"{i} + {j}", "answer": str((i + j) % 20)} for i in range(1, 10) for j in range(1, 5)]


@pytest.fixture
def task(tmp_path):
    """Options for a task of a file, of which a tenth is held out."""
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    options = ["task.name=file", f"task.train={file}", "verify=exact", "measure.levels=[0]", "rounds=1"]

    def traces(rows, name="traces.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [*options, f"begin.traces={tmp_path / name}"]

    return traces


def test_a_file_s_answers_are_graded_and_those_to_held_out_problems_left_out(play, task, monkeypatch):  # noqa: F811
    said = []
    monkeypatch.setattr("cluster.view.View.say", lambda self, line: said.append(line))
    rows = [{"prompt": row["prompt"], "completion": text, "model": "big"} for row in SUMS for text in (row["answer"], WRONG)]
    folder, calls = play("run", *task(rows))
    book = Book(Store(folder))
    planned, held_out = book.plan(book.arm("given"), 1), set(book.store.json("task")["held_out"])
    assert not set(planned["id"].to_pylist()) & held_out and len(planned) + len(held_out) == len(SUMS)
    (warning,) = (line for line in said if "held out for measuring" in line)
    assert f"of its {len(SUMS)} problems {len(held_out)} are held out for measuring; they are left out" in warning
    answers = [row for row in nodes(folder, "given") if row["node"]]
    assert [row["state"] for row in answers] == ["correct", "wrong"] * len(planned)
    assert {row["model_version"] for row in answers} == {"big"} and answers[0]["origin"].endswith(("row 1", "row 3"))
    assert len(book.units(book.arm("given"), 1)) == -(-len(planned) // 2)
    assert sum(name.startswith("r00001/given") for name in set(book.manifest("m00001"))) > 4
    assert play("run", *task(rows))[1] == [] and content(folder) == content(play("again", *task(rows))[0])


def test_a_file_of_held_out_problems_only_is_refused(play, task):  # noqa: F811
    folder, _ = play("run", *task([{"prompt": row["prompt"], "completion": "1"} for row in SUMS]))
    held_out = Book(Store(folder)).held_out()
    with pytest.raises(UserError, match="problems .* are held out for measuring; none is left to train on"):
        play("other", *task([{"prompt": problem.prompt, "completion": "1"} for problem in held_out], "held_out.jsonl"))


def test_a_wrong_file_is_refused_before_anything_starts(play, task):  # noqa: F811
    with pytest.raises(UserError, match="row 1: '77 [+] 1' is no problem of the task"):
        play("run", *task([{"prompt": "77 + 1", "completion": "1"}]))
    assert not (play.folder / "run/models").exists()


# in the model's tokens


def adopted(*given: Given, **options) -> list:
    tree = Tree.root(Problem("p", "1 + 2", "3"), RemotePolicy(tokenizer(), {"p": "1 + 2\n"}, Generate(), None).show(PROBLEM), 0)
    adopt(tree, given, tokenizer(), Generate(**options))
    return tree.nodes[1:]


PROBLEM = Problem("p", "1 + 2", "3")


def answer(text, **more) -> Given:
    return Given(text, "big", "there", **more)


def test_an_answer_made_elsewhere_is_written_in_the_model_s_own_tokens():
    (node,) = adopted(answer("1 + 2\n3"))
    assert tokenizer().decode(node.step.token_ids) == "1 + 2 \n 3 <eos>"
    assert node.step.final and node.step.logprobs is None and node.verdict is None, "the verifier grades it"
    assert (node.step.text, node.step.model, node.origin, node.parent, node.depth) == (" 1 + 2 \n 3", "big", "there", 0, 1)
    (same,) = adopted(answer("1 + 2\n3<eos>"))
    assert same.step.token_ids.tolist() == node.step.token_ids.tolist() and same.verdict is None, "one end of text, not two"


@pytest.mark.parametrize("options", [{"max_tokens": 4}, {"context": 8}])
def test_an_answer_that_is_too_long_is_cut_where_the_model_s_own_would_be(options):
    fits, long, cut = adopted(answer("1 + 2"), answer("1 + 2 + 3"), answer("1", cut=True), **options)
    assert fits.step.final and len(fits.step.token_ids) == 4
    assert not long.step.final and long.step.text.strip() == "1 + 2 +" and len(long.step.token_ids) == 4
    assert long.verdict == cut.verdict == Verdict(State.UNPARSEABLE, why="cut short by the token limit")


def test_what_the_model_cannot_write_or_nobody_wrote_is_not_trained_on():
    odd, none, empty = adopted(answer("one + 2"), answer("1", failed="refused"), answer(""))
    assert odd.verdict == Verdict(State.UNPARSEABLE, why="the model's tokenizer cannot write this text")
    assert none.verdict == Verdict(State.FAILED, why="refused") and not none.step.final and not none.step.text
    assert empty.step.token_ids.tolist() == [1] and empty.step.final and empty.verdict is None


def test_a_searcher_grades_what_a_unit_brings_and_commits_it(tmp_path):
    store = Store(tmp_path).open()
    shutil.copytree(first_model(), tmp_path / "models/m00000")
    seen = []

    async def verify(problems, answers):
        seen.append([text.strip() for text in answers])
        failed = Verdict(State.FAILED, why="broke")
        return [failed if text.strip() == "19" else Verdict(State.CORRECT, text, 1.0) for text in answers]

    searcher = Searcher(0, str(tmp_path), 0, Generate(), "exact 1 {}")
    work = unit(PROBLEM, Problem("q", "2 + 2", "4"), model="big")
    work = SimpleNamespace(**{name: getattr(work, name) for name in work.__slots__}, key=work.key)
    work.given = [[answer("3"), answer("", failed="refused")], [answer("19")]]
    work.prompts = ["1 + 2\n", "2 + 2\n"]
    done = asyncio.run(searcher.adopt(work, Partners(None, SimpleNamespace(verify=SimpleNamespace(remote=verify)))))
    assert done.won and done.states == {"correct": 1, "failed": 2} and done.tokens == 0
    assert seen == [["3", "19"], ["19"]], "what failed is tried again; what was refused is no answer"
    rows = store.table(work.key).to_pylist()
    assert [(row["problem_id"], row["node"], row["state"]) for row in rows] == [
        ("p", 0, None),
        ("p", 1, "correct"),
        ("p", 2, "failed"),
        ("q", 0, None),
        ("q", 1, "failed"),
    ]
    assert rows[1]["verifier"] == "exact 1 {}" and rows[1]["answer"].strip() == "3" and rows[1]["model_version"] == "big"
    again = asyncio.run(searcher.adopt(work, Partners(None, SimpleNamespace(verify=SimpleNamespace(remote=verify)))))
    assert not again.won, "another searcher was first: its unit counts"


def test_what_learns_from_logprobs_is_refused():
    with pytest.raises(UserError, match="learn.name=grpo needs the logprobs .* made elsewhere have none; type learn=sft"):
        load("configs/quickstart.yaml", ["learn=grpo", "begin.endpoint=http://x/v1", "begin.model=big"])
    load("configs/quickstart.yaml", ["learn=grpo"])


def test_arms_are_data():
    assert given_arms(SimpleNamespace(begin=Begin(), budget=1, rounds=3)) == []
    begin = Begin(traces=["a.jsonl", "b.jsonl"], endpoint="http://x/v1", model="big")
    given, teacher = given_arms(SimpleNamespace(begin=begin, budget=1, rounds=3))
    assert (given.model, given.plan, teacher.model, teacher.plan) == ("a.jsonl, b.jsonl", "given", "big", "train")
    assert given_arms(SimpleNamespace(begin=begin, budget=1, rounds=0)) == [], "nothing is trained"
