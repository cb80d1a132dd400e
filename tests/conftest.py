"""What all tests share. Nothing is fetched from a network, and nobody is told of anything."""

import os

import hypothesis
import pytest

os.environ.update(
    HF_HUB_OFFLINE="1",
    VLLM_NO_USAGE_STATS="1",
    DO_NOT_TRACK="1",
    RAY_USAGE_STATS_ENABLED="0",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TQDM_DISABLE="1",
    GOMP_SPINCOUNT="1000",  # two test processes share the cores: cluster/train/ranks.py, environment
)

GROUPS = {  # of files whose tests run in one process, one after another
    **dict.fromkeys([f"tests/integration/test_{name}.py" for name in ("docs", "quickstart", "report", "verifiers")], "small"),
    **dict.fromkeys(
        [f"tests/cluster/test_{name}.py" for name in ("code", "code_answers", "gym", "lean", "proof")], "sandboxes"
    ),
    "tests/cluster/sandbox/test_walls.py": "sandboxes",
}

# A loaded machine is slow, not wrong.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_collection_modifyitems(config, items):
    """With --dist loadgroup, the longest tests begin first."""
    if getattr(config.option, "loadgroup", False):
        items.sort(key=lambda item: item.path.parent.name not in ("torture", "integration"))


def pytest_xdist_make_scheduler(config, log):
    """With --dist loadgroup, the tests of a file stay in one process, and so do GROUPS: those that share the run `small`, and
    those whose hostile programs take all that one user may have.

    xdist's own groups have no effect with pytest 9.2.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return GROUPS.get(file, file)

    return Grouped(config, log)


@pytest.fixture(autouse=True)
def _environment():
    """What a test, or what it calls, sets in os.environ is gone for the next test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
