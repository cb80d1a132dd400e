"""`flywheel regrade`: grade stored answers again, with another or a newer verifier; nothing is generated.

With verdicts=NAME a run uses the new verdicts: later rounds filter their training examples by them. Files:
cluster/folder/verdicts.py.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iteration.errors import COMMAND

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from cluster.folder.book import Book
    from cluster.verifier import Grader
    from iteration.types import Verdict

HELP = "grade a run's answers again, with another verifier"
DESCRIPTION = (
    "Grade every stored answer of RUN with another or a newer verifier, generate nothing, and print what changed. Later "
    "rounds are trained on the new verdicts by: flywheel resume RUN verdicts=NAME verify.name=VERIFIER"
)
EXAMPLES = ("flywheel regrade runs/quickstart --verifier exact  what another verifier would have said",)
NAMED = 5  # answers whose verdict changed that are named, for each kind of change


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, e.g. runs/quickstart")
    parser.add_argument("--verifier", required=True, metavar="NAME", help="e.g. math, replay, or mine.strict")
    parser.add_argument(
        "options", nargs="*", metavar="KEY=VALUE", help="the verifier's options, e.g. read=boxed; and sandbox.*"
    )


def act(known: argparse.Namespace) -> int:
    from omegaconf import OmegaConf
    from rich.console import Console
    from rich.progress import Progress

    from cluster.console import console
    from cluster.folder.book import Book
    from cluster.folder.layout import set_folder
    from cluster.folder.place import open_run, writing
    from cluster.verbs.verify import grader_of, split_options

    book = Book(open_run(known.run))
    given, sandbox = split_options(known.options)
    grader = grader_of(known.verifier, OmegaConf.to_container(given, resolve=True), sandbox, book.store)
    name = set_name(known.verifier, grader.tag)
    try:
        with writing(known.run), Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("grading again", total=None)
            changes = regrade(book, grader, name, lambda done, units: progress.update(bar, completed=done, total=units))
    finally:
        grader.close()
    out = console()
    out.print(changes_table(changes))
    total = sum(changes.counts.values())
    out.print(f"{changes.changed} of {total} verdicts changed; by {grader.tag}", highlight=False)
    for (before, after), some in sorted(changes.examples.items()):
        for trace, why in some:
            line = f"  {before} -> {after}: {trace}{': ' + why if why else ''}"
            out.print(line, highlight=False, markup=False, soft_wrap=True)
    out.print(f"the verdicts are in {book.store.place}/{set_folder(name)}", highlight=False, soft_wrap=True)
    again = f"{COMMAND} resume {known.run} verdicts={name} verify.name={known.verifier} rounds=N"
    out.print(f"train later rounds on them: {again}", highlight=False)
    return 0


@dataclass
class Changes:
    """What a regrading changed: counts of (old state, new state), and some of the answers behind each."""

    counts: Counter = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)  # (trace id, why)

    def add(self, answered: pa.Table, verdicts: list[Verdict]) -> None:
        """answered: schema iteration.examples.ANSWER."""
        for name, old, new in zip(answered["id"].to_pylist(), answered["state"].to_pylist(), verdicts, strict=True):
            kind = old, str(new.state)
            self.counts[kind] += 1
            if old != new.state and len(self.examples.setdefault(kind, [])) < NAMED:
                self.examples[kind].append((name, new.why))

    @property
    def changed(self) -> int:
        return sum(n for (old, new), n in self.counts.items() if old != new)


def regrade(book: Book, grader: Grader, name: str, say: Callable[[int, int], None]) -> Changes:
    """Grade every stored answer of a run that has no new verdict yet. say(units done, units in all): called after each unit."""
    from cluster.folder.verdicts import begin, given, verdict_table
    from iteration.examples import answers
    from iteration.respond import opened

    begin(book.store, name, grader.tag)
    units, changes = list(book.every_unit()), Changes()
    for done, (arm, number, key) in enumerate(units, 1):
        nodes = book.unit(key)
        # An answer cut by a limit is unfinished; no verifier sees it.
        answered = answers(nodes).filter(nodes.filter(nodes["state"].is_valid())["final"])
        if book.verdicts(name, key) is None:
            problems = book.problems(arm, number)  # an order of options may differ from round to round
            asked = [problems[each] for each in answered["problem_id"].to_pylist()]
            texts = map(opened, answered["prompt"].to_pylist(), answered["answer_text"].to_pylist())
            verdicts = grader.verify(asked, list(texts))
            book.put_verdicts(name, key, verdict_table(answered["id"].to_pylist(), verdicts, grader.tag))
        changes.add(answered, given(book.verdicts(name, key)))
        say(done, len(units))
    return changes


def set_name(verifier: str, tag: str) -> str:
    """The name of a regrading: the same verifier with the same options gives the same one."""
    return f"{verifier.rpartition('.')[2]}-{hashlib.blake2b(tag.encode(), digest_size=4).hexdigest()}"


def changes_table(changes: Changes) -> Table:
    from cluster.console import new_table
    from iteration.types import State

    table = new_table("stored verdict (rows) and new one (columns)", ["", *map(str, State)], left=("",))
    for old in State:
        table.add_row(str(old), *(str(changes.counts[str(old), str(new)] or "") for new in State))
    return table
