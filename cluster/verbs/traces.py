"""`flywheel traces`: a run's answers page by page, and their export as training data."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from iteration.errors import COMMAND, UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from cluster.folder.arm import Arm
    from cluster.folder.book import Book

HELP = "page through a run's answers, or export them"
DESCRIPTION = (
    "Print the answers of RUN that fit, newest round last; or write them with --to: Parquet or JSON lines with a column "
    "messages (chat-format SFT data, as TRL and others load it), prompt, completion, and the metadata of each."
)
EXAMPLES = ("flywheel traces runs/quickstart --kept --to sft.jsonl  what was trained on, as chat-format data for others",)
PAGE = 10  # answers
COLUMNS = ["id", "problem_id", "level", "node", "parent", "token_ids", "text", "state", "answer", "why"]
COLUMNS += ["model_version", "origin"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, e.g. runs/quickstart")
    parser.add_argument("--problem", default="", metavar="TEXT", help="a problem's id, or a part of its text")
    parser.add_argument("--state", choices=["correct", "wrong", "unparseable", "failed"], help="only these verdicts")
    parser.add_argument("--correct", action="store_const", const="correct", dest="state", help="short for --state correct")
    parser.add_argument("--kept", action="store_true", help="only what the filters kept for training")
    parser.add_argument("--round", type=int, metavar="N", help="only this round")
    parser.add_argument(
        "--arm",
        "--split",
        default="train",
        metavar="NAME",
        help="an arm: train, test (held-out), given or teacher (made elsewhere), or another of RUN/arms (default: train)",
    )
    parser.add_argument("--page", type=int, default=1, metavar="N", help="which page (default: %(default)s)")
    parser.add_argument("--to", default="", metavar="FILE", help="write them all: FILE.parquet or FILE.jsonl")


def act(known: argparse.Namespace) -> int:
    from cluster.folder.book import Book
    from cluster.folder.place import open_run, writing

    if known.page < 1:
        raise UserError(f"--page is {known.page}; expected at least 1")
    book = Book(open_run(known.run))
    wanted = Wanted(known.problem, known.state or "", known.kept, known.round, known.arm)
    if not known.to:
        return show(book, known.run, wanted, known.page)
    with writing(known.to):
        return export(book, wanted, Path(known.to))


@dataclass(frozen=True)
class Wanted:
    """Which answers."""

    problem: str = ""  # its id, or a part of its text
    state: str = ""
    kept: bool = False
    round: int | None = None
    arm: str = "train"

    def words(self) -> list[str]:
        """The same on the command line."""
        given = {"--problem": self.problem, "--state": self.state, "--round": self.round, "--arm": self.arm}
        given |= {"--arm": None} if self.arm == "train" else {}
        return ["--kept"] * self.kept + [word for pair in given.items() if pair[1] not in ("", None) for word in map(str, pair)]

    def fits(self, row: Mapping) -> bool:
        """row: of an export."""
        return (
            (not self.state or row["state"] == self.state)
            and (not self.kept or bool(row["kept"]))
            and (not self.problem or self.problem == row["problem_id"] or self.problem in row["prompt"])
        )


def schema() -> pa.Schema:
    """Of an export."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.large_string())])
    return pa.schema(
        [
            ("messages", pa.list_(message)),  # user (without the chat template), assistant
            ("prompt", pa.large_string()),  # as the model was shown it
            ("completion", pa.large_string()),
            ("id", pa.string()),
            ("problem_id", pa.string()),
            ("level", pa.int32()),
            ("round", pa.int32()),
            ("model", pa.string()),
            ("origin", pa.string()),  # the file and row, or the endpoint, of an answer made elsewhere
            ("state", pa.string()),
            ("answer", pa.string()),  # canonical
            ("why", pa.string()),
            ("kept", pa.bool_()),  # for training, by the filters; null where they were not asked
        ]
    )


