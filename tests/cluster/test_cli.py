import pytest

from cluster.cli import main, parser


def said(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_teaches_every_verb(capsys):
    whole = said(capsys, "--help")
    for verb in ("run", "compare", "status", "why", "submit"):
        assert f"flywheel {verb}" in whole and verb in said(capsys, verb, "--help")


def test_the_help_of_run_lists_every_option_with_default_and_meaning(capsys):
    text = said(capsys, "run", "--help")
    for line in (
        "search.n=12 ",
        "whole answers per problem",
        "train.tokens=160000 ",
        "model.warm_start.lr=0.002 ",
        "filters.cap.per_problem=4 ",
        "with verify.name=replay:",
        "name=(required)",
    ):
        assert line in text
    assert "with search" not in said(capsys, "status", "--help")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["run", "configs/quickstart.yaml", "seach.n=1"], "did you mean 'search'?"),
        (["status", "nowhere"], "nowhere: no run there"),
        (["why", "x", "--run", "nowhere"], "no run there"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, words, message):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("flywheel: ") and error.count("\n") == 1


def test_a_verb_is_needed(capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args([])
    assert end.value.code == 2
