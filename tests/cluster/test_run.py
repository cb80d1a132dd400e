"""The driver's decisions, on a store that a test filled; no actors."""

import asyncio
import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from cluster import comparison
from cluster.config import check_unchanged, load
from cluster.crew import Member
from cluster.folder.layout import model_key
from cluster.run import Run
from cluster.searcher import Unit, table
from iteration import tiny
from iteration.errors import UserError
from iteration.examples import DECISION
from iteration.measuring import diversity, solve_rates
from iteration.parts import JUDGE, Part
from iteration.tasks.expressions import VOCABULARY
from iteration.types import Expand, Problem, State, Tree, Verdict
from tests import worlds
from tests.worlds import step

needs_rocq = pytest.mark.skipif(not shutil.which("coqc"), reason="coqc is not installed; apt-get install coq")
OPTIONS = ["problems=40", "unit=8", "measure.levels=[4]", "measure.problems=40", "measure.samples=2"]


def with_model(folder, *options) -> Run:
    """A run in `folder` that has its first model, untrained."""
    run = Run(load("configs/quickstart.yaml", [f"run.dir={folder}", *OPTIONS, *options]))
    tiny.build(folder / "models" / "m00000", VOCABULARY, tiny.Shape(hidden_size=32, layers=1), 0)
    return run


@pytest.fixture
def run(tmp_path):
    return with_model(tmp_path / "run")


def commit(run, unit: Unit, states: list[list[State]]) -> None:
    """Commit a unit whose trees ended in the given states."""
    trees = []
    for problem, ends in zip(unit.problems, states, strict=True):
        tree = Tree.root(problem, step(problem.prompt, False), 0)
        answers = [step(f"{i} answer", model=unit.model) for i in range(len(ends))]
        for node, state in zip(tree.grow([Expand(0, len(ends), True)], [answers]), ends, strict=True):
            node.verdict = Verdict(state, "x", float(state == State.CORRECT))
        trees.append(tree)
    run.store.put_table(unit.key, table(unit, trees))


def measure(run, model: int, share: float) -> None:
    rng = np.random.default_rng(0)  # the same problems are hard for all models
    for unit in run.planning.units(run.test, model, model_key(model), ""):
        rows = [[State.CORRECT if rng.random() < share else State.WRONG for _ in range(2)] for _ in unit.problems]
        commit(run, unit, rows)


def test_worse_beyond_noise_is_not_promoted_and_says_so(run):
    run.planning.held_out(run.test)
    for model, share in enumerate((0.6, 0.1, 0.55, 0.9)):
        measure(run, model, share)
    best, reason = asyncio.run(run.promote(0, 1))
    assert best == 0 and "worse beyond noise" in reason and "next round starts from m00000" in reason
    best, reason = asyncio.run(run.promote(0, 2))
    assert best == 2 and "promoted" in reason, "a little worse may be noise"
    assert asyncio.run(run.promote(0, 3))[0] == 3
    (score,) = run.results(0).scores([4])
    assert (score.level, score.problems, score.samples, score.k) == (4, 40, 2, 2)
    assert score.low < score.pass_1 < score.high and score.pass_k > score.pass_1


def test_failed_verdicts_count_neither_as_wrong_nor_as_right(run):
    run.planning.held_out(run.test)
    for unit in run.planning.units(run.test, 0, "m00000", ""):
        commit(run, unit, [[State.CORRECT, State.FAILED]] * (len(unit.problems) - 1) + [[State.FAILED, State.FAILED]])
    (score,) = run.results(0).scores([4])
    assert score.pass_1 == 1.0 and score.k == 1 and score.problems == 40 - 5


def test_the_plan_follows_the_solve_history_and_stands_once_made(run):
    run.planning.round(1)
    first = run.store.table("plans/r00001/train").to_pylist()
    assert {row["level"] for row in first} == {3, 4, 5} and len({row["id"] for row in first}) == 40
    for unit in run.planning.units(run.train, 1, "m00000", ""):
        commit(run, unit, [[State.CORRECT, State.WRONG] for _ in unit.problems])
    assert solve_rates(run.book.nodes(run.train, 1, ["level", "state"])) == {3: 0.5, 4: 0.5, 5: 0.5}
    run.planning.round(2)
    assert 6 in run.store.table("plans/r00002/train")["level"].to_pylist(), "the next level is prompted"
    run.planning.round(1)
    assert run.store.table("plans/r00001/train").to_pylist() == first


def test_plans_depend_on_the_seed_alone(tmp_path):
    def plan(name, seed):
        run = with_model(tmp_path / name, f"seed={seed}")
        run.planning.round(1)
        return run.store.table("plans/r00001/train")

    assert plan("a", 0).equals(plan("b", 0)) and not plan("c", 0).equals(plan("d", 1))


