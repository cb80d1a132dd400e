"""The report on a run that was never made: known answers in, known numbers, valid charts and one whole page out."""

import json
import re

import numpy as np
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from cluster.report import charts, costs
from cluster.report.evidence import Evidence, Results, Tried, Work
from cluster.report.grammar import CONFIG
from cluster.report.page import page, pictures
from cluster.report.sections import advice, sections, verdict
from cluster.report.trees import Branch, Shown, Walk, merge
from iteration.cost import Size
from iteration.statistics import bootstrap

SIZE = Size(1000, 2, 16)


def tried(problem, correct, graded=8, level=4, wrong=None, **more):
    """`correct` of `graded` answers agree on the right one; the others agree on one wrong one, unless they all differ."""
    others = graded - correct
    votes = (correct, *([1] * others if wrong == "all differ" else [others]), 0)
    right = (True, *[False] * (len(votes) - 1))
    return Tried(problem, level, graded, correct, votes, right, 10, 20 * graded, 0, graded, **more)


def results(number, counts, level=4, **more):
    rows = tuple(tried(f"p{i:03d}", c, level=level) for i, c in enumerate(counts))
    return Results(f"round {number}", number, f"m{number:05d}", rows, **more)


def record(number, found, promoted=True):
    one = found.pass_1()
    score = {"level": 4, "problems": len(found), "samples": 8, "pass_1": one.mean, "low": one.low, "high": one.high}
    score |= {"k": 8, "pass_k": 0.9}
    reliability = [[0.1, 0.05, 20], [0.5, 0.55, 30], [0.9, 0.95, 40]]
    judged = {"level": 4, "answers": 90, "auc": 0.8, "step_auc": None, "reliability": reliability, "vote": 0.7, "majority": 0.6}
    began = 1000.0 * number
    return {
        "number": number,
        "model_in": f"m{max(0, number - 1):05d}",
        "trained": f"m{number:05d}" if number else "",
        "model_out": f"m{number if promoted else 0:05d}",
        "promoted": promoted,
        "reason": "",
        "scores": [score],
        "counts": {"problems": 100, "answers": 800, "correct": 300, "kept": 90, "failed": 0} if number else {},
        "seconds": {"search": 30.0, "train": 20.0, "measure": 5.0},
        "tokens": {"search": 16000, "train": 5000, "measure": 8000},
        "diversity": {"distinct_correct": 1.5, "k": 8, "pass_k": 0.8, "entropy": 0.2} if number else None,
        "calibration": [judged] if number else [],
        "audit": {"checked": 50, "rejected": 1, "rate": 0.02, "low": 0.0, "high": 0.1} if number else None,
        "verifier": {"position bias": 0.1} if number else {},
        "spans": [
            {"actor": "trainer", "phase": "train", "began": began + 30, "seconds": 20.0},
            {"actor": "generator-0", "phase": "search", "began": began, "seconds": 30.0},
        ],
    }


def evidence(rounds, arms=(), **more):
    """A run whose held-out problems had these counts of correct answers, round by round."""
    held_out = [results(number, counts) for number, counts in enumerate(rounds)]
    tree = Branch(
        "2 + 2",
        2,
        1,
        "",
        "",
        None,
        0,
        (Branch("4\n", 1, 1, "correct", "", 0.9, 3, ()), Branch("5\n", 1, 0, "wrong", "no", 0.1, 1, ())),
    )
    stages = {
        "sampled": 800,
        "graded": 800,
        "correct": 300,
        "distinct": 120,
        "kept": 90,
        "pool": 90,
        "trained": 80,
        "examples": 500,
    }
    known = {
        "name": "planted",
        "folder": "runs/planted",
        "facts": {"task": "expressions"},
        "rounds": [record(number, each) for number, each in enumerate(held_out)],
        "wanted_rounds": len(rounds) - 1,
        "size": SIZE,
        "held_out": held_out,
        "searched": held_out[1:],
        "arms": list(arms),
        "funnel": [{"round": number} | stages for number in range(1, len(rounds))],
        "work": [
            Work(n, {"search": 1e9, "train": 2e9, "measure": 5e8}, 55.0, 100 * bool(n), 29000) for n in range(len(rounds))
        ],
        "price": 0.0,
        "shown": [Shown("p000", 4, "2 + 2 </script><b>", "4", "held-out", {"round 0": tree, "round 1": tree})],
        "prompts": {f"p{i:03d}": f"prompt {i}" for i in range(40)},
    }
    return Evidence(**(known | more))


