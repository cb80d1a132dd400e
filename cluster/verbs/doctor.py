"""`flywheel doctor`: why a run makes no progress, from its folder alone."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from iteration.errors import COMMAND

if TYPE_CHECKING:
    from cluster.folder.book import Book

HELP = "why a run makes no progress"
DESCRIPTION = (
    "Who works on RUN, what is pending since when, which unit, problem and actor waits for what, and what was set aside; "
    "from the folder alone."
)
EXAMPLES = ("flywheel doctor runs/quickstart  who waits for what",)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, e.g. runs/quickstart")


def act(known: argparse.Namespace) -> int:
    from cluster.folder.book import Book
    from cluster.folder.place import open_run

    print("\n".join(examine(Book(open_run(known.run)))))
    return 0


def examine(book: Book) -> list[str]:
    """Lines to print."""
    driver = book.store.driver()
    lines = working(book, driver.get("who", "another process")) if driver else idle(book)
    return lines + [f"set aside: {key}: {reason}" for key, reason in book.every_aside().items()]


def idle(book: Book) -> list[str]:
    """The lines for a run without a driver."""
    from cluster.pending import span

    left = book.left()
    if not left:
        if book.tabled():
            return ["finished"]
        return [f"finished, but the comparison's tables are missing; type its command again: {COMMAND} compare CONFIG"]
    lines = [f"nobody works on it; resume with: {COMMAND} resume {book.store.place}", *(f"  {each}" for each in left)]
    error = book.last_error()
    if error:
        at, line = error
        lines.append(f"the last driver ended {span(time.time() - at)} ago: {line[:300]}")
    return lines


def working(book: Book, driver: str) -> list[str]:
    """The last note of a run's driver."""
    from cluster import pending

    lines, noted = [f"{driver} works on it"], pending.noted(book.store)
    if not noted:
        return lines
    age = time.time() - noted["at"]
    if age > 60:
        lines.append(f"but it has written no note for {pending.span(age)}: it hangs, or its machine is gone. Its last note:")
    lines += [f"round {each['number']}: {each['name']} for {pending.span(each['seconds'])}" for each in noted["phases"]]
    lines.append(f"last committed or trained {pending.span(noted['silent'] + age)} ago")
    return lines + [f"  {line}" for line in pending.lines(noted)]
