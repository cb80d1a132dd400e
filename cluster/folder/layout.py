"""The layout of a run folder: file names, table schemas and trace ids. Nothing is read here.

config.yaml                          what the run was started with
task.json                            digests of the task's files, and the ids of all held-out problems
arms/test.json                       how a set of problems is searched (cluster/folder/arm.py)
models/m00003/                       a Hugging Face folder and training.json, whole or absent
plans/r00003/train.parquet           the problems of a round, with their units (and plans/r00000/test.parquet)
traces/r00003/train/u00042.parquet   one unit of search by the arm `train`: a row is a node (schema TRACE)
scores/j00003-process/r00003/test/   a value model's scores of the answers of a unit (schema SCORE)
judges/j00003-process/               a value model of round 3, as a Hugging Face folder
filters/r00003.parquet               for every answer: kept, or the reason why not
audits/r00003.parquet                a second verifier's verdicts on a sample of accepted and refused answers (schema VERDICT)
manifests/r00003.parquet             the training examples, in order
rounds/r00003.json                   the round as a record; written last
verdicts/math-3fa2c1d0/              a regrading: verdicts of another verifier (schema VERDICT), and what is kept by them
replies/3f/3fa2...c1d0.json          another model's reply to a verifier's question (cluster/folder/replies.py)
checkpoints/m00004/s000120/          a training under way, to resume from (cluster/train/checkpoint.py); removed at its end
_tmp/                                unfinished files; nobody reads them
compared.json, evaluated.json        the record that closes a comparison's seed, or an evaluation
../tables.json                       of a comparison: written when all seeds are finished
"""

from __future__ import annotations

import re

import pyarrow as pa

