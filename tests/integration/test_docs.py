"""The commands of README.md and docs/ that read a run, on a small one in the place of runs/quickstart."""

import shutil

from tests.test_docs import PAGES, blocks, run, scratch


def test_commands_on_a_run(tmp_path, small):
    environment = scratch(tmp_path)
    shutil.copytree(small[0], tmp_path / "runs" / "quickstart")
    tried = [block for page in PAGES for block in blocks(page) if block.needs == "run"]
    assert tried
    for block in tried:
        run(block, tmp_path, environment)
