"""A run under a real Slurm on this machine, two nodes on one host: stopped before the time limit, put back, finished."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.conftest import TOP
from tests.ports import free_port

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch")
OPTIONS = [
    "rounds=2",
    "problems=48",
    "unit=8",
    "search.n=4",
    "model.warm_start.tokens=60000",
    "verify={name: tests.torture.easy}",
    "measure.levels=[3]",
    "measure.problems=24",
    "train.tokens=6000",
    "train.threads=1",
    "placement.dashboard=false",
    "placement.searchers=2",
]


@pytest.fixture
def slurm(tmp_path):
    if not os.environ.get("FLYWHEEL_LONG"):
        pytest.skip("takes four minutes: FLYWHEEL_LONG=1 runs it")
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing or os.geteuid():
        pytest.skip(f"needs root and Debian's slurm-wlm and munge; missing here: {', '.join(missing) or 'root'}")
    folder = tmp_path / "slurm"
    folder.mkdir(mode=0o755)
    for each in (folder, *folder.parents):  # munged refuses folders that others may write
        if each.stat().st_mode & 0o022 and each != Path("/tmp"):
            each.chmod(each.stat().st_mode & ~0o022)
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    socket, conf = folder / "munge.socket", folder / "slurm.conf"
    ports = [free_port() for _ in range(4)]
    conf.write_text(
        f"""ClusterName=flywheel
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
AuthInfo=socket={socket}
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=120
NodeName=n1 NodeHostname=localhost Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname=localhost Port={ports[2]} CPUs=1
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
"""
    )
    environment = os.environ | {"SLURM_CONF": str(conf)}
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket}", f"--pid-file={folder}/munge.pid"]
        + [f"--log-file={folder}/munge.log", f"--seed-file={folder}/seed"],
        ["slurmctld", "-D", "-f", str(conf)],
        *(["slurmd", "-D", "-N", name, "-f", str(conf)] for name in ("n1", "n2")),
    ]
    processes = []
    with open(folder / "said", "w") as said:
        try:
            for command in commands:
                processes.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))
                time.sleep(1)
            yield environment
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def state(job: str, environment) -> str:
    said = subprocess.run(["scontrol", "show", "job", job], env=environment, capture_output=True, text=True).stdout
    return said.partition("JobState=")[2].partition(" ")[0]


def test_a_job_is_stopped_before_its_limit_goes_back_and_finishes(slurm, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    python = TOP / ".venv/bin/python"
    if not python.exists() or not Path(sys.executable).samefile(python):
        pytest.skip("the sbatch file works in a folder with its own .venv (./launch.sh setup)")
    words = [
        "--time=30",
        f"--output={log}",
        "cluster/deploy/slurm.sbatch",
        "configs/quickstart.yaml",
        f"run.dir={run}",
        *OPTIONS,
    ]
    said = subprocess.run(["sbatch", "--parsable", *words], cwd=TOP, env=slurm, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    job, stopped = said.stdout.strip(), False
    until = time.monotonic() + 900
    while time.monotonic() < until and state(job, slurm) not in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"):
        if not stopped and (run / "traces/r00001").is_dir():
            # What Slurm does before the time limit, without waiting for it: the signal, to the batch script alone.
            subprocess.run(["scancel", "--batch", "--signal=TERM", job], env=slurm, check=True)
            stopped = True
        elif stopped and state(job, slurm) == "PENDING":  # it would begin again two minutes later
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=slurm)
        time.sleep(1)
    said = log.read_text()
    assert state(job, slurm) == "COMPLETED", said[-3000:]
    assert stopped and "back in the queue" in said and "stopped by SIGTERM" in said
    assert (run / "rounds/r00002.json").exists()
