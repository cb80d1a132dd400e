"""Every option of every section and shipped part refuses what makes no sense, in one line that names it."""

import dataclasses
import re
import shutil

import pytest

from cluster.comparison import Compare
from cluster.config import KINDS, Config
from cluster.evaluation import Evaluate
from iteration.config import checked_options
from iteration.errors import UserError
from iteration.tasks.file import File

ODD = {"0": 0, "-1": -1, "nan": float("nan"), "inf": float("inf"), "word": "nonsense", "[]": []}
# Options that take some of these values, by the class that has them: 0, with the reason, or any text.
ZERO = {
    "Report price": "free",
    "Generate gpus": "on the CPU",
    "Generate temperature": "greedy",
    "Begin temperature requests_per_minute tokens_per_minute retries": "greedy; no limits; none",
    "Placement generators": "on every node",
    "Optimise warmup weight_decay": "none",
    "Train checkpoint": "after each step",
    "Train gpus lora threads": "on the CPU; all weights; all cores",
    "Dpo anchor": "no term",
    "Sft hardness": "all answers count alike",
    "Adaptive doubt prior": "never settled; no history",
    "Beam temperature": "greedy",
    "Continued anew": "all continue",
    "Dvts temperature": "greedy",
    "Lookahead ahead temperature": "none; greedy",
    "Mcts c noise power temperature widen": "no prior; no noise; constant width; greedy",
    "Expressions corpus_wrong_share": "none is wrong",
    "Puct simulations c noise hot plies": "the net alone; no prior; no noise; the best move; to the end",
    "Hex opening": "the empty board",
    "Size depth": "one layer",
    "Train window": "all rounds",
    "Config seed rounds lag retry audit_share failed_share drift": "a seed; only measure; in turns; none (3); to the bit",
    "Measure levels": "the level of tasks that have none",
    "Code tolerance": "exact",
    "Llm scale retries price_in price_out": "words; one try; free",
}
TEXT = {
    "Puct against": "a version",
    "Config name verdicts": "a name; a regrading",
    "RunFolder dir fork": "folders",
    "Generate step_end": "any delimiter",
    "Model path": "a folder or an id",
    "Begin key": "a name, looked up where it is needed",
    "Evaluate judge": "a folder",
    "Proof preamble": "code",
    "Llm model": "a name",
    "Wandb project entity": "names",
    "File train validation test dataset config": "names, checked where they are read",
    "File prompt_key answer_key id_key level_key": "columns, likewise",
    "Choice Humaneval Mbpp Apps entry_key setup_key imports_key code_key starter_key wrong_keys": "columns, likewise",
}
EMPTY = {
    "Proof axioms libraries": "none",
    "Gym config": "the task's defaults",
    "Llm request": "no change",
    "File train validation test": "no such problems",
}


def below(part: type) -> list[type]:
    """A dataclass and those of its sections."""
    factories = [field.default_factory for field in dataclasses.fields(part)]
    return [part, *(each for inner in factories if dataclasses.is_dataclass(inner) for each in below(inner))]


PARTS = [kind.part_class(name) for kind in dict.fromkeys(KINDS.values()) for name in kind.shipped()]
SECTIONS = list(dict.fromkeys(each for whole in (Config, Compare, Evaluate, *PARTS) for each in below(whole)))
NEEDS = {"Proof": shutil.which("coqc"), "Wandb": False, "Tensorboard": False}  # not installed everywhere


def listed(table: dict[str, str], part: type, option: str) -> bool:
    names = {each.__name__ for each in part.__mro__}
    return any(names & set(key.split()) and option in key.split() for key in table)


@pytest.mark.parametrize("part", [part for part in SECTIONS if NEEDS.get(part.__name__, True)], ids=lambda part: part.__name__)
def test_an_option_refuses_what_makes_no_sense(part, tmp_path):
    (tmp_path / "p.jsonl").write_text("")
    given = {"train": str(tmp_path / "p.jsonl")} if issubclass(part, File) else {}
    given |= {"name": "x"} if part is Config else {}
    given |= {"task": "chain_sum"} if part.__module__ == "iteration.tasks.gym" else {}
    for field in dataclasses.fields(part):
        if field.type in ("Any", "bool") and not issubclass(part, File):
            continue  # sections have tests of their own; a number is a truth value
        for word, value in ODD.items():
            text = word != "[]" and listed(TEXT, part, field.name)
            if text or (word == "0" and listed(ZERO, part, field.name)) or (word == "[]" and listed(EMPTY, part, field.name)):
                continue
            with pytest.raises(UserError) as error:
                checked_options(part, given | {field.name: value}, "section")
                pytest.fail(f"{part.__name__}.{field.name} takes {word}")
            said = str(error.value)
            assert re.search(rf"\b{field.name}\b", said) and "\n" not in said, (part.__name__, field.name, word, said)
