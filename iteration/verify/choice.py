"""Multiple choice: which letter does the answer state? It votes for the option, not for the letter it happens to stand at."""

# ruff: noqa: E501 (tables of phrases)
from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from iteration.extract import bare, clean, denied, marked, plain_marks, unsaid
from iteration.types import Problem, State, Verdict

_L = r"(?<![A-Za-z\d'’])(?:[(\[]([a-j])[)\]]|[(\[]?([B-HJ](?![\w'’])|[AI](?![\w'’]|\s+(?!(?:or|and|is|but|not|because|since)\b)[a-z])))"  # no word: "A train", "I think"
_LETTER = re.compile(_L)
# "The best option is C", "C is correct": ways to state a letter that only a choice has.
_CHOSEN = re.compile(
    rf"(?i:\b(?:choice|option|choose|pick|select|go\s+with)\b(?:\s+(?:is|are|would\s+be))?)\s*:?\s*[*$\s]*{_L}"
    r"|(?:^|[.,;\n] ?|\band )(?i:so|thus|hence|therefore|and)?,? ?(?i:option|choice|answer)? ?[*(\[]{0,4}([A-J])[*)\]]{0,4} is (?:the )?"
    r"(?:correct|right|best|answer)\b"
)
_CHOOSES = ("choice", "option", "choose", "pick", "select", "go with", "correct", " right", " best", "answer")
_TEXT = re.compile(r"\\(?:text\w*|math\w+|mbox)\s*\{([^{}]*)\}|[\\$*_`]")
# Quickly, what is most frequent: a letter at the very end, in the only box, behind "answer", or alone on its line.
_BOX = re.compile(r"\\boxed\{\(?([A-J])\)?\}[\s$.]*\Z")
_AT_END = re.compile(r"(?:(answer is|answer:) |\n)[*(]{0,3}([A-J])[*)]{0,3}\.?\s*\Z", re.IGNORECASE)
# A letter that is marked as one, or stated: "(C)", "C.", "it is C".
_SAID = re.compile(
    rf"(?:(?i:\b(?:is|it's|be|option|choice|choose|pick|select|with|say|think|but|not|nor|or|and|except|both|either|neither|letter|maybe|perhaps|possibly)\b|[是选選])[\s:*]*|^\s*|[,;/&]\s*){_L}"
    r"|[(\[]([A-Ja-j])[)\]]|(?<![A-Za-z\d'’])(?<!of )(?<!than )([A-J])(?:[).:](?=\s|$)|$)"
)
_SEVERAL = re.compile(
    r"(?<![\w'’])[A-Ja-j][)\]]*(?:\s*(?:,|/|&|\band\b|\bor\b))+\s*(?:maybe|possibly|perhaps)?\s*(?:[(\[][a-j][)\]]|[(\[]*[A-J](?![\w'’]))"
)
# A line that speaks of letters alone: "A is wrong, B is right", "not A but B"
_ONLY = re.compile(
    r"(?:\W|[^\x00-\x7f]|[A-J](?!\w)|(?i:it|its|is|so|thus|hence|therefore|not|but|rather|than|instead|of|the|an?|and|or|option|choice|answer|letter|wrong|right"
    r"|correct|incorrect|best|true|false|both|neither|nor|either|all|except|i|choose|pick|say|would|isn|t|s|no|actually|wait)(?!\w))*"
)


