"""The dashboard and the alerts name only what exists; what is documented is all there is."""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.engine import Ledger
from cluster.metrics import METRICS, Metrics, scalars
from cluster.searcher import Done
from cluster.train.trainer import Progress
from cluster.view import View
from iteration.errors import UserError
from tests.cluster.report.test_report import record, results

DEPLOY = Path(__file__).parents[2] / "cluster/deploy"
NAMES = {metric.exported for metric in METRICS}


def named(text):
    return set(re.findall(r"ray_flywheel_\w+", text))


def test_panels_name_only_metrics_that_exist_and_all_of_them():
    board = json.loads((DEPLOY / "grafana.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            assert named(target["expr"]) and named(target["expr"]) <= NAMES, panel["title"]
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"run"}
            (metric,) = [m for m in METRICS if m.exported in named(target["expr"])]
            assert labels <= set(metric.labels), panel["title"]
    assert named((DEPLOY / "grafana.json").read_text()) == NAMES, "nothing is measured that nobody looks at"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_alerts_name_only_metrics_that_exist():
    text = (DEPLOY / "alerts.yml").read_text()
    assert named(text) <= NAMES
    for word in ("Stalled", "VerifierFails", "Drift"):
        assert f"alert: Flywheel{word}" in text


def test_the_check_can_fail():
    assert not named("rate(ray_flywheel_nonsense[1m])") <= NAMES


def test_prometheus_takes_the_files(tmp_path, capsys):
    assert main(["metrics", "--to", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"prometheus.yml", "alerts.yml", "grafana.json"}
    if not shutil.which("promtool"):
        pytest.skip("no promtool here (Debian: apt-get install prometheus)")
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert done.returncode == 0 and "5 rules found" in done.stdout, done.stdout + done.stderr


def test_it_says_how_and_what(capsys, tmp_path):
    assert main(["metrics"]) == 0
    said = capsys.readouterr().out
    assert "file_sd_configs" in said and named(said) == NAMES and "(by state)" in said
    (tmp_path / "file").write_text("")
    assert main(["metrics", "--to", str(tmp_path / "file")]) == 2
    assert "expected a writable folder" in capsys.readouterr().err


class Series:
    def __init__(self):
        self.values = {}

    def set_default_tags(self, tags):
        self.run = tags["run"]

    def set(self, value, labels):
        self.values[tuple(labels.values())] = value

    def inc(self, value, labels):
        self.values[tuple(labels.values())] = self.values.get(tuple(labels.values()), 0) + value


@pytest.fixture
def metrics(monkeypatch):
    import ray.util.metrics

    for kind in ("Gauge", "Counter"):
        monkeypatch.setattr(ray.util.metrics, kind, lambda name, says, labels: Series())
    return Metrics("mine")


def test_what_the_driver_sees_becomes_numbers(metrics):
    value = lambda name, *labels: metrics._series[name].values[labels]  # noqa: E731
    view, newest = View(3), record(1, results(1, [4] * 8)) | {"logprob_drift": 1e-6}
    with view.phase(3, "search", 20, 4) as phase:
        done = Done("k", 100, Counter(correct=3, wrong=1, failed=4))
        phase.unit_done(done)
        metrics.unit(done)
        engines = {"generator-0": Ledger(100, 50, 10, running=7, waiting=2), "generator-1": Ledger(40, 50, 30, running=1)}
        metrics.look(engines, Progress("m00002", 5, 9, 0.7, 640), view, newest)
    assert (value("round"), value("lag")) == (3, 1)
    assert (value("units_done", "search"), value("units_pending", "search"), value("solve_rate", "search")) == (5, 15, 0.75)
    assert (value("requests_running"), value("requests_waiting"), value("engines")) == (8, 2, 2)
    assert value("cache_hit_rate") == 0.4 and value("tokens_generated") == 140
    assert (value("verdicts", "correct"), value("verdicts", "failed"), value("verdicts", "wrong")) == (3, 4, 1)
    assert (value("train_loss"), value("train_steps_left"), value("tokens_trained")) == (0.7, 4, 640)
    assert value("pass_at_1", "4") == 0.5 and value("logprob_drift") == 1e-6
    # An engine and the trainer are started anew: what they count begins at nothing, what is counted goes on.
    metrics.look({"generator-0": Ledger(30)}, Progress("m00003", 1, 9, 0.6, 128), view, newest)
    assert value("tokens_generated") == 170 and value("tokens_trained") == 768
    metrics.look({"generator-0": Ledger(30)}, Progress("m00003", 0, 9, 0.6, 64), view, newest)  # the trainer, from a checkpoint
    metrics.look({"generator-0": Ledger(30)}, Progress("m00003", 2, 9, 0.6, 192), view, newest)
    assert value("tokens_trained") == 832, "what it does again is not counted again"
    assert value("units_pending", "search") == 0, "the phase is over"
    metrics.waits({"units": [{"seconds": 3.0}, {"seconds": 8.0}]})
    assert value("oldest_unit_seconds") == 8.0


def test_a_round_as_numbers_for_trackers():
    found = scalars(
        record(1, results(1, [4] * 8)) | {"logprob_drift": None, "solve_rate": {4: 0.5}, "loss_first": 1, "loss_last": 0.5}
    )
    assert found["pass_at_1/level 4"] == 0.5 and found["train/loss_last"] == 0.5 and found["solve rate/level 4"] == 0.5
    assert found["search/entropy"] == 0.2 and "logprob drift" not in found


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch):
    import sys

    from cluster.config import load
    from cluster.run import Run

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="track.wandb: wandb is not installed; type"):
        Run(load("configs/quickstart.yaml", ["track.wandb={}"]))


def test_weights_and_biases_is_told_the_same(monkeypatch, tmp_path):
    """Against a stand-in: there is no server here. Its calls are those of wandb's documentation (init, log, finish)."""
    import sys
    from types import SimpleNamespace

    from cluster.track.wandb import Wandb

    told = []
    run = SimpleNamespace(log=lambda numbers, step: told.append((step, numbers)), finish=lambda: told.append("over"))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: told.append(options) or run))
    part = Wandb(mode="offline")
    part.open("mine", tmp_path, {"seed": 0})
    part.log(3, {"x": 1.0})
    part.close()
    assert told[0]["resume"] == "allow" and told[0]["dir"] == str(tmp_path) and told[1:] == [(3, {"x": 1.0}), "over"]
