"""Random SIGKILLs at random processes of a real run on several nodes, and the books checked after each.

    python -m tests.torture.storm [--minutes 60] [--kills 1000] [--seed N] [--keep FOLDER]        (./launch.sh torture)

A calm run is made first. Then the same run is made again and again while actors, drivers and whole nodes are killed; a new
driver is started where one has ended, a new node where one is gone. After each kill every unit that a driver was ever told of
must be there with the content that it had then. A finished run must have every planned unit once or set aside with a reason,
every kept example once in each epoch, trained on by lives that add up, and tables and weights equal to the calm run's.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from cluster.folder.book import Book
from cluster.folder.layout import round_key
from cluster.folder.store import Store
from cluster.pending import span

TOP = Path(__file__).parents[2]
CONFIG = "configs/quickstart.yaml"
OPTIONS = [
    "rounds=3",
    "lag=1",
    "problems=64",
    "unit=4",
    "search.n=4",
    "measure.levels=[3]",
    "measure.problems=24",
    "model.warm_start.tokens=60000",
    "verify={name: tests.torture.easy}",
    "train.tokens=12000",
    "train.checkpoint=0.2",
    "train.threads=1",
    "placement.generators=2",
    "placement.searchers=3",
    "placement.verifiers=2",
    "placement.dashboard=false",
]
# How often each kind of process is chosen. Those of SLOW, which take a thousand times longer to start than a unit takes to be
# searched, only where something was committed since the last of them: else nothing would ever be.
WEIGHTS = {"Searcher": 6, "Verifier": 5, "Trainer": 3, "Generator": 3, "driver": 3, "node": 1.5, "head": 0.5}
SLOW = ("Generator", "driver", "node", "head")
ALONE = ("driver", "node", "head")  # no actors: they are always there
HEADLESS_SECONDS = 120  # in which a driver has to notice that there is no cluster any more


@dataclasses.dataclass
class Books:
    """What the storm has done, and what it found."""

    kills: Counter = dataclasses.field(default_factory=Counter)
    runs: int = 0
    acknowledged: int = 0  # units
    rows: int = 0  # in them
    lost: int = 0
    torn: int = 0
    duplicated: int = 0
    aside: int = 0
    wasted: float = 0.0  # seconds of units that were under way when something was killed
    wrong: list[str] = dataclasses.field(default_factory=list)

    def say(self) -> str:
        kills = sum(self.kills.values())
        what = ", ".join(f"{name} {n}" for name, n in self.kills.most_common())
        return (
            f"kills {kills} ({what}); runs finished {self.runs}; acknowledged {self.acknowledged} units with {self.rows} rows; "
            f"lost {self.lost}; duplicated {self.duplicated}; torn {self.torn}; set aside {self.aside}; "
            f"{self.wasted / max(1, kills):.2f} s of generation lost per kill"
        )


class Nodes:
    """A Ray cluster of several nodes on this machine, under our own process ids. The head has no room for actors."""

    def __init__(self, workers: int):
        from ray._raylet import Config

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        token = (Path.home() / ".ray" / "auth_token").is_file()
        os.environ.setdefault("RAY_AUTH_MODE", "token" if token else "disabled")
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "20")  # after which a head is taken for dead; else 60
        Config.initialize("")  # Ray has read the environment when it was imported
        self._start(workers)

    def _start(self, workers: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.address = self._cluster.address
        self._workers = [self._cluster.add_node(num_cpus=2) for _ in range(workers)]

    def behead(self) -> None:
        """SIGKILL the cluster's control service (GCS)."""
        (server,) = self._cluster.head_node.all_processes["gcs_server"]
        server.process.kill()

    def renew(self) -> None:
        """Another cluster in the place of one without a head."""
        self.close()
        self._start(len(self._workers))

    def kill(self, dice: random.Random) -> None:
        """SIGKILL a node's raylet; a new node joins in its place."""
        node = self._workers.pop(dice.randrange(len(self._workers)))
        self._cluster.remove_node(node, allow_graceful=False)
        self._workers.append(self._cluster.add_node(num_cpus=2))

    def close(self) -> None:
        self._cluster.shutdown()


def actors() -> dict[str, list[psutil.Process]]:
    """The actors' processes that descend from this one, by kind."""
    found: dict[str, list[psutil.Process]] = {}
    for child in psutil.Process().children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        name = words[0].removeprefix("ray::").partition(".")[0].partition(":")[0] if words else ""
        if words and words[0].startswith("ray::") and name in WEIGHTS:
            found.setdefault(name, []).append(child)
    return found


