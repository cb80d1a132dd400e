"""Are two mathematical answers the same? Read by math-verify (sympy), compared here, in a sandbox with a limit of time.

What is compared is what an answer states (iteration/extract.py). Numbers and formulas without decimals must be equal
exactly; a decimal may be the rounding of an exact value where it has six decimals or more. Nothing has an absolute tolerance.
Source of the parser: https://github.com/huggingface/Math-Verify. Its comparison rounds to six decimals and chops what is small,
so it alone decides only what cannot be evaluated.

More than 400 lines: each kind of value (number, text, set, interval, equation) is parsed and compared by a few lines here.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

from iteration import extract, units, wording
from iteration.extract import Number, number, stated
from iteration.parts import above
from iteration.protocols import Sandbox
from iteration.types import Call, Outcome, Problem, State, Verdict

# a stated answer in one spelling

_UNICODE = {
    "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "÷": "/", "∪": r"\cup ", "∩": r"\cap ", "±": r"\pm ", "∅": r"\emptyset ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "≈": r"\approx ", "⁄": "/", "∈": r"\in ", "′": "'",
}  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SINGLE = r"\\text\s*\{\s*([A-IKMO-Za-fi-kn-rt-z]|\\[a-z]+)\s*\}"  # no letter of a unit
_TURNED = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*\{?\s*\\circ\s*\}?|°)")


_SPELLING = [
    (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
    (r"(?<![A-Za-z\\])infinity(?![A-Za-z])", r"\\infty "),
    (r"(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)|(?<![A-Za-z\\])sqrt\s*(\d+)", r"\\sqrt{\1\2}"),
    (r"(?<=[\w)}])\*\*(?=[\w({-])", "^"),
    (r"<=|\\leq(?:slant)?(?![A-Za-z])", r"\\le "),
    (r">=|\\geq(?:slant)?(?![A-Za-z])", r"\\ge "),
    (r"\s*\\text\s*\{\s*(?:per ?cent|percentage|pct|\\?%)\s*\}|\s*\b(?:per\s?cent(?:age)?|pct)\b|\s*\\?%", r"\\%"),
    (r"\\varnothing(?![A-Za-z])|^\\\{\s*\\\}$", r"\\emptyset"),
    (r"\\log_\{?e\}?", r"\\ln"),
    (r"\\(?:simeq|cong)(?![A-Za-z])", r"\\approx"),
    (r"_(\w)(?=\s+\d)", r"_{\1}"),
    (r"\\not\s*=|!=", r"\\ne "),
    (r"\^\s*-\s*(\d+|[A-Za-z])", r"^{-\1}"),
    (r"^(?:[\s=]|\\approx)+", ""),
]
_EQUATIONS = re.compile(r"(=[^=,;]*[\d})])(?:\s|\\q?quad|\\\\)+(?=[A-Za-z]\w?\s*=)")  # "a = 5 \quad b = 6"
_LAYOUT = [
    (r"\\(?:left|right|big|Big|displaystyle|limits)(?![A-Za-z])\s?", ""),
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\q?quad(?![A-Za-z])|~|(?<!\\)\\[,;:> ]", " "),
    (r"\\text\s*\{\s*\}|\\boldsymbol\s*|\\!|\\(?:no)?indent(?![A-Za-z])", ""),
    (r"\\lbrace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
]


def plain(text: str) -> str:
    """A stated answer as LaTeX in one spelling: no formula dollars, no layout, macros for signs and words of text."""
    text = extract.bare(text)
    text = re.sub(r"\\\\(?=[A-Za-z{}])", r"\\", text) if not re.search("matrix|array|cases", text) else text
    text = re.sub(extract.FORMULA, lambda match: re.sub(r"^(?:\$\$?|\\[(\[])|(?:\$\$?|\\[)\]])$", "", match[0]), text)
    if r"\times" in text:  # of vectors
        text = re.sub(r"\\(?:mathbf|boldsymbol)\s*\{([A-Za-z])\}", r"\\vec{\1}", text)
    text = joined(units.MACRO.sub(r"\\text", text))
    text = _EQUATIONS.sub(r"\1, ", text) if text.count("=") > 1 else text
    for pattern, put in _LAYOUT:
        text = re.sub(pattern, put, text)
    text = re.sub(rf"(?<=[A-Za-z]){_SINGLE}", r" \1", re.sub(rf"{_SINGLE}(?=[A-Za-z])", r"\1 ", text))
    text = re.sub(_SINGLE, r"\1", text)
    if not text.isascii():
        text = extract.vulgar(text)
        text = re.sub(r"√\s*(?:\(([^()]*)\)|(\w+))", r"\\sqrt{\1\2}", text)
        text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda match: f"^{{{match[0].translate(_RAISED)}}}", text)
        text = "".join(_UNICODE.get(sign, sign) for sign in text)
    for pattern, put in _SPELLING:
        text = re.sub(pattern, put, text)
    return text.strip()


def joined(text: str) -> str:
    """Thousands without their separators; in brackets a comma separates two numbers."""
    text = re.sub(r"(?<=\d),\\!\s?(?=\d{3})", "{,}", text)
    thousands = r"(?<![\d.,])[1-9]\d{0,2}(?:(?:\.\d{3}){2,}(?![\d.,])|(?:\.\d{3})+,\d+(?![\d.,]))"
    text = re.sub(thousands, lambda match: match[0].replace(".", "").replace(",", "."), text)
    gap = r"\{,\}|\\[,!;: ]|[\u00a0\u202f ]" + ("" if re.search(r"[(\[{].*,.*[)\]}]", text.replace("{,}", "")) else "|,")
    grouped = rf"(?<![\d.,])(?<!\d[ ])[1-9]\d{{0,2}}(?P<gap>{gap})\d{{3}}(?:(?P=gap)\d{{3}})*(?![\d/]|[,]\d|(?P=gap)\d)"
    return re.sub(grouped, lambda match: re.sub(r"\D", "", match[0]), text)


# the structure of an answer

_TIME = r"\d{1,2}:\d\d(?::\d\d)?"
_DATED = re.compile(
    rf"(?:{_TIME}|\d\d?)\s*[ap]\.?\s?m\.?|\d{{4}}-\d\d?-\d\d?|\d+/\d+/\d+|v?\d+\.\d+\.\d+(?:\.\d+)*", re.IGNORECASE
)
_CHEMICAL = re.compile(r"(?=.*\d)(?:\(?[A-Z][a-z]?\s?(?:_?\d|_\{\d+\})*\)?(?:_?\d|_\{\d+\})*\s?){2,}")  # H_2O is not HO_2
_FUNCTIONS = {"arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", *extract.NOT_WORDS}
_PHRASE = re.compile(r"[^\W\d_]{3,}\s+[^\W\d_]{2,}|[^\W\d_]{2,}\s+[^\W\d_]{3,}|\b(?:to|of|in|by|is|no|at|on)\b")
_RELATION = re.compile(r"[<>]|\\(?:le|ge|lt|gt)(?![A-Za-z])")
_REGION = re.compile(rf"{_RELATION.pattern}|\\(?:cup|cap|in|mathbb)(?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value. text: plain, without name, unit and percent sign; name: of "x = 3"; label: of "(C) 12"."""

    text: str
    name: str = ""
    unit: units.Unit = ()
    percent: bool = False
    label: str = ""
    whole: str = ""  # with its name, as an equation

    @property
    def number(self) -> Number | None:
        return number(self.text)

    @property
    def words(self) -> str:
        """What is compared as text: words, alone or beside numbers, dates, times, versions; "" for a formula."""
        said = " ".join(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", self.text).strip(" .()\"'").split())
        if re.fullmatch(r"[^\W\d_]{2,}(?:[ ,'-]+[^\W\d_]+)*", said):  # two small letters are a product, GMm is a mixture
            if said in extract.NOT_WORDS or re.fullmatch(r"[a-z]{2}", said):
                return ""
            cased = re.search(r"[a-z][A-Z]|[A-Z]{2}[a-z]", said) or len(said) == 2 and said.lower() not in ("no", "ok")
            return said if cased else wording.normal(said)
        if _CHEMICAL.fullmatch(said) and re.search(r"[A-Z].*[A-Z]", said):
            return re.sub(r"[_{}\s]", "", said)
        if _DATED.fullmatch(said):
            return re.sub(r"[\s.]+(?=[apAP]|[mM]\b|$)", "", said.lower()).lstrip("0") if ":" in said else said
        bare = re.sub(r"\\(?:begin|end)\s*\{\w+\*?\}|\\[A-Za-z]+|_\{[^{}]*\}", " ", said)
        wordy = _PHRASE.search(bare) or not _FUNCTIONS.issuperset(re.findall(r"[^\W\d_]{4,}", bare))
        return wording.normal(said) if wordy else ""


