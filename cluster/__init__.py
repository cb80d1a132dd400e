"""The machinery: everything Ray."""

import os

os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a call after the end of a cluster must not start another one
