"""`flywheel submit`: what is sent, and refusals, with a cluster's client that only remembers."""

import os
import shlex
from types import SimpleNamespace

import pytest
import ray.job_submission
from omegaconf import OmegaConf

from cluster.cli import main
from cluster.config import load
from cluster.verbs.stop import stop


class Client:
    sent: dict
    headers: dict
    refusal = ""

    def __init__(self, address, headers):
        assert address == "http://127.0.0.1:1"
        type(self).headers = headers

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
    assert "No available agent" in said and "--dashboard-agent-listen-port=N" in said


def test_a_job_is_stopped_with_the_user_s_token(client, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret\n")
    stopped, job = [], {"host": "elsewhere", "job": "mine@http://127.0.0.1:1", "who": "job mine"}
    monkeypatch.setattr(client, "stop_job", lambda self, name: stopped.append(name), raising=False)
    drivers = iter([job, None])
    assert stop(SimpleNamespace(place="runs/mine", driver=lambda: next(drivers))) == 0
    assert stopped == ["mine"] and client.headers == {"Authorization": "Bearer secret"}


def test_what_another_machine_decides_is_left_open(client, tmp_path):
    """GPUs are those of the cluster, not of the machine that submits."""
    assert submit(tmp_path, "generate.transfer=nccl") == 0


@pytest.mark.parametrize("mode", [None, "disabled"])
def test_the_user_s_token_is_sent_and_no_variable_is_left(client, monkeypatch, tmp_path, mode):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret\n")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False) if mode is None else monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert submit(tmp_path) == 0
    assert client.headers == ({} if mode else {"Authorization": "Bearer secret"})
    assert os.environ.get("RAY_AUTH_MODE") == mode


def test_a_log_that_breaks_off_is_one_line(client, monkeypatch, tmp_path, capsys):
    async def tail_job_logs(self, job):
        yield "a line\n"
        raise RuntimeError("status code 500: Traceback (most recent call last):\n  ...\nNo available agent to submit job.\n")

    monkeypatch.setattr(client, "tail_job_logs", tail_job_logs, raising=False)
    words = ["configs/quickstart.yaml", f"run.dir={tmp_path / 'run'}", "--address", "http://127.0.0.1:1"]
    assert main(["submit", *words]) == 2
    said = capsys.readouterr().err
    assert "cannot be followed (No available agent" in said and said.count("\n") == 1


def of_files(tmp_path, monkeypatch) -> None:
    """A working folder with data inside and beside it."""
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    (here / "models/own").mkdir(parents=True)
    for name in ("here/data/a.jsonl", "here/data/b.parquet", "beside.jsonl"):
        (tmp_path / name).write_text("")
    (here / "c.yaml").write_text("name: r\ntask: {name: file, train: data/a.jsonl}\nsearch: sample\nverify: exact\n")
    monkeypatch.chdir(here)


@pytest.mark.parametrize(
    ("word", "sent"),
    [
        ("task.train=data/a.jsonl", None),  # in the copy that Ray uploads
        ("task.train=data/*.jsonl", None),
        ("task.test=data/b.parquet", "task.test={tmp}/here/data/b.parquet"),  # not in the copy
        ("task.test=../beside.jsonl", "task.test={tmp}/beside.jsonl"),
        ("task.train=[data/a.jsonl,../beside.jsonl]", "task.train=[data/a.jsonl, {tmp}/beside.jsonl]"),
        ("model.path=models/own", "model.path={tmp}/here/models/own"),
        ("model.path=org/model", None),  # a Hugging Face id
        ("model.path=/only/there", None),
    ],
)
def test_relative_paths_mean_the_same_on_the_cluster(client, tmp_path, monkeypatch, word, sent):
    of_files(tmp_path, monkeypatch)
    assert main(["submit", "c.yaml", word, "--address", "http://127.0.0.1:1", "--no-wait"]) == 0
    words = shlex.split(client.sent["entrypoint"].partition("exec $python ")[2])
    given = words[words.index("c.yaml") + 1 : words.index("lag=1")]
    after = words[words.index("lag=1") + 1 : -3]
    assert given == [word] and [each.replace('"', "") for each in after] == ([sent.format(tmp=tmp_path)] if sent else [])
    key, _, value = (sent or word).format(tmp=tmp_path).partition("=")
    found = OmegaConf.select(load("c.yaml", [*given, *after]), key)
    assert (found if isinstance(found, str) else list(found)) == (
        value.strip("[]").split(", ") if after and "[" in value else value
    )


@pytest.mark.parametrize("word", ["task.train=data/none.jsonl", "model.path=./none", "model.path=a/b/c"])
def test_a_relative_path_to_nothing_is_refused_before_anything_is_sent(client, tmp_path, monkeypatch, capsys, word):
    of_files(tmp_path, monkeypatch)
    monkeypatch.setattr(client, "sent", None, raising=False)
    assert main(["submit", "c.yaml", word, "--address", "http://127.0.0.1:1", "--no-wait"]) == 2
    key, _, path = word.partition("=")
    said = capsys.readouterr().err
    assert f"{key}: there is no {path} in this folder" in said and said.count("\n") == 1 and client.sent is None


def test_a_fork_and_a_config_beside_this_folder_are_sent_by_their_whole_paths(client, tmp_path, monkeypatch):
    of_files(tmp_path, monkeypatch)
    (tmp_path / "here/c.yaml").rename(tmp_path / "c.yaml")
    assert main(["submit", "../c.yaml", "run.fork=runs/other@3", "--address", "http://127.0.0.1:1", "--no-wait"]) == 0
    words = shlex.split(client.sent["entrypoint"])
    assert str(tmp_path / "c.yaml") in words and f"run.fork={tmp_path / 'here/runs/other'}@3" in words


def test_a_run_is_resumed_with_the_path_that_it_began_with(client, tmp_path, monkeypatch):
    of_files(tmp_path, monkeypatch)
    (tmp_path / "run").mkdir()
    words = [
        "submit",
        "c.yaml",
        f"run.dir={tmp_path / 'run'}",
        "model.path=models/own",
        "--address",
        "http://127.0.0.1:1",
        "--no-wait",
    ]
    for began, sent in [("models/own", False), (tmp_path / "here/models/own", True)]:
        (tmp_path / "run/config.yaml").write_text(f"model: {{path: {began}}}\n")
        assert main(words) == 0
        assert (f"model.path={tmp_path / 'here/models/own'}" in shlex.split(client.sent["entrypoint"])) == sent