def test_the_pool_holds_all_rounds_and_the_manifest_whole_epochs(run):
    for number in (1, 2):
        run.planning.round(number)
        for unit in run.planning.units(run.train, number, "m00000", ""):
            commit(run, unit, [[State.CORRECT, State.WRONG, State.CORRECT] for _ in unit.problems])
        decisions = run.filter(number)
        assert sum(not reason for reason in decisions["reason"].to_pylist()) == 80
    assert run.manifest(2)
    rows = run.store.table("manifests/r00002").to_pylist()
    assert {row["trace_id"][:6] for row in rows} == {"r00001", "r00002"}
    first = [row["trace_id"] for row in rows if row["epoch"] == 0]
    assert len(first) == len(set(first)) == 160


def test_a_changed_config_is_refused_with_both_values_and_rounds_may_grow(run):
    check_unchanged(run.store, run.config)
    options = [f"run.dir={run.store.root}", *OPTIONS]
    check_unchanged(run.store, load("configs/quickstart.yaml", [*options, "rounds=9"]))
    otherwise = OmegaConf.create(OmegaConf.to_yaml(run.config))
    otherwise.generate.transfer = "nccl"
    check_unchanged(run.store, otherwise)  # weights are the same however they come
    for option, said in [
        ("train.lr=0.5", "train.lr is 0.001 in this run, but 0.5 was asked for"),
        ("rounds=2", "rounds is 5 in this run, but 2 was asked for; rounds may only grow"),
        ("search.n=3", "search.n is 16 in this run, but 3 was asked for"),
    ]:
        with pytest.raises(UserError) as error:
            check_unchanged(run.store, load("configs/quickstart.yaml", [*options, option]))
        assert said in str(error.value)


def test_a_prompt_without_room_for_an_answer_is_said_before_anything_is_searched(run):
    tight = Run(load("configs/quickstart.yaml", [f"run.dir={run.store.root}", *OPTIONS, "generate.context=9"]))
    with pytest.raises(UserError, match=r"problems \(expr4-.*\): .* up to 10 tokens, but generate.context is 9"):
        tight.planning.held_out(tight.test)


def test_units_are_the_same_every_time(run):
    run.planning.round(1)
    units = run.planning.units(run.train, 1, "m00000", "")
    assert [unit.number for unit in units] == list(range(5)) and units == run.planning.units(run.train, 1, "m00000", "")
    assert all(isinstance(problem, Problem) for problem in units[0].problems)
    assert dataclasses.replace(units[0], round=2).key == "traces/r00002/train/u00000"


@pytest.mark.parametrize(("off", "alarm"), [(1e-6, False), (0.01, True), (float("nan"), True)])
def test_an_update_that_the_trainer_does_not_confirm_is_an_alarm(run, off, alarm):
    """Two engines, one of which answers with other logprobs than the trainer's forward pass gives."""

    async def soon(value):
        return value

    def engine(answer, logprobs):
        calls = {"ready": "node", "update": None, "greedy": (answer, logprobs)}
        return SimpleNamespace(**{name: SimpleNamespace(remote=lambda *_, r=r: soon(r)) for name, r in calls.items()})

    own = np.array([-0.5, -1.0], np.float32)
    answer = np.array([4, 5], np.int32)
    engines = [Member(name, engine(answer, logprobs)) for name, logprobs in {"a": own, "b": own + np.float32(off)}.items()]

    class Both:
        """A crew that makes all of its members ready before it returns."""

        async def make_ready(self, prepare):
            for each in engines:
                await prepare(each)

    run.actors = SimpleNamespace(version="", give=lambda *_: soon(None), generators=Both(), train=lambda *_: soon(own))
    run.planning.held_out(run.test)
    if alarm:
        with pytest.raises(UserError, match="differ from the trainer's by"):
            asyncio.run(run.serve(1, "m00000"))
    else:
        assert asyncio.run(run.serve(1, "m00000")) == 0


def test_a_round_may_train_on_the_last_round_alone(tmp_path):
    run = with_model(tmp_path / "run", "train.pool=last")
    for number in (1, 2):
        run.planning.round(number)
        for unit in run.planning.units(run.train, number, "m00000", ""):
            commit(run, unit, [[State.CORRECT] for _ in unit.problems])
        run.filter(number)
    assert run.manifest(2)
    assert {row["trace_id"][:6] for row in run.store.table("manifests/r00002").to_pylist()} == {"r00002"}


@pytest.mark.parametrize(("start", "base"), [("previous", "m00001"), ("base", "m00000")])
def test_a_round_starts_from_the_best_model_or_from_the_first(tmp_path, start, base):
    run = with_model(tmp_path / "run", f"train.start={start}")
    run.planning.held_out(run.test)
    for model in (0, 1):
        measure(run, model, 0.5)
    for number in (1, 2):
        run.planning.round(number)
        for unit in run.planning.units(run.train, number, "m00001", ""):
            commit(run, unit, [[State.CORRECT] for _ in unit.problems])
        run.filter(number)
    called = []

    class Trained(Exception):
        pass

    def train(*arguments):
        called.append(arguments)
        raise Trained

    run.actors = SimpleNamespace(train=train)

    async def one():
        return 1

    with pytest.raises(Trained):
        asyncio.run(run.improve(2, one(), 1))
    assert called == [("train", "m00002", base, run.learning)]