@dataclass(frozen=True, slots=True)
class Many:
    """Several values. brackets: "{}" a set, "()", "[]", "(]", "[)" in order (a point or an interval), "" a list without any.

    joint: the word between inequalities, "and" or "or".
    """

    parts: tuple
    brackets: str
    text: str
    joint: str = ""


_SEPARATOR = re.compile(
    rf"\\text\s*\{{\s*,?\s*{extract.AND}\s*,?\s*\}}|(?<![A-Za-z\\]){extract.AND}(?![A-Za-z])|\\l(?:or|and)(?![A-Za-z])|[,;]|[和或及与]"
)
_ORS = ("or", "oder", "ou", "或", "или", r"\lor")
_JOINT = re.compile(rf"(?<![A-Za-z\\]){extract.AND}(?![A-Za-z])|\\l(?:or|and)(?![A-Za-z])")
_LABEL = re.compile(
    r"(?:\\text\s*\{\s*)?(?:[(\[]([A-J])[)\]]|([A-J])[).:](?=\s|\}))\s*\}?[\s.:]*(?:\}\s*)?(?P<rest>.*)", re.DOTALL
)
_ARGUMENTS = re.compile(r"_\{[^{}]*\}|_\w|\([^()]*\)")


def parsed(text: str) -> Leaf | Many | None:
    """What a stated answer holds; None where that is nothing."""
    text = plain(text)
    text = re.sub(r"^\\text\s*\{([^{}]*)\}$", r"\1", text) if re.search(r"\d", text) else text
    label = _LABEL.fullmatch(text)
    if label:
        letter = label[1] or label[2]
        another = re.sub(rf"^(?:[\s,;/&{{}}]|\\text|{extract.AND}(?![A-Za-z]))+", "", label["rest"])
        if _LABEL.fullmatch(another) or re.fullmatch("[A-J]", another.strip(" {}.")):
            return Many((Leaf(letter, label=letter), parsed(another.strip(" {}"))), "", text)
        rest = parsed(label["rest"]) if label["rest"].strip(" {}") else None
        return replace(rest, label=letter) if isinstance(rest, Leaf) else rest or Leaf(letter, label=letter)
    if not re.search(r"\w|\\infty", text) or re.search(r"(?<!\\)\$.*\$|\\\$.*\\\$", text):
        return None
    return _structure(text)


