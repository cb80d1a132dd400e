"""A teacher against a scripted server: slow, limited, broken, down; no engine."""

import asyncio
import json
import sys
import time

import pytest

from iteration import teacher
from iteration.errors import UserError
from iteration.teacher import Begin, Pace, Teacher, choices_of
from iteration.types import Problem
from tests.endpoint import Endpoint, completion, error
from tests.ports import free_port

pytest.importorskip("openai")
PROBLEMS = [Problem(f"p{i}", f"{i}?", str(i)) for i in range(6)]


@pytest.fixture(autouse=True)
def _no_key_and_no_waiting(monkeypatch):
    monkeypatch.delenv(teacher.KEY, raising=False)
    monkeypatch.setattr(teacher, "PAUSE", 0.01)


def ask(url: str, problems=PROBLEMS, longest=50, **options):
    """The answers, and what the teacher says of its work."""
    given = {"endpoint": url, "model": "big", "n": 2, "retries": 2} | options

    async def run():
        made = Teacher(Begin(**given), longest)
        try:
            return await made.answers(problems, [problem.prompt for problem in problems]), made.doing()
        finally:
            await made.close()

    return asyncio.run(run())


def answering(body, k):
    return 200, completion(*(f"{body['messages'][-1]['content']} {i}" for i in range(body["n"])))


def test_every_problem_gets_its_answers_and_says_whose_they_are(monkeypatch):
    monkeypatch.setenv("MINE", "sk-secret")
    endpoint = Endpoint(answering, seconds=0.05)
    with endpoint.serving() as url:
        given, said = ask(url, key="MINE", temperature=0.5, request={"top_p": 0.9, "max_tokens": None}, concurrency=3)
    assert [[each.text for each in several] for several in given] == [[f"{i}? 0", f"{i}? 1"] for i in range(6)]
    assert {(each.model, each.origin, each.cut, each.failed) for several in given for each in several} == {
        ("big", url, False, "")
    }
    body, key, _ = min(endpoint.asked, key=lambda asked: asked[0]["messages"][0]["content"])
    assert key == "Bearer sk-secret" and endpoint.busiest == 3
    assert body == {
        "model": "big",
        "messages": [{"role": "user", "content": "0?"}],
        "n": 2,
        "temperature": 0.5,
        "top_p": 0.9,
    }
    assert said == "60 tokens by big"


def test_messages_are_sent_as_they_are():
    chat = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1?"}]
    endpoint = Endpoint(answering)
    with endpoint.serving() as url:
        ask(url, [Problem("p", json.dumps({"messages": chat}), "1")])
    assert endpoint.asked[0][0]["messages"] == chat and endpoint.asked[0][0]["max_tokens"] == 50


def test_a_server_that_gives_one_answer_at_a_time_is_asked_again():
    endpoint = Endpoint(lambda body, k: (200, completion(f"answer {k}")))
    with endpoint.serving() as url:
        given, _ = ask(url, PROBLEMS[:1], n=3)
    assert [each.text for each in given[0]] == ["answer 0", "answer 1", "answer 2"]
    assert [body["n"] for body, _, _ in endpoint.asked] == [3, 2, 1]


def test_how_an_answer_ended():
    def reply(body, k):
        return 200, completion("cut", reason="length") if k == 0 else completion("no", reason="content_filter")

    with Endpoint(reply).serving() as url:
        given, _ = ask(url, PROBLEMS[:2], n=1, concurrency=1)
    assert given[0][0].cut and not given[0][0].failed
    assert "withheld" in given[1][0].failed


@pytest.mark.parametrize(
    "trouble",
    [
        (429, error("slow down"), {"retry-after": "0.3"}),
        (500, error("oops"), {"retry-after-ms": "10"}),
        (503, "<html>", {"retry-after-ms": "10"}),
        (200, "{nonsense"),
        (200, "[1]"),
        (200, {"choices": []}),
        (200, {"choices": [{"message": {"content": 3}}]}),
        (200, "<html>", {"content-type": "text/html"}),
    ],
    ids=lambda trouble: f"{trouble[0]} {trouble[1]}"[:20],
)
def test_trouble_that_passes_is_retried(trouble):
    endpoint = Endpoint(lambda body, k: trouble if k < 2 else answering(body, k))
    with endpoint.serving() as url:
        given, _ = ask(url, PROBLEMS[:1])
    assert [each.text for each in given[0]] == ["0? 0", "0? 1"] and len(endpoint.asked) == 3
    if trouble[0] == 429:
        (_, _, first), (_, _, second), _ = endpoint.asked
        assert second - first >= 0.3, "as long as the server asks for"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (
            (401, error("Incorrect API key sk-x")),
            r"it refuses the key in OPENAI_API_KEY: Incorrect .*; type: export OPENAI_API_",
        ),
        ((404, error("The model `big` does not exist.")), "it has no model 'big': The model `big` does not.*begin.model=NAME"),
        ((500, error("oops"), {"retry-after-ms": "1"}), "after 2 retries: oops; start it, or type begin.endpoint=URL"),
        ((200, "{nonsense"), "its reply cannot be read: Expecting property name"),
        ((400, error("n is too large")), "it answers no problem of a unit: the endpoint refused the prompt: n is too large"),
    ],
)
def test_trouble_that_stays_is_one_line(trouble, said):
    with Endpoint(lambda body, k: trouble).serving() as url, pytest.raises(UserError, match=said) as raised:
        ask(url)
    assert str(raised.value).startswith(f"begin.endpoint={url}: ") and "the same command resumes" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nobody_answers(monkeypatch):
    with pytest.raises(UserError, match=r"after 0 retries: .*connection.*; start it, or type begin.endpoint=URL"):
        ask(f"http://127.0.0.1:{free_port()}/v1", retries=0)


