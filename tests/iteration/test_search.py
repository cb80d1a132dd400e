"""Searches on scripted policies and worlds of known value. A golden tree is written as {answer so far: visits or worth}."""

import asyncio
import math

import numpy as np
import pytest

from iteration.respond import Meeting, grade, respond
from iteration.search.adaptive import Adaptive, overturned
from iteration.search.beam import Beam
from iteration.search.dvts import Dvts
from iteration.search.lookahead import Lookahead
from iteration.search.mcts import Mcts
from iteration.types import Expand, History, Problem, State, Tree
from tests.worlds import Digits, Equal, Knows, Scripted, step

PROBLEM = Problem("p", "", "210", 1)
NEVER = 10**9


def run(search, policy=None, verifier=None, judge=None, budget=NEVER, problem=PROBLEM, history=History()):  # noqa: B008
    policy = policy or Digits(3, 3)
    return asyncio.run(respond(problem, search, policy, verifier, judge or Knows(), budget, 7, history))


def golden(tree):
    """Each node as the answer so far, in the order in which it grew."""
    return [tree.answer(node.index) for node in tree.nodes[1:]]


def test_beam_golden_tree():
    """Three digits of three; the judge knows which agree, so one beam finds 210."""
    tree = run(Beam(keep=1, width=3))
    assert golden(tree) == ["0", "1", "2", "20", "21", "22", "210", "211", "212"]
    assert tree.cost.tokens == 9


def test_beam_keeps_the_best_of_all_continuations_whatever_their_parents():
    tree = run(Beam(keep=2, width=3))
    assert golden(tree)[:6] == ["0", "1", "2", "0", "1", "2"], "keep * width first steps: duplicates stay, and cost"
    # "2" is right; of the wrong ones "0" came first. "21" beats all, "20" is next (before "01", which is as good).
    assert golden(tree)[6:] == ["20", "21", "22", "00", "01", "02", "210", "211", "212", "200", "201", "202"]


def test_a_beam_copied_is_not_generated_twice_and_equal_siblings_are_one_beam():
    policy = Scripted({"p": [step("x", False)]})
    tree = run(Beam(keep=4, width=4), policy, budget=20)
    assert [wish.n for _, wish in policy.asked] == [16, 4], "sixteen equal steps are one beam that goes on"
    assert tree.cost.tokens == 20 and len(tree.nodes) == 21


def test_a_finished_answer_leaves_its_place_in_the_beam():
    class Ends(Digits):
        async def propose(self, tree, wishes):
            found = await super().propose(tree, wishes)
            return [[step(s.text, True) if s.text == "2" else s for s in steps] for steps in found]

    tree = run(Beam(keep=2, width=3), Ends(3, 3))
    assert golden(tree)[:6] == ["0", "1", "2", "0", "1", "2"]
    assert {tree.answer(node.parent) for node in tree.nodes[7:10]} == {"0"}, "2 has ended; only 0 goes on"


def test_beams_go_on_while_the_budget_lasts():
    tree = run(Beam(keep=1, width=3, times=1000), budget=30)
    assert tree.cost.tokens == 30 and golden(tree).count("210") == 3


def test_dvts_subtrees_never_compete():
    tree = run(Dvts(trees=3, width=2))
    # First steps 0 1 2 0 1 2 are dealt out: subtree i has those of index i and i + 3, so each has one digit alone.
    assert golden(tree)[:6] == ["0", "1", "2", "0", "1", "2"]
    assert golden(tree)[6:12] == ["00", "01", "10", "11", "20", "21"]
    assert golden(tree)[12:] == ["010", "011", "110", "111", "210", "211"]


def test_lookahead_values_a_step_by_what_follows_greedily():
    """The judge says nothing of first steps; only looking ahead tells them apart."""

    class Late(Knows):
        async def score(self, tree, nodes):
            known = await super().score(tree, nodes)
            return [[0.5] if node.depth == 1 else values for node, values in zip(nodes, known, strict=True)]

    policy = Digits(3, 3)
    tree = run(Lookahead(keep=1, width=3, ahead=1), policy, judge=Late())
    assert golden(tree)[:6] == ["0", "1", "2", "00", "10", "20"]
    assert [wish.temperature for _, wish in policy.asked[:4]] == [1, 0, 0, 0]
    assert "210" in golden(tree) and "000" not in golden(tree)
    blind = run(Beam(keep=1, width=3), judge=Late())
    assert "210" not in golden(blind), "without looking ahead the first digit is taken"


