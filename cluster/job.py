"""A run as a Ray job."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys

from iteration.config import UserError

EXCLUDES = [".git", ".venv", "runs", "models", "*.parquet", "__pycache__", "*.egg-info", ".pytest_cache", ".hypothesis"]
STOP_SECONDS = "120"  # between SIGTERM and SIGKILL: units under way are committed or given up


def submit(config: str, options: list[str], address: str, follow: bool) -> int:
    """Submit, print where to look, and follow the log. Returns the exit status for the shell."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    from cluster.run import load

    settings = load(config, options)
    folder = os.path.abspath(settings.run.dir)  # the job runs in a copy of this folder; the run must not lie in there
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
    words = [sys.executable, "-m", "cluster.cli", "run", config, *options, f"run.dir={folder}", "--address", "auto"]
    job = client.submit_job(
        entrypoint=shlex.join(words),
        metadata={"job_name": settings.name},
        runtime_env={
            "working_dir": os.getcwd(),
            "excludes": EXCLUDES,
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS, "PYTHONUNBUFFERED": "1"},
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
        print(f"\nthe job goes on; stop it with: ray job stop {job} --address {address}")
        return 0
    status = client.get_job_status(job)
    print(f"job {job}: {status}")
    return 0 if status == JobStatus.SUCCEEDED else 1