def _structure(text: str) -> Leaf | Many | None:
    parts = split(text)
    if len(parts) > 1:
        inner = [_structure(part) for part in parts]
        joint = _JOINT.findall(text) if all(map(_RELATION.search, parts)) or r"\l" in text else []
        joint = "".join(sorted({"or" if each in _ORS else "and" for each in joint}))
        flat = [each for part in inner for each in (part.parts if isinstance(part, Many) and not part.brackets else (part,))]
        return Many(tuple(flat), "", text, joint) if all(inner) else None
    text = re.sub(r"^[A-Za-z]\s*\\in(?![A-Za-z])\s*", "", parts[0] if parts else "")
    such = re.fullmatch(r"\\\{\s*([a-z])\s*(?:\\mid|\||:)\s*(.*\1.*)\\\}", text)
    if such and _RELATION.search(such[2]):
        return _structure(such[2].strip())
    point = re.fullmatch(r"\([A-Za-z_{}\d ]+(?:,[A-Za-z_{}\d ]+)+\)\s*=\s*(\(.*)", text)
    text = point[1] if point else text
    around = text != r"\{\emptyset\}" and re.fullmatch(r"(\\\{|[(\[{])(.*?)(\\\}|[)\]}])", text, re.DOTALL)
    if around and closes(text, len(around[1])) == len(text) - len(around[3]):
        if len(split(around[2])) > 1 and around[1] != "{" or around[1] == r"\{" and around[2].strip():
            inner = _structure(around[2])
            inner = inner.parts if isinstance(inner, Many) and not inner.brackets else (inner,)
            return Many(inner, (around[1] + around[3]).replace("\\", ""), text) if all(inner) else None
        if around[1] + around[3] in ("{}", "[]", "()") and around[2].strip():
            return _structure(around[2].strip())
    if len(re.findall(r"\\pm(?![A-Za-z])", text)) == 1:
        return Many(tuple(filter(None, (_structure(re.sub(r"\\pm(?![A-Za-z])\s*", sign, text)) for sign in "+-"))), "", text)
    return leaf(text)


def split(text: str) -> list[str]:
    """A text at its commas and words like "and" outside of all brackets."""
    parts, depth, begin, at = [], 0, 0, 0
    while at < len(text):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text[at], 0)
        match = None if depth else _SEPARATOR.match(text, at)
        if match:
            parts.append(text[begin:at])
            begin = at = match.end()
        elif text[at] == "\\" and text[at + 1 : at + 2] in "()[],;":
            at += 2
        else:
            at += 1
    return [part.strip() for part in (*parts, text[begin:]) if part.strip()]


def closes(text: str, at: int) -> int:
    """Where the bracket that opens before `at` is closed, by whatever kind (an interval is [0, 1)); -1 if it is not."""
    depth = 1
    while at < len(text):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text[at], 0)
        if not depth:
            return at - (text[at - 1] == "\\")
        at += 1
    return -1


def named(text: str) -> bool:
    """Is this a name for a value, "x", "f(2)", "\\angle ABC", "\\text{Area}", and not the left side of an equation?"""
    bare = _ARGUMENTS.sub("", re.sub(r"\\text\s*\{([^{}\d]*)\}|\|([A-Z]{2})\|", r"\1\2", text))
    return not re.search(r"[-+*/^=<>|\d]|\\(?:sqrt|sum|int|binom|log|ln)", bare) and bool(re.search(r"[A-Za-z]", bare))


