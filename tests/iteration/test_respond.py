import asyncio
import dataclasses
from dataclasses import dataclass

import pytest

from cluster.verifier import Grader
from iteration.parts import VERIFY, Part
from iteration.respond import Meeting, grade, respond, seed_of
from iteration.search.sample import Sample
from iteration.types import Expand, Meet, Problem, State, Step
from tests.worlds import Digits, Equal, Knows, Scripted, step

PROBLEM = Problem("p", "one plus one", "two")


def run(search, policy, budget=1000):
    return asyncio.run(respond(PROBLEM, search, policy, Equal(), None, budget, seed=7))


def test_sample_is_a_root_and_one_node_an_answer():
    tree = run(Sample(n=3), Scripted({"p": [step("two"), step("three"), step("two")]}))
    assert [(node.index, node.parent, node.depth) for node in tree.nodes] == [(0, -1, 0), (1, 0, 1), (2, 0, 1), (3, 0, 1)]
    assert [node.verdict.state for node in tree.nodes[1:]] == [State.CORRECT, State.WRONG, State.CORRECT]
    assert tree.nodes[0].verdict is None
    assert tree.cost.tokens == 3 and tree.cost.prompt_tokens == 3


@pytest.mark.parametrize(
    ("prompt", "text", "state"),
    [
        ("<|user|>one plus one<|assistant|><think>\n", "one and one is two", State.UNPARSEABLE),
        ("<|user|>one plus one<|assistant|><think>\n", "one and one</think>two", State.CORRECT),
        ("<|user|>one plus one<|assistant|><think>\n\n</think>\n", "two", State.CORRECT),
        ("<|user|>one plus one<|assistant|>", "two", State.CORRECT),
        ("<|user|>what is <think>?<|assistant|>", "two", State.CORRECT),
    ],
)
def test_thinking_that_the_prompt_opened_and_nothing_closed_is_no_answer(prompt, text, state):
    class Opens(Scripted):
        def show(self, problem):
            return dataclasses.replace(super().show(problem), text=prompt)

    class Grades:
        async def verify(self, problem, answers):
            return grader.verify([problem] * len(answers), answers)

    grader = Grader(Part(VERIFY, "exact", {"read": "line"}))
    tree = asyncio.run(respond(PROBLEM, Sample(n=1), Opens({"p": [step(text)]}), Grades(), None, 1000, seed=7))
    assert tree.nodes[1].verdict.state == state


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
            grown = yield [Expand(at, 1)]
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


def test_an_unfinished_step_is_no_answer_and_a_finished_path_is_graded_whole():
    class Path(Scripted):
        async def propose(self, tree, wishes):
            return [[step("tw", final=False) if wish.node == 0 else step("o")] for wish in wishes]

    tree = run(Stepwise(), Path({"p": []}))
    assert [node.verdict and node.verdict.state for node in tree.nodes] == [None, None, State.CORRECT]


def test_an_infrastructure_failure_is_raised_not_graded():
    class Broken(Scripted):
        async def propose(self, tree, wishes):
            raise ConnectionError("engine gone")

    with pytest.raises(ConnectionError):
        run(Sample(), Broken({}))


def test_seeds_depend_on_their_parts_alone():
    assert seed_of("a", 1) == seed_of("a", 1) != seed_of("a", 2)
    assert 0 <= seed_of("x") < 2**48


def test_a_step_that_a_limit_cut_is_never_taken_for_a_finished_answer():
    cut = dataclasses.replace(step("two", final=False), cut=True)
    tree = run(Stepwise2(), Scripted({"p": [cut]}))
    (node,) = tree.nodes[1:]
    assert node.verdict.state == State.UNPARSEABLE and node.ended and node.worth == 0


class Stepwise2:
    def explore(self, tree, rng):
        grown = yield [Expand(0, 1)]
        assert grown[0].ended, "the search is told at once"


def test_a_list_of_wishes_is_one_message_and_its_nodes_come_back_in_order():
    class Two:
        def explore(self, tree, rng):
            grown = yield [Expand(0, 2)]
            grown = yield [Expand(grown[1].index, 1), Expand(grown[0].index, 2)]
            assert [node.parent for node in grown] == [2, 1, 1] and [node.index for node in grown] == [3, 4, 5]

    assert run(Two(), Digits(3, 5)).cost.tokens == 5


def test_a_blind_search_sees_no_verdict_and_is_graded_afterwards():
    seen = []

    class Looks:
        def explore(self, tree, rng):
            grown = yield [Expand(0, 2, whole=True)]
            seen.extend(node.verdict for node in grown)

    policy = Scripted({"p": [step("two"), step("half", final=False)]})
    tree = asyncio.run(respond(PROBLEM, Looks(), policy, None, None, 1000, seed=7))
    assert seen[0] is None and seen[1].state == State.UNPARSEABLE, "only that a limit cut it is known without a verifier"
    asyncio.run(grade(tree, tree.nodes[1:], Equal()))
    assert [node.verdict.state for node in tree.nodes[1:]] == [State.CORRECT, State.UNPARSEABLE]


def test_a_judge_gives_values_and_a_verdict_counts_more():
    tree = asyncio.run(respond(Problem("p", "", "00"), Sample(n=2), Digits(2, 3), Equal(), Knows(), 100, 1))
    assert [node.value for node in tree.nodes[1:]] == [1.0, 0.5]
    assert [node.worth for node in tree.nodes[1:]] == [1.0, 0.0]


def test_searches_meet_when_all_that_still_go_wait():
    met = []

    class Waits:
        def explore(self, tree, rng):
            for _ in range(int(tree.problem.prompt)):
                yield [Expand(0, 1)]
            if tree.problem.id != "c":  # it ends without meeting anybody
                met.append((yield Meet(lambda trees: [other.problem.id for other in trees])))

    problems = [Problem(name, n, "x") for name, n in (("b", "3"), ("a", "1"), ("c", "2"))]
    meeting = Meeting(3)

    async def go():
        jobs = [respond(p, Waits(), Digits(9, 2), None, None, 99, 1, meeting=meeting) for p in problems]
        await asyncio.gather(*jobs)

    asyncio.run(go())
    assert met == [["a", "b"], ["a", "b"]]


def test_a_search_that_fails_lets_the_others_go():
    class Breaks:
        def explore(self, tree, rng):
            yield [Expand(0, 1)]
            if tree.problem.id == "a":
                raise ValueError("broken")
            yield Meet(len)

    meeting = Meeting(2)

    async def go():
        jobs = [respond(Problem(n, "", "x"), Breaks(), Digits(9, 2), None, None, 99, 1, meeting=meeting) for n in "ab"]
        return await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 5)

    found = asyncio.run(go())
    assert isinstance(found[0], ValueError) and len(found[1].nodes) == 2


def test_a_cut_step_without_tokens_can_be_held_by_a_tree():
    import numpy as np

    empty = Step(np.zeros(0, np.int32), np.zeros(0, np.float32), "", False, cut=True)
    assert run(Stepwise2(), Scripted({"p": [empty]})).nodes[1].ended


def test_steps_and_whole_answers_below_one_node_are_told_apart():
    class Both:
        def explore(self, tree, rng):
            yield [Expand(0, 1, whole=True), Expand(0, 1)]

    tree = run(Both(), Scripted({"p": [step("tw", final=False)]}))
    assert [node.verdict and node.verdict.state for node in tree.nodes[1:]] == [State.UNPARSEABLE, None]