def test_unsolved_problems_come_again_with_their_history(tmp_path):
    run = with_model(tmp_path / "run", "retry=0.25")
    run.planning.round(1)
    units = run.planning.units(run.train, 1, "m00000", "")
    for unit in units:
        commit(run, unit, [[State.WRONG, State.CORRECT if i else State.FAILED] for i in range(len(unit.problems))])
    unsolved = {unit.problems[0].id for unit in units}
    run.planning.round(2)
    rows = run.store.table("plans/r00002/train").to_pylist()
    again = {row["id"]: (row["tried"], row["solved"]) for row in rows if row["tried"]}
    assert set(again) == unsolved and set(again.values()) == {(1, 0)}, "a broken verdict is no try"
    assert len({row["id"] for row in rows}) == len(rows) <= 40
    histories = {
        p.id: h
        for unit in run.planning.units(run.train, 2, "m00000", "")
        for p, h in zip(unit.problems, unit.history, strict=True)
    }
    assert histories[unsolved.pop()].tried == 1


def test_a_search_is_led_by_the_newest_judge_that_it_can_count_on(run):
    judge = Part(JUDGE, "process", {})
    assert run.judging.newest(judge, 5) == ""
    for number in (1, 3):
        (run.store.root / "judges" / f"j0000{number}-process").mkdir(parents=True)
    assert run.judging.newest(judge, 5) == "j00003-process" and run.judging.newest(judge, 2) == "j00001-process"
    assert run.judging.newest(Part(JUDGE, "outcome", {}), 5) == ""


def test_diversity_of_a_round(run):
    run.planning.round(1)
    for unit in run.planning.units(run.train, 1, "m00000", ""):
        commit(run, unit, [[State.CORRECT, State.CORRECT, State.WRONG] for _ in unit.problems])
    run.filter(1)
    found = run.diversity(1, run.decisions(run.train, 1))
    assert (found.distinct_correct, found.k, found.pass_k) == (2.0, 3, 1.0)
    assert found.entropy == pytest.approx(1.0), "every scripted token has log p = -1"


def test_the_entropy_is_of_the_answers_whose_logprobs_were_asked_for():
    tree = Tree.root(Problem("p", "?", "1"), step("?", False), 0)
    answers = [step("1 2", logprob=-0.5), dataclasses.replace(step("1 2 3"), logprobs=None), step("4", logprob=-2.0)]
    for node in tree.grow([Expand(0, 3, True)], [answers]):
        node.verdict = Verdict(State.WRONG)
    nodes = table(worlds.unit(tree.problem), [tree])
    assert nodes["logprobs"].to_pylist() == [[-1.0], [-0.5, -0.5], None, [-2.0]]
    assert diversity(nodes, DECISION.empty_table(), 1).entropy == pytest.approx(1.0)


def test_an_oracle_needs_a_verifier_that_judges_steps(tmp_path):
    with pytest.raises(UserError, match="judge.name=oracle uses the verifier's verdicts on steps, but verify.name=exact"):
        with_model(tmp_path / "run", "judge.name=oracle", "verify.name=exact")


@pytest.mark.parametrize("task", ["expressions", pytest.param("theorems", marks=needs_rocq)])
def test_a_split_that_the_task_lacks_is_refused_before_anything_starts(tmp_path, task):
    """It would have measured on training problems."""
    verify = {"expressions": "replay", "theorems": "proof"}[task]
    with pytest.raises(UserError, match=f"measure.split: task {task} has no validation problems"):
        Run(load("", [f"task.name={task}", f"verify.name={verify}", "search.name=sample", "name=x", "sandbox=rlimits",
                      f"run.dir={tmp_path / 'run'}", "measure.split=validation"]))  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_comparison_is_not_led_by_a_judge_that_nobody_teaches():
    options = ["compare.arms.beam.judge.name=outcome", "judge.name=process"]
    with pytest.raises(UserError, match="compare.arms.beam.judge: the run teaches judge.name=process only; found outcome"):
        comparison.read("configs/compare.yaml", options)


def test_rounds_of_a_comparison_cannot_grow(tmp_path):
    run = comparison.Comparison(comparison.read("configs/compare.yaml", [f"run.dir={tmp_path}"]))
    check_unchanged(run.store, run.config, run.schema)
    run.planning.arms(run.arms())
    more = comparison.Comparison(comparison.read("configs/compare.yaml", [f"run.dir={tmp_path}", "rounds=3"]))
    written = sorted((tmp_path / "arms").iterdir())
    with pytest.raises(UserError, match="was searched after round 2, so rounds cannot grow"):
        more.planning.arms(more.arms())
    assert sorted((tmp_path / "arms").iterdir()) == written
