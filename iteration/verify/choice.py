"""Multiple choice: which letter does the answer state? It votes for the option, not for the letter it happens to stand at."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from iteration.extract import bare, clean, explicit, plain_marks
from iteration.types import Problem, State, Verdict

_L = r"([B-HJ](?![\w'’])|[AI](?![\w'’]|\s+[a-z]))"  # a letter that is no word: "A train", "I think"
# "The best option is C", "C is correct": ways to state a letter that only a choice has.
_CHOSEN = re.compile(
    rf"(?i:\b(?:choice|option|choose|pick|select|go\s+with)\b(?:\s+(?:is|are|would\s+be))?)\s*:?\s*[*$(\[\s]*{_L}"
    r"|(?:^|[.\n] ?)(?i:so|thus|hence|therefore)?,? ?(?i:option|choice|answer)? ?[*(\[]{0,4}([A-J])[*)\]]{0,4} is (?:the )?"
    r"(?:correct|right|best|answer)\b"
)
_TEXT = re.compile(r"\\(?:text\w*|math\w+|mbox)\s*\{([^{}]*)\}|[\\$*_`]")
_LETTER = re.compile(r"(?<![\w'’])[A-J](?![\w'’])")
_CHOOSES = ("choice", "option", "choose", "pick", "select", "go with", "correct", " right", " best", "answer")
# Quickly, what is most frequent: one box with a letter, and a letter behind "answer" at the very end.
_ONE_BOX = re.compile(r"(?<![$\w}{)/+*-])(?<!t )(?<!t: )(?<!g )\$?\\boxed\{\(?([A-J])\)?\}[\s$.]*\Z")
_AT_END = re.compile(r"\b(?i:answer is|answer:) \(?([A-J])\)?\.?\s*\Z")
_MARKED = re.compile(r"[(\[]([A-J])[)\]]|(?<![\w'’])([A-J])(?:[).:](?=\s|$)|$)")
_SAID = re.compile(rf"(?i:\b(?:is|it's|be|option|choice|choose|pick|select|with|say|think)\b)[\s:*(\[]*{_L}")
_SEVERAL = re.compile(r"(?<![\w'’])[A-J][)\]]*\s*(?:,|/|&|\band\b|\bor\b)+\s*[(\[]*[A-J](?![\w'’])")


# What denies the letter that stands behind it.
_DENIED = re.compile(
    r"(?i:\b(?:not|never|neither|nor|eliminate|exclude|reject|incorrect|wrong|than|cannot)\b|n['’]t\b|\brule\s+out\b)[^.;:\n]{0,20}\Z"
)


def letter(text: str) -> str:
    """The letter that a text states: in a box, a tag or behind "answer", as "option C", alone on its last line; else ""."""
    text = clean(text)
    boxes = text.count("\\boxed")
    quick = None if "nswer>" in text or boxes > 1 else _ONE_BOX.search(text) if boxes else _AT_END.search(text[-24:])
    if quick:
        return quick[1]
    said = explicit(text)
    if said is not None and (boxes or _LETTER.search(said)):
        return picked(said)
    small = text.lower()
    chosen = list(_CHOSEN.finditer(text)) if any(word in small for word in _CHOOSES) else []
    if chosen:
        last = chosen[-1]
        return "" if _DENIED.search(text[: last.start(last.lastindex)]) else last[last.lastindex]
    last = text.strip().rsplit("\n", 1)[-1]
    if len(last) == 1 and "A" <= last <= "J":
        return last
    last = bare(plain_marks(last))
    return picked(last) if re.fullmatch(r"[(\[]?[A-J][)\].:]?|[(\[][A-J][)\]].*|[A-J][).:]\s.*", last) else ""


def picked(said: str) -> str:
    """The one letter in what is stated: "C", "(C) 12", "C. Because ...", "I think it is C"; "" where it is none or several."""
    said = bare(_TEXT.sub(lambda match: match[1] or "", said))
    if re.match(r"(?i:neither|not|never)\b", said) or _SEVERAL.search(said):
        return ""
    first = re.match(r"(?i:option|choice|letter)?\s*(?:[(\[]([A-J])[)\]]|([A-J])(?:[).:,](?=\s|$)|$))", said)
    if first:
        return first[1] or first[2]
    begin = re.match(r"([B-HJ])\s", said)
    letters = (
        {match[1] or match[2] for match in _MARKED.finditer(said)} | set(_SAID.findall(said)) | set(begin[1] if begin else "")
    )
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
