"""Are two mathematical answers the same? By math-verify (sympy), behind a limit that holds where its own does not.

What is compared is the last \\boxed{...}, else what stands behind the last "####" or "answer is", else the last formula or
number.
Source of the equivalence: https://github.com/huggingface/Math-Verify.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration.protocols import Sandbox
from iteration.types import Call, Outcome, Problem, State, Verdict

LONGEST = 2_000  # characters of an answer that are looked at, from its end where it has no box
_STATED = re.compile(r"(?:####|(?i:\b(?:final\s+)?answer\s*(?:is|:|=)))\s*:?\s*")
_MONEY = re.compile(r"^(?:\\?\$|[€£¥]|(?:USD|EUR)\s)\s*(?=[\d.,-])(?!.*\$)")
_DECORATION = re.compile(r"^\s*(?:\*\*|__|`)+|(?:\*\*|__|`)+\s*$")
_NAMES = """
dollars? euros? cents? pounds? apples? people students? books? tickets? marbles? pieces? units? square cubic miles? mph
kilometers? kilometres? km/h km m/s meters? metres? centimeters? centimetres? cm mm inch(?:es)? feet foot ft yards? hours? hrs?
minutes? mins? seconds? secs? days? weeks? months? years? kilograms? kg grams? ounces? oz lbs? liters? litres? gallons? degrees?
°C °F ° kWh
"""
_UNIT = rf"(?:{'|'.join(_NAMES.split())})(?:\^\{{?[23]\}}?|[²³]|\s?squared|\s?cubed)?"
_WORDS = rf"{_UNIT}(?:\s+(?:per\s+)?{_UNIT})*\.?"
_SPACE = r"(?:\s|~|\\[,;:!> ])*"
# A single letter right behind a number is a variable; apart from it, or as text, a unit.
_UNITS = re.compile(
    rf"(?<=[\d}})]){_SPACE}(?:{_WORDS}|\\(?:text|mathrm|textrm|mbox)\s*\{{\s*(?:{_WORDS}|[msgLlhN])\s*\}}(?:\^\{{?[23]\}}?)?"
    r"|(?<=\s)[msgLl])\s*$"
)


def boxed(text: str) -> str | None:
    """What the last \\boxed{...} or \\fbox{...} holds; None where there is none that is closed."""
    for found in reversed(list(re.finditer(r"\\f?boxed\s*", text))):
        at = found.end()
        if at < len(text) and text[at] == "{":
            depth = 0
            for end in range(at, len(text)):
                depth += {"{": 1, "}": -1}.get(text[end], 0) * (text[end - 1] != "\\")
                if not depth:
                    return text[at + 1 : end]
        elif at < len(text) and found.group().endswith(" "):
            return text[at:].split()[0].rstrip("$.")
    return None


def stated(text: str, read: str) -> str:
    """The final answer as it stands in the text; "" where there is none. read: as the option of `Math`."""
    inside = boxed(text) if read != "last" else None
    if inside is not None or read == "boxed":
        return (inside or "").strip()
    said = list(_STATED.finditer(text))
    if said and text[said[-1].end() :].strip():
        lines = text[said[-1].end() :].strip().splitlines()
        return _DECORATION.sub("", lines[0]).strip()
    return text[-LONGEST:].strip()


def plain(text: str) -> str:
    """A stated answer without the full stop, currency signs and units of measure around a number."""
    text = _DECORATION.sub("", text.strip()).strip()
    text = re.sub(r"(?<=[\w)}\]$%])\s*\.$", "", text)
    inner = re.fullmatch(r"(?:\$\$?|\\\[|\\\()\s*(.*?)\s*(?:\$\$?|\\\]|\\\))", text, re.DOTALL)
    if inner and "$" not in inner[1]:
        text = inner[1]
    text = _UNITS.sub("", _MONEY.sub("", text)).strip()
    if re.fullmatch(r"-?\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:\.\d+)?", text):
        return re.sub(r"\s", "", text)
    text = re.sub(r"\\log_\{?e\}?", r"\\ln", text).replace("\u2212", "-")
    text = re.sub(r"(?<=[\d)])\s*\((?=[^()]*\))(?=-?\d|\s*-)", r"\\cdot(", text) if ")(" in text else text
    return re.sub(
        r"\\(sin|cos|tan)\s*\(?\s*(\d+)\s*(?:\^\s*\{?\s*\\circ\s*\}?|°)\s*\)?", r"\\\1(\2\\cdot\\frac{\\pi}{180})", text
    )


# what runs in the sandbox


_SAMPLES = r"""
\frac{1}{2} | 0.25
x^2+2x+1 | (x+1)^2
x^2 + 3 | x^2+4
\{1, 2\} | \{2, 1, 3\}
[0, 1) | 0 \le x < 2
(-\infty,0)\cup(1,2] | (1,2)
(1, 2) | (2, \frac{2}{2})
2\sqrt{2} | \sqrt{8}
\frac{\sqrt{3}}{2} | \sin 60^\circ
2\pi | \frac{\pi}{3}
\ln 2 | \log_{10} 5
x = 3 | 4
x=1 \text{ or } x=2 | 1, 2
50\% | 1/3
3+4i | 4i
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&2\\3&5\end{pmatrix}
\text{Monday} | \text{May}
72 | it is 71
1,234 | She paid $12.50.
5! | \binom{10}{3}
\frac{x}{x+1} | 1-\frac{1}{x+1}
3ab | 4ba
\lfloor 4.7 \rfloor | |-4|
3\times 10^{8} | 10^7
-5 | 5
2^{10} | 1000
\infty | -\infty
"""  # of every kind


def warm() -> None:
    """Use the parser's grammar and sympy before they are needed: a fork keeps what has been built."""
    for pair in _SAMPLES.strip().splitlines():
        compare(*pair.split(" | ", 1), "auto")