class Storm:
    def __init__(self, folder: Path, calm: Path, nodes: Nodes, seed: int):
        self.folder, self.calm, self.nodes, self.dice = folder, calm, nodes, random.Random(seed)
        self.books, self.driver, self.acked = Books(), None, {}
        self._read = 0  # bytes of the acknowledgements so far

    def start(self) -> None:
        words = [str(self.run / "acks"), CONFIG, self.nodes.address, *OPTIONS, f"run.dir={self.run / 'run'}"]
        with open(self.run / "log", "a", encoding="utf-8") as log:
            command = [sys.executable, "-m", "tests.torture.driver", *words]
            self.driver = subprocess.Popen(command, cwd=TOP, stdout=log, stderr=log)

    def turn(self, until: float, kills: int) -> bool:
        """One run from its start to its end, in the storm. False where the time was over first."""
        self.run, self.acked, self._read, self._committed = self.folder / f"run{self.books.runs}", {}, 0, 0
        self.run.mkdir()
        self.start()
        calm_since = time.monotonic()
        while True:
            time.sleep(self.dice.uniform(0.2, 4.0))
            status = self.driver.poll()
            if status == 0:
                break
            over = time.monotonic() > until or sum(self.books.kills.values()) >= kills
            if status is not None:
                if status not in (1, 75, -signal.SIGKILL):
                    self.books.wrong.append(f"a driver ended with {status}: {tail(self.run / 'log')}")
                self.start()
            elif not over:
                self.kill()
                calm_since = time.monotonic()
            elif time.monotonic() - calm_since > 600:
                self.driver.kill()
                self.books.wrong.append(f"it did not end within 600 s after the last kill: {tail(self.run / 'log')}")
                return False
            self.check()
        self.check()
        self.finished()
        return True

    def kill(self) -> None:
        found = actors()
        committed = sum(name.split("/")[0] in ("models", "traces", "rounds") for name in files(self.run / "run"))
        moved = committed > self._committed
        kinds = [kind for kind in WEIGHTS if (kind in found or kind in ALONE) and (moved or kind not in SLOW)]
        if not kinds:
            return
        kind = self.dice.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        if kind == "node":
            self.nodes.kill(self.dice)
        elif kind == "head":
            self.nodes.behead()
            try:
                self.driver.wait(timeout=HEADLESS_SECONDS)
            except subprocess.TimeoutExpired:
                self.driver.kill()
                self.books.wrong.append(f"a driver did not notice that the cluster's head is gone: {tail(self.run / 'log')}")
            self.nodes.renew()
        elif kind == "driver":
            self.driver.kill()
            self.driver.wait()
            now = self.run / "run/_tmp/now.json"
            if now.is_file():  # what was under way, as of the last note
                noted = json.loads(now.read_text(encoding="utf-8"))
                self.books.wasted += sum(unit["seconds"] for unit in noted["units"])
        else:
            try:
                self.dice.choice(found[kind]).kill()
            except psutil.NoSuchProcess:
                return
        self.books.kills[kind] += 1
        if kind in SLOW:
            self._committed = committed

    def check(self) -> None:
        """Every unit that was ever acknowledged is there, whole, with the content that was acknowledged."""
        acks = self.run / "acks"
        if acks.is_file():
            with open(acks, encoding="utf-8") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith("\n"):
                        break  # the driver was killed while it wrote; it had not been told yet
                    self._read += len(line.encode())
                    event = json.loads(line)
                    if "lost" in event:
                        self.books.wasted += event["lost"]
                    elif self.acked.setdefault(event["ack"], event["sha"]) != event["sha"]:
                        self.books.wrong.append(f"{event['ack']} was acknowledged with two contents")
                        self.books.duplicated += 1
        for key, sha in self.acked.items():
            path = self.run / "run" / f"{key}.parquet"
            if not path.is_file():
                self.books.lost += 1
                self.books.wrong.append(f"{key} was acknowledged and is not there")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != sha:
                self.books.torn += 1
                self.books.wrong.append(f"{key} is not what was acknowledged")

    def finished(self) -> None:
        """The books of a whole run."""
        store, books = Store(self.run / "run"), self.books
        books.runs += 1
        books.acknowledged += len(self.acked)
        asides = 0
        ids: Counter = Counter()
        for path in sorted(store.root.glob("traces/**/*.parquet")):
            try:
                table = pq.ParquetFile(path).read()
            except Exception as error:
                books.torn += 1
                books.wrong.append(f"{path}: {error}")
                continue
            asides += bool(table.schema.metadata and b"aside" in table.schema.metadata)
            ids.update(table["id"].to_pylist())
        books.rows += len(ids)
        books.aside += asides
        books.duplicated += sum(n - 1 for n in ids.values())
        books.wrong += [f"{name} is there {n} times" for name, n in ids.items() if n > 1]
        for plan in store.root.glob("plans/*/*.parquet"):
            numbers = range(Book(store).newest() + 1) if plan.stem == "test" else [int(plan.parent.name[1:])]
            planned = set(pq.read_table(plan, columns=["unit"])["unit"].to_pylist())
            for number in numbers:
                there = store.units(f"traces/{round_key(number)}/{plan.stem}")
                if there and there != planned:
                    books.wrong.append(f"round {number} {plan.stem}: units {sorted(there ^ planned)} are not as planned")
        for manifest in store.root.glob("manifests/*.parquet"):
            rows = Counter((row["trace_id"], row["epoch"]) for row in pq.read_table(manifest).to_pylist())
            if any(n > 1 for n in rows.values()):
                books.wrong.append(f"{manifest.stem}: an example stands twice in one epoch")
        for trained in store.root.glob("models/*/training.json"):
            record = json.loads(trained.read_text(encoding="utf-8"))
            lives = [0, *record["lives"]]
            if lives != sorted(lives) or lives[-1] != record["steps"]:
                books.wrong.append(f"{trained}: lives {lives} do not add up to {record['steps']} steps")
        if not asides:
            self.equal(store.root)

    def equal(self, root: Path) -> None:
        """Nothing shows that there was a storm."""
        expected, found = files(self.calm), files(root)
        if set(expected) != set(found):
            self.books.wrong.append(f"other files than in the calm run: {sorted(set(expected) ^ set(found))[:5]}")
            return
        for name in expected:
            if name.endswith(".parquet"):
                one, other = (pq.ParquetFile(path).read() for path in (expected[name], found[name]))
                drop = [column for column in ("created_at",) if column in one.column_names]
                if not one.drop(drop).equals(other.drop(drop)):
                    self.books.wrong.append(f"{name} differs from the calm run's")
            if name.endswith("model.safetensors"):
                one, other = load_file(expected[name]), load_file(found[name])
                if not all((one[key] == other[key]).all() for key in one):
                    self.books.wrong.append(f"{name}: a training step was lost or doubled")


