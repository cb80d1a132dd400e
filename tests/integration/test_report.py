"""What a person sees of a real run: its report in a real browser; and what others read of it, without our code."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import flywheel

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (Debian: apt-get install chromium)")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser, path, viewport, scheme="light"):
    """(page, what its console and its network said)."""
    page, said = browser.new_context(viewport=viewport, color_scheme=scheme).new_page(), []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto(f"file://{path}")
    page.wait_for_function("document.body.dataset.drawn")
    return page, said


@needs_browser
@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_every_chart_is_drawn_and_nothing_is_said_or_fetched(small, browser, viewport, scheme):
    folder, _ = small
    report = folder / "report.html"
    assert report.stat().st_size < 3_000_000
    page, said = opened(browser, report, viewport, scheme)
    assert said == []
    marks = page.eval_on_selector_all(
        ".chart",
        "found => found.map(each => [each.id, each.querySelectorAll('svg .mark-symbol path, svg .mark-rect path').length])",
    )
    assert len(marks) >= 15 and [name for name, n in marks if n == 0] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], "nothing sticks out"
    headline = page.inner_text(".headline")
    assert headline.startswith("It improves. Held-out pass@1 went from") and "over 200 problems" in headline
    shades = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    back, text = (sum(map(int, re.findall(r"\d+", shade)[:3])) for shade in shades)
    assert (back > 700 and text < 200) if scheme == "light" else (back < 100 and text > 600), shades
    page.emulate_media(media="print")
    assert page.pdf().count(b"/Type /Page\n") + page.pdf().count(b"/Type /Page ") >= 2


@needs_browser
def test_a_tree_opens_on_click_and_rounds_stand_side_by_side(small, browser):
    folder, _ = small
    page, said = opened(browser, folder / "report.html", DESKTOP)
    page.locator("#movement details.names summary").first.click()
    link = page.locator("#movement a[data-problem]").first
    name = link.get_attribute("data-problem")
    link.click()
    assert page.locator("#tree-problem").input_value() == f"held-out {name}"
    left, right = page.locator("#tree-a"), page.locator("#tree-b")
    assert left.locator("h3").inner_text().startswith("round 0:") and right.locator("h3").inner_text().startswith("round 2:")
    first = left.locator("details").first
    assert first.locator("li").count() == 0
    first.locator("summary").first.click()
    first.locator("li").first.wait_for()
    while left.locator("details:not([open]) > summary").count():  # down to every verdict
        left.locator("details:not([open]) > summary").first.click()
        page.wait_for_function(
            "[...document.querySelectorAll('#tree-a details[open]')].every(each => each.querySelector('li'))"
        )
    assert left.locator("b.wrong, b.correct, b.unparseable").count() > 0
    page.locator("#tree-left").select_option("round 1")
    assert left.locator("h3").inner_text().startswith("round 1:")
    page.locator("#tree-find").fill("no such words anywhere")
    assert page.locator("#tree-problem option").count() == 0 and said == []


@needs_browser
def test_two_runs_side_by_side(small, browser, tmp_path):
    folder, _ = small
    shutil.copytree(folder, tmp_path / "other", ignore=shutil.ignore_patterns("models", "r00002*", "m00002", "_tmp"))
    shutil.copytree(folder / "models/m00000", tmp_path / "other/models/m00000")
    said = flywheel("report", str(folder), str(tmp_path / "other"), "--to", str(tmp_path / "both.html"), "--price", "1.5")
    assert f"{tmp_path}/both.html (" in said and (tmp_path / "both.html").stat().st_size < 3_000_000
    page, said = opened(browser, tmp_path / "both.html", DESKTOP)
    assert said == [] and page.locator(".verdict").count() == 2 and "a device-hour" in page.inner_text("header")
    boxes = [page.locator("#coverage .panel").nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    assert page.locator("#tree-run option").all_inner_texts() == ["run", "other"], "runs of one name are told apart by folder"


# metrics


def seen(folder):
    file = folder.parent / "seen.json"
    if not file.is_file():
        pytest.skip("no Prometheus here (Debian: apt-get install prometheus)")
    return json.loads(file.read_text())


def test_every_documented_metric_arrives_in_prometheus(small):
    from cluster.metrics import METRICS

    folder, _ = small
    found = seen(folder)
    assert [metric.exported for metric in METRICS if not found[metric.exported]] == []
    for metric in METRICS:
        for series in found[metric.exported]:
            assert set(metric.labels) <= set(series["metric"]), metric

    def value(name, **labels):
        (one,) = [s for s in found[f"ray_flywheel_{name}"] if all(s["metric"][k] == v for k, v in labels.items())]
        return float(one["value"][1])

    records = [json.loads((folder / f"rounds/r0000{n}.json").read_text()) for n in range(3)]
    graded = sum(float(series["value"][1]) for series in found["ray_flywheel_verdicts_total"])
    whole = 2 * 160 * 16 + 3 * 200 * 4  # answers of two searches and three measurements
    assert 0.5 * whole < graded <= whole, "all but what came in the last seconds"
    assert value("verdicts_total", state="correct") > 0 and value("tokens_per_second") > 0 and value("train_loss") > 0
    measured = {f"{score['pass_1']:.6f}" for record in records for score in record["scores"]}
    assert f"{value('pass_at_1', level='3'):.6f}" in measured
    generated = sum(r["tokens"].get(phase, 0) for r in records for phase in ("search", "measure"))
    assert 0.5 * generated < value("tokens_generated_total") <= 1.02 * generated, (
        "a greedy answer is generated after each update"
    )


def test_every_round_is_an_event_of_tensorboard(small):
    from tensorboardX.proto import event_pb2

    folder, _ = small
    (file,) = (folder / "tensorboard").glob("events.*")
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):  # length, its checksum, the event, its checksum
        size = int.from_bytes(data[at : at + 8], "little")
        event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
        at += 16 + size
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    for number in range(3):
        record = json.loads((folder / f"rounds/r0000{number}.json").read_text())
        assert found["pass_at_1/level_3", number] == pytest.approx(record["scores"][0]["pass_1"])
    assert found["train/loss_last", 2] < found["train/loss_first", 1] and found["counts/kept", 1] > 0


# for others

OTHERS = """
import glob, sys
import duckdb, pandas, polars
from datasets import load_dataset

