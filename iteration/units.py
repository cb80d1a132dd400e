"""Units behind a number, and the words behind it that are none because they make another value of it.

Any noun is a unit: "5 birds" is 5. Where two answers both state a unit, it must be the same.
"""

from __future__ import annotations

import functools
import re

from iteration.extract import LETTERS, MEASURE, UNITS
from iteration.wording import normal

MACRO = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)|math(?:rm|bf|it|sf)|mbox|hbox|emph|operatorname)\s*(?=\{)")
TURNS = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_GAP = r"(?:\s|~|\\[,;:!> ])*"
_MEASURED = re.compile(
    rf"(?<=[\d}})!]){_GAP}(?:\\text\s*\{{(?P<text>[^{{}}]*)\}}|(?P<word>{MEASURE}|(?<=\s)[msgLl]))"
    rf"(?P<power>{_GAP}\^\s*\{{?\s*[23]\s*\}}?)?\.?\s*$"
)
_DEGREES = re.compile(rf"(?<=[\d}})]){_GAP}\^\s*\{{?\s*\\circ\s*\}}?{_GAP}(?:\\text\s*\{{\s*|\{{\s*)?(?P<scale>[CF])?\s*\}}?$")
_PER = re.compile(r"\s*/\s*|\s+per\s+")
_SAME = {(("mile", 1), ("h", -1)): (("mph", 1),), (("km", 1), ("h", -1)): (("km/h", 1),), (("m", 1), ("s", -1)): (("m/s", 1),)}
Unit = tuple[tuple[str, int], ...]
# A noun behind a number may be any; none of these, which make another value of it.
_CHANGE = """
and or than less fewer least most over under above below beyond minus plus squared cubed factorial half halves third thirds
fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths
thousandth thousandths millionth millionths hundred thousand million millions billion billions trillion trillions lakh crore
grand mn bn mil no not never negative positive max maximum minimum upwards doubled tripled halved root power mod modulo base
bc bce to from am pm a p th st nd rd percent almost nearly about
"""
CHANGING = set(_CHANGE.split())


def measured(text: str) -> tuple[str, Unit]:
    """A plain answer without its unit of measure, and the unit: (name, power) of each factor. Any noun is a unit."""
    money = re.match(r"(-?)\s*(?:\\?\$|([€£¥₹])|(?:USD|EUR)\s)\s*(?=[\d.,-])(?!.*\$)", text)
    if money:
        return money[1] + text[money.end() :], (("EUR" if money[2] == "€" else money[2] or "$", 1),)
    coins = re.search(r"(?<=\d)\s?\\?([$€£¥])$", text)
    if coins:
        return text[: coins.start()], ((coins[1].replace("€", "EUR"), 1),)
    turned = _DEGREES.search(text)
    if turned and not TURNS.search(text):
        return text[: turned.start()], ((turned["scale"] or "deg", 1),)
    match = _MEASURED.search(text)
    if not match or match["word"] == "°" and TURNS.search(text):
        return text, ()
    power = int(re.sub(r"\D", "", match["power"] or "") or 1)
    unit = _unit((match["text"] or match["word"]).strip(" ."), power)
    return (text[: match.start()], unit) if unit is not None else (text, ())


def _unit(words: str, power: int) -> Unit | None:
    """None for words that are no unit but change the number."""
    above, *below = _PER.split(words)
    factors = [_factor(above, power), *(_factor(each, 1) for each in below)]
    if not all(factors):
        return None
    unit = (*factors[0], *((name, -size) for each in factors[1:] for name, size in each))
    return _SAME.get(unit, unit)


def _factor(words: str, power: int) -> Unit:
    size = re.match(r"(square|sq\.?|cubic|cu\.?)\s", words) or re.search(
        r"\s(squared|cubed)$|\s?\^?\s?\{?([23])\}?$|([²³])$", words
    )
    if size:
        power = 2 if size[0].strip(" ^{}.") in ("square", "sq", "squared", "2", "²") else 3
        words = (words[: size.start()] + words[size.end() :]).strip()
    known = [words, *(re.findall(r"^[a-z]{3,}|[a-z]{3,}$", words) if " " in words else [])]
    name = next((unit for each in known if (unit := _known(each))), "")
    said = normal(words)
    changed = re.match(r"\s*[-+–]|of\s", words) or not CHANGING.isdisjoint(re.findall(r"[^\W_]+", words.lower()))
    if changed or not name and (len(said) < 2 or re.search(r"\d", said)):
        return ()
    return ((name or (words if len(words) < 4 else re.sub(r"(?<=\w\w)s\b", "", said)), power),)


@functools.cache
def _known(words: str) -> str:
    return next((unit for name, unit in (*UNITS.items(), *LETTERS.items()) if re.fullmatch(name, words)), "")


def conflict(a: Unit, b: Unit) -> bool:
    """Are both units stated, and are they different? "units" agree with all of the same power, "boxes of tea" with "boxes"."""
    if not a or not b or a == b:
        return False
    if len(a) != len(b) or any(x[1] != y[1] for x, y in zip(a, b, strict=True)):
        return True
    for (x, _), (y, _) in zip(a, b, strict=True):
        shorter, longer = sorted(({*x.split()}, {*y.split()}), key=len)
        if not ("unit" in (x, y) or {x, y} in ({"deg", "C"}, {"deg", "F"}) or shorter <= longer):
            return True
    return False
