"""Every option of every part and section: zero, negative numbers, no number, a wrong word and an empty list are refused in
one line that names the option, or stand here with their meaning."""

import dataclasses
import importlib.util
import inspect
import math

import pytest

from cluster.config import Config
from iteration.config import checked_options
from iteration.errors import UserError
from iteration.parts import FILTER, JUDGE, LEARN, SEARCH, TASK, VERIFY
from tests.iteration.test_splits import options as files

ODD = (0, -1, math.nan, math.inf, "no such word", [], "")
SECTIONS = [
    (field.name, field.default_factory)
    for field in dataclasses.fields(Config)
    if inspect.isclass(field.default_factory) and dataclasses.is_dataclass(field.default_factory)
]
KINDS = (TASK, SEARCH, VERIFY, JUDGE, LEARN, FILTER)
PARTS = [(f"{kind.name}={name}", kind.part_class(name)) for kind in KINDS for name in kind.shipped()]
ZERO = {  # options for which 0 has a meaning: off, none, as it comes, greedy
    *("generate.temperature", "generate.gpus", "train.gpus", "train.threads", "train.lora", "train.checkpoint"),
    *("train.warmup", "train.weight_decay", "train_judge.warmup", "train_judge.weight_decay", "placement.generators"),
    *("report.price", "search=adaptive.doubt", "search=adaptive.prior", "search=continued.anew", "search=lookahead.ahead"),
    *("search=mcts.c", "search=mcts.power", "search=mcts.widen", "search=mcts.noise", "learn=dpo.anchor"),
    *(f"search={name}.temperature" for name in ("beam", "dvts", "lookahead", "mcts")),
    *("verify=code.tolerance", "task=expressions.corpus_wrong_share"),
}
EMPTY = {"verify=proof.axioms", "verify=proof.libraries"}  # lists that may be empty
WORDS = {  # options with a fixed set of words; every other text names something that is looked up, or is shown
    *("generate.dtype", "generate.transfer", "train.schedule", "train_judge.schedule", "train.start", "train.pool"),
    *("train.save_dtype", "sandbox.name", "verify=exact.read", "verify=proof.prover", "judge=process.labels"),
}


def accepted(where: str, part: type, given: dict) -> list[tuple[str, object]]:
    """(option, odd value) of those that are not refused; fails where a refusal is not one line."""
    found = []
    for field in dataclasses.fields(part):
        for odd in ODD:
            try:
                checked_options(part, given | {field.name: odd}, where)
            except UserError as error:
                assert "\n" not in str(error), error
                if not str(field.type).startswith(("str", "Any")):
                    assert field.name in str(error), error
            else:
                found.append((field.name, odd))
    return found


@pytest.mark.parametrize(("where", "part"), [*SECTIONS, *PARTS], ids=[where for where, _ in [*SECTIONS, *PARTS]])
def test_odd_values_are_refused_with_the_option_s_name_or_mean_something(where, part, tmp_path):
    given = {}
    if where.startswith("task="):
        if where == "task=gym" and importlib.util.find_spec("reasoning_gym") is None:
            pytest.skip("reasoning-gym is not installed; type: ./launch.sh setup gym")
        given = files(where.removeprefix("task="), tmp_path, "train")
    types = {field.name: str(field.type) for field in dataclasses.fields(part)}
    assert {name for name in WORDS if name.startswith(f"{where}.")} <= {f"{where}.{name}" for name in types}
    for option, odd in accepted(where, part, given):
        full, kind = f"{where}.{option}", types[option]
        if kind == "bool" or kind.startswith(("Any", "dict")):
            continue  # 0 is false, as YAML has it; the others are checked by who reads them
        if kind.startswith("str"):
            assert full not in WORDS, f"{full}={odd!r} was accepted"
        else:
            assert (odd == 0 and full in ZERO) or (odd == [] and full in EMPTY), f"{full}={odd!r} was accepted"
