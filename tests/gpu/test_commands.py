"""Two commands suffice on a machine with a GPU: it is used without an option that says so."""

import json

import pytest

from tests.integration.conftest import flywheel


@pytest.mark.engine
def test_the_quickstart_runs_on_the_gpu_by_itself(tmp_path):
    small = ["rounds=2", "problems=64", "model.warm_start.tokens=200000", "measure.problems=32", "placement.dashboard=false"]
    flywheel("run", "configs/quickstart.yaml", f"run.dir={tmp_path / 'run'}", *small)
    for number in (1, 2):
        record = json.loads((tmp_path / f"run/models/m0000{number}/training.json").read_text())
        assert record["options"]["gpus"] > 0 and record["steps"] > 0
