"""Where value models score, and their training examples, on trees of known worth."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.searcher import Unit, table
from iteration.judge.outcome import Outcome
from iteration.judge.process import Process
from iteration.respond import respond
from iteration.search.beam import Beam
from iteration.search.sample import Sample
from iteration.steps import Answers, exact, rollouts, step_cuts, step_ends
from iteration.types import History, Problem, State, Step, Tree, Verdict
from tests.cluster.folder.folders import TRAIN
from tests.worlds import Digits, Equal, Scripted

ENDS = np.array([False] * 9 + [True])  # token 9 ends a step


def spelled(text: str, final: bool = True) -> Step:
    """A step of one token a letter; "|" is token 9, which ends a step."""
    tokens = np.array([9 if letter == "|" else int(letter) for letter in text], np.int32)
    return Step(tokens, np.zeros(len(tokens), np.float32), text, final)


def rows(*trees: Tree):
    problems = [tree.problem for tree in trees]
    return table(Unit(TRAIN, 1, 0, problems, ["" for _ in trees], "m00000", [History() for _ in trees]), list(trees))


def whole(name: str, answer: str, *texts: str, final: bool = True) -> Tree:
    policy = Scripted({name: [spelled(text, final) for text in texts]})
    policy.show = lambda problem: spelled("77", False)
    return asyncio.run(respond(Problem(name, "77", answer), Sample(len(texts)), policy, Equal(), None, 999, 0))


def test_steps_end_at_their_tokens_and_with_the_answer():
    assert step_cuts(spelled("12|3|4").token_ids, ENDS, True).tolist() == [3, 5, 6]
    assert step_cuts(spelled("12|3|4").token_ids, ENDS, False).tolist() == [3, 5], "what is unfinished is no step"
    assert step_cuts(spelled("12|").token_ids, ENDS, True).tolist() == [3]
    assert step_cuts(np.zeros(0, np.int32), ENDS, True).tolist() == []


class Tokenizer:
    def __init__(self, words):
        self.words = words

    def __len__(self):
        return len(self.words)

    def batch_decode(self, ids):
        return [self.words[i] for (i,) in ids]


def test_every_token_that_holds_the_step_s_end_ends_a_step():
    words = ["a", ".\n", "\n", "\n\n", " \\n"]
    assert step_ends(Tokenizer(words), "\n")[np.arange(5)].tolist() == [False, True, True, True, False]


PIECES = ["a", "\n", "\n\n", ".\n", "</", "step", ">", ">\n", "</step>", "<", "�"]


@pytest.mark.parametrize(
    ("step_end", "pieces", "wanted"),
    [
        ("\n\n", "a|\n\n|a|\n|\n|a|\n|a", [1, 4]),  # an empty line, as one token or as two
        ("\n\n", "a|.\n|\n|a|\n\n|\n|\n|\n", [2, 4, 6]),  # non-overlapping, as text would be split
        ("</step>", "a|</|step|>|a|</step>|</|step|>\n|a", [3, 5, 8]),
        ("</step>", "a|</|step|a|<|step|>", []),
        ("</step>", "�|�|</|step|>", [4]),  # halves of a letter
    ],
)
def test_an_end_that_takes_several_tokens_is_seen(step_end, pieces, wanted):
    ends = step_ends(Tokenizer(PIECES), step_end)
    ids = np.array([PIECES.index(piece) for piece in pieces.split("|")], np.int32)
    assert np.flatnonzero(ends[ids]).tolist() == wanted
    assert step_cuts(ids, ends, False).tolist() == [at + 1 for at in wanted]


@given(st.lists(st.sampled_from(range(len(PIECES))), max_size=30), st.sampled_from(["\n", "\n\n", "</step>", "a"]))
def test_cuts_are_where_the_text_is_split(ids, step_end):
    """Up to the last cut a text has as many ends as there are cuts, but for those that share a token."""
    ids = np.array(ids, np.int32)
    cuts = step_cuts(ids, step_ends(Tokenizer(PIECES), step_end), False).tolist()
    text = "".join(PIECES[i] for i in ids)
    assert len(cuts) <= text.count(step_end) and bool(cuts) == (step_end in text)
    assert not cuts or step_end not in "".join(PIECES[i] for i in ids[cuts[-1] :])


def test_equal_answers_are_one_with_its_count_and_prefixes_stand_once():
    found = Answers(rows(whole("a", "1|2", "1|2", "1|3", "1|2")))
    assert found.texts == ["1|2", "1|3"] and found.counts == [2, 1] and found.states == ["correct", "wrong"]
    tree = asyncio.run(respond(Problem("p", "", "01"), Beam(1, 2), Digits(2, 2), Equal(), None, 99, 0))
    assert Answers(rows(tree)).texts == ["1", "00", "01"], "each leaf once, also where the search went no further"


def verdicts(*right: bool):
    return [Verdict(State.CORRECT if each else State.WRONG) for each in right]


def test_exact_labels_are_each_step_s_own_verdict():
    def label(*right, state="wrong", final=True, cuts=3):
        return exact(verdicts(*right), state, final, cuts).tolist()

    assert label(True, True, True, state="correct") == [1, 1, 1]
    assert label(True, False, True) == [1, 0, 1], "also behind a mistake"
    assert label(True, True, True, state="wrong") == [1, 1, 0], "each step is right, but the answer stops too early"
    assert label(True, True, True, state=None, final=False) == [1, 1, 1], "an unfinished answer"
    assert np.isnan(label(True, cuts=2, final=False)[1]), "a step without a verdict has no label"
    assert label(True, True, state="correct") == [1, 1, 1], "only the end of the text stands behind the last step"
    assert np.isnan(label(True, False)[2]) and len(label(cuts=0, final=True)) == 0


def test_rollout_labels_are_shares_of_the_answers_through_a_step():
    found = Answers(rows(whole("a", "1|2", "1|2", "1|3", "4|2", "1|2")))
    cuts = [step_cuts(tokens, ENDS, True) for tokens in found.tokens]
    labels = dict(zip(found.texts, (label.tolist() for label in rollouts(found, cuts)), strict=True))
    assert labels == {"1|2": [pytest.approx(2 / 3), 1], "1|3": [pytest.approx(2 / 3), 0], "4|2": [0, 0]}


def test_a_process_model_is_taught_after_each_step_and_an_outcome_model_at_the_end():
    nodes = rows(whole("a", "1|2", "1|2", "3|3"))
    steps = {"1|2": verdicts(True, True), "3|3": verdicts(False, True)}
    taught = Process().examples(nodes, ENDS, lambda problem, answer: steps[answer])
    assert taught.token_ids.tolist() == [7, 7, 1, 9, 2, 7, 7, 3, 9, 3]
    assert taught.weights.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 1, 1]
    assert taught.labels.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 1]
    by_rollouts = Process(labels="rollouts").examples(nodes, ENDS, None)
    assert by_rollouts.weights.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 1, 1] and by_rollouts.labels.sum() == 2
    ends = Outcome().examples(nodes, ENDS, None)
    assert ends.weights.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert ends.labels.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_what_a_limit_cut_and_broken_verdicts_teach_nothing():
    nodes = rows(whole("a", "1|2", "1|2", final=False))
    assert len(Outcome().examples(nodes, ENDS, None)) == 0
    assert len(Process(labels="rollouts").examples(nodes, ENDS, None)) == 1, "cut short it did not end well"
    broken = whole("a", "1|2", "1|2")
    broken.nodes[1].verdict = Verdict(State.FAILED)
    assert len(Outcome().examples(rows(broken), ENDS, None)) == 0
    assert len(Process(labels="rollouts").examples(rows(broken), ENDS, None)) == 0


def test_worth_by_aggregate_and_mistakes_in_the_options():
    scores = [0.5, 0.8]
    assert Process().worth(scores) == pytest.approx(0.4) and Outcome().worth(scores) == 0.8
    assert [Process(aggregate=name).worth(scores) for name in ("min", "last", "mean")] == pytest.approx([0.5, 0.8, 0.65])
    with pytest.raises(ValueError, match="labels is 'step'; expected auto or steps or rollouts"):
        Process(labels="step")
    with pytest.raises(ValueError, match="aggregate is 'max'"):
        Process(aggregate="max")
    with pytest.raises(ValueError, match="the verifier cannot grade steps"):
        Process(labels="steps").examples(rows(whole("a", "1", "1")), ENDS, None)
