"""Going on with old work: how earlier rows are cut into steps, stand in a new tree, and what the search makes of them."""

import asyncio
import dataclasses
from functools import partial

import numpy as np
import pytest

from cluster.searcher import table
from iteration.examples import answers, generated, token_counts
from iteration.respond import respond
from iteration.search.continued import Continued
from iteration.search.sample import Sample
from iteration.steps import begun, spoken, step_cuts, step_ends
from iteration.types import Begun, Expand, History, Problem, State, Step, Tree, Verdict
from tests.worlds import Equal, Scripted, unit

PROBLEM = Problem("p", "?", "ab.cd.")
LETTERS = dict(enumerate("abcdxyz."))
ENDS = np.array([letter == "." for letter in LETTERS.values()])


def decode(tokens):
    return "".join(LETTERS[i] for i in tokens.tolist())


def spelt(text: str, final: bool = True, cut: bool = False, model: str = "m00001") -> Step:
    """One token a letter; the logprob of the i-th is -i."""
    ids = np.array(["abcdxyz.".index(letter) for letter in text], np.int32)
    return Step(ids, -np.arange(len(ids), dtype=np.float32), text, final, model, cut)


def earlier(*steps: Step, number: int = 1) -> tuple[str, dict]:
    """An earlier round's tree of whole answers, through its rows: (the tree's id, its answers by tree)."""
    tree = Tree.root(PROBLEM, spelt("xyz", False, model=""), 1)
    for node in tree.grow([Expand(0, len(steps), True)], [list(steps)]):
        node.verdict = Verdict(State.CORRECT if node.step.text == PROBLEM.answer else State.WRONG, node.step.text)
    rows = table(unit(PROBLEM, round=number, number=3, model="m00001"), [tree])
    name = f"r{number:05d}/train/u00003/t000"
    return name, begun(rows, {name}, ENDS, decode)


def search(part, old, answer="ab.cd.", verifier=None, judge=None):
    policy = Scripted({"p": [spelt(answer, model="m00002")]})
    verifier = verifier or Equal()
    return asyncio.run(respond(PROBLEM, part, policy, verifier, judge, 10**6, 7, begun=old)), policy


def test_answers_are_cut_where_their_steps_end():
    name, found = earlier(spelt("ab.cd."), spelt("ab.x"))
    (right, wrong) = found[name]
    assert [(step.text, step.final) for step in right.steps] == [("ab.", False), ("cd.", True)]
    assert [(step.text, step.final) for step in wrong.steps] == [("ab.", False), ("x", True)]
    assert (right.id, wrong.id) == (f"{name}/n0001", f"{name}/n0002")
    assert right.steps[1].logprobs.tolist() == [-3, -4, -5] and right.steps[1].model == "m00001"
    assert np.concatenate([step.token_ids for step in right.steps]).tolist() == spelt("ab.cd.").token_ids.tolist()


def test_steps_without_logprobs_are_cut_as_well():
    """Rows with and without them stand in one table: their logprobs are found by offsets of their own."""
    bare = dataclasses.replace(spelt("ab.x"), logprobs=None)
    name, found = earlier(bare, spelt("ab.cd."))
    wrong, right = found[name]
    assert [step.logprobs for step in wrong.steps] == [None, None]
    assert [step.logprobs.tolist() for step in right.steps] == [[0, -1, -2], [-3, -4, -5]]


def test_what_a_limit_cut_is_marked_and_a_text_that_cannot_be_cut_stays_whole():
    name, found = earlier(spelt("ab.cd", False, cut=True), dataclasses.replace(spelt("ab.cd."), text="AB.CD."))
    assert [[(step.text, step.cut) for step in each.steps] for each in found[name]] == [
        [("ab.", False), ("cd", True)],
        [("AB.CD.", False)],
    ]