RISING = [[1] * 40, [4] * 40, [6] * 30 + [7] * 10]


def test_results_give_known_numbers():
    found = Results("r", 0, "m", (tried("a", 4), tried("b", 0), tried("c", 8)))
    assert found.pass_1() == bootstrap(np.array([0.5, 0.0, 1.0]))
    assert found.sizes().tolist() == [1, 2, 3, 4, 8]
    one, two, *_, eight = found.coverage()
    assert (
        one == pytest.approx(0.5) and two == pytest.approx((1 - 4 * 3 / (8 * 7) + 0 + 1) / 3) and eight == pytest.approx(2 / 3)
    )
    assert found.majority()[-1] == pytest.approx((0.5 + 0 + 1) / 3), "four against four share the credit"
    scattered = Results("r", 0, "m", (tried("a", 3, wrong="all differ"),))
    assert scattered.majority()[-1] == 1.0 and scattered.pass_1().mean == pytest.approx(3 / 8)
    assert (found.tokens_of_an_answer(), found.tokens_of_a_problem(), found.context()) == (20, 160, 20)


def test_a_judge_s_choices_are_averaged_over_problems_with_fewer_answers():
    rows = (tried("a", 1, by_judge={"v": (0.0, 1.0, 1.0)}), tried("b", 1, by_judge={"v": (1.0,)}), tried("c", 0))
    assert Results("r", 0, "m", rows).chosen()["v"].tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3])


def test_a_problem_that_could_not_be_graded_is_left_out_and_all_of_them_is_said():
    broken = Tried("x", 4, 0, 0, (0,), (False,), 10, 100, 0, 8)
    found = Results("r", 0, "m", (tried("a", 4), broken))
    assert found.sizes().tolist() == [1, 2, 3, 4, 8] and found.pass_1().mean == 0.5
    assert found.coverage()[0] == 0.5 and len(found.majority()) == 5
    run = evidence([[4] * 40, [6] * 40])
    run.held_out[1] = Results("round 1", 1, "m00001", (broken,))
    assert "No held-out answer could be graded" in verdict(run).headline and page([run], "x")


def walk(text, state, nodes=None, values=None):
    steps = tuple(text.split())
    nodes = nodes or tuple(range(len(steps)))
    return Walk(steps, nodes, values or (None,) * len(steps), (1,) * len(steps), state, "")


def test_equal_beginnings_stand_once():
    first, second = merge([walk("a b", "correct"), walk("a c", "wrong"), walk("a b", "correct"), walk("d", "")])
    assert (first.text, first.answers, first.correct, first.state) == ("a", 3, 2, "")
    assert [(b.text, b.answers, b.state) for b in first.children] == [("b", 2, "correct"), ("c", 1, "wrong")]
    assert (second.text, second.answers, second.state) == ("d", 0, ""), "no step follows it"


def test_visits_are_those_of_the_node_and_not_of_every_walk_through_it():
    shared = [Walk(("a", x), (1, n), (0.5, None), (7, 3), "wrong", "") for x, n in (("b", 2), ("c", 3))]
    (branch,) = merge([*shared, Walk(("a",), (9,), (0.9,), (2,), "correct", "")])
    assert branch.visits == 9 and branch.value == pytest.approx((0.5 + 0.5 + 0.9) / 3)


