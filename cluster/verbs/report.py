"""`flywheel report`: what a run found, as one HTML file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from iteration.errors import UserError

HELP = "what a run found, as one HTML file; of two runs, side by side"
DESCRIPTION = (
    "Write the report of RUN from its folder alone, into RUN/report.html: one file that needs nothing else. "
    "Every run writes one at its end."
)
EXAMPLES = ("flywheel report runs/quickstart  its curves and trees, as one HTML file; of two runs, side by side",)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="one run folder, or several to compare")
    parser.add_argument("--to", default="", metavar="FILE", help="where to write it (default: RUN/report.html)")
    parser.add_argument(
        "--price", type=float, metavar="PRICE", help="of a device for an hour (default: report.price of the run)"
    )
    parser.add_argument("--pictures", default="", metavar="FOLDER", help="also write each chart as an SVG file")
    parser.add_argument("--json", action="store_true", help="print the paths as JSON, for programs")


def act(known: argparse.Namespace) -> int:
    from cluster.folder.place import open_run, writing
    from cluster.report.gather import gather
    from cluster.report.page import pictures
    from cluster.verbs.driving import draw

    if known.price is not None and known.price < 0:
        raise UserError(f"--price is {known.price}; expected at least 0")
    stores = {folder.rstrip("/"): open_run(folder) for folder in known.runs}
    with writing(known.to or known.runs[0], "; type --to FILE, in a folder that can be written to"):
        path = draw(stores, known.to, known.price)
    if not known.json:
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB; one file, open it in a browser)")
    written = []
    for number, (folder, store) in enumerate(stores.items() if known.pictures else ()):
        where = Path(known.pictures) / (Path(folder).name if number else "")
        with writing(where):
            drawn = pictures(gather(store, folder), where)
        written += drawn
        if not known.json:
            print(f"{len(drawn)} pictures in {where}")
    if known.json:
        print(json.dumps({"event": "end", "report": str(path), "pictures": [str(each) for each in written]}))
    return 0