def letter(text: str) -> str:
    """The letter that a text states: in a box, a tag or behind "answer", as "option C", alone on its last line; else ""."""
    quick = _at_end(text)
    if quick:
        return quick
    text = clean(text)
    said = marked(text)
    if said is not None and ("\\boxed" in text or _LETTER.search(said)):
        return picked(said)
    small = text.lower()
    if any(word in small for word in _CHOOSES):
        for sentence in reversed(re.split(r"(?<=[.!?])\s|\n", text)):
            found = [(each[each.lastindex].upper(), *each.span(each.lastindex)) for each in _CHOSEN.finditer(sentence)]
            found = [each for each in found if not denied(sentence[: each[1]], sentence[each[2] :])]
            if found:
                several = len({each[0] for each in found}) > 1 or any(_SEVERAL.match(sentence, each[1]) for each in found)
                return "" if several else found[0][0]
    last = bare(plain_marks(text.strip().rsplit("\n", 1)[-1]))
    return picked(last) if re.match(r"[(\[]?[A-J](?:[)\].:]|$)|[A-HJ],|[(\[][a-j][)\]]", last) or _ONLY.fullmatch(last) else ""


def _at_end(text: str) -> str:
    """The letter at the very end of a text, where nothing else in it needs to be looked at; else ""."""
    if "\\boxed" in text:
        at = text.rfind("\\boxed{")
        quick = _BOX.match(text, at) if len(text) - at < 24 and text.find("\\boxed") == at and "nswer>" not in text else None
        plain = quick and not text[max(0, at - 2) : at].rstrip(" $").endswith(tuple("{}()/+*-"))
        return quick[1] if plain and not denied(text[max(0, at - 80) : at]) else ""
    quick = _AT_END.search(text, max(0, len(text) - 24))
    if not quick or not quick[2].isupper() or "nswer>" in text:
        return ""
    if not quick[1]:
        return "" if "nswer" in text or not text.isascii() or text[: quick.start()].endswith(":") else quick[2]
    return "" if text.count("nswer") > 1 or unsaid(text, quick.start(), quick.start(2)) else quick[2]


def picked(said: str) -> str:
    """The one letter in what is stated: "C", "(C) 12", "C. Because ...", "I think it is C"; "" where it is none or several."""
    said = bare(_TEXT.sub(lambda match: match[1] or "", said))
    first = re.match(r"(?i:option|choice|letter)?\s*(?:[(\[]([A-Ja-j])[)\]]|([A-J])(?:[).:,](?=\s|$)|$))", said)
    if first and not _SEVERAL.match(said, first.start(first.lastindex)):
        return "" if denied("", said[first.end() :]) else first[first.lastindex].upper()
    if _SEVERAL.search(said):
        return ""
    letters = {
        match[match.lastindex].upper()
        for match in _SAID.finditer(said)
        if not denied(said[: match.start(match.lastindex)], said[match.end(match.lastindex) :])
    }
    return letters.pop() if len(letters) == 1 else ""


@dataclass
class Choice:
    version: ClassVar[str] = "2"

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self.one(problem, answer) for problem, answer in zip(problems, answers, strict=True)]

    def one(self, problem: Problem, answer: str) -> Verdict:
        try:
            stored = json.loads(problem.answer)
            right, order = stored["right"], stored["order"]
        except (ValueError, KeyError, TypeError):
            return Verdict(State.FAILED, why=f"the problem's answer holds no order of options: {problem.answer[:60]!r}")
        stated = letter(answer)
        if not stated or ord(stated) - 65 >= len(order):
            return Verdict(State.UNPARSEABLE, why=f"no letter from A to {chr(64 + len(order))} is stated")
        state = State.CORRECT if stated == right else State.WRONG
        option = f"option {order[ord(stated) - 65] + 1}"
        return Verdict(state, option, float(state == State.CORRECT), f"picked {stated}, right is {right}")

    def report(self, answers: pa.Table) -> dict[str, float]:
        """Position bias: for each letter its share of the picks, less its share of the right answers.

        answers: columns state and why, one row an answer. A model without bias has values near 0.
        """
        told = [re.match(r"picked (\w), right is (\w)", why or "") for why in answers["why"].to_pylist()]
        picks, rights = (Counter(each[i] for each in told if each) for i in (1, 2))
        n = max(1, sum(picks.values()))
        return {f"bias to {place}": (picks[place] - rights[place]) / n for place in sorted(picks.keys() | rights.keys())}
