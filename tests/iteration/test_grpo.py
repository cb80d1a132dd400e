"""Groups, advantages and examples of learn=grpo, on answers written out by hand."""

import numpy as np
import pytest

from cluster.searcher import table
from iteration.examples import answers, decide
from iteration.filters.correct import Correct
from iteration.learn.grpo import Grpo, advantages
from iteration.types import Expand, Problem, State, Step, Tree, Verdict
from tests.worlds import unit

RIGHT, WRONG, CUT, BROKEN = State.CORRECT, State.WRONG, State.UNPARSEABLE, State.FAILED


def answer(tokens: int, logprobs: float | None = -1.0) -> Step:
    known = None if logprobs is None else np.full(tokens, logprobs, np.float32)
    return Step(np.arange(10, 10 + tokens, dtype=np.int32), known, "x", True)


def traces(*groups, logprobs=-1.0):
    """groups: of each problem the verdicts (state, reward) of its answers, which have 1, 2, 3, ... tokens."""
    trees = []
    for number, group in enumerate(groups):
        prompt = Step(np.array([5, 6], np.int32), np.zeros(2, np.float32), "q", False)
        tree = Tree.root(Problem(f"p{number}", "q", "x"), prompt, 0)
        steps = [answer(1 + i, logprobs) for i in range(len(group))]
        for node, (state, reward) in zip(tree.grow([Expand(0, len(group), True)], [steps]), group, strict=True):
            node.verdict = Verdict(state, "x", reward)
        trees.append(tree)
    return table(unit(*(tree.problem for tree in trees)), trees)


def kept(nodes, **filters):
    decisions = decide(answers(nodes), answers(nodes).slice(0, 0), filters)
    return decisions.filter([not reason for reason in decisions["reason"].to_pylist()])


def learnt(nodes, part, **filters) -> dict[str, list[float]]:
    """{end of the trace id: weights of the tokens}."""
    items = part.items(kept(nodes, **(filters or {"correct": Correct()})), lambda: nodes).to_pylist()
    data = part.examples(nodes, [(row["id"], row["against"]) for row in items])
    assert data.lengths.tolist() == [row["tokens"] for row in items]
    spans = zip(items, data.offsets, data.offsets[1:], strict=False)
    return {row["id"][-10:]: data.weights[begin:end].tolist() for row, begin, end in spans}


def test_wrong_answers_count_and_an_answer_s_weight_is_spread_over_its_tokens():
    nodes = traces([(RIGHT, 1.0), (WRONG, 0.0), (CUT, 0.0), (WRONG, 0.0)])  # mean 1/4, deviation sqrt(3)/4
    up, down = 3**0.5, -(3**-0.5)
    found = learnt(nodes, Grpo())
    assert list(found) == [f"t000/n000{i}" for i in (1, 2, 3, 4)]
    assert [each[:2] for each in found.values()] == [[0, 0]] * 4, "the prompt"
    spread = [each[2:] for each in found.values()]
    assert spread == [pytest.approx([a / n] * n) for a, n in zip((up, down, down, down), (1, 2, 3, 4), strict=True)]
    by_token = [each[2:] for each in learnt(nodes, Grpo(token_level=True)).values()]
    assert by_token == [pytest.approx([a] * n) for a, n in zip((up, down, down, down), (1, 2, 3, 4), strict=True)]


@pytest.mark.parametrize("verdict", [(RIGHT, 1.0), (WRONG, 0.0), (WRONG, 0.1)])
def test_a_group_of_equal_rewards_gives_nothing(verdict):
    assert not advantages(traces([verdict] * 3)) and not learnt(traces([verdict] * 3), Grpo(), any=Everything())


class Everything:
    def keep(self, traces, earlier):
        return [""] * len(traces)


def test_failed_verdicts_are_in_no_group():
    nodes = traces([(RIGHT, 1.0), (BROKEN, 0.0), (WRONG, 0.0)], [(RIGHT, 1.0), (BROKEN, 0.0)])
    assert advantages(nodes) == {f"r00001/train/u00000/t000/n000{i}": a for i, a in ((1, 1.0), (3, -1.0))}
    assert list(learnt(nodes, Grpo(), any=Everything())) == ["t000/n0001", "t000/n0003"]


def test_the_filters_decide_which_groups_count():
    """Partial rewards without a correct answer count where a filter keeps one of the answers."""
    nodes = traces([(WRONG, 0.25), (WRONG, 0.75)], [(RIGHT, 1.0), (WRONG, 0.0)])
    assert list(learnt(nodes, Grpo())) == ["t001/n0001", "t001/n0002"]
    assert len(learnt(nodes, Grpo(), any=Everything())) == 4


def test_an_answer_at_the_mean_of_its_group_gives_nothing():
    assert list(learnt(traces([(RIGHT, 1.0), (WRONG, 0.5), (WRONG, 0.0)]), Grpo())) == ["t000/n0001", "t000/n0003"]


def test_labels_are_the_stored_logprobs_and_answers_without_them_are_left_out():
    nodes = traces([(RIGHT, 1.0), (WRONG, 0.0)], logprobs=-0.5)
    data = Grpo().examples(nodes, [("r00001/train/u00000/t000/n0002", "")])
    assert data.labels.tolist() == [0, 0, -0.5, -0.5] and data.token_ids.tolist() == [5, 6, 10, 11]
    assert not learnt(traces([(RIGHT, 1.0), (WRONG, 0.0)], logprobs=None), Grpo())


def test_an_answer_of_several_nodes_is_its_path():
    tree = Tree.root(Problem("p", "q", "x"), Step(np.array([5], np.int32), np.zeros(1, np.float32), "q", False), 0)
    first, other = tree.grow([Expand(0, 2)], [[answer(2, -0.25), answer(1, None)]])
    ends = tree.grow([Expand(first.index, 2), Expand(other.index, 1)], [[answer(1), answer(2)], [answer(1)]])
    for node, (state, reward) in zip(ends, ((RIGHT, 1.0), (WRONG, 0.0), (WRONG, 0.0)), strict=True):
        node.verdict = Verdict(state, "x", reward)
    nodes = table(unit(tree.problem), [tree])
    assert [len(each) for each in learnt(nodes, Grpo()).values()] == [4, 5], "not the answer with a step of unknown logprobs"
    assert Grpo().examples(nodes, [("r00001/train/u00000/t000/n0003", "")]).labels.tolist() == [0, -0.25, -0.25, -1]


def test_what_a_sum_is_divided_by():
    from iteration.packing import batches

    nodes = traces([(RIGHT, 1.0), (WRONG, 0.0), (WRONG, 0.0)])
    for part, total in ((Grpo(), 3), (Grpo(token_level=True), 1 + 2 + 3)):
        items = part.items(kept(nodes, correct=Correct()), lambda: nodes)
        data = part.examples(nodes, [(name, "") for name in items["id"].to_pylist()])
        (batch,) = batches(data, np.arange(3), 2, 16, np.random.default_rng(0))
        assert part.total(batch) == total


@pytest.mark.parametrize("option", ["clip", "clip_high", "sampled_at"])
def test_options_are_checked(option):
    with pytest.raises(ValueError, match=f"{option} is 0; expected more than 0"):
        Grpo(**{option: 0})
