"""What a run's own verifier believes of its held-out answers, against what another verifier says of the same answers.

    python -m tests.bench.bench_verifier RUN [VERIFIER]

VERIFIER: replay (default), exact, or a dotted name. For a run with verify.name=exact this shows the lucky guesses.
"""

import sys
from collections import defaultdict

from cluster.folder.book import Book
from cluster.folder.store import Store
from iteration.examples import answers
from iteration.parts import VERIFY, Part
from iteration.types import Problem, State


def main() -> None:
    store, name = Store(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "replay"
    verifier = Part(VERIFY, name, {}).make()
    plan = store.table("plans/r00000/test").to_pylist()
    problems = {row["id"]: Problem(row["id"], row["prompt"], row["answer"], row["level"]) for row in plan}
    for record in Book(store).records():
        folder = f"traces/r{record['number']:05d}/test"
        counts = defaultdict(lambda: [0, 0, 0])  # by level: answers, believed correct, graded correct
        for unit in sorted(store.units(folder)):
            rows = answers(store.table(f"{folder}/u{unit:05d}")).to_pylist()
            verdicts = verifier.verify([problems[row["problem_id"]] for row in rows], [row["answer_text"] for row in rows])
            for row, verdict in zip(rows, verdicts, strict=True):
                cut = row["state"] == State.UNPARSEABLE and "limit" in row["why"]
                count = counts[row["level"]]
                count[0] += 1
                count[1] += row["state"] == State.CORRECT
                count[2] += verdict.state == State.CORRECT and not cut
        said = (f"level {k}: own verifier {a / n:.1%}, {name} {b / n:.1%}" for k, (n, a, b) in sorted(counts.items()))
        print(f"round {record['number']}  " + "   ".join(said))


if __name__ == "__main__":
    main()
