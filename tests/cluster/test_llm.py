"""Another model's verdicts in a run: each question asked once, whoever is killed; agreement, costs and reasons are shown."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cluster.config import check_unchanged, load
from cluster.folder.book import Book
from cluster.folder.layout import reply_key
from cluster.folder.replies import Replies
from cluster.folder.store import Store
from cluster.report.gather import gather
from cluster.report.sections import cost, search, verdict
from cluster.verbs.verify import grader_of
from cluster.verbs.why import said
from cluster.verifier import Grader, Verifier, tag
from cluster.view import told
from iteration.errors import UserError
from iteration.measuring import audited
from iteration.parts import VERIFY, Part
from iteration.types import Problem, Reply, State
from iteration.verify import llm
from tests.cluster.test_loop import play  # noqa: F401 a fixture
from tests.grading_endpoint import Play, endpoint
from tests.scripted import Actors

TOP = Path(__file__).parents[2]
PROBLEMS = [Problem(f"p{i}", f"{i} + 1?", str(i + 1)) for i in range(40)]
ANSWERS = [f"It is {i + 1}." for i in range(40)]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_WAIT", 0.01)


def asking(server, **options) -> Part:
    return Part(VERIFY, "llm", {"address": server.address, "model": "judge", "retries": 1} | options)


def test_verifiers_share_what_was_asked(tmp_path):
    store = Store(tmp_path).open()
    with endpoint() as server:
        first, second = (Verifier(i, asking(server, concurrency=2 + i), {}, str(tmp_path)) for i in range(2))
        given = first.verify(PROBLEMS[:4], ANSWERS[:4])
        assert second.verify(PROBLEMS[:4], ANSWERS[:4]) == given and len(server.asked) == 4
        assert Grader(asking(server), {}, store).verify(PROBLEMS[:4], ANSWERS[:4]) == given and len(server.asked) == 4
        assert second.audit(7, PROBLEMS[:5], ANSWERS[:5], asking(server))[1][:4] == given and len(server.asked) == 5
        Grader(asking(server)).verify(PROBLEMS[:1], ANSWERS[:1])
        assert len(server.asked) == 6, "without a run nothing is kept"
    with endpoint(lambda question: Play(states=[500] * 9)) as broken:
        assert {each.state for each in first.verify(PROBLEMS[:4], ANSWERS[:4])} == {State.CORRECT}
        assert Verifier(2, asking(broken), {}, str(tmp_path)).verify(PROBLEMS[:1], ANSWERS[:1])[0].state == State.CORRECT
        (failed,) = Verifier(2, asking(broken), {}, str(tmp_path)).verify(PROBLEMS[9:10], ANSWERS[9:10])
        assert failed.state == State.FAILED and len(Replies(store).all()) == 5, "what failed is not kept: it is asked again"


def test_the_first_reply_under_a_key_stays(tmp_path):
    memory = Replies(Store(tmp_path).open())
    one, two = Reply("m", "Verdict a: correct", tokens_in=3), Reply("m", "Verdict a: wrong")
    assert memory.get("ab12") is None and memory.put("ab12", one) == one
    assert memory.put("ab12", two) == one == memory.get("ab12") and memory.all() == [one]
    assert reply_key("ab12") == "replies/ab/ab12" and (tmp_path / "replies/ab/ab12.json").is_file()


CHILD = """
import sys
from cluster.verifier import Verifier
from iteration.measuring import audited
from iteration.parts import VERIFY, Part
from tests.cluster.test_llm import ANSWERS, PROBLEMS
part = Part(VERIFY, "llm", {"address": sys.argv[1], "model": "judge", "concurrency": 4})
print(Verifier(0, part, {}, sys.argv[2]).verify(PROBLEMS, ANSWERS))
"""


def test_a_killed_verifier_asks_only_what_was_in_flight_again(tmp_path):
    with endpoint(lambda question: Play(wait=0.02)) as server:
        command = [sys.executable, "-c", CHILD, server.address, str(tmp_path)]
        child = subprocess.Popen(command, cwd=TOP, env=os.environ | {"PYTHONPATH": str(TOP)}, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while len(server.asked) < 15 and child.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
        kept = len(Replies(Store(tmp_path)).all())
        verdicts = Verifier(0, asking(server), {}, str(tmp_path)).verify(PROBLEMS, ANSWERS)
        again = [n for n in Counter(server.questions()).values() if n > 1]
    assert 0 < kept < 40 and {each.state for each in verdicts} == {State.CORRECT}
    assert len(again) <= 4 and len(server.asked) == 40 + len(again) and len(Replies(Store(tmp_path)).all()) == 40


def test_what_changes_no_verdict_is_no_part_of_the_name_and_may_change_on_resume(tmp_path):
    with endpoint() as server:
        name = tag(asking(server))
        assert name == tag(asking(server, concurrency=3, price_in=2.0, seconds=9.0)) and server.address not in name
        assert name != tag(asking(server, template="{problem} {answer}")) and '"model": "judge"' in name
        store = Store(tmp_path / "run").open()
        options = [f"run.dir={store.root}", "verify.name=llm", "verify.model=judge", f"verify.address={server.address}"]
        check_unchanged(store, load("configs/quickstart.yaml", options))
        check_unchanged(
            store, load("configs/quickstart.yaml", [*options, "verify.concurrency=3", "verify.address=http://x/v1"])
        )
        for option, key in (("verify.model=other", "verify.model"), ("verify.scale=5", "verify.scale"), ("seed=5", "seed")):
            with pytest.raises(UserError, match=f": {key} is "):
                check_unchanged(store, load("configs/quickstart.yaml", [*options, option]))


def test_a_run_audited_by_another_model(play, monkeypatch):  # noqa: F811
    """Of four answers to a problem the verifier accepts the first two; the model rejects the first and accepts all others."""

    async def audit(self, batches, part, done, aside):
        actor = Verifier(0, self.options.verify, {}, str(self.store.root))
        for batch in batches:
            done(actor.audit(*batch, part))

    def judge(question):
        return Play("Because.\nVerdict {code}: " + ("wrong" if " answer 0\n</answer" in question else "correct"))

    monkeypatch.setattr(Actors, "audit", audit, raising=False)
    with endpoint(judge) as server:
        options = ["audit.name=llm", "audit.model=judge", f"audit.address={server.address}", "audit_share=1"]
        prices = ["audit.price_in=1000", "audit.price_out=20000"]
        folder, _ = play("run", *options, *prices, skill={0: 0.5, 1: 0.5, 2: 0.5, 3: 0.5})
        questions = len(server.asked)
    book = Book(Store(folder))
    audits = [record["audit"] for record in book.records()[1:]]
    for each in audits:
        assert (each["checked"], each["rejected"], each["rate"]) == (8, 4, 0.5) and each["low"] < 0.5 < each["high"]
        assert (each["refused"], each["accepted"], each["missed"]) == (8, 8, 1.0) and each["missed_low"] < each["missed_high"]
    rows = book.store.table("audits/r00001").to_pylist()
    options = OmegaConf.to_container(book.config.audit)
    assert len(rows) == 16 and {row["verifier"] for row in rows} == {tag(Part.of(VERIFY, options))}
    assert {row["why"] for row in rows} >= {
        row["why"] for row in rows if row["why"].startswith("judge-0611: Because.\nVerdict ")
    }
    assert any("accepts 8 of 8 answers that the first found wrong" in line for line in told(book.records()[1]))
    run = gather(book.store, "runs/audited")
    assert len(run.replies) == questions == 48
    (table,) = [each for each in search(run).tables if "agreement" in each.caption]
    assert table.rows[0][:6] == ["1", "correct", "8", "4", "4", "50.0 %"] and table.rows[1][1:5] == ["wrong", "8", "0", "8"]
    (asked,) = [each for each in cost(run).tables if "questions" in each.head]
    assert asked.rows == [["judge-0611", "48", "4,800", "480", "14.4000"]]
    assert dict(verdict(run).facts)["verifiers' questions"] == "48 to other models, 5,280 tokens, 14.40 paid"


def test_the_words_of_a_model_are_told_line_by_line():
    assert said("wrong", "judge: No.\nVerdict ab: wrong") == ["verdict   wrong: judge: No.", "          | Verdict ab: wrong"]
    assert said("correct", None) == said("correct", "") == ["verdict   correct"]


def test_the_verb_verify_asks_too_and_wrong_options_are_one_line():
    with endpoint() as server:
        grader = grader_of("llm", {"address": server.address, "model": "judge", "request": {"temperature": None}}, {})
        assert grader.verify(PROBLEMS[:1], ANSWERS[:1])[0].state == State.CORRECT and "temperature" not in server.asked[0]
    with pytest.raises(UserError, match="verify: model is missing") as error:
        grader_of("llm", {"address": "http://127.0.0.1:9/v1"}, {})
    assert "\n" not in str(error.value)


def test_agreement_of_two_verifiers_by_known_numbers():
    found = audited(
        ["correct"] * 5 + ["wrong"] * 4, ["correct"] * 3 + ["wrong", "failed", "unparseable"] + ["wrong"] * 2 + ["correct"]
    )
    assert (found.checked, found.rejected, found.rate, found.refused, found.accepted, found.missed) == (4, 1, 0.25, 4, 1, 0.25)
    assert (found.low, found.high) == (found.missed_low, found.missed_high) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    nothing = audited(["correct", "failed"], ["failed", "correct"])
    assert (nothing.checked, nothing.refused, nothing.low, nothing.high) == (0, 0, 0.0, 1.0)
