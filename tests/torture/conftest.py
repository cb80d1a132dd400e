"""The storm needs engines; the rest of the torture does not."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name == "test_storm.py":
            item.add_marker(pytest.mark.engine)
