"""`flywheel init`: a commented config of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from iteration.errors import COMMAND, UserError

HELP = "write a commented config of your own"
DESCRIPTION = (
    "Write NAME.yaml: a pretrained model on a file of problems, or, without --model and --train, a tiny model on the synthetic "
    "task of the quickstart. Nothing is asked, and no file is replaced."
)
EXAMPLES = ("flywheel init mine --model FOLDER --train FILE  a config for your model and problems",)
COLUMNS = {  # a file's columns, in the order in which they are looked for
    "prompt_key": ("prompt", "question", "problem", "input"),
    "answer_key": ("answer", "solution", "expected", "output"),
}
HEAD = """\
# Run it, and resume it: ./launch.sh run {name}.yaml     Does it fit: ./launch.sh plan {name}.yaml
# Every option with its default and meaning: ./launch.sh run --help
"""
CONFIG = """\
name: {name} # of the run; its folder is runs/{name}
seed: 0
rounds: 2 # may grow later: the same command then continues

# One problem a row. Without task.test a tenth is held out. task.template: what the model is shown of a problem.
task: {task}
search: {{name: sample, n: 8}} # answers to each problem; also beam, mcts, ... with options of their own
verify: {{name: {verifier}}} # grades each answer; try it first: ./launch.sh verify {name}.yaml ANSWERS.jsonl
filters: {{correct: {{}}, distinct: {{}}, cap: {{per_problem: 4}}}} # trained on: correct, not twice, at most 4 a problem

problems: 256 # searched in each round
unit: 16 # problems that are searched and committed together
model: {{path: {model!r}}}
generate: {{temperature: 0.7, max_tokens: 256, context: 512}} # context: of a prompt with its answer, in tokens
train: {{tokens: 24_000, lr: 2.0e-5, rows: 4, row_tokens: 512, micro_rows: 1, betas: [0.9, 0.999]}} # tokens: in each round
measure: {{levels: [0], problems: 200, samples: 4}} # held-out problems, and answers to each
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the run, and of the file: NAME.yaml in this folder")
    parser.add_argument("--model", default="", metavar="MODEL", help="a Hugging Face folder or id")
    parser.add_argument("--train", default="", metavar="FILE", help="problems with answers: JSONL, Parquet or CSV")
    parser.add_argument("--verifier", default="", metavar="NAME", help="e.g. exact, code (default: math; tiny model: replay)")


def act(known: argparse.Namespace) -> int:
    from cluster.config import load
    from iteration.config import shipped

    name = known.name.removesuffix(".yaml")
    if bool(known.model) != bool(known.train):
        raise UserError("init: --model and --train go together: a model and its problems, or neither for the synthetic task")
    if known.train:
        text = CONFIG.format(name=name, model=known.model, task=task(known.train), verifier=known.verifier or "math")
    else:
        text = shipped("configs/quickstart.yaml").read_text(encoding="utf-8").replace("name: quickstart", f"name: {name}")
        text = text.replace("verify: {name: replay}", f"verify: {{name: {known.verifier or 'replay'}}}")
    file = Path(f"{name}.yaml")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write((HEAD.format(name=name) + text).replace("./launch.sh", COMMAND))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; type another NAME") from None
    try:
        load(str(file), [], gpus=None)
    except UserError:
        file.unlink()
        raise
    print(f"{file} is written; run it with: {COMMAND} run {file}")
    return 0


def task(file: str) -> str:
    """The section of a file's problems. Raises UserError where it has no columns that look like a prompt and an answer."""
    from iteration.rows import read_rows

    found = read_rows(file, "--train").columns
    keys = {key: next((name for name in names if name in found), "") for key, names in COLUMNS.items()}
    for key, column in keys.items():
        if not column:
            raise UserError(f"{file}: no column for task.{key} (found: {', '.join(found)}; expected {', '.join(COLUMNS[key])})")
    return "{" + ", ".join(["name: file", f"train: {file!r}", *(f"{key}: {name}" for key, name in keys.items())]) + "}"
