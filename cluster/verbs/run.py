"""`flywheel run`: start the run that a config describes, or resume it."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import textwrap

from cluster.verbs.driving import config_arguments, join, ray_arguments, run_of, turn
from iteration.errors import COMMAND

HELP = "start a run, or resume it"
DESCRIPTION = (
    "Start the run that CONFIG describes. The same command again resumes it from its folder, whatever was killed. "
    "KEY=VALUE replaces an option of the file, e.g. seed=1 train.lr=5e-4 search.n=16 task.last_level=7."
)
COLUMN = 40  # where the meaning of an option begins in the help
EXAMPLES = (
    "flywheel run configs/quickstart.yaml  five rounds of expert iteration, about five minutes on two cores",
    "flywheel run configs/quickstart.yaml seed=1 run.dir=runs/seed1  the same with another seed, in another folder",
    "flywheel run configs/quickstart.yaml rounds=8  more rounds of an existing run; finished work is kept",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    config_arguments(parser)
    ray_arguments(parser)


def act(known: argparse.Namespace) -> int:
    join(known)
    again = shlex.join([COMMAND, "run", known.config, *known.options])
    return turn(*run_of(known.config, known.options), known, again)


def ending() -> str:
    """Every option with its default and comment, read from the dataclasses of the config and of the parts."""
    from cluster.config import KINDS, Config
    from iteration.config import describe

    width = shutil.get_terminal_size().columns
    lines = ["options (KEY=VALUE), with their defaults:"]
    sections = {key.rstrip("*"): kind for key, kind in KINDS.items()}

    def add(part: type, prefix: str) -> None:
        for name, default, comment in describe(part):
            inner = next((field.default_factory for field in dataclasses.fields(part) if field.name == name), None)
            if dataclasses.is_dataclass(inner):
                add(inner, f"{prefix}{name}.")
            elif f"{prefix}{name}" not in sections:
                given = f"  {prefix}{name}={default}"
                one = f"{given:<{COLUMN}}  {comment}".rstrip()
                if len(given) <= COLUMN and len(one) <= width:
                    lines.append(one)
                else:
                    lines.extend([*wrapped(given, width), *wrapped(" " * 6 + comment, width)])

    add(Config, "")
    for section, kind in sections.items():
        if section != kind.name:  # audit takes a verifier
            lines.append(f"\nwith {section}.name=NAME: the options of {kind.name}.name=NAME, as {section}.KEY=VALUE")
            continue
        for name in kind.shipped():
            several = f"{section}*" in KINDS
            lines.append(f"\nwith {section}: {{{name}: {{}}}}:" if several else f"\nwith {section}.name={name}:")
            add(kind.part_class(name), f"{section}.{name}." if several else f"{section}.")
    return "\n".join(lines) + "\n"


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns; the second and later ones are indented."""
    return textwrap.wrap(text, width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)
