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

# A loaded machine is slow, not wrong.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """With --dist loadgroup, tests that share what takes long to make stay in one process."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("small" if "small" in item.fixturenames else item.path.name))


@pytest.fixture(autouse=True)
def _environment():
    """What a test, or what it calls, sets in os.environ is gone for the next test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
