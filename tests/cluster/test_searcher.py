"""The searcher's parts without Ray: one message for all problems, steps and rows as they came."""

import asyncio
import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from cluster.engine import STEP, Generate
from cluster.folder.arm import Arm
from cluster.remote import Batcher, RemoteJudge, RemotePolicy, RemoteVerifier, StepJudge, continued, lists
from cluster.verifier import Grader, Verifier
from iteration.judge.process import Process
from iteration.parts import VERIFY, Part
from iteration.respond import respond
from iteration.search.mcts import Mcts
from iteration.search.sample import Sample
from iteration.types import Expand, Problem, State, Tree, Verdict
from tests.worlds import TRAIN, step, unit


class Words:
    """A tokenizer of one token a letter; token 32, a space, is dropped at the start of a text."""

    chat_template = eos_token_id = None

    def __call__(self, text):
        return type("Encoded", (), {"input_ids": [ord(letter) for letter in text]})

    def batch_decode(self, token_ids, skip_special_tokens, clean_up_tokenization_spaces):
        assert skip_special_tokens and not clean_up_tokenization_spaces
        return ["".join(map(chr, each)).removeprefix(" ") for each in token_ids]


def test_hundreds_of_problems_cross_as_one_message():
    messages = []

    async def generate(wishes: pa.Table) -> pa.Table:
        messages.append(wishes)
        rows = [(w, k) for w, n in enumerate(wishes["n"].to_pylist()) for k in range(n)]
        tokens = [np.array([ord(each) for each in f"{w}.{k}"], np.int32) for w, k in rows]
        flat = [tokens and lists(tokens, pa.int32()), lists([t.astype(np.float32) * -0.5 for t in tokens], pa.float32())]
        return pa.table(
            [
                [w for w, _ in rows],
                *flat,
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
        ends = RemoteVerifier([verify])
        return await asyncio.gather(*(respond(p, Sample(n=2), policy, ends, None, 100, i) for i, p in enumerate(problems)))

    trees = asyncio.run(run())
    assert len(messages) == 2, "one message to the engine, one to the verifier"
    assert messages[0]["token_ids"].to_pylist()[2] == [ord("x")] * 3
    assert len(set(messages[0]["seed"].to_pylist())) == 300
    for i, tree in enumerate(trees):
        assert [node.step.text for node in tree.nodes[1:]] == [f"{i}.0", f"{i}.1"]
        assert [node.verdict.state for node in tree.nodes[1:]] == [State.CORRECT, State.UNPARSEABLE]
        assert tree.nodes[1].step.logprobs.tolist()[-1] == -0.5 * ord("0") and tree.nodes[1].step.model == "m00007"


def test_what_a_verifier_failed_at_is_asked_of_another_and_moves_nobody():
    asked = []

    def actor(name, broken):
        async def verify(problems, answers):
            asked.append((name, list(answers)))
            return [Verdict(State.FAILED if a in broken else State.CORRECT, f"{name} {a}") for a in answers]

        return verify

    async def run(sends):
        asked.clear()
        ends = RemoteVerifier(sends)
        two = ends.verify(Problem("p", "", ""), ["a", "b"]), ends.verify(Problem("q", "", ""), ["c", "d"])
        return [verdict.answer for found in await asyncio.gather(*two) for verdict in found]

    assert asyncio.run(run([actor("1", "bc"), actor("2", "c"), actor("3", "")])) == ["1 a", "2 b", "3 c", "1 d"]
    assert asked == [("1", ["a", "b", "c", "d"]), ("2", ["b", "c"]), ("3", ["c"])]
    assert asyncio.run(run([actor("1", "b")])) == ["1 a", "1 b", "1 c", "1 d"] and asked[1] == ("1", ["b"]), "the same again"


def test_a_verifier_that_returns_too_few_verdicts_shifts_none(monkeypatch):
    class Short:
        def verify(self, problems, answers):
            return [Verdict(State.CORRECT, answer) for answer in answers if answer != "lost"]

    grader = Grader(Part(VERIFY, "exact", {}))
    monkeypatch.setattr(grader, "_part", Short())
    found = grader.verify([Problem("p", "", "")] * 3, ["a", "lost", "b"])
    assert [(v.state, v.answer) for v in found] == [(State.CORRECT, "a"), (State.FAILED, ""), (State.CORRECT, "b")]
    assert "0 verdicts for 1 answers" in found[1].why


def test_an_error_reaches_everybody_who_waits():
    async def broken(requests):
        raise ConnectionError("gone")

    async def run():
        batch = Batcher(broken)
        return await asyncio.gather(
            batch.ask(Problem("a", "", ""), 1), batch.ask(Problem("b", "", ""), 2), return_exceptions=True
        )

    assert [type(error) for error in asyncio.run(run())] == [ConnectionError] * 2


def test_a_verifier_that_breaks_on_one_answer_fails_that_one_alone(monkeypatch):
    actor = Verifier(0, Part(VERIFY, "exact", {}))

    class Fragile:
        def verify(self, problems, answers):
            if "bomb" in answers:
                raise RuntimeError("boom")
            return [Verdict(State.WRONG) for _ in answers]

    monkeypatch.setattr(actor._grader(actor._own), "_part", Fragile())
    problem = Problem("p", "q", "1")
    verdicts = actor.verify([problem] * 3, ["a", "bomb", "b"])
    assert [verdict.state for verdict in verdicts] == [State.WRONG, State.FAILED, State.WRONG]
    assert "RuntimeError: boom" in verdicts[1].why


@pytest.mark.parametrize("arrays", [[], [[]], [[1], [], [2, 3]], [None], [[1], None, [], None, [2]]])
def test_lists(arrays):
    found = lists([array if array is None else np.array(array, np.int32) for array in arrays], pa.int32())
    assert found.type == pa.list_(pa.int32()) and found.to_pylist() == arrays


def tree_of_steps():
    """A prompt of two tokens, two equal steps and one other, and a step behind the first."""
    tree = Tree.root(Problem("p", "xx", "1"), step("x x", False), 3)
    tree.grow([Expand(0, 3)], [[step("a b", False), step("a b", False), step("c", False, 1)]])
    tree.grow([Expand(1, 1)], [[step("d", True, 1)]])
    return tree


def test_an_answer_without_room_for_a_token_is_cut_without_asking_the_engine():
    asked = []

    async def generate(wishes):
        asked.extend(wishes.to_pylist())
        one = [lists([np.array([1], np.int32)], pa.int32()), lists([np.zeros(1)], pa.float32())]
        return pa.table([[0], *one, [True], [False], ["m"]], schema=STEP)

    async def go(**limits):
        asked.clear()
        policy = RemotePolicy(Words(), {"p": "xx"}, Generate(**limits), generate)
        return await policy.propose(tree_of_steps(), [Expand(4, 1), Expand(0, 1)])

    first, second = asyncio.run(go(max_tokens=3, context=99))
    assert first[0].cut and not first[0].final and len(first[0].token_ids) == 0, "three tokens of the answer are there"
    assert second[0].final and [wish["max_tokens"] for wish in asked] == [3]
    asyncio.run(go(max_tokens=9, context=6))
    assert [wish["max_tokens"] for wish in asked] == [1, 4], "prompt and answer share the context"
    seeds = {wish["seed"] for wish in asked}
    assert len(seeds) == 2


def test_two_wishes_for_one_node_have_seeds_of_their_own():
    asked = []

    async def generate(wishes):
        asked.extend(wishes.to_pylist())
        raise ConnectionError

    policy = RemotePolicy(Words(), {}, Generate(), generate)
    with pytest.raises(ConnectionError):
        asyncio.run(policy.propose(tree_of_steps(), [Expand(1, 2), Expand(1, 2)]))
    assert asked[0]["token_ids"] == asked[1]["token_ids"] == [0, 1, 0, 1] and asked[0]["seed"] != asked[1]["seed"]


def test_no_prefix_is_sent_to_the_judge_twice_and_judge_tokens_are_counted():
    sent = []

    async def score(prefixes):
        sent.append(prefixes["token_ids"].to_pylist())
        return np.array([len(prefix) / 10 for prefix in sent[-1]], np.float32)

    tree = tree_of_steps()
    judge = RemoteJudge(Process(), np.array([False, True]), score)  # token 1 ends a step

    async def go():
        first = await judge.score(tree, tree.nodes[1:4])
        return first, await judge.score(tree, [*tree.nodes[1:2], tree.nodes[4]])

    first, second = asyncio.run(go())
    assert first == [[pytest.approx(0.4)], [pytest.approx(0.4)], []], "equal steps share a score; an open step has none"
    assert second == [[pytest.approx(0.4)], [pytest.approx(0.5)]]
    assert sent == [[[0, 1, 0, 1]], [[0, 1, 0, 1, 0]]] and tree.cost.judge_tokens == 4 + 5


def test_the_step_judge_says_whether_every_step_so_far_is_correct():
    async def steps(problems, answers):
        return [[Verdict(State.WRONG if line == "bad" else State.CORRECT) for line in text.split()] for text in answers]

    tree = Tree.root(Problem("p", "", "x"), step("", False), 0)
    tree.grow([Expand(0, 2)], [[step("ok\n", False), step("bad\n", False)]])
    tree.grow([Expand(1, 1), Expand(2, 1)], [[step("ok\nbad\n")], [step("ok")]])
    judge = StepJudge(steps)
    values = asyncio.run(judge.score(tree, tree.nodes[1:]))
    assert values == [[1], [0], [1, 0], [0]] and judge.worth(values[2]) == 0


def test_stored_answers_can_be_scored_by_a_judge_without_generating():
    from cluster.searcher import trees_of
    from tests.iteration.test_examples import forest

    trees = trees_of(forest())
    assert [len(tree.nodes) for tree in trees] == [3, 4] and trees[1].problem.id.endswith("t001/n0000")
    assert [node.index for tree in trees for node in tree.nodes if node.verdict] == [1, 2, 3]
    assert trees[1].answer(3) == "tu" and trees[1].nodes[3].step.token_ids.tolist() == [0, 1, 2, 3]


def test_a_piece_of_text_reads_as_it_does_behind_the_token_before_it():
    """As vLLM decodes step by step; a letter of several tokens that the cut divides is decoded by itself."""
    tokens = lambda text: np.array([ord(letter) for letter in text], np.int32)  # noqa: E731
    assert continued(Words(), [tokens("x"), tokens("")], [tokens(" b c"), tokens(" b")]) == [" b c", "b"]
    assert continued(Words(), [], []) == []
    bytes_of = lambda text: np.array(list(text.encode()), np.int32)  # noqa: E731
    assert continued(Bytes(), [bytes_of("a\n")[-1:]], [bytes_of("ü 1")]) == ["ü 1"]
    assert continued(Bytes(), [bytes_of("ü")[:1]], [bytes_of("ü1")[1:]]) == ["\ufffd1"]


class Bytes:
    """A tokenizer of one token a byte."""

    def batch_decode(self, token_ids, skip_special_tokens, clean_up_tokenization_spaces):
        return [bytes(each).decode(errors="replace") for each in token_ids]


def test_seeds_and_logprobs_are_asked_for_where_they_are_read():
    asked = []

    async def generate(wishes):
        asked.append(wishes.to_pylist())
        raise ConnectionError

    def wish(options, sampled=False, **how):
        policy = RemotePolicy(Words(), {}, options, generate, sampled)
        with pytest.raises(ConnectionError):
            asyncio.run(policy.propose(tree_of_steps(), [Expand(1, 2, **how)]))
        return asked[-1][0]

    cpu, gpu = Generate(), Generate(gpus=0.5)
    assert wish(cpu)["seed"] is not None and wish(gpu)["seed"] is None, "a GPU's sums depend on the batch"
    assert [wish(cpu)["logprobs"], wish(cpu, logprobs=True)["logprobs"], wish(cpu, sampled=True)["logprobs"]] == [
        False,
        True,
        True,
    ]


def test_one_unit_of_a_round_samples_the_logprobs():
    assert [unit(number=number).logprobs for number in (0, 1)] == [True, False]
    blind = dataclasses.replace(TRAIN, blind=True)
    assert not dataclasses.replace(unit(), arm=blind).logprobs, "nobody reads those of held-out answers"
    learnt = dataclasses.replace(TRAIN, logprobs=True)
    assert dataclasses.replace(unit(number=1), arm=learnt).logprobs, "learning reads them"
    assert Arm.read(learnt.record()) == learnt and Arm.read(TRAIN.record()) == TRAIN


def test_puct_asks_for_what_its_priors_are_made_of():
    tree = Tree.root(Problem("p", "", ""), step("x", False), 0)
    assert next(Mcts().explore(tree, np.random.default_rng(0)))[0].logprobs
    assert not next(Sample().explore(tree, np.random.default_rng(0)))[0].logprobs
