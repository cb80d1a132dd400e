"""Every task of reasoning-gym by its name: its own answer is accepted, rubbish is not, and some are refused."""

import json
import warnings

import numpy as np
import pytest

from cluster.sandbox.walls import why_no_walls
from cluster.verifier import Grader
from iteration.errors import UserError
from iteration.parts import VERIFY, Part
from iteration.tasks.gym import REFUSED, Gym, plain
from iteration.types import Problem, State
from iteration.verify.gym import FENCED, entry_of, fence, final

reasoning_gym = pytest.importorskip("reasoning_gym")
from reasoning_gym.factory import DATASETS  # noqa: E402

pytestmark = pytest.mark.engine
warnings.filterwarnings("ignore", module="reasoning_gym")
RUBBISH = ["", "xyzzy plugh", "<answer></answer>", "I do not know"]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Some of codeio's generators write files into the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def grader():
    found = Grader(Part(VERIFY, "gym", {"seconds": 20.0}), {"name": "rlimits" if why_no_walls() else "bubblewrap"})
    yield found
    found.close()


def test_all_names_are_known():
    assert len(DATASETS) == 106 and set(REFUSED) <= set(DATASETS) and set(FENCED) <= set(DATASETS) and len(FENCED) == 9


@pytest.mark.parametrize("name", sorted(set(DATASETS) - set(REFUSED)))
def test_its_own_answer_and_rubbish(grader, name):
    problem = Gym(name).draw("train", 0, 1, np.random.default_rng(0))[0]
    gold = json.loads(problem.answer)["answer"]
    verdicts = grader.verify([problem] * 6, [gold, f"Well.\n<answer>\n{gold}\n</answer> Done.", *RUBBISH])
    assert [v.state for v in verdicts[:2]] == [State.CORRECT] * 2, verdicts[:2]
    assert all(v.state in (State.WRONG, State.UNPARSEABLE) for v in verdicts[2:]), verdicts[2:]


@pytest.mark.parametrize("name", ["codeio", "isomorphic_strings", "list_functions", "ransom_note", "word_ladder"])
def test_problems_that_come_out_otherwise_when_made_again_are_stored(grader, name):
    problems = Gym(name).draw("train", 0, 30, np.random.default_rng(7))
    golds = [f"<answer>{json.loads(problem.answer)['answer']}</answer>" for problem in problems]
    assert len(problems) == 30
    assert [v.why for v in grader.verify(problems, golds) if v.state != State.CORRECT] == []
    wrong = [v for v in grader.verify(problems, ["<answer>[1, 2, 'x']</answer>"] * 30) if v.state == State.CORRECT]
    assert not wrong


@pytest.mark.parametrize("name", ["chain_sum", "word_ladder"])
def test_a_problem_without_its_entry_is_made_again_as_before(grader, name):
    seeded = reasoning_gym.create_dataset(name, size=5, seed=3)
    where = {"task": name, "config": {}, "seed": 3, "size": 5, "index": 4, "answer": seeded[4]["answer"]}
    problem = Problem("p", seeded[4]["question"], json.dumps(where))
    other = Problem("p", "another question", json.dumps(where))
    right, wrong = grader.verify([problem] * 2, [seeded[4]["answer"], "0"])
    assert (right.state, wrong.state) == (State.CORRECT, State.WRONG)
    (verdict,) = grader.verify([other], [seeded[4]["answer"]])
    assert verdict.state == State.FAILED and "made another problem" in verdict.why


def test_entries_come_back_as_they_were():
    entry = {"a": (1, [2.5, None]), 3: {(1, 2): True}, "n": np.int64(4), "s": np.str_("x"), "l": [], "t": ()}
    through = entry_of(json.loads(json.dumps(plain(entry))))
    assert through == entry and type(through["a"]) is tuple and type(through["a"][1]) is list and type(through["n"]) is int
    with pytest.raises(UserError, match="hold a set, which cannot be stored"):
        plain({"a": {1}})


def test_the_problem_itself_is_no_integral(grader):
    """Of intermediate_integration's own answers one in ten leaves the integral as it is: that is no answer."""
    problem = Gym("intermediate_integration").draw("train", 0, 1, np.random.default_rng(0))[0]
    where = json.loads(problem.answer)
    integrand = entry_of(where["entry"])["metadata"]["integrand"]
    (verdict,) = grader.verify([problem], [f"Integral({integrand}, x)"])
    assert verdict.state == State.WRONG


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_by_name_with_the_reason(name):
    with pytest.raises(UserError) as error:
        Gym(name)
    assert name in str(error.value) and REFUSED[name] in str(error.value)


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="no task 'chain_sums'; did you mean chain_sum"):
        Gym("chain_sums")
    with pytest.raises(UserError, match="chain_sum does not take"):
        Gym("chain_sum", {"min_turms": 2})


def test_splits_never_overlap_and_are_reproducible():
    task = Gym("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
    assert task.splits() == ("train", "test")
    train, test = (task.draw(split, 0, 40, np.random.default_rng(3)) for split in task.splits())
    with pytest.raises(KeyError):
        task.draw("validation", 0, 4, np.random.default_rng(3))
    assert {p.prompt for p in train}.isdisjoint(p.prompt for p in test) and len(test) > 3
    assert task.draw("train", 0, 40, np.random.default_rng(3)) == train


@pytest.mark.parametrize(
    ("name", "answer", "kept_out"),
    [
        ("countdown", "3*(4+5) - 6/2", False),
        ("countdown", "__import__('os').system('x')", True),
        ("countdown", "().__class__", True),
        ("countdown", "open(1)", True),
        ("simple_integration", "3*x**2/2 + sin(x) + C", False),
        ("simple_integration", "exec(x)", True),
        ("simple_integration", "x if x else 0", True),
        ("n_queens", "[['Q', '_'], ['_', 'Q']]", False),
        ("n_queens", "[print(1)]", True),
        ("spiral_matrix", "1 2 3", False),
        ("binary_matrix", "[x.__class__]", True),
        ("string_insertion", "lambda: 1", True),
        ("countdown", "1" * 15_000 + "!", True),
        ("countdown", "1." * 7_000 + "!", True),
        ("countdown", "((((" * 4_000 + "é&", True),
        ("chain_sum", "anything (goes)", False),
        ("chain_sum", "x" * 30_000, True),
    ],
)
def test_fences(name, answer, kept_out):
    assert bool(fence(name, answer)) == kept_out


def test_the_final_answer():
    assert (
        final("a <answer> 1 </answer> b <answer>\n 2\n</answer>") == "2" and final(" 3\n") == "3" and final("<answer>4") == "4"
    )