@given(st.lists(st.tuples(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.booleans()), min_size=1, max_size=12))
def test_every_answer_is_in_the_merged_tree_once(ends):
    walks = [walk(" ".join(steps), "correct" if right else "wrong") for steps, right in ends]

    def leaves(branches):
        for branch in branches:
            yield branch.answers - sum(child.answers for child in branch.children)
            yield from leaves(branch.children)

    found = merge(walks)
    assert sum(leaves(found)) == len(ends)
    assert sum(branch.correct for branch in found) == sum(right for _, right in ends)


def test_the_first_screen_says_whether_it_improves():
    assert (
        up := verdict(evidence(RISING))
    ).turns == "yes" and "went from 12.5 % to 78.1 % in 2 rounds: +65.6 points" in up.headline
    noise = np.random.default_rng(0).integers(3, 6, (2, 40)).tolist()
    assert (same := verdict(evidence(noise))).turns == "unclear" and "the interval holds zero" in same.headline
    fell = evidence([[5] * 40, [1] * 40])
    fell.rounds[1]["model_out"] = "m00000"  # not promoted
    assert (down := verdict(fell)).turns == "no" and "no model was better than the first" in down.headline
    assert verdict(evidence([[2] * 40])).turns == "unclear", "nothing was trained"
    money = dict(verdict(evidence(RISING, price=2.0)).facts)
    assert money["money"] == "0.09 at 2 a device-hour"
    assert (money["tokens"], money["operations"]) == ("87,000", "10.5 GFLOP")


def test_what_to_do_next():
    assert "still gained 28" in advice(evidence(RISING))[0][0] and advice(evidence(RISING))[0][1].endswith("rounds=5")
    assert advice(evidence(RISING, wanted_rounds=4)) == [
        ("2 of 4 rounds are finished; resume the run.", "./launch.sh resume runs/planted")
    ]
    failing = evidence(RISING)
    failing.rounds[1]["counts"]["failed"] = 80
    assert "failed on 80 of 1,600 answers" in advice(failing)[0][0]
    assert "nearly all solved" in advice(evidence([[8] * 40, [8] * 40]))[0][0]
    assert "there is more to learn from" in advice(evidence([[4] * 40, [4] * 40]))[0][0]
    assert "set aside" in advice(evidence(RISING, asides=2))[0][0]
    fooled = evidence(RISING)
    fooled.rounds[2]["audit"] |= {"low": 0.2, "rate": 0.3}
    assert "rejects 30.0 % of what the first accepts" in advice(fooled)[0][0]


def arm(name, budget, counts, **more):
    return Results(name, 0, "m00000", tuple(tried(f"p{i:03d}", c, **more) for i, c in enumerate(counts)), budget)


def test_every_chart_is_valid_and_has_data():
    searches = [arm("beam", 200, [8] * 20 + [0] * 20), arm("mcts", 200, [0] * 20 + [8] * 20)]
    run = evidence(RISING, searches)
    found = {section.key: section.panels[0] for section in sections([run])}
    assert set(found) == {
        "coverage", "saturation", "test-time", "training", "exchange", "difficulty", "movement", "search", "calibration",
        "time", "cost",
    }  # fmt: skip
    drawn = [spec for panel in found.values() for _, spec in panel.charts] + [charts.accuracy_by_round([run, run])]
    for spec in drawn:
        compiled = vl_convert.vegalite_to_vega(spec | {"config": CONFIG})
        assert compiled["marks"] and any(data.get("values") for data in compiled["data"]), spec
    assert "<path" in vl_convert.vegalite_to_svg(drawn[-1] | {"width": 300})
    (row,) = found["test-time"].tables[0].rows
    assert row[0] == "200" and "beam" in row[3] and "mcts" in row[3]


