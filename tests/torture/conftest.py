"""The storm and the cut need engines; the rest of the torture does not."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in ("test_storm.py", "test_cut_off.py", "test_clock.py"):
            item.add_marker(pytest.mark.engine)