def chosen(book: Book, wanted: Wanted) -> Iterator[pa.Table]:
    """The answers that fit, unit by unit (`schema`). Raises UserError where the run has no such arm or round."""
    import pyarrow as pa

    arm = book.arm(wanted.arm)
    numbers = book.rounds_of(arm)
    if wanted.round is not None and wanted.round not in numbers:
        raise UserError(f"{book.store.place}: no {wanted.arm} answers of round {wanted.round} (there are: {numbers or 'none'})")
    if not numbers:
        raise UserError(f"{book.store.place}: no answers of {wanted.arm!r} yet")
    for number in numbers if wanted.round is None else [wanted.round]:
        for rows in exported(book, arm, number):
            yield pa.Table.from_pylist([row for row in rows if wanted.fits(row)], schema=schema())


def asked(prompt: str) -> list[dict[str, str]]:
    """A prompt as messages: its own, or one of the user."""
    from iteration.chat import messages_of

    return messages_of(prompt) or [{"role": "user", "content": prompt}]


def exported(book: Book, arm: Arm, number: int) -> Iterator[list[dict]]:
    """The answers of an arm in a round, unit by unit, as rows of an export."""
    from iteration.examples import answers

    reasons, shown = book.reasons(arm, number) or {}, book.shown(arm, number)
    for key in book.units(arm, number):
        nodes = book.unit(key, COLUMNS)
        names = [name for name in COLUMNS[-2:] if name in nodes.column_names]  # older units have no origin
        whose = {row["id"]: row for row in nodes.select(["id", *names]).to_pylist()}
        yield [
            {
                "messages": [
                    *asked(shown.get(row["problem_id"], row["prompt"])),
                    {"role": "assistant", "content": row["answer_text"]},
                ],
                "prompt": row["prompt"],
                "completion": row["answer_text"],
                "round": number,
                "model": whose[row["id"]]["model_version"],
                "origin": whose[row["id"]].get("origin"),
                "kept": not reasons[row["id"]] if row["id"] in reasons else None,
            }
            | {name: row[name] for name in ("id", "problem_id", "level", "state", "answer", "why")}
            for row in answers(nodes).to_pylist()
        ]


def show(book: Book, folder: str, wanted: Wanted, page: int) -> int:
    """Print one page of answers. Returns the exit status."""
    from rich import box
    from rich.panel import Panel
    from rich.text import Text

    from cluster.console import COLOURS, console

    out, first = console(110), PAGE * (page - 1)
    seen, more = 0, False
    for table in chosen(book, wanted):
        for row in table.slice(max(0, first - seen), max(0, first + PAGE - max(seen, first))).to_pylist():
            colour = COLOURS[row["state"]]
            by = f" by {row['model']}, {row['origin']}".replace("[", "\\[") if row["origin"] else ""
            title = f"[{colour}]{row['state']}[/] {row['id']}{', kept' if row['kept'] else ''}{by}"
            body = Text(row["prompt"].rstrip() + "\n", style="dim") + Text(row["completion"].rstrip())
            if row["why"]:
                body += Text(f"\n{row['why']}", style=colour)
            out.print(Panel(body, title=title, title_align="left", box=box.ROUNDED))
        seen += len(table)
        if seen > first + PAGE:
            more = True
            break
    if seen <= first:
        out.print("no more answers fit" if page > 1 else "no answer fits", highlight=False)
    elif more:
        again = shlex.join([COMMAND, "traces", folder, *wanted.words(), "--page", str(page + 1)])
        out.print(f"next page: {again}", highlight=False, markup=False, soft_wrap=True)
    else:
        out.print(f"{seen} answers fit; all of them: --to FILE.parquet or FILE.jsonl", highlight=False)
    return 0


def export(book: Book, wanted: Wanted, to: Path) -> int:
    """Write all answers that fit to a file, whole or not at all. Returns the exit status. Raises UserError."""
    import pyarrow.parquet as pq
    from rich.console import Console
    from rich.progress import Progress

    if to.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"--to {to}: found the ending {to.suffix or '(none)'!r}, expected .parquet or .jsonl")
    to.parent.mkdir(parents=True, exist_ok=True)
    partial, count, tabular = to.with_name(f".{to.name}.part"), 0, to.suffix == ".parquet"
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("exporting", total=None)
            with pq.ParquetWriter(partial, schema()) if tabular else partial.open("w", encoding="utf-8") as file:
                for table in chosen(book, wanted):
                    if tabular:
                        file.write_table(table)
                    else:
                        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
                    count += len(table)
                    progress.update(bar, description=f"exporting: {count:,} answers")
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{count:,} answers in {to}")
    return 0
