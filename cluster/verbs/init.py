"""`flywheel init`: a commented config of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from iteration.errors import UserError

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
CONFIG = """\
# Run it, and resume it: ./launch.sh run {name}.yaml     Does it fit: ./launch.sh plan {name}.yaml
# Every option with its default and meaning: ./launch.sh run --help
name: {name} # of the run; its folder is runs/{name}
seed: 0
rounds: {rounds} # may grow later: the same command then continues

# {about}
task: {task}
search: {{name: sample, n: {n}}} # answers to each problem; also beam, mcts, ... with options of their own
verify: {{name: {verifier}}} # grades each answer; try it first: ./launch.sh verify {name}.yaml ANSWERS.jsonl
filters: {{correct: {{}}, distinct: {{}}, cap: {{per_problem: 4}}}} # trained on: correct, not twice, at most 4 a problem

problems: {problems} # searched in each round
unit: {unit} # problems that are searched and committed together
{model}
generate: {{{generate}}} # context: of a prompt with its answer, in tokens
train: {{{train}}} # tokens: trained on in each round
measure: {{levels: {levels}, problems: 200, samples: 4}} # held-out problems of each level, and answers to each
"""
TINY = {
    "rounds": 5,
    "about": "Arithmetic expressions, synthetic. Your own problems: flywheel init NAME --model MODEL --train FILE",
    "task": "{name: expressions}",
    "n": 16,
    "problems": 400,
    "unit": 32,
    "model": "# No model.path: a tiny model is trained first, on a flawed corpus of the task.",
    "generate": "max_tokens: 96, context: 128",
    "train": "rows: 4, row_tokens: 256, tokens: 160_000",
    "levels": "[4, 6]",
}
PRETRAINED = {
    "rounds": 2,
    "about": "One problem a row. Without task.test a tenth is held out. template: what the model is shown of a problem.",
    "n": 8,
    "problems": 256,
    "unit": 16,
    "generate": "temperature: 0.7, max_tokens: 256, context: 512",
    "train": "tokens: 24_000, lr: 2.0e-5, rows: 4, row_tokens: 512, micro_rows: 1, betas: [0.9, 0.999]",
    "levels": "[0]",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the run, and of the file: NAME.yaml in this folder")
    parser.add_argument("--model", default="", metavar="MODEL", help="a Hugging Face folder or id")
    parser.add_argument("--train", default="", metavar="FILE", help="problems with answers: JSONL, Parquet or CSV")
    parser.add_argument("--verifier", default="", metavar="NAME", help="e.g. exact, code (default: math; tiny model: replay)")


def act(known: argparse.Namespace) -> int:
    from cluster.cli import COMMAND
    from cluster.config import load

    name = known.name.removesuffix(".yaml")
    if bool(known.model) != bool(known.train):
        raise UserError("init: --model and --train go together: a model and its problems, or neither for the synthetic task")
    values = {"name": name, "verifier": known.verifier or ("math" if known.train else "replay")} | TINY
    if known.train:
        values |= PRETRAINED | {"task": task(known.train), "model": f"model: {{path: {known.model!r}}}"}
    file = Path(f"{name}.yaml")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(CONFIG.format(**values).replace("./launch.sh", COMMAND))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; type another NAME") from None
    try:
        load(str(file), [])
    except UserError:
        file.unlink()
        raise
    print(f"{file} is written; run it with: ./launch.sh run {file}")
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
