"""`flywheel resume`: resume a run, a comparison's seed or an evaluation from its folder alone."""

from __future__ import annotations

import argparse

from cluster.verbs.driving import join, kind_of, ray_arguments, turn
from iteration.errors import COMMAND

HELP = "resume a run, from its folder alone"
DESCRIPTION = (
    "Resume what the folder holds, here or on another cluster. rounds=N may grow and placement.* may change. The run keeps the "
    "GPUs that it began with unless it is told otherwise; generate.gpus=auto train.gpus=auto counts those that are there."
)
EXAMPLES = ("flywheel resume runs/quickstart  from its folder, after a stop or a crash",)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, e.g. runs/quickstart")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="e.g. rounds=8 placement.generators=4")
    ray_arguments(parser)


def act(known: argparse.Namespace) -> int:
    from cluster.folder.layout import CONFIG
    from cluster.folder.place import open_run

    store = open_run(known.run)
    join(known)
    kind, config = kind_of(str(store.local(CONFIG)), [*known.options, f"run.dir={store.place}"])
    return turn(kind, config, known, f"{COMMAND} resume {known.run}")
