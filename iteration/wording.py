"""Answers in words, for a comparison as text: "no solution", "at least 3", "New York"."""

from __future__ import annotations

import re

_LAYOUT = re.compile(r"\\(?:text\w*|math(?:rm|bf|it|sf)|mbox)\s*(?=\{)|\\[,;:! ]|[{}$*_`~]")
_DROPPED = re.compile(r"(?<![^\W_])(?:the|a|an)(?![^\W_])|[\"“”!?;:。]|,(?!\d)|\.(?!\d)|(?<!\w)'|'(?!\w)")
_BRACKETS = re.compile(r"[()\[\]]")
_START = re.compile(r"(?:(?:so|thus|hence|therefore|and)\s+)*(?:(?:there|it|this|that)\s+(?:is|are)\s+)?")
_MARKED = re.compile(r"\A.*(?:####|\banswer(?:\s+is)?\s*:|\banswer\s+is\b)", re.IGNORECASE | re.DOTALL)

# The one word before an expected number: "Jan 5", "Room 5"
NAMED = re.compile(
    r"(?!(?:total|sum|answer|result|about|approximately|around|roughly|usd|eur|gbp|rs)\b)([^\W\d_]{2,})\.?\s+\$?\d",
    re.IGNORECASE,
)


def normal(text: str) -> str:
    """Words in lower case without layout, articles and punctuation; signs of formulas stay."""
    text = re.sub(r",\s+(?=[-\d])", ",", _LAYOUT.sub(" ", text.replace("’", "'")).lower())
    text = text if re.search(r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]", text) else _BRACKETS.sub(" ", text)  # a point, an interval
    words = " ".join((_DROPPED.sub(" ", text).strip() or re.search(r"\w", text) and text or "").split())
    return words[_START.match(words).end() :] or words


def last_said(text: str) -> str:
    """All that a text says as its answer: its last box, what stands behind "answer is", or its last line."""
    at = text.rfind("\\boxed{")
    if at >= 0:
        depth = 0
        for end in range(at + 6, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if not depth:
                return text[at + 7 : end]
        return ""
    lines = _MARKED.sub("", text).strip().splitlines()
    return lines[-1] if lines else ""