def files(folder: Path) -> dict[str, Path]:
    """Every committed file of a run, by name."""
    names = (path for path in folder.rglob("*") if path.is_file() and "_tmp" not in path.parts)
    return {str(p.relative_to(folder)): p for p in names if p.name not in ("driver.lock", "error.log")}


def tail(log: Path) -> str:
    return " | ".join(log.read_text(encoding="utf-8").splitlines()[-3:])


def storm(minutes: float, kills: int, seed: int, folder: Path) -> Books:
    """Runs in the storm until the time is over or there were so many kills. The last one is let finish in peace."""
    print(f"seed {seed}", flush=True)
    calm = folder / "calm"
    nodes = Nodes(2)
    try:
        words = [str(folder / "calm-acks"), CONFIG, nodes.address, *OPTIONS, f"run.dir={calm}"]
        with open(folder / "calm-log", "w", encoding="utf-8") as log:
            subprocess.run([sys.executable, "-m", "tests.torture.driver", *words], cwd=TOP, stdout=log, stderr=log, check=True)
        began, until = time.monotonic(), time.monotonic() + 60 * minutes
        wind = Storm(folder, calm, nodes, seed)
        while not wind.books.wrong and time.monotonic() < until and sum(wind.books.kills.values()) < kills:
            if not wind.turn(until, kills):
                break
            print(f"{span(time.monotonic() - began)}: {wind.books.say()}", flush=True)
        return wind.books
    finally:
        nodes.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="launch.sh torture", description=__doc__.split("\n\n")[2])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long things are killed (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=1000, help="or how many times (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of what is killed when")
    parser.add_argument("--keep", default="", metavar="FOLDER", help="keep the runs there, to look at")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm") as temporary:
        folder = Path(known.keep or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        books = storm(known.minutes, known.kills, known.seed, folder)
    print(books.say())
    for line in books.wrong:
        print(f"WRONG: {line}")
    return bool(books.wrong)


if __name__ == "__main__":
    sys.exit(main())