files = sorted(glob.glob("traces/r*/train/*.parquet"))
wanted = "id", "state", "text", "token_ids", "logprobs", "reward"
found = {}
pd = pandas.concat([pandas.read_parquet(file) for file in files])
found["pandas"] = len(pd), (pd.state == "correct").sum(), sum(map(len, pd.token_ids))
pl = polars.scan_parquet("traces/r*/train/*.parquet").select(wanted).collect()
found["polars"] = len(pl), (pl["state"] == "correct").sum(), pl["token_ids"].list.len().sum()
query = "select count(*), sum((state = 'correct')::int), sum(len(token_ids)) from 'traces/r*/train/*.parquet'"
found["duckdb"] = duckdb.sql(query).fetchall()[0]
hf = load_dataset("parquet", data_files=files, split="train", cache_dir=sys.argv[1])
found["datasets"] = len(hf), sum(s == "correct" for s in hf["state"]), sum(map(len, hf["token_ids"]))
assert not {"cluster", "iteration"} & set(sys.modules)
rows = {tuple(map(int, each)) for each in found.values()}
assert len(rows) == 1, found
print(*rows.pop())
"""


def test_traces_are_read_by_pandas_polars_duckdb_and_datasets_without_our_code(small, tmp_path):
    folder, _ = small
    command = [sys.executable, "-c", OTHERS, str(tmp_path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows, correct, tokens = map(int, done.stdout.split()[-3:])
    records = [json.loads((folder / f"rounds/r0000{n}.json").read_text()) for n in (1, 2)]
    assert rows == 2 * 160 * 17 and correct == sum(record["counts"]["correct"] for record in records)
    assert tokens > sum(record["tokens"]["search"] for record in records), "prompts are there too"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_was_kept_is_chat_format_data(small, tmp_path, ending):
    from datasets import load_dataset

    folder, _ = small
    file = tmp_path / f"sft.{ending}"
    said = flywheel("traces", str(folder), "--kept", "--to", str(file))
    kept = sum(json.loads((folder / f"rounds/r0000{n}.json").read_text())["counts"]["kept"] for n in (1, 2))
    assert f"{kept:,} answers in {file}" in said
    kind = "json" if ending == "jsonl" else "parquet"
    found = load_dataset(kind, data_files=str(file), split="train", cache_dir=str(tmp_path))
    assert len(found) == kept and set(found["state"]) == {"correct"}
    for row in found:
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert user["content"].strip() == row["prompt"].strip() and assistant["content"] == row["completion"]


def test_paging_through_answers(small):
    folder, _ = small
    said = flywheel("traces", str(folder), "--state", "wrong", "--round", "2")
    assert said.count("wrong r00002/train/") == 10 and "--page 2" in said and "line" in said
    assert said != flywheel("traces", str(folder), "--state", "wrong", "--round", "2", "--page", "2")
    name = re.search(r"r00002/train/u\d+/t\d+/n\d+", said)[0]
    problem = flywheel("why", name, "--run", str(folder)).splitlines()[1].split()[1]
    only = flywheel("traces", str(folder), "--problem", problem, "--correct")
    assert "wrong" not in only and ("answers fit" in only or "no answer fits" in only)
    assert "no train answers of round 7 (there are: [1, 2])" in flywheel("traces", str(folder), "--round", "7", status=2)
    assert "expected .parquet or .jsonl" in flywheel("traces", str(folder), "--to", "x.csv", status=2)


def test_runs_and_status_for_people_and_for_programs(small):
    folder, _ = small
    said = flywheel("runs", str(folder.parent))
    assert "expressions" in said and "2 of 2" in said and "finished" in said
    (line,) = flywheel("runs", str(folder.parent), "--json").splitlines()
    run = json.loads(line)
    record = json.loads((folder / "rounds/r00002.json").read_text())
    assert run["state"] == "finished" and run["pass_1"]["4"] == record["scores"][1]["pass_1"]
    status = json.loads(flywheel("status", str(folder), "--json"))
    assert status["finished"] == 2 and status["under_way"] == [] and status["rounds"][2] == record
    assert "no run there" in flywheel("runs", str(Path(folder) / "traces"), status=2)
