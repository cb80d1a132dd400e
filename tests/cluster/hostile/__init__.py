"""Texts that try to get out, to bring the machine down, or to be called correct without being it.

Each defines f, or, for a probe, `attempt`: a probe returns "contained" where what it tried was denied, and what it got
otherwise, so it is correct if contained. A bomb or a cheat has to be wrong. @FILE@, @PORT@, @PID@ and @WORD@ stand for a secret
file, a listening port, the pid of the caller, and the secret itself, which is also in the caller's environment.
"""

from pathlib import Path

PROBE = """
def f(x):
    try:
        got = attempt()
    except BaseException:
        return "contained"
    return got if got else "contained"
"""


def texts(name: str) -> dict[str, str]:
    """{title: text} of a file of texts, each below a line "## title"."""
    parts = (Path(__file__).parent / name).read_text(encoding="utf-8").split("## ")[1:]
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


PROBES, BOMBS, CHEATS = (texts(f"{kind}.txt") for kind in ("probes", "bombs", "cheats"))
