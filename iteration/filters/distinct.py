"""Keeps one of several equal answers to a problem, over all rounds. White space does not make a difference."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


def fingerprints(traces: pa.Table) -> list[tuple[str, str]]:
    """(problem, answer text with white space folded) of each trace."""
    texts = [" ".join(text.split()) for text in traces["answer_text"].to_pylist()]
    return list(zip(traces["problem_id"].to_pylist(), texts, strict=True))


@dataclass
class Distinct:
    def keep(self, traces: pa.Table, earlier: pa.Table) -> list[str]:
        seen = set(fingerprints(earlier))
        reasons = []
        for mark in fingerprints(traces):
            reasons.append("the same answer is kept already" if mark in seen else "")
            seen.add(mark)
        return reasons