def leaf(text: str) -> Leaf | None:
    """One value, with its name before "=" and its unit or percent sign behind."""
    exact, *rounded = re.split(r"\\approx(?![A-Za-z])", text)
    text = f"{exact}={rounded[-1]}" if rounded and named(exact) else exact.strip()
    sides = [side.strip() for side in re.split(r"(?<![<>!\\:])=(?!=)", text)]
    name, whole = "", text
    if len(sides) > 1 and all(sides):
        if named(sides[0]):
            name, text = sides[0], sides[-1]
        elif len(sides) == 2 and re.fullmatch(r"\\?[A-Za-z]+", sides[1]) and not re.search(r"[A-Za-z]", sides[0]):
            name, text = sides[1], sides[0]
        elif not re.search(r"[A-Za-z]", re.sub(r"\\text\s*\{[^{}]*\}|\\[A-Za-z]+", " ", sides[0] + sides[-1])):
            text = sides[-1] if sides[0] != sides[-1] and all(map(_may_equal, sides, sides[1:])) else text
    text, unit = units.measured(re.sub(r"^\\text\s*\{\s*([A-Za-z])\s*\}$", r"\1", text.strip()))
    percent = re.search(r"\\%\s*$", text)
    text = text[: percent.start()].strip() if percent else text.strip()
    return Leaf(text, re.sub(r"[\s{}]", "", name), unit, bool(percent), "", whole) if text else None


def _may_equal(a: str, b: str) -> bool:
    """Not where two numbers differ by more than the rounding of the second."""
    import sympy

    x, y = number(a), number(b)
    if y and not x and re.fullmatch(r"[\d\s.+*/()^{}\\a-z-]+", a):
        read = formula(a)
        value = read.evalf() if isinstance(read, sympy.Expr) and read.is_number else None
        x = Number(Fraction(str(value))) if value is not None and value.is_Float else None
    return not (x and y) or abs(x.value - y.value) <= max(y.ulp or 1, x.ulp) / 2


# equality


def same(a: Leaf | Many, b: Leaf | Many) -> bool:
    """Do the expected answer and the stated one hold the same values?"""
    if isinstance(a, Leaf) and isinstance(b, Leaf):
        return same_leaf(a, b)
    if isinstance(a, Many) and isinstance(b, Many):
        if a.joint and b.joint and a.joint != b.joint:
            return False
        if bool(a.joint) != bool(b.joint) and {"()", "[]", "[)", "(]"} & {a.brackets, b.brackets}:
            return same_formula(*((a, b.text) if a.joint else (b, a.text)))
        ordered = [each.brackets not in ("", "{}") for each in (a, b)]
        if all(ordered):
            return a.brackets == b.brackets and in_order(a, b)
        if any(ordered):
            return "{}" not in (a.brackets, b.brackets) and {"()", "[]"} & {a.brackets, b.brackets} != set() and in_order(a, b)
        names = [[part.name.split("_")[0] for part in each.parts if isinstance(part, Leaf) and part.name] for each in (a, b)]
        named = [len(set(each)) for each in names]
        if sorted(named) == [0, len(a.parts)] and len(a.parts) == len(b.parts) > 1:
            return in_order(a, b)
        return unordered(
            list(a.parts), list(b.parts), distinct=a.brackets == b.brackets == "{}" or isinstance(a.parts[0], Many)
        )
    many, one = (a, b) if isinstance(a, Many) else (b, a)
    if one.name and many.brackets and one.text[:1] in "([\\":
        inner = _structure(one.text)
        return isinstance(inner, Many) and same(inner if one is a else a, inner if one is b else b)
    if not many.brackets and len(many.parts) > 1 and all(_repeats(many.parts[0], part) for part in many.parts[1:]):
        return same(many.parts[0], one)
    if many.brackets == "{}" and len(many.parts) == 1:
        return same(a.parts[0], b) if many is a else same(a, b.parts[0])
    if many.brackets not in ("", "{}") and _REGION.search(one.text):
        return bool(same_formula(a.text, b.text))
    return bool(many.joint and same_formula(many, one.text))


def _repeats(a: Leaf | Many, b: Leaf | Many) -> bool:
    """Does b state a again? 17 % restates 0.17, and not 17."""
    if isinstance(a, Leaf) and isinstance(b, Leaf) and a.percent != b.percent and a.number and b.number:
        return a.number.value * (1 if a.percent else 100) == b.number.value * (1 if b.percent else 100)
    return same(a, b)


def in_order(a: Many, b: Many) -> bool:
    return len(a.parts) == len(b.parts) and all(map(same, a.parts, b.parts))


def unordered(a: list, b: list, distinct: bool) -> bool:
    if distinct:
        a, b = ([x for i, x in enumerate(each) if not any(same(y, x) for y in each[:i])] for each in (a, b))
    if len(a) != len(b):
        return False
    for x in a:
        partner = next((y for y in b if same(x, y)), None)
        if partner is None:
            return False
        b = [y for y in b if y is not partner]
    return True


