"""flywheel: the console command. It gathers the verbs (cluster/verbs/, one file each) and needs the standard library only.

A verb's module has HELP (one line), `arguments(parser)` and `act(known)`, which returns the exit status. It may have
DESCRIPTION (more than HELP says), EXAMPLES (lines: the command, two spaces or more, what it does) and `ending()`, the text at
the end of the verb's own help, called only to print it. Its top imports only the standard library and iteration.errors.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType

from iteration.errors import TOP, UserError

VERBS = (
    "quickstart",
    "init",
    "run",
    "compare",
    "status",
    "doctor",
    "stop",
    "resume",
    "why",
    "verify",
    "regrade",
    "report",
    "eval",
    "runs",
    "traces",
    "plan",
    "metrics",
    "submit",
)
CLOSED = 141  # exit status where the output's pipe is closed: 128 + SIGPIPE, as shells have it
WIDTH = 80  # columns of the help's examples


class Verb(argparse.ArgumentParser):
    """Its help may end with text that is computed only when it is printed."""

    module: ModuleType

    def format_help(self) -> str:
        ending = vars(self.module).get("ending")
        return super().format_help() + (f"\n{ending()}" if ending else "")


def parser(verbs: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """The parser of some verbs; only their modules are imported."""
    modules = {name: importlib.import_module(f"cluster.verbs.{name}") for name in verbs}
    examples = [line for module in modules.values() for line in vars(module).get("EXAMPLES", ())]
    whole = argparse.ArgumentParser(
        prog="flywheel",
        description="Expert iteration: a model searches, a verifier grades,\nthe next model learns from the correct answers.",
        epilog="\n".join(["examples:", *map(example, examples), "\nflywheel VERB --help lists the arguments of a verb."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added = whole.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Verb)
    for name, module in modules.items():
        made = added.add_parser(name, help=module.HELP, description=vars(module).get("DESCRIPTION", module.HELP))
        made.module = module
        module.arguments(made)
        made.set_defaults(act=module.act)
    return whole


def example(line: str) -> str:
    """A line of the help, or two where one would be too wide."""
    command, _, meaning = (part.strip() for part in line.partition("  "))
    one = f"  {command:<36}  {meaning}"
    return one if len(command) <= 36 and len(one) <= WIDTH else f"  {command}\n      {meaning}"


def clashes() -> list[str]:
    """The installed distributions, besides this one, that bring a package named cluster or iteration."""
    from importlib.metadata import distributions

    packages = re.compile("^(cluster|iteration)/", re.M)  # in the list of a distribution's files
    others = {each.name for each in distributions(path=[str(TOP)]) if packages.search(each.read_text("RECORD") or "")}
    return sorted(others - {"flywheel-rl"})


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    whole = parser(words[:1] if words and words[0] in VERBS else VERBS)
    known, rest = whole.parse_known_args(words)
    if any(word.startswith("-") or "=" not in word for word in rest) or (rest and "options" not in known):
        whole.error(f"unrecognized arguments: {' '.join(rest)}")
    known.options = [*vars(known).get("options", []), *rest]  # KEY=VALUE may also follow --options
    # Parts of the user's own, in packages below this folder, are imported here and in the actors.
    sys.path.insert(0, os.getcwd())
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    try:
        if vars(known).get("config"):  # it is about to run one
            for name in clashes():
                print(f"flywheel: WARNING: {name} installs a package cluster or iteration too; uninstall it", file=sys.stderr)
        status = known.act(known)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has closed the pipe, e.g. head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end
        return CLOSED
    except UserError as error:
        print(f"flywheel: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nflywheel: interrupted; committed work is kept, and the same command resumes", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
