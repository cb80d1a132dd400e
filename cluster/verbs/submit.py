"""`flywheel submit`: run a config as a job on a Ray cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import sys
import uuid
from pathlib import Path

from cluster.verbs.driving import config_arguments
from cluster.verbs.stop import STOP_SECONDS
from iteration.errors import COMMAND, UserError

HELP = "run a config as a job on a Ray cluster"
DESCRIPTION = (
    "Submit the run as a Ray job, with this folder as its working folder, and follow its log. The job continues when this "
    "terminal ends. Flywheel must be installed on the cluster's machines. lag=1 unless CONFIG says otherwise."
)
EXAMPLES = ("flywheel submit configs/quickstart.yaml --address http://127.0.0.1:8265  as a job on a Ray cluster",)
EXCLUDES = [".git", ".venv", "runs", "models", "*.parquet", "__pycache__", "*.egg-info", ".pytest_cache", ".hypothesis"]


def arguments(parser: argparse.ArgumentParser) -> None:
    config_arguments(parser)
    parser.add_argument("--address", default="http://127.0.0.1:8265", help="the dashboard's address (default: %(default)s)")
    parser.add_argument("--no-wait", action="store_true", help="print the job's id and return")


def act(known: argparse.Namespace) -> int:
    return submit(known.config, known.options, known.address, follow=not known.no_wait)


def submit(config: str, options: list[str], address: str, follow: bool) -> int:
    """Submit, print where to look, and follow the log. Returns the exit status for the shell."""
    from aiohttp import ClientError
    from omegaconf import OmegaConf
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    from cluster.config import load
    from cluster.folder.layout import CONFIG
    from cluster.folder.place import store_at
    from cluster.head import token
    from cluster.paths import FILES, OF_ACTORS, TRACES, absolute
    from iteration.config import read

    settings = load(config, options, gpus=None)
    store = store_at(settings.run.dir)
    began = OmegaConf.load(store.local(CONFIG)) if store.begun() else None
    said = "lag" in read(config) or any(option.startswith("lag=") for option in options)
    if not said and began is None:
        options = [*options, "lag=1"]  # on a cluster the trainer usually has a device of its own
    moved = absolute(settings, FILES + TRACES + OF_ACTORS, EXCLUDES)
    if settings.run.fork:
        other, _, last = settings.run.fork.rpartition("@")
        moved["run.fork"] = f"{store_at(other).place}@{last}"
    for key, value in moved.items():
        if began is None or OmegaConf.select(began, key) != OmegaConf.select(settings, key):  # else the run began with it
            options = [*options, f"{key}={json.dumps(value) if isinstance(value, list) else value}"]
    if ".." in Path(config).parts:
        config = str(Path(config).resolve())
    folder = store.place  # not in the copy of this folder that Ray uploads
    try:
        client = JobSubmissionClient(address, headers=token())
    except (ConnectionError, RuntimeError) as error:
        what = str(error).strip().splitlines()[0]
        raise UserError(
            f"--address {address}: no Ray dashboard answers there ({what}); start one with: ray start --head"
        ) from None
    except AuthenticationError as error:
        what = str(error).strip().splitlines()[0]
        raise UserError(f"--address {address}: {what}; put the cluster's token in ~/.ray/auth_token") from None
    words = ["-m", "cluster.cli", "run", config, *options, f"run.dir={folder}", "--address", "auto"]
    name = f"{re.sub(r'[^A-Za-z0-9-]', '-', settings.name)}-{uuid.uuid4().hex[:8]}"
    # Where this folder and this Python are on the cluster too (one machine, a shared disk), the job uses them; elsewhere it
    # works in the copy that Ray uploads. The paths that are left relative are in both.
    here, python = shlex.quote(os.getcwd()), shlex.quote(sys.executable)
    command = f"exec $python {shlex.join(words)}"
    try:
        job = client.submit_job(
            submission_id=name,
            entrypoint=f"cd {here} 2>/dev/null; python={python}; [ -x $python ] || python=python; {command}",
            metadata={"job_name": settings.name},
            runtime_env={
                "working_dir": os.getcwd(),
                "excludes": EXCLUDES,
                "env_vars": {
                    "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
                    "PYTHONUNBUFFERED": "1",
                    "FLYWHEEL_JOB": f"{name}@{address}",
                },
            },
        )
    except RuntimeError as error:
        said = last_line(error)
        other = "; if another Ray runs there, type ray start --head --dashboard-agent-listen-port=N" * ("agent" in said)
        raise UserError(f"--address {address}: the cluster does not take the job ({said}){other}") from None
    print(f"job {job} ({settings.name}), dashboard {address}/#/jobs/{job}, run {folder}", flush=True)
    if not follow:
        return 0

    async def log() -> None:
        async for text in client.tail_job_logs(job):
            print(text, end="", flush=True)

    try:
        asyncio.run(log())
    except KeyboardInterrupt:
        print(f"\nthe job continues; stop it with: {COMMAND} stop {folder}")
        return 0
    except (ClientError, OSError, RuntimeError) as error:  # RuntimeError: what the dashboard answers
        raise UserError(f"--address {address}: the job's log cannot be followed ({last_line(error)})") from None
    status = client.get_job_status(job)
    print(f"job {job}: {status}")
    return 0 if status == JobStatus.SUCCEEDED else 1


def last_line(error: Exception) -> str:
    """What Ray says: the last line of the traceback that its answer holds."""
    return [type(error).__name__, *(line for line in str(error).splitlines() if line.strip(" ."))][-1]
