"""The searcher's parts without Ray: one message for all problems, steps and rows as they came."""

import asyncio

import numpy as np
import pyarrow as pa
import pytest

from cluster.engine import STEP, Generate
from cluster.remote import Batcher, RemotePolicy, RemoteVerifier, lists
from cluster.verifier import Verifier
from iteration.respond import respond
from iteration.search.sample import Sample
from iteration.types import Problem, State, Verdict


class Words:
    """A tokenizer of one token a letter."""

    chat_template = None

    def __call__(self, text):
        return type("Encoded", (), {"input_ids": [ord(letter) for letter in text]})


def test_hundreds_of_problems_cross_as_one_message():
    messages = []

    async def generate(wishes: pa.Table) -> pa.Table:
        messages.append(wishes)
        rows = [(w, k) for w, n in enumerate(wishes["n"].to_pylist()) for k in range(n)]
        tokens = [np.array([w, k], np.int32) for w, k in rows]
        flat = [tokens and lists(tokens, pa.int32()), lists([t.astype(np.float32) * -0.5 for t in tokens], pa.float32())]
        return pa.table(
            [
                [w for w, _ in rows],
                *flat,
                [f"{w}.{k}" for w, k in rows],
                [k == 0 for _, k in rows],
                [k != 0 for _, k in rows],
                ["m00007"] * len(rows),
            ],
            schema=STEP,
        )

    async def verify(problems, answers):
        messages.append(answers)
        return [Verdict(State.CORRECT if p.answer == a else State.WRONG, a) for p, a in zip(problems, answers, strict=True)]

    problems = [Problem(f"p{i}", "x" * (i + 1), f"{i}.0") for i in range(300)]

    async def run():
        policy = RemotePolicy(Words(), {p.id: p.prompt for p in problems}, Generate(context=999), generate)
        ends = RemoteVerifier(verify)
        return await asyncio.gather(*(respond(p, Sample(n=2), policy, ends, None, 100, i) for i, p in enumerate(problems)))

    trees = asyncio.run(run())
    assert len(messages) == 2, "one message to the engine, one to the verifier"
    assert messages[0]["token_ids"].to_pylist()[2] == [ord("x")] * 3
    assert len(set(messages[0]["seed"].to_pylist())) == 300
    for i, tree in enumerate(trees):
        assert [node.step.token_ids.tolist() for node in tree.nodes[1:]] == [[i, 0], [i, 1]]
        assert [node.verdict.state for node in tree.nodes[1:]] == [State.CORRECT, State.UNPARSEABLE]
        assert tree.nodes[1].step.logprobs.tolist() == [-0.5 * i, 0] and tree.nodes[1].step.model == "m00007"


def test_an_error_reaches_everybody_who_waits():
    async def broken(requests):
        raise ConnectionError("gone")

    async def run():
        batch = Batcher(broken)
        return await asyncio.gather(batch.ask(1), batch.ask(2), return_exceptions=True)

    assert [type(error) for error in asyncio.run(run())] == [ConnectionError] * 2


def test_a_verifier_that_breaks_on_one_answer_fails_that_one_alone(monkeypatch):
    actor = Verifier(0, "exact", {})

    class Fragile:
        def verify(self, problems, answers):
            if "bomb" in answers:
                raise RuntimeError("boom")
            return [Verdict(State.WRONG) for _ in answers]

    monkeypatch.setattr(actor, "_verifier", Fragile())
    problem = Problem("p", "q", "1")
    verdicts = actor.verify([problem] * 3, ["a", "bomb", "b"])
    assert [verdict.state for verdict in verdicts] == [State.WRONG, State.FAILED, State.WRONG]
    assert "RuntimeError: boom" in verdicts[1].why


@pytest.mark.parametrize("arrays", [[], [[]], [[1], [], [2, 3]]])
def test_lists(arrays):
    found = lists([np.array(array, np.int32) for array in arrays], pa.int32())
    assert found.type == pa.list_(pa.int32()) and found.to_pylist() == arrays