def test_difficulty_names_its_groups_by_what_is_in_them():
    """Equal problems stay together, so there may be fewer groups than fifths, and no group is a gap in a row of numbers."""
    first = results(0, [0] * 4 + [2] * 4 + [8] * 2).tried + results(0, [0] * 30, level=6).tried
    first = [tried(f"p{i:03d}", each.correct, level=each.level) for i, each in enumerate(first)]
    run = evidence([[0] * 40, [8] * 40])
    for number, of in enumerate((first, [tried(each.problem, 8, level=each.level) for each in first])):
        run.held_out[number] = Results(f"round {number}", number, f"m{number:05d}", tuple(of))
    rows = charts.difficulty(run)["data"]["values"]
    assert [(row["group"], row["problems"], row["pass_1"]) for row in rows if row["round"] == 0] == [
        ("25 to 100 %, level 4", 6, 0.5),
        ("0 %, level 4", 4, 0.0),
        ("0 %, level 6", 30, 0.0),
    ]
    assert charts.difficulty(run)["encoding"]["x"]["sort"] == [row["group"] for row in rows[:3]], "the hardest last"


def test_a_run_that_kept_nothing_says_what_to_do():
    run = evidence([[0] * 40], wanted_rounds=1)
    run.rounds.append(record(1, run.held_out[0], promoted=False) | {"trained": ""})
    assert (verdict(run).turns, verdict(run).headline[:48]) == ("no", "It does not improve: nothing was trained. The fi")
    assert advice(run) == [
        ("The filters kept none of 300 correct answers: see their reasons, and change the filters.",
         "./launch.sh traces runs/planted --correct"),
    ]  # fmt: skip
    run.rounds[1]["counts"] |= {"correct": 0}
    assert advice(run)[0][0].startswith("None of 800 answers was correct") and "Nothing is pressing" not in page([run], "x")


def test_an_evaluation_is_of_a_model_and_asks_for_nothing():
    run = evidence([[2] * 40])
    assert verdict(run).headline.startswith("Held-out pass@1 25.0 %") and advice(run) == []
    html = page([run], "x")
    assert "What to do next" not in html and "first model" not in html.lower()


def test_newly_solved_and_forgotten_are_named():
    _, moved = charts.movement(evidence([[0, 8, 0, 8], [8, 8, 0, 0]]))
    assert moved == [(1, ["p000"], ["p003"])]


def test_the_cheapest_way_depends_on_how_many_questions_there_are():
    few, *_, many = costs.cheapest_ways(evidence([[5] * 40, [8] * 40]), 4)[2][1:]
    assert few.startswith("round 0") and many.startswith("round 1")


def test_numbers_with_units():
    assert [costs.si(value) for value in (0, 5, 1500, 2.5e12)] == ["0 ", "5 ", "1.5 k", "2.5 T"]


def test_one_page_that_needs_nothing_and_breaks_on_nothing():
    run = evidence(RISING)
    html = page([run], "./launch.sh report runs/planted")
    assert len(html) < 1_500_000
    own = html.replace(vl_convert.javascript_bundle(), "")
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*["']|https?:""", own), "nothing is fetched"
    body = html[html.index('id="data-trees"') :]
    assert "</script><b>" not in body and "\\u003c/script>" in body, "a problem's text cannot end the script"
    trees = json.loads(body[body.index(">") + 1 : body.index("</script>")])
    assert trees[0]["problems"][0]["trees"]["round 0"][7][0][:4] == ["4\n", 1, 1, "correct"]
    both = page([run, evidence([[1] * 40, [2] * 40], name="other")], "x")
    assert "planted and other" in both and both.count('class="panel verdict') == 2


def test_pictures(tmp_path):
    found = pictures(evidence(RISING), tmp_path)
    assert {"turns.svg", "coverage.svg", "exchange.svg"} <= {path.name for path in found}
    assert all(path.read_text().startswith("<svg") and "currentColor" not in path.read_text() for path in found)


def test_a_run_with_one_measurement_only():
    run = evidence([[3] * 40])
    assert {section.key for section in sections([run])} == {"coverage", "saturation", "test-time", "time"}
    assert "chart-turns" not in page([run], "x")
