"""Keeps one of the answers to a problem that have the same steps, over all rounds."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def canonical(text: str) -> tuple[str, ...]:
    """An answer's steps, a line each, as they count for equality: white space, case, the full stop at the end and the way
    that a number is written ("1,200.0" is "1200") make no difference, and empty lines do not count."""
    lines = (" ".join(_NUMBER.sub(_plain, line).casefold().split()).rstrip(" .;,") for line in text.splitlines())
    return tuple(line for line in lines if line)


def _plain(match: re.Match) -> str:
    whole, _, rest = match[0].replace(",", "").partition(".")
    rest = rest.rstrip("0")
    return (whole.lstrip("0") or "0") + ("." + rest if rest else "")


def fingerprints(traces: pa.Table) -> list[tuple[str, tuple[str, ...]]]:
    """(problem, canonical steps) of each trace."""
    texts = [canonical(text) for text in traces["answer_text"].to_pylist()]
    return list(zip(traces["problem_id"].to_pylist(), texts, strict=True))


@dataclass
class Distinct:
    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        seen = set(fingerprints(earlier))
        reasons = []
        for mark in fingerprints(traces):
            reasons.append("an answer with the same steps is kept already" if mark in seen else "")
            seen.add(mark)
        return reasons