@pytest.mark.parametrize("search", [Beam, Dvts, Lookahead, Mcts])
def test_a_temperature_reaches_every_sampled_step(search):
    policy = Digits(3, 3)
    run(search(temperature=1.5), policy)
    assert {wish.temperature for _, wish in policy.asked} <= {1.5, 0} and policy.asked[0][1].temperature == 1.5


def visits(tree):
    return {tree.answer(node.index): node.visits for node in tree.nodes if node.visits}


def test_mcts_golden_tree():
    tree = run(Mcts(simulations=4, width=3, widen=0.0))
    # 1: the root's three digits. 2: "2" has Q 1 against 0, so it is widened. 3: "21" has Q 1, and so on. 4: 210 again, free.
    assert golden(tree) == ["0", "1", "2", "20", "21", "22", "210", "211", "212"]
    assert visits(tree) == {"": 10, "0": 1, "1": 1, "2": 8, "20": 1, "21": 5, "22": 1, "210": 2, "211": 1, "212": 1}
    assert [node.prior for node in tree.nodes[1:4]] == pytest.approx([1 / 3] * 3)


def test_mcts_visits_add_up_and_priors_are_the_policy_s():
    policy = Scripted(
        {"p": [step("a", False, logprob=math.log(0.6)), step("b", True, logprob=math.log(0.2)), step("a", False)]}
    )
    tree = run(Mcts(simulations=40, width=3), policy, judge=Halves(), budget=200)
    for node in tree.nodes:
        below = sum(child.visits for child in tree.nodes if child.parent == node.index)
        sampled = sum(other.parent == node.parent and other.step.text == node.step.text for other in tree.nodes[1:])
        if node.visits and not node.ended:
            assert node.visits == below + sampled, "a visit for each time that it was sampled, and each below it"
    a, b = tree.nodes[1], tree.nodes[2]
    assert (a.prior, b.prior) == (pytest.approx(0.75), pytest.approx(0.25))
    assert tree.nodes[3].visits == 0 and tree.nodes[3].prior is None, "a step sampled again is one more visit of the first"


class Halves(Knows):
    async def score(self, tree, nodes):
        return [[0.5] for _ in nodes]


def test_mcts_finds_the_needle_with_a_verifier_and_no_judge():
    """27 answers, one right: values from ends alone lead the visits to it."""
    tree = run(Mcts(simulations=300, width=3, widen=0.0), verifier=Equal(), judge=Nothing())
    end = max((node for node in tree.nodes if node.step.final), key=lambda node: node.visits)
    assert tree.answer(end.index) == "210" and end.verdict.state == State.CORRECT


class Nothing(Knows):
    async def score(self, tree, nodes):
        return [None for _ in nodes]


def test_mcts_c_grows_with_visits_as_published():
    search = Mcts(c=1.25)
    tree = Tree.root(PROBLEM, step("", False), 0)
    tree.nodes[0].visits = 100_000
    low, high = tree.grow([Expand(0, 2)], [[step("l", False), step("h", False)]])
    low.visits = high.visits = 1
    low.prior, high.prior = 0.5, 0.5
    # Equal priors: the value decides; a prior larger by more than the value's lead / (c sqrt(N) / 2) turns it.
    total = {low.index: 0.4, high.index: 0.6}
    assert search.best(tree.nodes[0], [low, high], total) is high
    c = 1.25 + math.log((100_000 + 19652 + 1) / 19652)
    edge = 0.2 / (c * math.sqrt(100_000) / 2)
    low.prior = 0.5 + 1.01 * edge
    assert search.best(tree.nodes[0], [low, high], total) is low
    low.prior = 0.5 + 0.99 * edge
    assert search.best(tree.nodes[0], [low, high], total) is high


def test_mcts_widens_with_visits_and_root_noise_is_an_option():
    search = Mcts(width=2, widen=1.0, power=0.5)
    node = Tree.root(PROBLEM, step("", False), 0).nodes[0]
    rooms = []
    for node.visits in (0, 2, 3, 6, 18):
        rooms.append(search.room(node))
    assert rooms == [2, 2, 3, 4, 6]
    plain = [node.prior for node in run(Mcts(simulations=1, width=3)).nodes[1:]]
    noisy = [node.prior for node in run(Mcts(simulations=1, width=3, noise=0.5)).nodes[1:]]
    assert plain == pytest.approx([1 / 3] * 3) and noisy != plain and sum(noisy) == pytest.approx(1)


