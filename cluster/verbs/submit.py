"""A run as a Ray job, and how one is stopped."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
import time
import uuid

from cluster.folder.place import store_at
from cluster.folder.store import Store
from iteration.config import UserError, read

EXCLUDES = [".git", ".venv", "runs", "models", "*.parquet", "__pycache__", "*.egg-info", ".pytest_cache", ".hypothesis"]
STOP_SECONDS = "120"  # between SIGTERM and SIGKILL: units under way are committed or given up


def submit(config: str, options: list[str], address: str, follow: bool) -> int:
    """Submit, print where to look, and follow the log. Returns the exit status for the shell."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    from cluster.run import load

    settings = load(config, options)
    said = "lag" in read(config) or any(option.startswith("lag=") for option in options)
    if not said and not store_at(settings.run.dir).has("config", ".yaml"):
        options = [*options, "lag=1"]  # on a cluster the trainer has a device of its own, mostly
    folder = store_at(settings.run.dir).place  # never in the copy of this folder that Ray uploads
    try:
        client = JobSubmissionClient(address)
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
    # Where this folder and this Python are on the cluster too (one machine, a shared disk), the job uses them, so relative
    # paths of models and problems mean the same; elsewhere it works in the copy that Ray uploads.
    here, python = shlex.quote(os.getcwd()), shlex.quote(sys.executable)
    job = client.submit_job(
        submission_id=name,
        entrypoint=f"cd {here} 2>/dev/null; python={python}; [ -x $python ] || python=python; exec $python {shlex.join(words)}",
        metadata={"job_name": settings.name},
        runtime_env={
            "working_dir": os.getcwd(),
            "excludes": EXCLUDES,
            "env_vars": {
                "RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS,
                "PYTHONUNBUFFERED": "1",
                "FLYWHEEL_JOB": f"{name}@{address}",
            },
        },
    )
    print(f"job {job} ({settings.name}), dashboard {address}/#/jobs/{job}, run {folder}", flush=True)
    if not follow:
        return 0

    async def log() -> None:
        async for text in client.tail_job_logs(job):
            print(text, end="", flush=True)

    try:
        asyncio.run(log())
    except KeyboardInterrupt:
        print(f"\nthe job goes on; stop it with: ./launch.sh stop {folder}")
        return 0
    status = client.get_job_status(job)
    print(f"job {job}: {status}")
    return 0 if status == JobStatus.SUCCEEDED else 1


def stop(store: Store) -> int:
    """Stop the driver that works on a run, wherever it is, and wait until it has ended. Raises UserError."""
    root, who = store.place, store.driver()
    if who is None:
        raise UserError(f"{root}: nobody works on it")
    if who["host"] == os.uname().nodename:
        os.kill(who["pid"], signal.SIGTERM)
    elif who["job"]:
        from ray.job_submission import JobSubmissionClient

        job, _, address = who["job"].partition("@")
        JobSubmissionClient(address).stop_job(job)
    else:
        raise UserError(f"{root}: {who['who']} works on it, which is not this machine; type there: ./launch.sh stop {root}")
    print(f"{who['who']} was asked to stop", flush=True)
    until = time.monotonic() + int(STOP_SECONDS)
    while store.driver() == who:
        if time.monotonic() > until:
            raise UserError(f"{root}: {who['who']} still works after {STOP_SECONDS} s; see ./launch.sh doctor {root}")
        time.sleep(0.2)
    print(f"stopped; go on with: ./launch.sh resume {root}")
    return 0
