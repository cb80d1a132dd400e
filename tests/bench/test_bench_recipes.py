"""The recipes: each is loaded and planned, and the table is made on scripted actors."""

import signal
import sys

import pytest

from cluster.cli import main
from cluster.verbs.driving import kind_of
from tests.bench import bench_recipes
from tests.bench.bench_recipes import LEARN, ORDER, RECIPES
from tests.scripted import play_on_script


@pytest.mark.parametrize("name", ORDER)
def test_a_recipe_names_its_paper_and_can_be_planned(name, capsys):
    text = (RECIPES / f"{name}.yaml").read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(text.splitlines()) <= 25 and text.startswith("# ") and " et al. 20" in comments[0]
    assert comments[2].startswith("# Here: ") and f" configs/recipes/{name}.yaml" in comments[3]
    verb = comments[3].split()[2]
    assert verb == bench_recipes.kind_of(str(RECIPES / f"{name}.yaml"))
    assert kind_of(str(RECIPES / f"{name}.yaml"), [])[1].name == name
    assert main(["plan", str(RECIPES / f"{name}.yaml")]) == 0 and "0 GPUs" in capsys.readouterr().out


def test_every_recipe_is_in_the_table():
    assert sorted(ORDER) == sorted(path.stem for path in RECIPES.glob("*.yaml"))


@pytest.mark.parametrize(("what", "wanted"), [("recipes", ["first model", *ORDER]), ("learn", ["first model", *LEARN])])
def test_the_table_has_all_rows_on_scripted_actors(what, wanted, tmp_path, monkeypatch, capsys):
    play_on_script(monkeypatch)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ran = []
    monkeypatch.setattr(bench_recipes, "flywheel", lambda words, log: ran.append(words[0]) or check(main(words)))
    assert bench_recipes.main([what, "--smoke", "--out", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert list(dict.fromkeys(row[0] for row in rows[1:])) == wanted
    assert all(len(row) == 7 and row[3] for row in rows), "something was measured at level 4"
    if what == "recipes":
        measured = {row[2] for row in rows if row[0] in ("snell", "minerva", "lightman")}
        assert {"majority of 4", "coverage of 4", "best by the ORM, of 4", "best by the PRM, of 4"} <= measured
        assert {"beam, budget 250", "lookahead, budget 250", "adaptive, budget 1000"} <= measured
        assert {"run", "compare", "eval"} == set(ran)


def check(status: int) -> None:
    assert status == 0