def test_a_server_that_hangs_is_not_waited_for_for_ever():
    with Endpoint(answering, seconds=0.6).serving() as url, pytest.raises(UserError, match="after 0 retries: .*time"):
        ask(url, PROBLEMS[:1], retries=0, seconds=0.1)


def test_a_key_is_never_shown(monkeypatch):
    monkeypatch.setenv(teacher.KEY, "sk-secret")
    endpoint = Endpoint(lambda body, k: (401, error("no such key: sk-secret")))
    with endpoint.serving() as url, pytest.raises(UserError, match=r"no such key: \*\*\*"):
        ask(url)


def test_one_refused_prompt_is_failed_and_the_others_are_answered():
    def reply(body, k):
        return (400, error("too rude")) if body["messages"][-1]["content"] == "1?" else answering(body, k)

    with Endpoint(reply).serving() as url:
        given, _ = ask(url)
    assert [each.failed for each in given[1]] == ["the endpoint refused the prompt: too rude"] * 2
    assert not any(each.failed for i, several in enumerate(given) if i != 1 for each in several)


def test_a_unit_of_one_problem_may_be_refused():
    with Endpoint(lambda body, k: (400, error("too rude"))).serving() as url:
        given, _ = ask(url, PROBLEMS[:1])
    assert given[0][0].failed


def test_no_client_and_no_key_are_said_at_once(monkeypatch):
    begin = {"endpoint": "http://x/v1", "model": "big"}
    with pytest.raises(UserError, match="begin.key=NONE: this environment variable is not set; type: export NONE=KEY"):
        Teacher(Begin(**begin, key="NONE"), 50)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match="begin.endpoint needs the package openai; type: pip install openai"):
        Teacher(Begin(**begin), 50)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint": "http://x/v1"}, "endpoint is 'http://x/v1' and model ''; expected both"),
        ({"model": "big"}, "endpoint is '' and model 'big'"),
        ({"model": "big", "endpoint": "localhost:8000"}, "endpoint is 'localhost:8000'; expected"),
        ({"model": "big", "endpoint": "http://localhost:port/v1"}, "endpoint is 'http://localhost:port/v1'; expected"),
        ({"n": 0}, "n is 0"),
        ({"seconds": 0}, "seconds is 0"),
        ({"request": {"n": 2}}, "request is {'n': 2}; expected no model, messages, stream or n"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Begin(**options)


@pytest.mark.parametrize(("limits", "passes"), [((2, 0), 2), ((0, 25), 2), ((0, 5), 1), ((0, 0), 5), ((3, 25), 2)])
def test_no_minute_has_more_than_the_limits(monkeypatch, limits, passes):
    monkeypatch.setattr(teacher, "MINUTE", 0.2)

    async def run():
        pace, when = Pace(*limits), []

        async def enter():
            await pace.enter(10)
            when.append(time.monotonic())

        await asyncio.gather(*(enter() for _ in range(5)))
        return when

    when = asyncio.run(run())
    assert max(sum(then <= each < then + 0.19 for each in when) for then in when) == passes


def test_tokens_count_as_the_server_counted_them(monkeypatch):
    monkeypatch.setattr(teacher, "MINUTE", 30)
    began, endpoint = time.monotonic(), Endpoint(answering)
    with endpoint.serving() as url:
        ask(url, tokens_per_minute=200, concurrency=1)  # each may take 100, and takes 10
    assert time.monotonic() - began < 20 and len(endpoint.asked) == 6


@pytest.mark.parametrize("reply", [None, "x", [1], {"choices": None}])
def test_what_is_no_reply_is_said(reply):
    with pytest.raises(ValueError, match="expected a chat completion"):
        choices_of(reply)
