"""A run whose teacher is SmolLM2 behind vLLM's own OpenAI server."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from cluster.engine import environment
from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.verbs import why
from iteration.errors import UserError
from iteration.teacher import Begin, Teacher
from iteration.types import Problem
from tests.integration.conftest import TOP, flywheel, long
from tests.integration.test_own import random_model
from tests.ports import free_port

TOOL = TOP.parent / "shared/tools/get_smollm2.py"
# Packages of vLLM's server that our lock files leave out.
SERVER = ("uvicorn", "watchfiles", "prometheus_fastapi_instrumentator", "model_hosting_container_standards")
SUMS = [{"prompt": f"What is {i} + {j}? End with the number.", "answer": str(i + j)} for i in range(2, 8) for j in range(2, 6)]


@pytest.fixture
def server(tmp_path):
    """The address of the server. SMOLLM2: the model's folder, if it is made already."""
    folder = Path(os.environ.get("SMOLLM2") or tmp_path / "smollm2")
    if not folder.is_dir():
        subprocess.run([sys.executable, str(TOOL), str(folder)], check=True, capture_output=True)
    port = free_port()
    words = ["--model", str(folder), "--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--max-model-len", "256", "--max-num-seqs", "8", "--dtype", "float32", "--enforce-eager"]
    words += ["--kv-cache-memory-bytes", str(256 << 20)]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | environment(0), stdout=log, stderr=log)
    try:
        until = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, (tmp_path / "server.log").read_text()[-2000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=60)


@long
@pytest.mark.skipif(not (TOOL.is_file() or os.environ.get("SMOLLM2")), reason=f"no {TOOL}")
@pytest.mark.skipif(not all(map(find_spec, SERVER)), reason=f"vLLM's server needs {', '.join(SERVER)}")
def test_a_run_learns_from_a_teacher_behind_vllms_own_server(server, tmp_path):
    random_model(tmp_path / "model")
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    traces = [{"prompt": row["prompt"], "completion": f"It is {row['answer']}.", "model": "hand"} for row in SUMS]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in traces))
    options = [
        "configs/teacher.yaml",
        f"model.path={tmp_path / 'model'}",
        f"task={{name: file, train: {tmp_path / 'sums.jsonl'}, test: '', prompt_key: prompt, answer_key: answer}}",
        f"run.dir={tmp_path / 'run'}",
        f"begin={{endpoint: '{server}', model: smollm2, n: 2, traces: {tmp_path / 'traces.jsonl'}}}",
        "begin.request={max_tokens: 40, temperature: 0.5}",
        "search.n=2",
        "rounds=1",
        "problems=6",
        "unit=3",
        "generate={max_tokens: 200, context: 320, max_seqs: 16, cache_mb: 64}",
        "train={tokens: 2000, rows: 2, row_tokens: 320}",
        "measure={problems: 2, samples: 1}",
        "placement={generators: 1, dashboard: false}",
    ]
    unknown = Teacher(Begin(endpoint=server, model="llm"), 80)
    with pytest.raises(UserError, match=f"begin.endpoint={server}: it has no model 'llm': The model `llm` does not exist"):
        asyncio.run(unknown.answers([Problem("p", "1 + 1?", "2")], ["1 + 1?"]))
    flywheel("run", *options)
    book = Book(Store(tmp_path / "run"))
    arm, record = book.arm("teacher"), book.record(1)
    rows = [row for row in book.nodes(arm, 1).to_pylist() if row["node"]]
    assert len(rows) == 12 and {(row["model_version"], row["origin"]) for row in rows} == {("smollm2", server)}
    assert {row["state"] for row in rows} <= {"correct", "wrong", "unparseable"}
    assert all(row["token_ids"][-1] == 1 for row in rows if row["final"]), "the student's own end of text"
    assert {row["state"] for row in book.nodes(book.arm("given"), 1).to_pylist() if row["node"]} == {"correct"}
    assert record["trained"] == "m00001" and f"origin    {server}, made elsewhere" in why.story(book, rows[0]["id"])