def compare(gold: str, answer: str, read: str) -> dict:
    """{"state", "answer", "why"}: the answer's verdict against `gold`, which is an answer too."""
    expected, found = parsed(gold, "auto"), parsed(answer, read)
    if not expected:
        return {"state": State.FAILED, "answer": "", "why": f"the problem's own answer cannot be read: {gold[:60]!r}"}
    if not found:
        return {"state": State.UNPARSEABLE, "answer": "", "why": "no answer can be read"}
    import math_verify

    bases = based(plain(stated(gold, "auto"))), based(plain(stated(answer, read)))
    same = math_verify.verify(expected, found, allow_set_relation_comp=True, timeout_seconds=None)
    if bases == bases[::-1] if all(bases) else same:
        return {"state": State.CORRECT, "answer": shown(expected), "why": ""}
    said = shown(found)
    return {"state": State.WRONG, "answer": said, "why": f"{said[:60]}, not {shown(expected)[:60]}"}


def parsed(text: str, read: str) -> list:
    """What math-verify makes of the answer that the text states; [] where it makes nothing of it."""
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    final = stated(text, read)
    whole = plain(final)
    if not re.search(r"\w|\\infty", whole):
        return []
    latex, number = _configs()
    if prose(whole):
        numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", final)  # where math-verify sees none, e.g. between other signs
        found = math_verify.parse(final, [latex, number], parsing_timeout=None)
        return found or (math_verify.parse(numbers[-1].rstrip(","), [number], parsing_timeout=None) if numbers else [])
    return math_verify.parse(f"\\boxed{{{whole}}}", [latex], parsing_timeout=None)


@functools.cache
def _configs() -> tuple:
    """How math-verify reads: it does not take letters for units (it would make 4t and 4 equal)."""
    import math_verify
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig

    normal = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    return math_verify.LatexExtractionConfig(normalization_config=normal), math_verify.ExprExtractionConfig()


def prose(text: str) -> bool:
    """Is this a sentence, with a number or a formula somewhere in it? Letters right behind a digit (3ab) are a formula's."""
    bare = re.sub(r"\\(?:text|mathrm|textbf|mbox|operatorname|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    words = [word.lower() for word in re.findall(r"(?:(?<=\s)|^)[(*]*([A-Za-z]{2,})(?=[\s,.:;?!)*]|$)", bare)]
    words = [word for word in words if word not in _FUNCTIONS]
    return len(words) > 1 or any(len(word) > 2 or word in _LITTLE for word in words) and len(bare.split()) > 1


def based(text: str) -> tuple[int, int] | None:
    """(value, base) of a number with its base below it, e.g. 1010_2; None for anything else."""
    found = re.fullmatch(r"([0-9A-Za-z]+)_\{?(\d+)\}?", text.replace(" ", ""))
    if not found or not 2 <= int(found[2]) <= 36:
        return None
    try:
        return int(found[1], int(found[2])), int(found[2])
    except ValueError:
        return None


def shown(found: list) -> str:
    """A canonical text, for votes."""
    import sympy

    first = found[0]
    if isinstance(first, sympy.Number):
        first = sympy.nsimplify(first, rational=True)
    return str(first)[:200]


_FUNCTIONS = {"sin", "cos", "tan", "log", "ln", "exp", "sqrt", "pi", "or", "and", "inf", "infinity"}
_LITTLE = {"so", "is", "it", "to", "of", "in", "at", "we", "he", "be", "an", "as", "no", "by", "if", "on"}


@dataclass
class Math:
    read: str = "auto"  # which answer counts: the last "boxed" one, the "last" stated one, or auto: boxed where there is a box
    seconds: float = 3.0  # of CPU for one comparison

    executes: ClassVar[bool] = False  # it only needs the limits of the sandbox
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        if self.read not in ("auto", "boxed", "last"):
            raise ValueError(f"verify.read is {self.read!r}; expected auto, boxed or last")
        if importlib.util.find_spec("math_verify") is None:
            raise ValueError("verify.name=math needs the package math-verify; type: ./launch.sh setup")
        self.version = f"1, math-verify {importlib.metadata.version('math-verify')}"

    def verify(self, problems: Sequence[Problem], answers: Sequence[str], sandbox: Sandbox) -> list[Verdict]:
        calls = [
            Call("iteration.verify.math:compare", [problem.answer, answer, self.read])
            for problem, answer in zip(problems, answers, strict=True)
        ]
        return [self.verdict(outcome) for outcome in sandbox.run(calls)]

    def verdict(self, outcome: Outcome) -> Verdict:
        if outcome.state != "done":
            return Verdict(State.FAILED, why=f"the comparison {outcome.state}: {outcome.why}"[:300])
        state = State(outcome.value["state"])
        return Verdict(state, outcome.value["answer"], float(state == State.CORRECT), outcome.value["why"])
