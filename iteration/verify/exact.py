"""Looks at the final answer only: the number it states, or its last line. A lucky guess passes; `replay` is stricter."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration import wording
from iteration.extract import BESIDE, DAY, DENIALS, HINTS, HINTS_BEHIND, clean, explicit, marks, number, numbers, shortest
from iteration.types import Problem, State, Verdict
from iteration.units import CHANGING, MACRO, measured

_RATIO = re.compile(  # a fraction, last in its line
    r"(?<![\d./])-?(?:(?:\d+ +)?\d+ */ *\d+(?![\d/]|\.\d)(?=\D*\Z)|\d*\\[dt]?frac\{\d+\}\{\d+\}(?=[\s$.)\]\\*_]*\Z))"
)
_SPACED = re.compile(r"(?<=\d)(?:\\[,;:! ]|\{,\}|,\\!)(?=\d{3}(?!\d))")
# What makes a number a part of a formula: it stands before the number, or behind it.
_INTO = re.compile(
    r"(?:[\^_√∛∜]|\\[a-z]+\s*(?<!\\text)(?<!\\boxed)(?<!\\quad)(?<!\\approx)|(?<![A-Za-z])(?:sqrt|log|ln|sin|cos|tan|mod))\s*[{(]?\s*-?$"
    r"|\}\s*\{$|[A-Za-z]\($|[\d)}]\s*(?:[+*/×·÷:–—]+\s*-?|-)$|\d\s*x\s*$|\d\s-\s$|\d\.$"
    r"|(?:(?:^|[\s$])[A-Za-z)]\s*[<>]=?|[≤≥≠]|\\(?:le|ge|lt|gt|neq?|leq|geq))\s*\$?-?$"
)
_ONTO = re.compile(
    r"[})\]]*\s*(?:[\^!_√π×÷+½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]|[*/=<>]\s*(?:[\d({\\]|[A-Za-z](?![A-Za-z]))|\\(?:pi|sqrt|times|cdot|frac|le|ge)(?![a-z])|-\s*[\dA-Za-z](?![A-Za-z]))"
    r"|[A-Za-z](?![A-Za-z])(?<![mgshLl])|(?:st|nd|rd|th)\b|\s[b-zB-Z](?![A-Za-z'’.])(?<![mgshLlCF])|\s?(?:bn|mn|tn|mil)\b"
)


def last_number(text: str) -> str:
    """The last number of a text in canonical form ("1,234.50" is "1234.5"), or ""."""
    return _last(clean(text))


def _last(text: str, alone: bool = False) -> str:
    """alone: "" where the last number is a part of a formula ("\\sqrt{5}", "5!", "3 + 5", "10:30")."""
    for line in reversed(text.split("\n")):
        values = numbers(line)
        if values:
            ratio = _RATIO.search(line) if "/" in line or "frac" in line else None
            if ratio and number(ratio[0]) and not (alone and _INTO.search(line[: ratio.start()])):
                return str(number(ratio[0]))
            written = _WRITTEN.search(line) if alone else None
            part = written and (_INTO.search(line[: written.start()]) or _ONTO.match(line, written.end(1)))
            return "" if part or written and written[1].count(".") > 1 else values[-1]
    return ""


_WORDS, _DIGIT = re.compile("[a-z]+"), re.compile("[0-9]")
_WRITTEN = re.compile(r"(\d[\d.,]*(?<![.,])|(?<!\d)\.\d+)(?=\D*\Z)")


# Quickly, what is most frequent: a last line or sentence that marks a number, or a last line with one number amid plain words.
_DIGITS = r"(?P<number>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)"
_MARKED_LAST = re.compile(
    r"(?:####|A:|(?P<bold>\*\*)?(?:The )?(?:[Ff]inal )?[Aa](?P<word>n)swer(?: is:?|:)(?(bold)(?:\*\*)?)"
    rf"|(?<=[\w.>)\n]\n)(?P<tag><answer>)) ?(?P<b>\*\*)?\$?{_DIGITS}(?(b)\*\*)(?(bold)(?:\*\*)?)(?(tag) ?</answer>)\.?",
    re.ASCII,
)
_PLAIN_LAST = re.compile(
    r"(?:[A-Za-z]{2,}[,.]? |a |[A-Za-z] (?==)|(?<=[a-z] )\$?\d+(?:\.\d+)? (?=[a-z]{2}))*(?:= )?"
    r"(?:(?P<box>(?:\$\$?|\\\[ ?)?\\boxed\{)|(?P<bold>\*\*)?\$?)"
    rf"{_DIGITS}(?(box)(?:(?:\\,)? ?\\text\{{ ?[a-z]{{2,}}\}})?\}}(?: ?\\\]|\$?\$?))(?(bold)\*\*)"
    r"(?: [a-z]{2,}){0,9}(?(box)(?: \d+ [a-z]{4,})?)\.?",
    re.ASCII,
)
_SUM = re.compile(r"\d[\d.,%)]*\s*[-+*/x]\s*\$?\(?\.?\d[\d.,$%()+*/\sx-]*=?[\s$]*\Z", re.ASCII)  # before a result
_ONLY = re.compile(r"[^=]*[^=!<>:~]=\s*\$?", re.ASCII)  # the same, with one sign in all
_RESULT = re.compile(
    rf"\s*\$?(?P<bold>\*\*\$?)?{_DIGITS}(?(bold)\*\*)(?:(?: (?:[A-Za-z][A-Za-z'-]+|a))*\.?\Z|(?={BESIDE.pattern}))", re.ASCII
)
_BEHIND = HINTS_BEHIND | CHANGING
_SOON = HINTS_BEHIND - {"times", "to", "square"} | {"power"}  # at once behind a result
_LATER = HINTS | {"or", "and", "squared", "cubed", "raised"}  # behind its unit


def _quick(text: str) -> str:
    """The number that the end of a text states, where nothing in it or before it can change that; else ""."""
    if "```" in text:
        return ""
    start = text.rfind("\n") + 1
    return _from_marker(text, start) or _from_words(text[:start], text[start:])


def _from_marker(text: str, line: int) -> str:
    start = max(line, text.rfind(". ", -40) + 2)
    found = _MARKED_LAST.fullmatch(text, start)
    if not found or start > line and not text[start - 3].isalnum():
        return ""
    if found["tag"] and not HINTS.isdisjoint(_WORDS.findall(text[max(0, line - 26) : line].lower())):
        return ""
    once = text.count("nswer") == bool(found["word"]) + 2 * bool(found["tag"]) and "NSWER" not in text
    other = not once or "oxed" in text or "box{" in text or not text.isascii() and marks(text[:start])
    return "" if other else shortest(found["number"])


def _from_words(head: str, line: str) -> str:
    found, computed = _result(line), True
    if not found:
        found, computed = _PLAIN_LAST.fullmatch(line) if len(line) < 120 else None, False
    if not found:
        return ""
    at, end = found.span("number")
    before, behind = _WORDS.findall(line[:at].lower()), _WORDS.findall(line[end:].lower())
    if computed:  # no word before a sum denies it
        plain = "<<" in line or DENIALS.isdisjoint(before) or _SUM.search(line, 0, found.start())
        plain = (
            plain and _SOON.isdisjoint(behind[: 1 + ("'" in line)]) and _LATER.isdisjoint(behind[1:4]) and "but" not in behind
        )
    else:
        after = _WORDS.findall(line[_DIGIT.search(line).start() : at].lower())
        plain = HINTS.isdisjoint(before) and _BEHIND.isdisjoint(after) and _BEHIND.isdisjoint(behind)
    if not plain or "\\" in head and ("oxed" in head or "box{" in head) or "nswer>" in head or "nswer]" in head:
        return ""
    box = not computed and found["box"]
    if box and (head.rstrip()[-1:] in tuple("+-*/^({") or "\\" in head[-20:]):  # the formula may begin before the line
        return ""
    return "" if marks(line[end:] if box else head + line) else shortest(found["number"])


def _result(line: str) -> re.Match | None:
    """What a line computes last: "5 * 3 = 15 eggs", "5 * 3 = <<5*3=15>>15"."""
    ends = line.rfind(">>")
    at = line.rfind("<<") if ends >= 0 else line.rfind("=") + 1
    if not 0 < at < 200 or not (_SUM.search(line, max(0, at - 60), at) or _ONLY.fullmatch(line, 0, at)):
        return None
    return _RESULT.match(line, ends + 2 if ends >= 0 else at)


def final_number(text: str) -> str:
    """The number that a text states in a box, a tag or behind "answer"; where it marks none, its last one; or ""."""
    return _quick(text) or _final_number(text)


def _final_number(text: str) -> str:
    text = clean(text)
    text = _SPACED.sub(",", text) if any(gap in text for gap in ("\\,", "\\!", "\\ ", "\\;", "\\:", "{,}")) else text
    said = explicit(text)
    if said is None:
        return _last(text, alone=True)
    if said.isdigit():
        return shortest(said)
    if _TWO.search(said):
        return ""
    first, _, said = said.rpartition("=")
    said = re.sub(r"^\{([^{}]+)\}$", r"\1", said.strip("*_`$ ").rstrip("."))
    said = DAY.sub(r"\1", said)
    whole, first = number(said), number(first)
    if whole and first and first.value != whole.value and not whole.decimals:  # "5 = 6"
        return ""
    if not whole:
        said = re.sub(r"\\text\s*\{\s*percent\s*\}|\s*percent$", "", MACRO.sub(r"\\text", said))
        said = re.sub(r"\\text\s*\{\s*([\d.,]+)\s*\}", r"\1", said)
        said = measured(said)[0].strip("\\%$ ")
        whole = number(said) or number(shortest(said))
    return str(whole) if whole else ""


_TWO = re.compile(  # "x = 5 and y = 6"
    r"=.*(?:[,;](?!\d{3}(?!\d))|\b(?:and|or)\b|\\q?quad|\\\\|[\d})]\s+[A-Za-z]\w?\s*(?==)).*=", re.DOTALL
)


def last_line(text: str) -> str:
    """The last non-empty line, white space folded, or ""."""
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1].split()) if lines else ""


@functools.lru_cache(1024)  # a problem has many answers
def _expected(canonical: Callable[[str], str], answer: str) -> tuple[str, str]:
    """(the expected answer's number or line, its words where it is no number but "no solution", "at least 3", "3 to 4")."""
    if answer.isascii() and answer.isdigit() and canonical is not last_line:
        return shortest(answer), ""
    found = canonical(answer)
    line = clean(answer).strip()
    one = "\n" in line or number(line) or "=" in line or len(numbers(line)) == 1 and not wording.NAMED.match(line)
    one = number(found) and (one or explicit(line))
    return (found, "") if one or canonical is last_line else ("", _words(line))


def _words(text: str) -> str:
    """All that a cleaned text states, for a comparison as words."""
    said = explicit(text) or ""
    return wording.normal(said if r"\text{ and }" in said else wording.last_said(text))


@dataclass
class Exact:
    read: str = "number"  # what is compared: the answer's "number", stated or else its last one, or its last "line"

    version: ClassVar[str] = "4"

    def __post_init__(self) -> None:
        if self.read not in ("number", "line"):
            raise ValueError(f"read is {self.read!r}; expected number or line")

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self.one(problem, answer) for problem, answer in zip(problems, answers, strict=True)]

    def one(self, problem: Problem, answer: str) -> Verdict:
        canonical = final_number if self.read == "number" else last_line
        expected, words = _expected(canonical, problem.answer)
        given = _words(clean(answer)) if words else canonical(answer)
        expected = expected or words
        if not expected:
            return Verdict(State.FAILED, why=f"the problem's own answer has no {self.read}: {problem.answer[:60]!r}")
        if not given:
            return Verdict(State.UNPARSEABLE, why=f"no {self.read} in the answer")
        if given != expected:
            return Verdict(State.WRONG, given, why=f"{given}, not {expected}")
        return Verdict(State.CORRECT, given, 1.0)
