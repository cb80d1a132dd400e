"""The engine's actor without an engine."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

SCRIPT = """
from vllm.v1.engine.exceptions import EngineDeadError
from cluster.generator import alive
with alive():
    raise {error}
"""


@pytest.mark.parametrize(("error", "status"), [("EngineDeadError()", 1), ("ValueError('x')", 3)])
def test_an_actor_does_not_outlive_its_engine(error, status):
    """It exits without a word to Ray, which then starts both anew; other errors are the caller's."""
    script = f"import sys\ntry:\n{''.join(f'    {line}' + chr(10) for line in SCRIPT.format(error=error).splitlines())}"
    script += "except ValueError:\n    sys.exit(3)\nexcept BaseException:\n    sys.exit(4)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == status, done.stderr


def test_who_is_asked_for_other_weights_than_it_serves_says_so():
    import asyncio

    from cluster.engine import Generate
    from cluster.generator import Generator

    async def ask():
        generator = Generator(0, "nowhere", "models", Generate())
        generator._engine = SimpleNamespace(version="m00002")
        with pytest.raises(RuntimeError, match="m00001 was asked for, but Generator 0 serves m00002"):
            await generator._serving("m00001")
        assert (await generator._serving("m00002")).version == "m00002"

    asyncio.run(ask())