def test_words_that_begin_with_a_space_only_behind_another_word(tmp_path):
    """As the quickstart's tokenizer decodes them: joined by spaces, where the engine's text also begins with one."""
    from transformers import AutoTokenizer

    from iteration import tiny
    from iteration.tasks.expressions import VOCABULARY

    tiny.build(tmp_path, VOCABULARY, tiny.Shape(hidden_size=32, layers=1, heads=1, kv_heads=1, head_dim=32), 0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = " 11 - 4 * 2 \n 11 - 8 \n 3"
    ids = np.array(tokenizer(text).input_ids + [tokenizer.eos_token_id], np.int32)
    ends = step_ends(tokenizer, "\n")
    cuts = [*step_cuts(ids, ends, False).tolist(), len(ids)]
    decode = partial(tokenizer.decode, skip_special_tokens=True)
    assert spoken(ids, cuts, text, decode) == [" 11 - 4 * 2 \n", " 11 - 8 \n", " 3"]
    assert spoken(ids, cuts, text.strip(), decode) == ["11 - 4 * 2 \n", " 11 - 8 \n", " 3"]
    assert spoken(ids, cuts, "something else", decode) == []


def test_beginnings_are_planted_once_with_the_share_that_ended_well():
    _, found = earlier(spelt("ab.cd."), spelt("ab.x."), spelt("x.y."), spelt("ab.cd."))
    tree, _ = search(Sample(1), next(iter(found.values())))
    old = [node for node in tree.nodes if node.origin]
    assert [(tree.answer(node.index), node.value, node.parent) for node in old] == [
        ("ab.", pytest.approx(2 / 3), 0),
        ("x.", 0.0, 0),
    ]
    assert [node.origin for node in old] == ["r00001/train/u00003/t000/n0001", "r00001/train/u00003/t000/n0003"]
    assert all(node.verdict is None and not node.ended for node in old), "an answer counts in the round that sampled it"
    assert tree.cost.tokens == 6 and tree.cost.waves == 1, "what is taken over costs nothing"


def test_ends_are_graded_again_and_a_broken_verifier_says_nothing_of_them():
    class Stricter(Equal):
        async def verify(self, problem, texts):
            return [Verdict(State.FAILED if text == "x.y." else State.WRONG) for text in texts]

    _, found = earlier(spelt("ab.cd."), spelt("x.y."))
    tree, _ = search(Sample(1), next(iter(found.values())), verifier=Stricter())
    assert [(node.step.text, node.value) for node in tree.nodes if node.origin] == [("ab.", 0.0), ("x.", None)]


def test_a_judge_scores_them_again():
    class Likes:
        async def score(self, tree, nodes):
            return [[0.9 if "x" in node.step.text else 0.1] for node in nodes]

        def worth(self, scores):
            return scores[-1]

    _, found = earlier(spelt("ab.cd."), spelt("x.y."))
    tree, policy = search(Continued(n=4, starts=1, anew=0.5), next(iter(found.values())), judge=Likes())
    assert [(node.step.text, node.value, node.values) for node in tree.nodes if node.origin] == [
        ("ab.", 0.1, [0.1]),
        ("x.", 0.9, [0.9]),
    ]
    assert [(wish.node, wish.n, wish.whole) for _, wish in policy.asked] == [(0, 2, True), (2, 2, True)], "the judge likes x."


def test_it_goes_on_with_the_longest_of_the_strongest_and_begins_anew_beside():
    _, found = earlier(spelt("ab.c.cd."), spelt("ab.x."), spelt("ab.c.y."))
    old = next(iter(found.values()))
    right = dataclasses.replace(PROBLEM, answer="ab.c.cd.")
    policy = Scripted({"p": [spelt("cd.")]})
    tree = asyncio.run(respond(right, Continued(n=8, starts=2, anew=0.25), policy, Equal(), None, 10**6, 7, begun=old))
    values = {tree.answer(node.index): node.value for node in tree.nodes if node.origin}
    assert values == {"ab.": pytest.approx(1 / 3), "ab.c.": 0.5}
    assert [(tree.answer(wish.node), wish.n) for _, wish in policy.asked] == [("", 2), ("ab.c.", 3), ("ab.", 3)]


def test_with_nothing_to_go_on_with_it_samples():
    for old in ((), [Begun("i", [spelt("x.", False), spelt("y.")])]):  # none, and one that never ended well
        tree, policy = search(Continued(n=5), old)
        assert [(wish.node, wish.n) for _, wish in policy.asked] == [(0, 5)]
        assert len([node for node in tree.nodes if node.verdict]) == 5


def test_held_out_problems_never_see_old_work():
    _, found = earlier(spelt("ab.cd."))
    policy = Scripted({"p": [spelt("ab.cd.")]})
    old = next(iter(found.values()))
    tree = asyncio.run(respond(PROBLEM, Continued(n=2), policy, None, None, 99, 7, begun=old))
    assert not any(node.origin for node in tree.nodes)


def test_rows_say_where_a_step_came_from_and_count_only_what_was_sampled():
    name, found = earlier(spelt("ab.cd."), spelt("ab.x."))
    tree, _ = search(Continued(n=2, starts=1), found[name], "cd.")
    rows = table(unit(PROBLEM, round=2, model="m00002", history=[History(2, 1, name)]), [tree])
    assert rows["origin"].to_pylist() == [None, f"{name}/n0001", None, None]
    assert rows["model_version"].to_pylist()[1:] == ["m00001", "m00002", "m00002"]
    assert generated(rows).tolist() == [0, 0, 3, 3] and token_counts(rows)[1] == 3
    assert generated(rows.drop_columns("origin")).tolist() == [0, 3, 3, 3], "a run of an older version has no such column"
    assert [row["answer_text"] for row in answers(rows).to_pylist()] == ["cd.", "ab.cd."]
    # And a third round goes on with the second's.
    again = begun(rows, {"r00002/train/u00000/t000"}, ENDS, decode)["r00002/train/u00000/t000"]
    assert [[step.text for step in each.steps] for each in again] == [["cd."], ["ab.", "cd."]]
    assert [step.model for step in again[1].steps] == ["m00001", "m00002"]


def test_an_answer_of_forty_thousand_tokens_keeps_every_one():
    """From the step that was sampled through rows, filters' answers, old beginnings and a packed row, as arrays all the way."""
    from iteration.learn.sft import Sft
    from iteration.packing import batches

    n, rng = 40_000, np.random.default_rng(0)
    ids = rng.integers(0, len(LETTERS), n).astype(np.int32)
    text = decode(ids)
    whole, cut = (Step(ids, rng.normal(size=n).astype(np.float32), text, final, "m00001", not final) for final in (True, False))
    tree = Tree.root(PROBLEM, spelt("xyz", False, model=""), 1)
    for node, state in zip(tree.grow([Expand(0, 2, True)], [[whole, cut]]), (State.CORRECT, State.UNPARSEABLE), strict=True):
        node.verdict = Verdict(state)
    rows = table(unit(PROBLEM, number=3, model="m00001"), [tree])
    assert [(row["state"], row["tokens"]) for row in answers(rows).to_pylist()] == [("correct", n + 3), ("unparseable", n + 3)]
    data = Sft().examples(rows, [("r00001/train/u00003/t000/n0001", "")])
    (batch,) = batches(data, np.arange(1), 1, n + 64, rng)
    assert np.array_equal(batch.token_ids[0, 3 : n + 3], ids) and batch.weights[0].sum() == n
    (first, second) = begun(rows, {"r00001/train/u00003/t000"}, ENDS, decode)["r00001/train/u00003/t000"]
    assert len(first.steps) == int((ids == 7).sum()) + (ids[-1] != 7)
    assert np.array_equal(np.concatenate([step.token_ids for step in first.steps]), ids)
    assert "".join(step.text for step in first.steps) == text and second.steps[-1].cut and not second.steps[-1].final