@pytest.mark.parametrize("search", [Beam(2, 2, 99), Dvts(2, 2, 99), Lookahead(2, 2, 1, 99), Mcts(9999), Adaptive(60, 2)])
def test_every_search_is_reproducible_and_ends_at_its_budget(search):
    trees = [run(search, Digits(4, 4), budget=60, problem=Problem("p", "", "3210")) for _ in range(2)]
    assert golden(trees[0]) == golden(trees[1])
    assert trees[0].cost.tokens < 60 + 16, "at most one wish beyond it"
    assert trees[0].cost.tokens == sum(len(node.step.token_ids) for node in trees[0].nodes[1:])


@pytest.mark.parametrize("search", [Beam(2, 3), Dvts(2, 3), Lookahead(2, 3), Mcts(300, 3)])
def test_with_a_judge_that_knows_every_tree_search_finds_what_sampling_rarely_does(search):
    """One of 4^6 answers is right."""
    tree = run(search, Digits(6, 4), problem=Problem("p", "", "021210"))
    asyncio.run(grade(tree, tree.nodes[1:], Equal()))
    assert "021210" in golden(tree) and any(n.verdict and n.verdict.state == State.CORRECT for n in tree.nodes)


# adaptive


def unit(search, problems, policies, verifier=Equal(), judge=None, history=None):  # noqa: B008
    """The trees of several problems that are searched together."""
    meeting = Meeting(len(problems))
    before = history or {}

    async def go():
        jobs = [respond(p, search, policies, verifier, judge, NEVER, 7, before.get(p.id, History()), meeting) for p in problems]
        return {tree.problem.id: tree for tree in await asyncio.gather(*jobs)}

    return asyncio.run(go())


def test_adaptive_leaves_the_solved_alone_and_spends_their_share_on_the_others():
    policy = Scripted({"easy": [step("yes")], "hard": [step("no")], "odd": [step("no"), step("no"), step("yes")]})
    problems = [Problem(name, "", "yes") for name in ("easy", "hard", "odd")]
    trees = unit(Adaptive(tokens=8, first=2), problems, policy)
    spent = {name: tree.cost.tokens for name, tree in trees.items()}
    assert spent["easy"] == 2 and spent["hard"] == spent["odd"] == 11 and sum(spent.values()) == 24


def test_adaptive_goes_by_the_history_too():
    policy = Scripted({"a": [step("no")], "b": [step("no")]})
    problems = [Problem(name, "", "yes") for name in "ab"]
    history = {"a": History(16, 0), "b": History(16, 6)}
    trees = unit(Adaptive(tokens=8, first=2), problems, policy, history=history)
    assert trees["b"].cost.tokens > trees["a"].cost.tokens >= 2, "what was solved before is likelier to be solved again"


def test_adaptive_buys_where_tokens_are_cheap():
    policy = Scripted({"a": [step("no no no no")], "b": [step("no")]})
    trees = unit(Adaptive(tokens=20, first=2), [Problem(name, "", "yes") for name in "ab"], policy)
    answers = {name: len(tree.nodes) - 1 for name, tree in trees.items()}
    assert answers["b"] > answers["a"] and sum(tree.cost.tokens for tree in trees.values()) <= 40


def test_adaptive_blind_spends_on_votes_in_doubt():
    policy = Scripted({"sure": [step("1")], "split": [step("1"), step("2")]})
    trees = unit(Adaptive(tokens=8, first=4), [Problem(name, "", "1") for name in ("sure", "split")], policy, None)
    assert trees["sure"].cost.tokens == 4 and trees["split"].cost.tokens == 12


def test_adaptive_turns_to_tree_search_where_there_is_a_judge_and_sampling_found_nothing():
    policy = Digits(3, 3)
    found = unit(Adaptive(tokens=36, first=2, tree=Beam(1, 3, 99)), [PROBLEM], policy, judge=Knows())["p"]
    assert golden(found)[:2] == ["000", "100"] and "210" in golden(found), "whole answers first, then steps"
    alone = unit(Adaptive(tokens=36, first=2, tree=Beam(1, 3, 99)), [PROBLEM], Digits(3, 3))["p"]
    assert {len(text) for text in golden(alone)} == {3}, "without a judge more samples"


def test_the_options_of_the_tree_come_from_a_config_and_the_first_answers_fit():
    assert Adaptive(tree={"keep": 3}).tree == Beam(keep=3)
    with pytest.raises(ValueError, match="first is 0; expected at least 1"):
        Adaptive(first=0)


def test_overturned_is_the_beta_tail():
    assert overturned(0, 0) == pytest.approx(0.5)
    assert overturned(3, 0) == pytest.approx(0.5**4, abs=1e-4)  # Beta(4, 1): p^4 at 1/2
    assert overturned(1, 1) == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    assert overturned(5, 2) == pytest.approx((rng.beta(6, 3, 200_000) < 0.5).mean(), abs=3e-3)
