"""`flywheel submit`: what is sent, and refusals, with a cluster's client that only remembers."""

import pytest
import ray.job_submission

from cluster.cli import main


class Client:
    sent: dict
    refusal = ""

    def __init__(self, address):
        assert address == "http://127.0.0.1:1"

    def submit_job(self, **job):
        if self.refusal:
            raise RuntimeError(self.refusal)
        type(self).sent = job
        return job["submission_id"]


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    monkeypatch.setattr(Client, "refusal", "")
    return Client


def submit(tmp_path, *words):
    return main(
        [
            "submit",
            "configs/quickstart.yaml",
            f"run.dir={tmp_path / 'run'}",
            *words,
            "--address",
            "http://127.0.0.1:1",
            "--no-wait",
        ]
    )


def test_a_job_is_the_run_with_lag_1_and_a_name_by_which_it_is_stopped(client, tmp_path, capsys):
    assert submit(tmp_path, "seed=3") == 0
    assert f"run {tmp_path / 'run'}" in capsys.readouterr().out
    entry, environment = client.sent["entrypoint"], client.sent["runtime_env"]["env_vars"]
    assert f"-m cluster.cli run configs/quickstart.yaml run.dir={tmp_path / 'run'} seed=3 lag=1 " in entry
    assert environment["FLYWHEEL_JOB"] == f"{client.sent['submission_id']}@http://127.0.0.1:1"
    assert environment["RAY_JOB_STOP_WAIT_TIME_S"] == "120"


def test_a_lag_that_is_given_stays(client, tmp_path):
    assert submit(tmp_path, "lag=0") == 0
    assert "lag=1" not in client.sent["entrypoint"] and "lag=0" in client.sent["entrypoint"]


def test_a_cluster_that_refuses_is_one_line(client, monkeypatch, tmp_path, capsys):
    refusal = "status code 500: Traceback (most recent call last):\n  ...\nException: No available agent to submit job.\n."
    monkeypatch.setattr(client, "refusal", refusal)
    assert submit(tmp_path) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("flywheel: --address http://127.0.0.1:1: the cluster does not take the job (") and said.count("\n") == 1
    )
    assert "No available agent" in said
