"""What the verifiers of answers make of labelled solutions, forms and mutants, and how fast (docs/verifiers.md).

    python -m tests.bench.bench_answers GSM8K_FOLDER [LABELLED.jsonl] [--smoke]

GSM8K_FOLDER: holds train.jsonl.gz and test.jsonl.gz. LABELLED.jsonl: example_model_solutions.jsonl of openai/grade-school-math
(model solutions with is_correct). To measure another version, set PYTHONSAFEPATH=1 and put its `iteration` before this
folder on PYTHONPATH.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from iteration.types import Problem, State
from iteration.verify import math
from iteration.verify.exact import Exact
from tests.bench.bench_verify import FORMS as PAIRS
from tests.iteration.mutants import mutants, values
from tests.iteration.test_extract import FORMS, NUMBERS, PROSE, VALUES

Judge = Callable[[str, str], bool]


def by_math(gold: str, answer: str) -> bool:
    return math.compare(gold, answer, "auto")["state"] == State.CORRECT


def by_exact(gold: str, answer: str, verifier: Exact = Exact()) -> bool:  # noqa: B008
    return verifier.one(Problem("p", "", gold), answer).state == State.CORRECT


def gsm8k(folder: Path) -> list[tuple[str, str]]:
    """(solution, its answer) of every problem."""
    files = [gzip.decompress((folder / f"{part}.jsonl.gz").read_bytes()).decode() for part in ("train", "test")]
    solutions = [json.loads(line)["answer"] for line in "".join(files).splitlines()]
    return [(text, text.rsplit("####", 1)[1].strip()) for text in solutions]


def labelled(file: str) -> list[tuple[str, str, bool]]:
    """(expected, a model's solution, is it correct)."""
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    models = [(row["ground_truth"], each) for row in rows for each in row.values() if isinstance(each, dict)]
    return [(gold, each["solution"], each["is_correct"]) for gold, each in models]


def agreement(name: str, judge: Judge, pairs: list[tuple[str, str, bool]]) -> None:
    began = time.process_time()
    said = [judge(gold, answer) for gold, answer, _ in pairs]
    rate = len(pairs) / (time.process_time() - began)
    false_accepts = sum(a and not right for a, (_, _, right) in zip(said, pairs, strict=True))
    false_rejects = sum(right and not a for a, (_, _, right) in zip(said, pairs, strict=True))
    n = len(pairs)
    print(f"{name}: {n - false_accepts - false_rejects:,} of {n:,} agree, {false_accepts} wrong accepted, "
          f"{false_rejects} right rejected, {rate:,.0f} verdicts per second of CPU")  # fmt: skip


def main() -> None:
    math.warm()
    words, every = [word for word in sys.argv[1:] if word != "--smoke"], 40 if "--smoke" in sys.argv else 1  # one in so many
    solved = gsm8k(Path(words[0]))
    own = [(answer, text, True) for text, answer in solved]
    other = [(a[1], b[0], a[1].replace(",", "") == b[1].replace(",", "")) for a, b in zip(solved, solved[1:], strict=False)]
    for name, judge, step in (("exact", by_exact, 1), ("math", by_math, 8)):
        agreement(f"{name}, GSM8K solutions against their own answers", judge, own[::step])
        agreement(f"{name}, GSM8K solutions against the answer before", judge, other[::step])
        if len(words) > 1:
            agreement(f"{name}, labelled solutions of models", judge, labelled(words[1]))
    for end in ("They eat $\\boxed{@}$ dozens in 4 weeks", "The answer is @.", "So she has **@** eggs."):
        ended = [(answer, text.rsplit("####", 1)[0] + end.replace("@", answer), True) for text, answer in solved]
        agreement(f"exact, GSM8K solutions that end in {end!r}", by_exact, ended)
    few = VALUES[:: 4 * every]
    read = [[by_math(value, form.replace("@", value)) for value in few] for form in FORMS]
    whole = sum(sum(each) >= 0.98 * len(few) for each in read)
    total = len(FORMS) * len(few)
    print(f"math, forms x values: {sum(map(sum, read)):,} of {total:,} read, {whole} of {len(FORMS)} forms >= 98 %")
    said = [by_exact(value, form.replace("@", value)) for form in PROSE for value in NUMBERS]
    print(f"exact, numbers in sentences: {sum(said)} of {len(said)} read")
    controls = [(value, f"\\boxed{{{wrong}}}", False) for _, value in values(seed=1) for _, wrong in mutants(value)][::every]
    agreement("math, mutants of values of 29 kinds", by_math, controls)
    kinds = [(value, f"\\boxed{{{value}}}", True) for _, value in values(seed=1)][::every]
    agreement("math, the values themselves", by_math, kinds)
    speed = []
    for i in range(0, 500, every):  # no two alike: math-verify remembers what it has parsed
        gold, answer = PAIRS[i % len(PAIRS)].split(" | ")
        for letter, number in {"A": i + 2, "B": i + 3, "C": (i + 2) ** 2 * (i + 3), "D": 2 * i + 5}.items():
            gold, answer = gold.replace(letter, str(number)), answer.replace(letter, str(number))
        speed.append((gold, answer))
    began = time.process_time()
    for gold, answer in speed:
        by_math(gold, answer)
    rate = len(speed) / (time.process_time() - began)
    print(f"math, formulas of bench_verify in one process: {rate:,.0f} verdicts per second of CPU")


if __name__ == "__main__":
    main()
