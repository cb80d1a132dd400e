"""A whole run whose folder lies in an object store: killed with everything under it, resumed from an empty cache."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import flywheel, kill_all, start, wait_for
from tests.ports import free_port, wait_for_port

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("moto", reason="moto is not installed")

pytestmark = pytest.mark.skipif(not os.environ.get("FLYWHEEL_LONG"), reason="takes two minutes: FLYWHEEL_LONG=1 runs it")
OPTIONS = [
    "rounds=1",
    "problems=64",
    "unit=4",
    "search.n=4",
    "task.first_level=1",  # of which some answers are right from the start
    "model.warm_start.tokens=60000",
    "measure.levels=[3]",
    "measure.problems=24",
    "train.tokens=6000",
    "placement.dashboard=false",
]


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    wait_for_port(port)
    settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "x"}
    settings |= {"AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="wheel")
    yield client
    server.terminate()
    server.wait()


def keys(client, prefix: str) -> set[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="wheel", Prefix=prefix)
    return {each["Key"] for page in pages for each in page.get("Contents", [])}


def test_killed_and_gone_on_with_from_an_empty_cache(bucket, tmp_path, monkeypatch):
    words = ["run", "configs/quickstart.yaml", "run.dir=s3://wheel/run", *OPTIONS]
    process = start(*words)
    assert wait_for(lambda: len(keys(bucket, "run/traces/r00001/train/")) >= 3, process)
    kill_all(process.pid)
    before = {key: bucket.get_object(Bucket="wheel", Key=key)["ETag"] for key in keys(bucket, "run/traces/")}
    assert not keys(bucket, "run/rounds/r00001")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))  # as on another machine
    said = flywheel(*words)
    after = {key: bucket.get_object(Bucket="wheel", Key=key)["ETag"] for key in keys(bucket, "run/traces/")}
    assert before.items() <= after.items(), "what was committed is the same file"
    units = sorted(key for key in after if key.startswith("run/traces/r00001/train/"))
    assert len(units) == 16, said
    ids = []
    for key in units:
        (tmp_path / "unit.parquet").write_bytes(bucket.get_object(Bucket="wheel", Key=key)["Body"].read())
        ids += pq.read_table(tmp_path / "unit.parquet", columns=["id"])["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 64 * 5
    record = json.loads(bucket.get_object(Bucket="wheel", Key="run/rounds/r00001.json")["Body"].read())
    assert record["counts"]["answers"] == 256 and record["trained"] == "m00001", record["reason"]
    assert keys(bucket, "run/models/m00001")
    assert "1 of 1 rounds finished" in flywheel("status", "s3://wheel/run")