TRACE = pa.schema(
    [
        ("id", pa.string()),  # r00003/train/u00042/t007/n0045: unit, tree in the unit, node in the tree
        ("round", pa.int32()),
        ("unit", pa.int32()),
        ("problem_id", pa.string()),
        ("level", pa.int32()),
        ("tree", pa.int32()),
        ("node", pa.int32()),
        ("parent", pa.int32()),  # -1 at the root, which holds the prompt
        ("depth", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),  # nats, of the sampling distribution; zeros at the root, null unless asked
        ("text", pa.large_string()),
        ("final", pa.bool_()),  # the model ended the answer itself
        ("value", pa.float32()),  # the judge's score after the node's last step; null without a judge
        ("values", pa.list_(pa.float32())),  # and after each step inside the node
        ("visits", pa.int32()),
        ("prior", pa.float32()),
        ("state", pa.string()),  # verdict: correct, wrong, unparseable, failed; null where nothing ended
        ("answer", pa.string()),
        ("reward", pa.float32()),
        ("why", pa.string()),
        ("verifier", pa.string()),  # who gave the verdict: name, version and options
        ("model_version", pa.string()),  # or who made the answer elsewhere
        ("judge_version", pa.string()),  # of the value model, where there are values
        ("judge_tokens", pa.int32()),  # sent to it for the whole tree; at the root only
        ("seed", pa.int64()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        # Trace id of the earlier answer that a step was taken from, or the file and row, or the endpoint, of an answer made
        # elsewhere; null where it was sampled here.
        ("origin", pa.string()),
    ]
)
# Scores of stored answers by another value model: a side file under the same keys.
SCORE = pa.schema([("id", pa.string()), ("values", pa.list_(pa.float32()))])
CATEGORIES = [
    "problem_id", "round", "unit", "level", "tree", "parent", "depth", "token_ids.list.element", "state", "answer", "why",
    "verifier", "model_version", "judge_version", "judge_tokens", "seed", "created_at",
    "origin",
]  # fmt: skip
# Verdicts of another verifier on stored answers: a side file under the same keys.
VERDICT = pa.schema(
    [
        ("id", pa.string()),  # the answer's trace id
        ("state", pa.string()),
        ("answer", pa.string()),
        ("reward", pa.float32()),
        ("why", pa.string()),
        ("verifier", pa.string()),
    ]
)
# What rounds make: a folder of each kind, in the order in which a fork takes them over.
OF_ROUNDS = ("models", "judges", "plans", "traces", "scores", "filters", "audits", "manifests", "rounds")
MODELS, JUDGES, PLANS, TRACES, SCORES, FILTERS, AUDITS, MANIFESTS, ROUNDS = OF_ROUNDS
ARMS, VERDICTS, REPLIES = "arms", "verdicts", "replies"
CONFIG = "config.yaml"
TMP = "_tmp"
NOTE = "now.json"  # in TMP: the driver's last note of pending work
ERRORS = "error.log"  # the traceback of the error that stopped the last driver
TASK_RECORD = "task"  # written once: {"files": {name: digest}, "held_out": [ids]}
TABLES = "tables.json"  # in the folder that holds a comparison's seeds
COMPARED, EVALUATED = "compared", "evaluated"  # the records that close a comparison's seed, and an evaluation
TRAINING = "training"  # in a model's folder: how it was trained
_TRACE_ID = re.compile(r"r(\d{5})/([\w.-]+)/u(\d{5})/t\d{3,}(/n\d{4,})?")


def round_key(number: int) -> str:
    return f"r{number:05d}"


def model_key(number: int) -> str:
    return f"m{number:05d}"


def model_number(model: str) -> int:
    """The round that produced a model: 3 for m00003."""
    return int(model[1:6])


def judge_key(number: int, name: str) -> str:
    return f"j{number:05d}-{name}"


def judge_name(judge: str) -> str:
    """The name of a value model's part: process for j00003-process; "" where it has none."""
    return judge.partition("-")[2]


def model_folder(model: str) -> str:
    """The folder of a model or a value model, by its version: models/m00003, judges/j00003-process."""
    return f"{JUDGES if model.startswith('j') else MODELS}/{model}"


def record_key(number: int) -> str:
    return f"{ROUNDS}/{round_key(number)}"


def arm_key(name: str) -> str:
    return f"{ARMS}/{name}"


def plans_folder(number: int) -> str:
    """The folder of a round's plans; all held-out problems are planned in round 0."""
    return f"{PLANS}/{round_key(number)}"


def plan_key(number: int, plan: str) -> str:
    return f"{plans_folder(number)}/{plan}"


def units_folder(number: int, arm: str) -> str:
    """The folder of an arm's units."""
    return f"{TRACES}/{round_key(number)}/{arm}"


def unit_key(number: int, arm: str, unit: int) -> str:
    return f"{units_folder(number, arm)}/u{unit:05d}"


def tree_id(number: int, arm: str, unit: int, tree: int) -> str:
    return f"{round_key(number)}/{arm}/u{unit:05d}/t{tree:03d}"


def node_id(tree: str, node: int) -> str:
    """The trace id of a node. tree: a `tree_id`."""
    return f"{tree}/n{node:04d}"


def unit_of(trace: str) -> tuple[int, str, int] | None:
    """(round, arm, unit) of a trace id; None where it is no trace id."""
    match = _TRACE_ID.fullmatch(trace)
    return (int(match[1]), match[2], int(match[3])) if match else None


def score_key(judge: str, unit: str) -> str:
    """The key of a judge's scores of a unit's answers, e.g. scores/j00003-process/r00003/test/u00000."""
    return f"{SCORES}/{judge}/{unit.partition('/')[2]}"


def set_folder(name: str) -> str:
    """The folder of a regrading, e.g. verdicts/math-3fa2c1d0."""
    return f"{VERDICTS}/{name}"


def set_key(name: str) -> str:
    """The key of the record that names a regrading's verifier."""
    return f"{set_folder(name)}/verifier"


def verdict_key(name: str, unit: str) -> str:
    """The key of a regrading's verdicts on a unit's answers, e.g. verdicts/math-3fa2c1d0/r00003/test/u00000."""
    return f"{set_folder(name)}/{unit.partition('/')[2]}"


def reply_key(digest: str) -> str:
    """The key of a reply, by the hash of the question."""
    return f"{REPLIES}/{digest[:2]}/{digest}"


def filter_key(number: int, of: str = "") -> str:
    """The key of the decisions on a round's answers. of: the arm, if the round trains on several."""
    return f"{FILTERS}/{round_key(number)}" + (f"-{of}" if of else "")


def checkpoints_folder(model: str) -> str:
    return f"checkpoints/{model}"


def manifest_key(model: str) -> str:
    """The key of a model's training examples: manifests/r00003 for m00003."""
    return f"{MANIFESTS}/r{model[1:]}"


def manifest_model(name: str) -> str:
    """The model of a manifest, by its file's name: m00003 for r00003.parquet."""
    return f"m{name.removesuffix('.parquet')[1:]}"


def audit_key(number: int) -> str:
    return f"{AUDITS}/{round_key(number)}"