def same_leaf(a: Leaf, b: Leaf) -> bool:
    if a.label and b.label and a.label != b.label:
        return False
    if a.label and b.text == a.label or b.label and a.text == b.label:
        return True
    simple = r"\\?[A-Za-z]+(?:_\w+)?'*|\\\w+\{?[A-Za-z]+\}?"
    kinds = [(bool(re.fullmatch(simple, each)), "(" in each, each.startswith("\\text")) for each in (a.name, b.name)]
    if a.name and b.name and kinds[0] == kinds[1] and any(kinds[0]) and a.name.lower() != b.name.lower():
        return same_formula(a.whole, b.whole)
    if a.name and "=" in b.text or b.name and "=" in a.text:
        return same_formula(a.whole, b.whole)
    if units.conflict(a.unit, b.unit):
        return False
    bases = based(a.text), based(b.text)
    if any(bases):
        ten = [(int(each.text), 10) if re.fullmatch(r"\d+", each.text) else None for each in (a, b)]
        return (bases[0] or ten[0]) == (bases[1] or ten[1])
    numbers = a.number, b.number
    day = extract.DAY.fullmatch(b.text) if numbers[0] else None
    if day:  # "May 5", where only a number is expected
        return a.text == day[1]
    if not all(numbers) and (a.words or b.words):
        return a.words == b.words
    if re.fullmatch(_TIME, a.text):  # 12:30 is a time, and no ratio 2:5
        return a.text.lstrip("0") == b.text.lstrip("0")
    ratios = [re.fullmatch(r"(\d+(?:\.\d+)?)((?:\s*:\s*\d+(?:\.\d+)?)+)", each.text) for each in (a, b)]
    if any(ratios):
        return all(ratios) and _ratio(a.text) == _ratio(b.text)
    if a.percent and b.unit or b.percent and a.unit:
        return False
    if a.percent == b.percent:
        return same_value(a.text, b.text)
    return _percent(a.text, b.text, True) if a.percent else _percent(b.text, a.text, False)


def _percent(percent: str, other: str, asked: bool) -> bool:
    """x % is x/100, and also x as in "how many percent"; not below one, and 1 only where percent was `asked` for."""
    if same_value(rf"\frac{{{percent}}}{{100}}" if number(percent) is None else str(number(percent).value / 100), other):
        return True
    plain = number(other)
    return (plain is None or abs(plain.value) > 1 or asked and abs(plain.value) == 1) and same_value(percent, other)


def _ratio(text: str) -> list[Fraction]:
    parts = [Fraction(part.strip()) for part in text.split(":")]
    return [part / parts[0] for part in parts] if parts[0] else parts


def based(text: str) -> tuple[int, int] | None:
    """(value, base) of a number with its base below it, e.g. 1010_2; None for anything else."""
    match = re.fullmatch(r"(-?[0-9A-Za-z]+)_\{?(?:\\text\s*\{)?(\d+)\}*", text.replace(" ", ""))
    if not match or not 2 <= int(match[2]) <= 36:
        return None
    try:
        return int(match[1], int(match[2])), int(match[2])
    except ValueError:
        return None


def same_value(a: str, b: str) -> bool:
    """Do two formulas without names and units have the same value?"""
    numbers = number(a), number(b)
    if all(numbers):
        return _rounds(*numbers)
    if a == b:
        return True
    return bool(same_formula(a, b))


def _rounds(a: Number, b: Number) -> bool:
    """Equal, or one a fine decimal and the other what it rounds."""
    if a.value == b.value:
        return True
    if a.decimals and b.decimals:
        return False
    coarse, exact = (a, b) if a.ulp > b.ulp and b.decimals or not b.decimals else (b, a)
    if not coarse.fine or coarse.ulp == exact.ulp:
        return False
    noise = abs(exact.value) / 10**14 if abs(coarse.value) >= coarse.ulp * 10**14 else 0  # of floating point
    return abs(coarse.value - exact.value) <= max(coarse.ulp / 2, noise)


# formulas, by sympy


# Letters with a mark are letters of their own: z', \vec{a}, \angle ABC; math-verify forgets the mark or the order of letters.
_MARKED = re.compile(
    r"(?P<letter>[A-Za-z])(?:'+|\^\s*\{?\s*(?:\\prime\s*)+\}?)|\\(?:angle|triangle|odot|measuredangle)\s*\{?[A-Za-z]+\}?"
    r"|\\(?:text|vec|hat|bar|tilde|dot|ddot|over(?:line|rightarrow|arc)|underline|wide(?:hat|tilde)|math(?:cal|frak))\s*(?:\{[A-Za-z\s]+\}|\s[A-Za-z])"
)
# Any other command is not read, and its formula is compared as text.
_COMMANDS = r"""
\frac \sqrt \pi \cdot \times \div \pm \mp \infty \le \ge \ne \lt \gt \in \cup \cap \emptyset \setminus \backslash
\mathbb \mid \begin \end \sin \cos \tan \cot \sec \csc \arcsin \arccos \arctan \sinh \cosh \tanh \log \ln \exp \binom
\lfloor \rfloor \lceil \rceil \lvert \rvert \vert \max \min \sum \int \prod \lim \to \circ \bmod \ell \hline \alpha
\beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \iota \kappa \lambda \mu \nu \xi \rho \sigma \tau
\upsilon \phi \varphi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Phi \Psi \Omega
"""
_READ = set(_COMMANDS.split())
# What math-verify reads wrongly: "3 4" as 3 + 4, a bracket at infinity as open, 7_a as 7, ||x|| as |x|, A^T as A.
_UNREAD = re.compile(
    r"\d\s+[\d.]|[¤$?]|\.\.\.|…|\\[lc]?dots|\d\s*_|\|\||\^\s*\{?\s*(?:T|\*)"
    r"|[-+*/^=<>_]\s*$|^\s*[*/=^<>]|\[\s*-?\\infty|\\infty\s*\]"
)
_CROSS = re.compile(r"(?:\b[A-Z]|_\{[a-z]+\w\})\s*\\times\s*(?:[A-Z](?![A-Za-z])|[A-Z]_\{)")  # A x B is not B x A


