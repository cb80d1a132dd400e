import asyncio
from dataclasses import dataclass

import pytest

from iteration.respond import respond, seed_of
from iteration.search.sample import Sample
from iteration.types import Expand, Problem, State
from tests.worlds import Equal, Scripted, step

PROBLEM = Problem("p", "one plus one", "two")


def run(search, policy, budget=1000):
    return asyncio.run(respond(PROBLEM, search, policy, Equal(), None, budget, seed=7))


def test_sample_is_a_root_and_one_node_an_answer():
    tree = run(Sample(n=3), Scripted({"p": [step("two"), step("three"), step("two")]}))
    assert [(node.index, node.parent, node.depth) for node in tree.nodes] == [(0, -1, 0), (1, 0, 1), (2, 0, 1), (3, 0, 1)]
    assert [node.verdict.state for node in tree.nodes[1:]] == [State.CORRECT, State.WRONG, State.CORRECT]
    assert tree.nodes[0].verdict is None
    assert tree.cost.tokens == 3 and tree.cost.prompt_tokens == 3


def test_a_truncated_answer_is_unparseable_even_if_its_text_is_right():
    tree = run(Sample(n=1), Scripted({"p": [step("two", final=False)]}))
    assert tree.nodes[1].verdict.state == State.UNPARSEABLE
    assert "limit" in tree.nodes[1].verdict.why


@dataclass
class Stepwise:
    """Walks down one step at a time, for as long as it is let."""

    def explore(self, tree, rng):
        at = 0
        while True:
            grown = yield Expand(at, 1)
            at = grown[0].index
            if grown[0].step.final:
                return


def test_steps_hang_below_each_other_and_the_budget_stops_them():
    policy = Scripted({"p": [step("a b", final=False)]})
    tree = run(Stepwise(), policy, budget=7)
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 2, 3]
    assert tree.cost.tokens == 8  # the wish that crosses the budget is the last
    assert all(node.verdict is None for node in tree.nodes)
    assert tree.answer(4) == "a ba ba ba b"


def test_an_unfinished_step_is_no_answer_and_a_finished_path_is_judged_whole():
    class Path(Scripted):
        async def propose(self, tree, wish):
            return [step("tw", final=False) if wish.node == 0 else step("o")]

    tree = run(Stepwise(), Path({"p": []}))
    assert [node.verdict and node.verdict.state for node in tree.nodes] == [None, None, State.CORRECT]


def test_an_infrastructure_failure_is_raised_not_judged():
    class Broken(Scripted):
        async def propose(self, tree, wish):
            raise ConnectionError("engine gone")

    with pytest.raises(ConnectionError):
        run(Sample(), Broken({}))


def test_seeds_depend_on_their_parts_alone():
    assert seed_of("a", 1) == seed_of("a", 1) != seed_of("a", 2)
    assert 0 <= seed_of("x") < 2**48
