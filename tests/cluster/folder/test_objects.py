"""A store in a real S3 server (moto), behind a proxy that loses a quarter of all replies."""

from __future__ import annotations

import multiprocessing
import random
import socket
import subprocess
import sys
import threading

import pyarrow as pa
import pytest

from iteration.errors import UserError

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from cluster.folder import objects as cloud  # noqa: E402
from cluster.folder.layout import TRACE  # noqa: E402
from cluster.folder.objects import CloudStore  # noqa: E402
from cluster.folder.place import store_at  # noqa: E402
from cluster.folder.store import Store  # noqa: E402
from tests.ports import free_port, wait_for_port  # noqa: E402


class Proxy:
    """Passes requests on and loses some of the replies: the server has done what it was asked, and nobody hears of it."""

    def __init__(self, port: int, lose: float, seed: int = 0):
        self.lose, self.lost, self.passed = lose, 0, 0
        self._dice, self._to = random.Random(seed), port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request a connection: the server is told to close, so the end of the reply is the end of the stream."""
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = client.recv(65536)
                    if not more:
                        return
                    head += more
                head, _, body = head.partition(b"\r\n\r\n")
                lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
                length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)
                server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
                while len(body) < length:
                    more = client.recv(65536)
                    body += more
                    server.sendall(more)
                reply = b""
                while more := server.recv(65536):
                    reply += more
                if self._dice.random() < self.lose:
                    self.lost += 1
                    return
                self.passed += 1
                client.sendall(reply)
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def server():
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def s3(server, tmp_path, monkeypatch, request):
    """(environment is set, proxy): a bucket behind a proxy that loses a quarter of the replies."""
    proxy = Proxy(server, getattr(request, "param", 0.25))
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    direct = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server}")
    bucket = f"bucket-{tmp_path.name.replace('_', '-').lower()[-40:]}"
    direct.create_bucket(Bucket=bucket)
    yield bucket, proxy, direct
    proxy.close()


def elsewhere(monkeypatch, tmp_path, place) -> Store:
    """The same store as another machine sees it: nothing is cached."""
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{random.random()}"))
        return store_at(place).open()


def test_what_is_acknowledged_is_there_for_everybody_although_replies_are_lost(s3, tmp_path, monkeypatch):
    bucket, proxy, _ = s3
    place = f"s3://{bucket}/run"
    store = store_at(place).open()
    assert isinstance(store, CloudStore) and store.place == place
    tables = {f"traces/r00001/train/u{i:05d}": pa.table({"x": list(range(i, i + 50))}) for i in range(25)}
    for key, table in tables.items():
        assert store.put_table(key, table), "our own put is ours, also where its reply was lost"
    assert not store.put_table("traces/r00001/train/u00003", pa.table({"x": [-1]}))
    store.put_json("rounds/r00001", {"number": 1})
    other = elsewhere(monkeypatch, tmp_path, place)
    assert other.units("traces/r00001/train") == set(range(25)) and other.units("traces/r00002/train") == set()
    assert all(other.table(key).equals(table) for key, table in tables.items())
    assert other.json("rounds/r00001") == {"number": 1} and other.has("rounds/r00001", ".json")
    assert not other.has("rounds/r00002", ".json") and other.names("rounds") == ["r00001.json"]
    assert proxy.lost > 4, "replies were lost, and nobody noticed"


def test_folders_are_whole_or_absent(s3, tmp_path, monkeypatch):
    bucket, _, direct = s3
    place = f"s3://{bucket}/run"
    store = store_at(place).open()

    def write(folder):
        (folder / "sub").mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "sub/tokenizer.json").write_text("{}")
        (folder / "training.json").write_text('{"steps": 3}')

    def broken(folder):
        write(folder)
        raise ValueError

    with pytest.raises(ValueError):
        store.put_folder("models/m00000", broken)
    direct.put_object(Bucket=bucket, Key="run/models/m00000/0123/model.safetensors", Body=b"of an attempt that was killed")
    assert not store.has("models/m00000", "")
    assert store.put_folder("models/m00000", write) and store.has("models/m00000", "")
    assert not store.put_folder("models/m00000", lambda folder: (folder / "a").write_text("other"))
    other = elsewhere(monkeypatch, tmp_path, place)
    assert other.has("models/m00000", "") and other.json("models/m00000/training") == {"steps": 3}
    assert (other.folder("models/m00000") / "model.safetensors").read_bytes() == b"weights"
    assert (other.folder("models/m00000") / "sub/tokenizer.json").read_text() == "{}"


def race(place: str, number: int, results) -> None:
    store = store_at(place).open()
    results.put((number, [store.put_table(f"t{i}", pa.table({"x": [number]})) for i in range(10)]))


def test_writers_on_several_machines_race_and_one_wins(s3, tmp_path, monkeypatch):
    bucket, _, _ = s3
    place, context = f"s3://{bucket}/run", multiprocessing.get_context("spawn")
    results, processes = context.Queue(), []
    for number in range(3):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{number}"))
        processes.append(context.Process(target=race, args=(place, number, results)))
        processes[-1].start()
    found = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(30)
    store = elsewhere(monkeypatch, tmp_path, place)
    for i in range(10):
        winners = [number for number, won in found.items() if won[i]]
        assert len(winners) == 1 and store.table(f"t{i}")["x"].to_pylist() == winners


def test_a_unit_that_is_set_aside_is_known_everywhere(s3, tmp_path, monkeypatch):
    bucket, _, _ = s3
    store_at(f"s3://{bucket}/run").open().set_aside("traces/r00001/train/u00002", TRACE, "it kills")
    assert elsewhere(monkeypatch, tmp_path, f"s3://{bucket}/run").asides("traces/r00001/train") == {2: "it kills"}


def test_checkpoints_stay_on_the_trainer_s_machine(s3):
    """They come and go every minute, and nobody else reads them."""
    import torch

    from cluster.train.checkpoint import Checkpoints

    bucket, _, direct = s3
    store, model = store_at(f"s3://{bucket}/run").open(), torch.nn.Linear(2, 2)
    adam = torch.optim.AdamW([{"params": [model.weight]}, {"params": [model.bias]}])
    model(torch.ones(1, 2)).sum().backward()
    adam.step()
    checkpoints = Checkpoints(store, "m00001", 0)
    checkpoints.save(model, adam, 5, [0.5])
    checkpoints.close()
    assert Checkpoints(store, "m00001", 0).restore(model, adam, 5) == [0.5]
    checkpoints.clear()
    assert direct.list_objects_v2(Bucket=bucket).get("KeyCount", 0) == 0


def test_what_the_store_refuses_is_said_at_once(s3, monkeypatch):
    """Only a store that does not answer is asked again."""
    bucket, _, _ = s3
    store = store_at(f"s3://{bucket}/run").open()
    with pytest.raises(TypeError):
        store._try(lambda: None + 1)


def test_one_driver_at_a_time_and_a_dead_one_is_followed(s3, tmp_path, monkeypatch):
    bucket, _, _ = s3
    monkeypatch.setattr(cloud, "BEAT_SECONDS", 0.3)
    place = f"s3://{bucket}/run"
    first, second = store_at(place).open(), store_at(place).open()
    with first.claim():
        with pytest.raises(UserError, match="is running this run"), second.claim():
            pass
        here = second.driver()
        assert here["who"].startswith("process ") and second.driver() == here, (
            "the same record at every beat: `stop` waits on it"
        )
    assert second.driver() is None
    with second.claim():
        pass
    first._put_object("driver.json", b'{"who": "process 1 on a machine that burnt", "attempt": "x"}')
    with second.claim():  # it gives no sign of life
        assert second._driver()[0]["who"].startswith("process ") and second._driver()[0]["attempt"] != "x"


@pytest.mark.parametrize("s3", [0.0], indirect=True)
def test_a_bucket_that_cannot_be_reached_is_one_line(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(cloud.CloudStore._try, "__defaults__", (0.1,))
    original = CloudStore._try
    monkeypatch.setattr(CloudStore, "_try", lambda self, call, seconds=0.1: original(self, call, 0.1))
    with pytest.raises(UserError, match=r"run.dir s3://nowhere/run: cannot be reached .*AWS_ENDPOINT_URL"):
        store_at("s3://nowhere/run").open()