def _letter(match: re.Match) -> str:
    mark = re.sub("[^A-Za-z]", "", match[0].replace("'", "prime"))
    return f"{match['letter'] or 'Q'}_{{{mark}}}"


def formula(text: str) -> Any:
    """What math-verify reads in a formula: a sympy object, or None."""
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    if _UNREAD.search(text):
        return None
    if units.TURNS.search(text):
        text = _TURNED.sub(r"{\\frac{\1\\pi}{180}}", text)
    text = _MARKED.sub(_letter, text)
    if _CROSS.search(text) or "'" in text or not _READ.issuperset(re.findall(r"\\[A-Za-z]+", text)):
        return None
    text = re.sub(r"\)\s*\(", r")\\cdot(", text)  # it reads (-2)(3) as -2 - 3
    text = re.sub(r"(?<![\w}.^_])(\d+(?:\.\d+)?)\s*\(", r"\1\\cdot(", text)
    results = math_verify.parse(f"\\boxed{{{text}}}", [_config()], parsing_timeout=None)
    return results[0] if results and not isinstance(results[0], str) else None


@functools.cache
def _config() -> Any:
    """How math-verify reads: it does not take letters for units (it would make 4t and 4 equal), and R is not r."""
    import math_verify
    import math_verify.parser
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig, latex2sympy

    # No option of math_verify.parse reaches this setting; its default folds the case of letters.
    math_verify.parser.latex2sympy = functools.partial(latex2sympy, conversion_config=ConversionConfig(lowercase_symbols=False))

    normal = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    return math_verify.LatexExtractionConfig(normalization_config=normal)


def same_formula(a: str | Many, b: str) -> bool:
    """Do both read as the same? What sympy cannot compare is not the same: it raises errors of many kinds."""
    x, y = (formula(each) if isinstance(each, str) else _joined_region(each) for each in (a, b))
    if isinstance(a, Many):
        return x is not None and y is not None and same_region(x, y)
    if x is None or y is None:
        a, b = (re.sub(r"\{(\w)\}|(?<!\d)\s+|\s+(?!\d)", r"\1", each) for each in (a, b))
        return a == b
    decimal, other = (number(a), y) if number(a) else (number(b), x)
    try:
        if decimal and decimal.ulp and getattr(other, "is_number", False):
            return _near(decimal, other)
        return same_object(x, y)
    except MemoryError:
        raise
    except Exception:
        return False


def _near(decimal: Number, exact: Any) -> bool:
    """Is the decimal the exact value, or its rounding to six decimals or more?"""
    import sympy

    exact = rational(exact).doit()
    value = sympy.Rational(decimal.value.numerator, decimal.value.denominator)
    if exact.is_Rational:
        return _rounds(decimal, Number(Fraction(int(exact.p), int(exact.q))))
    numeric = exact.evalf(DIGITS)
    return bool(decimal.fine and numeric.is_real and abs(numeric - value) <= sympy.Rational(str(decimal.ulp)) / 2)


def rational(value: Any) -> Any:
    """A sympy object with its decimals as the fractions that they write."""
    import sympy

    return value.xreplace({each: sympy.Rational(str(each)) for each in value.atoms(sympy.Float)})


def same_object(x: Any, y: Any) -> bool:
    """Are two sympy objects the same mathematically: matrices, relations, sets of numbers, formulas?"""
    import math_verify
    import sympy

    x, y = (each.doit() if isinstance(each, sympy.MatrixExpr) else each for each in (x, y))
    if isinstance(x, sympy.MatrixBase) or isinstance(y, sympy.MatrixBase):
        alike = isinstance(x, sympy.MatrixBase) and isinstance(y, sympy.MatrixBase) and x.shape == y.shape
        return alike and all(map(same_object, x.flat(), y.flat()))
    kinds = [isinstance(each, (sympy.Set, sympy.logic.boolalg.Boolean)) or _chained(each) for each in (x, y)]
    if any(kinds):
        return all(kinds) and (same_region(x, y) or same_relation(x, y))
    try:
        x, y = rational(x).doit(), rational(y).doit()
    except AttributeError:
        return False
    if x == y:
        return not x.has(sympy.nan, sympy.zoo)
    if x.is_Rational and y.is_Rational or x.has(sympy.oo) or y.has(sympy.oo):
        return False
    told = [same for same in (_at(x, y, turn) for turn in range(4)) if same is not None]
    return all(told) if told else bool(math_verify.verify(x, y, timeout_seconds=None))


