"""`flywheel stop`: stop the driver that works on a run, wherever it is."""

from __future__ import annotations

import argparse
import os
import signal
import time
from typing import TYPE_CHECKING

from iteration.errors import COMMAND, UserError

if TYPE_CHECKING:
    from cluster.folder.store import Store

HELP = "stop a run"
DESCRIPTION = (
    "Ask the driver that works on RUN to stop: units under way are committed or given up, and it exits with status 75. "
    "`flywheel resume RUN` resumes the run."
)
EXAMPLES = ("flywheel stop runs/quickstart  wherever its driver works",)
STOP_SECONDS = 120  # between SIGTERM and SIGKILL: units under way are committed or given up


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, e.g. runs/quickstart")


def act(known: argparse.Namespace) -> int:
    from cluster.folder.place import open_run

    return stop(open_run(known.run))


def stop(store: Store) -> int:
    """Stop the driver that works on a run, and wait until it has ended. Raises UserError."""
    root, who = store.place, store.driver()
    if who is None:
        raise UserError(f"{root}: nobody works on it")
    if who["host"] == os.uname().nodename:
        os.kill(who["pid"], signal.SIGTERM)
    elif who["job"]:
        from ray.job_submission import JobSubmissionClient

        from cluster.head import token

        job, _, address = who["job"].partition("@")
        JobSubmissionClient(address, headers=token()).stop_job(job)
    else:
        raise UserError(f"{root}: {who['who']} works on it, which is not this machine; type there: {COMMAND} stop {root}")
    print(f"{who['who']} was asked to stop", flush=True)
    until = time.monotonic() + STOP_SECONDS
    while store.driver() == who:
        if time.monotonic() > until:
            raise UserError(f"{root}: {who['who']} still works after {STOP_SECONDS} s; see {COMMAND} doctor {root}")
        time.sleep(0.2)
    print(f"stopped; resume with: {COMMAND} resume {root}")
    return 0
