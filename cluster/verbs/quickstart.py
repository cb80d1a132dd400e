"""`flywheel quickstart`: the run of configs/quickstart.yaml, which ships with the package."""

from __future__ import annotations

import argparse

from cluster.verbs.driving import ray_arguments
from cluster.verbs.run import act

__all__ = ["act"]
HELP = "five rounds of expert iteration with a tiny model, about five minutes on two cores"
DESCRIPTION = "The same as flywheel run configs/quickstart.yaml. The same command again resumes it."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options that replace those of the file")
    ray_arguments(parser)
    parser.set_defaults(config="configs/quickstart.yaml")