DIGITS = 60
_PLACES = ("1.3717", "-0.7321", "2.9141", "-1.6873", "0.5831", "3.4177", "-2.2939")


def _at(x: Any, y: Any, turn: int, ratio: bool = False) -> bool | Any:
    """Are both the same where their letters have certain values? ratio: x/y instead. None where that cannot be told."""
    import sympy

    names = sorted({each.name for each in x.free_symbols | y.free_symbols})
    if not names and turn:
        return None
    digits = DIGITS if names else 3 * DIGITS
    places = {name: sympy.Rational(_PLACES[(i * 2 + turn) % len(_PLACES)]) + i // 7 for i, name in enumerate(names)}
    values = []
    for each in (x, y):
        put = {symbol: sympy.I if symbol.name == "i" else places[symbol.name] for symbol in each.free_symbols}
        values.append(each.subs(put).doit().evalf(digits))
    a, b = values
    if not all(each.is_number and each.is_finite and not each.atoms(sympy.core.function.AppliedUndef) for each in values):
        return None
    if "i" not in names and names and not (a.is_real and b.is_real):
        return None
    if ratio:
        return a / b if b else None
    if not a or not b or max(abs(a), abs(b)) < 1e-50:
        return bool(sympy.simplify((x - y).subs({each: sympy.I for each in (x - y).free_symbols if each.name == "i"})) == 0)
    return bool(abs(a - b) <= max(abs(a), abs(b)) / sympy.Integer(10) ** (digits - 15))


def _joined_region(many: Many) -> Any:
    """The numbers for which inequalities of one letter hold, joined by "or" or "and"; None where that cannot be told."""
    import sympy

    parts = [formula(each.text) for each in many.parts]
    letters = {letter for each in parts if each is not None for letter in each.free_symbols}
    if len(letters) != 1 or None in parts:
        return None
    regions = [each.as_set() if isinstance(each, sympy.logic.boolalg.Boolean) else each for each in parts]
    return (sympy.Union if many.joint == "or" else sympy.Intersection)(*regions)


def _chained(relation: Any) -> bool:
    return type(relation).__name__ == "And" and all(each.is_Relational for each in relation.args)


def same_relation(x: Any, y: Any) -> bool:
    """Equations and inequalities: one is the other times a constant. A chain 0 < x < y: link by link."""
    if _chained(x) and _chained(y):
        links = [getattr(each, "_unsorted_args", each.args) for each in (x, y)]
        return len(links[0]) == len(links[1]) and all(map(same_relation, *links))
    if not (getattr(x, "is_Relational", False) and getattr(y, "is_Relational", False)):
        return False
    x, y = (each.reversed if each.rel_op in (">", ">=") else each for each in (x, y))
    if x.rel_op != y.rel_op:
        return False
    sides = [rational(each.lhs - each.rhs) for each in (x, y)]
    ratios = [each for each in (_at(*sides, turn, ratio=True) for turn in range(4)) if each is not None]
    steady = len(ratios) > 1 and all(abs(each - ratios[0]) <= abs(ratios[0]) * 1e-30 for each in ratios)
    return bool(steady and ratios[0] and (x.rel_op in ("==", "!=") or ratios[0] > 0))


def same_region(x: Any, y: Any) -> bool:
    """Sets of real numbers, written as intervals or as inequalities of one letter."""
    letters = x.free_symbols, y.free_symbols
    a, b = _pieces(x), _pieces(y)
    if all(letters) and letters[0] != letters[1] or a is None or b is None:
        return type(x) is type(y) and x == y
    return len(a) == len(b) and all(
        p[2:] == q[2:] and same_object(p[0], q[0]) and same_object(p[1], q[1]) for p, q in zip(a, b, strict=True)
    )


def _pieces(region: Any) -> list[tuple] | None:
    """(start, end, left open, right open) of each interval in order; None for what is no union of intervals."""
    import sympy

    try:
        if not isinstance(region, sympy.Set):
            parts = region.args if _chained(region) else (region,)
            region = rational(sympy.And(*parts)).as_set()
        region = sympy.Interval(-sympy.oo, sympy.oo) if region == sympy.S.Reals else rational(region)
        parts = region.args if isinstance(region, sympy.Union) else () if region == sympy.S.EmptySet else (region,)
        pieces = []
        for part in parts:
            points = [(point, point, False, False) for point in part.args] if isinstance(part, sympy.FiniteSet) else None
            pieces += points or [(part.start, part.end, bool(part.left_open), bool(part.right_open))]
        return sorted(pieces, key=lambda piece: float(piece[0]))
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        return None


# what runs in the sandbox


_SAMPLES = r"""
x^2+2x+1 | (x+1)^2
[0, 1) | 0 \le x < 2
(-\infty,0)\cup(1,2] | (1,2)
2\sqrt{2} | \sqrt{8}
\frac{\sqrt{3}}{2} | \sin 60^\circ
2\pi | \frac{\pi}{3}
\ln 2 | \log_{10} 5
x = 3y | 4x+y=2
3+4i | 4i
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&2\\3&5\end{pmatrix}
5! | \binom{10}{3}
\frac{x}{x+1} | 1-\frac{1}{x+1}
\lfloor 4.7 \rfloor | |-4|
2^{10} | 1000
"""  # of every kind


def warm() -> None:
    """Use the parser's grammar and sympy before they are needed: a fork keeps what has been built."""
    for pair in _SAMPLES.strip().splitlines():
        compare(*pair.split(" | ", 1), "auto")


def compare(gold: str, answer: str, read: str) -> dict:
    """{"state", "answer", "why"}: the answer's verdict against `gold`, which is an answer too."""
    expected, whole = expects(gold)
    if not expected and not whole:
        return {"state": State.FAILED, "answer": "", "why": f"the problem's own answer cannot be read: {gold[:60]!r}"}
    said = stated(answer, read)
    if "=" in said and not re.search(r"[A-Za-wyz]|x(?! \$?\d)", said.split("=")[0]):  # of "15% of 60 = 9" only the end is read
        text = extract.clean(answer)
        before = text[: max(0, text.find(said))].rstrip(" $(\\")
        said = said.rpartition("=")[2] if before and not before.endswith(("{", ":", "\n", ".", "is", "*", "`")) else said
    given = parsed(said)
    if whole and (read != "boxed" or "\\boxed" in answer) and wording.normal(wording.last_said(extract.clean(answer))) == whole:
        return {"state": State.CORRECT, "answer": whole[:200], "why": ""}
    if not given:
        return {"state": State.UNPARSEABLE, "answer": "", "why": "no answer can be read"}
    if not expected:
        return {"state": State.WRONG, "answer": shown(given), "why": f"{shown(given)[:60]}, not {whole[:60]}"}
    if same(expected, given):
        return {"state": State.CORRECT, "answer": shown(expected), "why": ""}
    said = shown(given)
    return {"state": State.WRONG, "answer": said, "why": f"{said[:60]}, not {shown(expected)[:60]}"}


@functools.lru_cache(1024)  # a problem has many answers
def expects(gold: str) -> tuple[Leaf | Many | None, str]:
    """(the expected answer, the whole of it where it is a line of words: "no solution", "3 to 4")."""
    said, line = stated(gold), extract.clean(gold).strip()
    word = wording.NAMED.match(line)
    lost = bool(word and word[1] not in said) or set(extract.numbers(line)) != set(extract.numbers(said))
    lost = lost or said != extract.bare(line) and not re.search(r"\d", said)
    lost = lost or len(extract.numbers(said)) > 1 and extract.prose(said)
    if not lost or "\n" in line or extract.marked(line):
        return parsed(said), ""
    expected = parsed(line)
    parts = expected.parts if isinstance(expected, Many) else (expected,)
    worded = all(isinstance(each, Leaf) and each.words for each in parts)
    whole = wording.normal(line) if re.search(r"[^\W\d_]{2}", line) else ""
    return expected if worded else None if whole else parsed(said), whole


def shown(answer: Leaf | Many) -> str:
    """A canonical text, for votes."""
    if isinstance(answer, Many):
        parts = [shown(part) for part in answer.parts]
        ordered = answer.brackets not in ("", "{}")
        return (answer.brackets[:1] + ", ".join(parts if ordered else sorted(parts)) + answer.brackets[1:])[:200]
    if answer.number:
        return str(Number(answer.number.value / (100 if answer.percent else 1)))[:200]
    read = None if answer.words else formula(answer.text)
    return (answer.words or str(answer.text if read is None else read))[:200]


@dataclass
class Math:
    read: str = "auto"  # which answer counts: the last "boxed" one, the "last" stated one, or auto: boxed where there is a box
    seconds: float = 3.0  # of CPU for one comparison

    executes: ClassVar[bool] = False  # it only needs the limits of the sandbox
    version: ClassVar[str] = "4"

    def __post_init__(self) -> None:
        above(self, seconds=0)
        if self.read not in ("auto", "boxed", "last"):
            raise ValueError(f"read is {self.read!r}; expected auto, boxed or last")
        if importlib.util.find_spec("math_verify") is None:
            raise ValueError("name=math needs the package math-verify; type: pip install math-verify")
        self.version = f"3, math-verify {importlib.metadata.version('math-verify')}"

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
