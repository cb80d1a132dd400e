"""The report on a phone: nothing of a chart or a table is cut at the right."""

import shutil

import pytest

from cluster.report.page import page
from tests.cluster.report.test_report import arm, evidence

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
PHONE, DESKTOP = 390, 1280
CUT = """[...document.querySelectorAll('.chart')].flatMap(chart => {
  const box = chart.getBoundingClientRect(), texts = [...chart.querySelectorAll('svg text')];
  const out = ({left, right, top}) => right > box.right + 1 || left < box.left - 1 || top < box.top - 1;
  return texts.filter(text => text.getBoundingClientRect().width && out(text.getBoundingClientRect()))
    .map(text => chart.id + ': ' + text.textContent); })"""
WIDE = "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth).length"


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (Debian: apt-get install chromium)")
def test_nothing_is_cut_at_the_right(tmp_path):
    from playwright.sync_api import sync_playwright

    arms = [arm("eval-adaptive-200", 200, [6] * 40), arm("mcts", 200, [5] * 40)]
    run = evidence([[0] * 10 + [1] * 30, [4] * 40, [6] * 30 + [7] * 10], arms, price=2.0)
    for name in ("engines", "first model", "filter", "update", "audit", "calibrate"):
        run.rounds[0]["seconds"][name] = 3.0
    (tmp_path / "report.html").write_text(page([run], "./launch.sh report runs/planted"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": PHONE, "height": 844})
        shown.goto(f"file://{tmp_path}/report.html")
        shown.wait_for_function("document.body.dataset.drawn")
        assert shown.evaluate(CUT) == [] and shown.evaluate(WIDE) == 0
        cell = shown.locator("#exchange .cards td").nth(1)
        assert "a hundred questions" in cell.evaluate("each => getComputedStyle(each, '::before').content")
        assert shown.evaluate("document.documentElement.scrollWidth") <= PHONE
        groups = shown.locator("#difficulty .chart svg").first.text_content()
        assert "0 %" in groups and "12 %" in groups and "level 4" in groups
        shown.set_viewport_size({"width": DESKTOP, "height": 900})
        shown.wait_for_function("!document.querySelector('.cards')")
        assert shown.evaluate(CUT) == [] and shown.locator("#exchange thead").first.is_visible()
        browser.close()
