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
    folder = os.path.abspath(settings.run.dir)  # never in the copy of this folder that Ray uploads
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
    # Where this folder and this Python are on the cluster too (one machine, a shared disk), the job uses them, so relative
    # paths of models and problems mean the same; elsewhere it works in the copy that Ray uploads.
    here, python = shlex.quote(os.getcwd()), shlex.quote(sys.executable)
    job = client.submit_job(
        entrypoint=f"cd {here} 2>/dev/null; python={python}; [ -x $python ] || python=python; exec $python {shlex.join(words)}",
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
