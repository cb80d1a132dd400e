"""`flywheel metrics`: how Prometheus and Grafana find the metrics of runs (cluster/metrics.py)."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "how Prometheus and Grafana find the metrics of runs"
DESCRIPTION = "Say how Prometheus finds the metrics of runs, and what they are; write its config, alerts, a dashboard."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", default="", metavar="FOLDER", help="write prometheus.yml, alerts.yml and grafana.json there")


def act(known: argparse.Namespace) -> int:
    from cluster.metrics import told, write

    print("\n".join([f"wrote {path}" for path in write(Path(known.to))] if known.to else told()))
    return 0
