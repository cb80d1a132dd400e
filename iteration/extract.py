"""What a text states as its final answer: in boxes, in tags, behind "the answer is" in many languages, else at its end.

`explicit` finds what is marked as the answer, `stated` also what merely stands last, `number` reads one number. A text that
states several values ("\\boxed{1} and \\boxed{2}", "2 or 3") states all of them: they come as one text, joined by "and".

More than 400 lines: the tables of forms, words and units build on each other and are read as one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 4_000  # characters of a text that are looked at, from its end

# what is no part of a text: special tokens, marks without width, other scripts' digits and signs

_SPECIAL = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>|[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\r]"
)
_SIGNS = str.maketrans({"−": "-", "﹣": "-", "‐": "-", "‑": "-", "，": ", ", "、": ", ", "٫": ".", "٬": ",", "\u2009": " "})
_DASH = re.compile(r"(?<![\w)\]}])(?<![\w)\]}] )[–—](?=[\d.$])")


def clean(text: str) -> str:
    """The end of a text, or what is around its last box, without special tokens, its digits and signs in ASCII."""
    if len(text) > LONGEST:
        box = text.rfind("\\boxed")
        text = text[: box + LONGEST // 2][-LONGEST:] if 0 <= box < len(text) - LONGEST else text[-LONGEST:]
    if "illion" in text or "thousand" in text or "hundred" in text or not text.isascii() and any(map(text.count, _MYRIADS)):
        text = _SCALED.sub(_scaled, _SCALED.sub(_scaled, text))
    if text.isascii():
        return _SPECIAL.sub("", text) if "<|" in text or "s>" in text or "\r" in text or "<e" in text or "<p" in text else text
    text = _SPECIAL.sub("", text)
    return _DASH.sub("-", re.sub(r"[^\x00-\x7f]", _ascii, text.translate(_SIGNS)))


_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MYRIADS = {"万": 4, "萬": 4, "만": 4, "亿": 8, "億": 8, "억": 8}
_SCALED = re.compile(
    r"(?<![\d.,])(\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.(\d{1,15}))?(?!\d)([}$]*)\s?(\\text\s*\{\s*)?"
    rf"(?:({'|'.join(_SCALES)})s?\b(?!-)|([{''.join(_MYRIADS)}]))"
)


def _scaled(match: re.Match) -> str:
    """ "1.5 million" as 1500000."""
    whole, after, closed, macro, word, sign = match.groups("")
    scale = _SCALES[word] if word else _MYRIADS[sign]
    digits = f"{whole}{after}".replace(",", "") + "0" * max(0, scale - len(after))
    point = len(after) - scale
    digits = f"{digits[:-point]}.{digits[-point:]}" if point > 0 else digits.lstrip("0") or "0"
    return digits + closed + macro


def _ascii(match: re.Match) -> str:
    sign = match[0]
    if "！" <= sign <= "～":
        return chr(ord(sign) - 0xFEE0)
    return str(unicodedata.digit(sign)) if unicodedata.category(sign) == "Nd" else sign


# boxes and tags

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_ONE_BOX = re.compile(r"\\boxed\{(\d+)\}(?!\s*(?:\\pi|π|\\?%))")
_ALONE = re.compile(r"[\s$.]*")
_TAG = re.compile(r"<(answer|final_answer)>((?:(?!</?(?:final_)?answer>).)*+)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
AND = r"(?:and|or|und|oder|et|ou|和|或|及|与|или)"
_AND = rf"(?:{AND}|(?<=\s)(?:y|e|o|и|و|أو)(?=\s))"
_NOT_LINK = r"(?!(?:is|was|are|not|no|wrong|rather|then|so|actually|wait|correct|instead|but)\b)"
_NAMED = r"(?:\\?[A-Za-z]\w{0,5}(?:_\{?\w\}?)?\s*=)?"
# Only this between two boxes: then both are the answer. A sentence between them: then the second replaces the first.
_LINK = re.compile(
    rf"(?:[\s$,;&{{}}()\[\]\\]|\\(?:text|mathrm|quad|qquad)|(?<![A-Za-z]){_AND}(?![A-Za-z]))*{_NAMED}[\s$(\[\\]*"
)
_NOUNS = re.compile(  # "\\boxed{1} papers and \\boxed{2}"
    rf"[\s$]*(?:{_NOT_LINK}[A-Za-z]+\s+){{1,3}}(?:and|or)\s+(?:{_NOT_LINK}[A-Za-z]+\s+){{0,2}}[\s$]*"
)
_BEHIND = re.compile(r"\s*(?:\\pi(?![A-Za-z])|π|\\?%)")  # belongs to the box before it
_SIGN = re.compile(r"(?:^|[=$(\[{,])\s*-\s*$|[A-Za-z]\s+-$")
_FUNCTIONS = r"\\(?:sqrt|[dtc]?frac|[dt]?binom|log|ln|exp|sin|cos|tan|cot|sec|csc|overline)(?![A-Za-z])"
_TIMES = r"\\(?:times|cdot|div|pm|mp)(?![A-Za-z])"
# What makes another value of a box: it stands before the box, or behind it.
_INTO = re.compile(
    rf"(?:\d|(?<![A-Za-z\\])[A-Za-z]|(?:[\d)}}\]]|(?<![A-Za-z])[A-Za-z])\s*[-+/^*]\s*|\d\s*:\s*|{_TIMES}\s*"
    rf"|{_FUNCTIONS}\s*(?:\[[^\[\]]*\]|\{{[^{{}}]*\}})?\s*\{{?\s*)$"
)
_ONTO = re.compile(
    rf"\s*(?:{_TIMES}|{_FUNCTIONS}|\\(?:text|mathrm)\s*\{{\s*[a-z]\s*\}}|[.,:]?\d|[a-zA-Z](?![A-Za-z])(?<!\s[aAI])|[_/](?=[\w\\({{])"
    r"|\^(?!\s*\{?\s*\\circ)|\s?[-+*]\s?(?=[\d({]|\\(?![\])]))|[-+](?=[A-Za-z])|!\s*(?:\$|\\[)\]])"
    rf"|\$?\s*,?\s*(?:\\text\s*\{{\s*(?:or|and)\s*\}}|(?:or|and)\s)\s*\$?-?\s*(?:\d|\\(?!boxed|fbox)[a-z]))"
)
_NO = r"(?:\bnot|n['’]t|\bnever)(?:\s+(?:be|equal|to|simply|just|actually))*"
_DENIES = re.compile(
    rf"(?:{_NO}[\s:$*(\[\\]*|\b(?:wrong|incorrect)(?:\s+(?:answer|value|result)(?:\s+(?:is|was|of))?)?[\s$]*)$", re.IGNORECASE
)
_DENIED_BEHIND = re.compile(
    r"[\s$*)\]}\\.,]*(?:(?:which|this|that|it)\s+)?(?:(?:is|was|seems|looks|must\s+be|would\s+be|can|could)\s+)"
    r"(?:also\s+|clearly\s+|obviously\s+|actually\s+)?"
    r"(?:wrong|incorrect|false|a\s+mistake|not\s+(?:be\s+)?(?:right|correct|the|it|valid|possible|true|my)\b|not[.,\n])"
    r"|[\s$*)\]}\\.,]*(?:is|was|can)(?:n['’]t|not)\s+(?:be\s+)?(?:right|correct|the|it|valid|possible|true|my)\b"
    r"|\s*\(?(?:wrong|incorrect)\b",
    re.IGNORECASE,
)
_ROUGHLY = re.compile(r"approx|about|roughly|≈", re.IGNORECASE)


def _beside(text: str, start: int, end: int, said: str, read: str) -> str:
    """What the last box states, start to end, `said`, with regard to its surroundings; "" where they contradict it."""
    before, behind = text[max(0, start - 60) : start], text[end:]
    if _DENIES.search(before) or _DENIED_BEHIND.match(behind):
        return (_marked(behind) or "") if read != "boxed" else ""
    if _ONTO.match(behind) or _INTO.search(before) and not _SIGN.search(before):
        return ""
    marked = _marked(behind) if read != "boxed" else None
    return said if not marked or _ROUGHLY.search(behind) or _agree(said, marked) else ""


def _agree(boxed: str, marked: str) -> bool:
    """Is what is marked behind a box the same, or nothing that could be compared?"""
    letters = [
        re.fullmatch(r"[(\s]*([A-J])(?:[).:\s].*)?", re.sub(r"\\text\w*\s*\{([^{}]*)\}", r"\1", each))
        for each in (boxed, marked)
    ]
    if all(letters):
        return letters[0][1] == letters[1][1]
    pair = [
        number(re.sub(r"^.*=|[$\s{}]|\\text\s*\{.*", "", each) if "frac" not in each else bare(each))
        for each in (boxed, marked)
    ]
    if all(pair):
        return pair[0].value == pair[1].value
    return not re.search(r"\d", marked) or set(numbers(boxed)) == set(numbers(marked))


def _boxes(text: str, depth: int = 0) -> list[tuple[int, int, str]] | None:
    """(start, end, content) of every box that is not empty; None where the last one is never closed."""
    if depth > 4:
        return None
    boxes, at = [], 0
    while box := _BOX.search(text, at):
        at, inside = box.end(), None
        if text[at : at + 1] == "{":
            level = 0
            for end in range(at, len(text)):
                level += {"{": 1, "}": -1}.get(text[end], 0) * (text[end - 1] != "\\" or text[end - 2] == "\\")
                if not level:
                    inside, at = text[at + 1 : end], end + 1
                    break
            if inside is None:
                return None
        elif box[0].endswith(" ") and text[at:].strip():
            inside = text[at:].split()[0].rstrip("$.")
            at += len(inside)
        if inside and inside.strip("{}$ \n\\,;~_."):
            inner = _boxes(inside, depth + 1)
            inside = inner[-1][2] if inner else inside
            sign = _SIGN.search(text[max(0, box.start() - 8) : box.start()])
            more = _BEHIND.match(text, at)
            boxes.append((box.start(), at, ("-" if sign else "") + value(inside) + (more[0] if more else "")))
    return boxes


def _chain(text: str, spans: list[tuple[int, int, str]]) -> str:
    """The last span, and those before it as long as nothing but "and", "or" or a comma stands between them."""
    contents = [spans[-1][2]]
    for before, after in zip(spans[-2::-1], spans[:0:-1], strict=True):
        between = text[before[1] : after[0]]
        if not _LINK.fullmatch(between) and not _NOUNS.fullmatch(between):
            break
        contents.insert(0, before[2])
    contents = list(dict.fromkeys(contents))
    return " \\text{ and } ".join(contents)


def boxed(text: str) -> str | None:
    """What the last boxes of a text hold, None where there is none that is closed and holds something."""
    boxes = _boxes(text)
    return _chain(text, boxes) if boxes else None


# "the answer is"

_WORDS = r"""
(?:final\s+|correct\s+|right\s+)?answers?(?:\s+(?:to|of|for)\s[^.\n:=]{1,80}?)? | isn['’]t|is|are|was|VERBS
(?:最终|正确)?答案|答 | 是|为|為|等于|应为
答え | は
(?:정답|답) | 은|는|이
(?:окончательный\s+)?ответ | равен|это|[-—]
відповідь|отговор | е|є
(?:endgültige\s+|richtige\s+)?antwort|ergebnis | ist|lautet|beträgt
réponse(?:\s+finale)? | est|vaut
respuesta(?:\s+(?:final|correcta))? | es
resposta(?:\s+(?:final|correta))? | é
risposta(?:\s+(?:finale|corretta))? | è
antwoord | is
odpowied[źz]|odpověď | to|brzmi|je
svaret|svar | är|er
cevap|yanıt | şudur
đáp\s+(?:án|số)|câu\s+trả\s+lời | là
jawaban(?:nya)? | adalah|ialah
(?:الإجابة|الاجابة|الجواب)(?:\s+النهائية|\s+النهائي)? | هي|هو
उत्तर | है
উত্তর|సమాధానం | হল
คำตอบ | คือ
jibu | ni
απάντηση | είναι
תשובה | היא
"""  # words for answer | verbs behind them
_VERBS = r"(?:would|will|should|must)\s+be|equals|becomes|comes\s+(?:out\s+)?to(?:\s+be)?"
_PAIRS = [line.replace("VERBS", _VERBS).split(" | ") for line in _WORDS.strip().splitlines()]
_MARK = r"[*_`\s]{0,6}(?:\([^()\n]{1,30}\)[*_`\s]{0,6})?"
_START = r"(?<![^\W\d_])"
_SAYS = "|".join(
    rf"(?:{word}){_MARK}(?:[:=]|->|→|(?:{verbs})(?:(?<=[^\x00-\x7f])|(?![A-Za-z]))\s*:?)" for word, verbs in _PAIRS
)
_TITLE = rf"^[#>*_ \t]{{0,12}}(?:the\s+)?(?:{'|'.join(word for word, _ in _PAIRS)})[*_: \t]{{0,12}}\n"
_MARKER = re.compile(rf"{_START}(?:{_SAYS})|{_TITLE}|#{{4}}(?!#)\s*:?", re.IGNORECASE | re.MULTILINE)
_SIMPLE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\.?\s*")
# Each marker holds one of these words.
_STEMS = re.findall(r"\S+", "#### answer antwo ergebnis respuesta resposta risposta odpowied svar cevap jawaban jibu")
_MORE_STEMS = re.findall(
    r"\S+",
    "答 답 ответ відповідь отговор réponse odpověď yanıt đáp câu إجابة اجابة جواب उत्तर উত্তর సమాధానం คำตอบ απάντηση תשובה",
)
_LEAD = re.compile(
    r"(?:[\s:*_`>]|(?:therefore|thus|then|simply|just|clearly|indeed|actually|exactly|equal\s+to|given\s+by|approximately|about"
    r"|as\s+follows|\\approx|≈)\b[\s,:]*+)+(?=\S)",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(  # "the answer is correct" says nothing of what it is
    r"(?:correct|right|wrong|incorrect|reasonable|clear|valid|verified|consistent|confirmed|found|given|below|above|unique|simple)"
    r"(?![A-Za-z])",
    re.IGNORECASE,
)
_DENIED = re.compile(r"not\b\s*(?:[^,;.\n]*?,?\s*\b(?:but|rather|instead|it\s+is|it's)\s+)?", re.IGNORECASE)
_TAKEN_BACK = re.compile(r"\b(?:wait|actually|correction|sorry|oops|mistake|no,|scratch that|let me re)\b", re.IGNORECASE)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", re.DOTALL)


def explicit(text: str, read: str = "auto") -> str | None:
    """What a cleaned text marks as its answer: "" where it marks one and denies it or never ends it, None where it marks none.

    read: "boxed" looks at boxes alone, "last" at everything else, "auto" at all, boxes before what stands around them.
    """
    at = text.find("\\boxed{")  # quickly, what is most frequent: one box with an integer
    quick = _ONE_BOX.match(text, at) if at >= 0 and read != "last" and text.count("box") == 1 and "nswer>" not in text else None
    if quick and _ALONE.fullmatch(text, quick.end()) and (not at or text[at - 1] in "$ \n"):
        before = text[max(0, at - 12) : at].rstrip("$ \n")
        if not before.endswith(("not", "n't", "wrong", "incorrect", "-", "+", "/", "*")) and "\\" not in before:
            return quick[1]
    boxes = _boxes(text) if read != "last" and "box" in text else []
    if boxes is None:
        return ""
    tags = (
        [(tag.start(), tag.end(), tag[2].strip()) for tag in _TAG.finditer(text) if tag[2].strip()]
        if "nswer>" in text and read != "boxed"
        else []
    )
    if tags and (not boxes or tags[-1][1] > boxes[-1][0]):
        inside = [(start, end, stated(content, read)) for start, end, content in tags[-8:]]
        return _chain(text, inside)
    if boxes:
        said = _chain(text, boxes)
        return _beside(text, *boxes[-1][:2], said, read)
    return _marked(text) if read != "boxed" else None


def _marked(text: str) -> str | None:
    for mark in ("####", "answer is "):  # quickly, what is most frequent
        at = text.rfind(mark)
        simple = _SIMPLE.fullmatch(text, at + len(mark)) if at >= 0 else None
        if simple:
            return simple[1]
    small = text.lower()
    places = [small.find(stem) for stem in (_STEMS if text.isascii() else _STEMS + _MORE_STEMS) if stem in small]
    if not places:
        return None
    begin = max(0, text.rfind("\n", 0, max(0, min(places) - 20)))
    for marker in reversed(list(_MARKER.finditer(text, begin))):
        rest = text[marker.end() :]
        if re.search(r"n['’]t\s*:?\s*$", marker[0]):
            return ""
        simple = _SIMPLE.fullmatch(rest)
        if simple:
            return simple[1]
        lead = _LEAD.match(rest)
        rest = rest[lead.end() if lead else 0 :]
        if not rest.strip() or _NO_ANSWER.match(rest):
            continue
        denied = _DENIED.match(rest)
        if denied:
            rest = rest[denied.end() :]
            if not re.search(r"[a-z]\s+$", denied[0][3:]):
                return ""
        shown = _DISPLAY.match(rest)
        line = " ".join(shown[0].split()) if shown else rest.split("\n", 1)[0]
        said, end = clause(line)
        if marker[0].startswith("#") and "####" in marker[0] and not _is_result(line, rest):
            continue
        if end == "?" or not bare(said):
            continue
        behind = rest[len(said) :]
        if _TAKEN_BACK.search(behind) and _runs(behind):
            return loose(behind)
        return value(said)
    return None


def _is_result(line: str, rest: str) -> bool:
    """Does "#### ..." give a result, or is it a heading?"""
    heading = re.match(r"(?:step|part|case)\b|\d+[.)]\s+\D", line, re.IGNORECASE)
    return not heading and (bool(re.search(r"[\d\\]", line)) or not rest[len(line) :].strip()) and not _is_title(line)


def _is_title(line: str) -> bool:
    return bool(re.match(_TITLE, line.strip() + "\n", re.IGNORECASE))


# from a sentence to the value in it

FORMULA = r"\$\$(?:\\\$|[^$])+\$\$|(?<![\\$])\$(?![\s$])(?:\\.|[^$\n\\])*(?<![\s\\])\$(?![\d$])|\\\((?:.*?)\\\)|\\\[(?:.*?)\\\]"
_END = re.compile(
    r"(?P<end>[.?](?=[\s*_`\"')\]]|$)|(?<![\w)\0\\])!|[。！？；])|;\s(?=[a-z]{3})|\s(?:[—–]|--?)\s(?=[A-Za-z]{2})"
    r"|,?\s+(?:not|because|since|which|where|instead|rather|but|though|although|while|given|assuming|meaning)\b"
    r"|,\s*(?:so|as|for|if|with|after|when)\b|\s\((?=[^()]*[A-Za-z]{2,}\s)"
)
_BOLD = re.compile(
    r"(?<![\w)*])(\*{1,3})(?=\S)([^*\n]+?)(?<=\S)\1(?![\w(*])|(?<![\w\\}])(_{1,2})(?=\S)([^_\n]+?)(?<=\S)\3(?![\w])|`+([^`\n]+)`+"
)
_MONEY = re.compile(r"(?:\\?\$|[€£¥₹₽₩])\s?(?=-?[\d.])|(?:\b(?:USD|EUR|GBP|Rs\.?)\s)(?=[\d.])")

_COINS = re.compile(rf"(?P<formula>{FORMULA})|{_MONEY.pattern}")

_UNITS = r"""
$ dollars? USD | EUR euros? | cent cents? | pound pounds? lbs? | unit units? | mph mph | km/h km/h kmh kph | m/s m/s
km km kilometers? kilometres? | m meters? metres? | cm cm centimeters? centimetres? | mm mm millimeters? millimetres?
mile miles? mi | in inch(?:es)? | ft feet foot ft | yd yards? yd | kg kilograms? kgs? | g grams? | oz ounces? oz
L liters? litres? | mL ml mL milliliters? millilitres? | gal gallons? | deg degrees? ° | C °C | F °F | kWh kWh
MB megabytes? MB | GB gigabytes? GB | kB kilobytes? kB KB | TB terabytes? TB | kW kilowatts? kW | mg milligrams? mg | kN kN
kJ kilojoules? kJ | N newtons? | J joules? | W watts? | V volts? | Hz hertz Hz | rad radians? rad | ms milliseconds?
h hours? hrs? | min minutes? mins? min | s seconds? secs? | day days? | week weeks? | month months? | year years?
"""  # the unit, then the patterns of its names
UNITS = {name: unit for line in re.split(r" \| |\n", _UNITS.strip()) for unit, *names in [line.split()] for name in names}
LETTERS = {"m": "m", "s": "s", "g": "g", "l": "L", "L": "L", "h": "h", "N": "N", "J": "J", "in": "in"}  # units as \\text{}
_UNIT = "|".join(sorted(UNITS, key=len, reverse=True))
_POWER = r"(?:\s?\^\s?\{?[23]\}?|[²³]|\s(?:squared|cubed))?"
MEASURE = rf"(?:(?:square|sq\.?|cubic|cu\.?)\s)?(?:{_UNIT}){_POWER}(?:\s?(?:/|per)\s?(?:{_UNIT}){_POWER})?"

_B0 = r"\{[^{}]*+\}"
_B1 = rf"\{{(?:[^{{}}]|{_B0})*+\}}"
_B2 = rf"\{{(?:[^{{}}]|{_B1})*+\}}"
_LATIN = "A-Za-zÀ-ɏЀ-ӿ"
_NAMES = r"sqrt|sin|cos|tan|log|ln|exp|pi|infinity|inf"
_GROUPS = r"[1-9]\d{0,2}(?:(?:,\\!\s?|,|\{,\}|\\[,!;: ]|[\u00a0\u202f ])\d{3})+(?!\d)"
_DIGITS = rf"(?:\d+,\d{{1,2}}(?![\d,])|\d+,\d{{4,}}|{_GROUPS}|\d+)(?:\.\d+)?(?:[eE][-+]?\d+(?![\w.]))?|(?<!\d)\.\d+"
_TOKEN = "|".join(
    (
        r"\\begin\{\w+\*?\}.*?\\end\{\w+\*?\}",
        r"\\left|\\right|\\\{[^{}]*?\\\}",
        rf"\\(?!text|mathrm|boxed|fbox)[A-Za-z]+(?:\s?\[[^\[\]]*\])?(?:\s?{_B2})*",
        r"\\[,;:!%| ]",
        _DIGITS,
        rf"[\^_]\s?(?:{_B2}|\(?-?\w+\)?|\\[A-Za-z]+)",
        rf"[(\[](?:\\[A-Za-z]+|[^()\[\]A-Za-z\n]|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|{_NAMES}|\([^()A-Za-z\n]*\))*+[)\]]",
        rf"(?<![{_LATIN}]{{2}})-|[+*/=<>≤≥≠≈·×÷±|!%°]|(?<=\d)\s?:\s?(?=\d)",
        r"[π∞√½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞²³⁰¹⁴-⁹∪∩α-ω]",
        rf"(?<![{_LATIN}])(?:{_NAMES})(?![{_LATIN}])|(?<=[\d)])(?:{_NAMES}|[A-Za-z]{{1,3}})(?![{_LATIN}])",
        rf"(?<![{_LATIN}'’])[A-Za-z](?![{_LATIN}]|['’.]\w)",
    )
)
_RUN = re.compile(rf"(?P<formula>{FORMULA})|(?:{_TOKEN})(?:[ \t~]*(?:(?!(?:{_UNIT})(?![A-Za-z]))(?:{_TOKEN})))*+")
_TAIL = re.compile(rf"\s*(?:(?:{MEASURE})(?![A-Za-z])|\\(?:text|mathrm)\s?\{{[^{{}}]*\}}(?:\^\{{?\d\}}?)?|percent\b|\\?%)")
_JOIN = re.compile(rf"\s*(?:[^\W\d_]+\s+){{0,2}}(?:,?\s*{_AND}\s|[,;&]|[和或及与])\s*(?:[a-z]+\s+)?")
_APART = re.compile(
    r"(?!\s*,?\s*(?:and|or)\b)\s*(?:[^\W\d_]+\s+){0,3}?"
    r"(?:in|of|for|per|from|after|with|over|during|on|by|each|at|every|to|than)\b",
    re.IGNORECASE,
)


def clause(line: str) -> tuple[str, str]:
    """A line up to the end of what it states, and the sign that ends the sentence there ("" where none does)."""
    masked = re.sub(FORMULA, lambda match: "\0" * len(match[0]), line)
    for _ in range(4):
        masked = re.sub(r"\{[^{}\0]*\}", lambda match: "\0" * len(match[0]), masked)
    ends = _END.search(masked, 1)
    return (line[: ends.start()], ends["end"] or "") if ends else (line, "")


def bare(text: str) -> str:
    """A text without what is set around it: white space, bold, quotes, a full stop, the dollars of a formula."""
    for _ in range(12):
        before = text
        text = re.sub(r"^(?:[\s~]|\\[,;:! ])+|(?:[\s~,;:。]|\\[,;:! ]|(?<!\.)\.|\\\\?)+$", "", text)
        text = re.sub(r"^(\*{1,3}|_{1,2}|`+|[\"“”「『])\s*|\s*(\*{1,3}|_{1,2}|`+|[\"“”」』])$", "", text)
        inner = re.fullmatch(r"(?:\$\$?|\\\[|\\\()\s*(.*?)\s*(?:\$\$?|\\\]|\\\))", text, re.DOTALL)
        text = inner[1] if inner and "$" not in inner[1].replace("\\$", "") and not re.match(r"\$[\d.,]+\$\d", text) else text
        if text == before:
            break
    return text


def prose(text: str) -> bool:
    """Is this a sentence, with a number or a formula somewhere in it? Letters right behind a digit (3ab) are a formula's."""
    whole = text
    text = re.sub(rf"(?<=[\d}}$)])\s*(?:{MEASURE})(?=[\s.,]|$)", " ", text)
    text = re.sub(r"\\(?:text\w*|mathrm|mathbf|mbox|operatorname|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    if (
        re.search(r"(?![α-ωΑ-Ωº°])[^\W\d_]", text)
        and not re.sub(r"[α-ωΑ-Ω]", "", text).isascii()
        and re.search(r"[\d$\\]", whole)
    ):
        foreign = re.findall(r"[^\W\d_]", text)
        if any(ord(sign) > 127 and not "Α" <= sign <= "ω" and unicodedata.category(sign) != "No" for sign in foreign):
            return True
    words = [word.lower() for word in re.findall(r"(?:(?<=\s)|^)[(*]*([A-Za-z]{2,})(?=[\s,.:;?!)*]|$)", text)]
    words = [word for word in words if word not in NOT_WORDS and word not in _MONTHS]
    return len(words) > 1 or any(len(word) > 2 or word in _LITTLE for word in words) and len(text.split()) > 1


NOT_WORDS = {"sin", "cos", "tan", "log", "ln", "exp", "sqrt", "pi", "or", "and", "inf", "infinity", "percent"}
_MONTHS = {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"}
_MONTHS |= {"december", "am", "pm"}
_LITTLE = {"so", "is", "it", "to", "of", "in", "at", "we", "he", "be", "an", "as", "no", "by", "if", "on"}


def _runs(text: str) -> list[tuple[int, int, str]]:
    """(start, end, text) of every number and formula in a sentence."""
    text = re.sub(r"(?<=[-+]) ?(?=\\?\$\d)", "", text)
    text = _COINS.sub(lambda match: match[0] if match["formula"] else "¤" * len(match[0]), text)
    runs = []
    for run in _RUN.finditer(text):
        start, end, said = run.start(), run.end(), run[0]
        if runs and start < runs[-1][1]:  # the power of a unit
            continue
        if not run["formula"]:
            said = re.sub(r"^(?:[A-Za-z](?=\s+[\d\\(.])|[-+](?=\s)|[*/=<>|!%:^_≈\s]|\\[,;:! ])+", "", said)
            said = re.sub(r"(?:\s[AaI]|[-+*/=<>^_:\s]|\\[,;:! ]|\\left|\\right)+$", "", said)
            if not re.search(r"\d|\\[A-Za-z]|[π∞√½⅓⅔¼¾]|\w\s*[-+*/^=<>]\s*\w", said):
                continue
            start += run[0].find(said)
            end = start + len(said)
            if said[:1].isdigit() and re.search(r"-¤+$", text[:start]):
                said = "-" + said
        tail = _TAIL.match(text, end)
        runs.append((start, tail.end() if tail else end, said + (tail[0] if tail else "")))
    return runs


def plain_marks(text: str) -> str:
    """A sentence without bold, italics and backticks."""
    return _BOLD.sub(lambda match: match[2] or match[4] or match[5], text)


def value(text: str) -> str:
    """The value that a clause behind "the answer is" states: the whole of it, or the number or formula in it."""
    if text.isdigit():
        return text
    whole = bare(plain_marks(text))
    runs = _runs(whole)
    if not prose(whole) or not runs:
        return whole
    values = list(dict.fromkeys(said for *_, said in runs))
    if len(values) == 1:
        return bare(values[0])
    between = [whole[a[1] : b[0]] for a, b in zip(runs, runs[1:], strict=False)]
    begins = not whole[: runs[0][0]].strip("(¤$\\ ")
    if begins and _APART.match(between[0]):
        return bare(runs[0][2])
    if all(_JOIN.fullmatch(each) for each in between):
        return " \\text{ and } ".join(bare(each) for each in values)
    return whole if begins else bare(runs[-1][2])


_WORD = re.compile(r"[(\[]?\\(?:text\w*|math\w+|mbox)\s*\{[^{}]*\}[)\]]?")


def loose(text: str) -> str:
    """What stands last in a text that marks no answer: a line that is a value, else the last bold one or the last number."""
    lines = [line for line in _DISPLAY.sub(lambda match: " ".join(match[0].split()), text).splitlines() if line.strip()]
    for line in reversed(lines):
        bold = [bare(match[2] or match[4] or match[5]) for match in _BOLD.finditer(line)]
        whole = bare(plain_marks(line))
        runs = _runs(whole)
        if not prose(whole) and (runs or len(lines) == 1 or _WORD.fullmatch(whole)):
            return whole
        bold = [each for each in bold if _WORD.fullmatch(each) or _runs(each) and not prose(each)]
        if bold:
            return bold[-1]
        if runs:
            chain = [bare(runs[-1][2])]
            for a, b in zip(runs[-2::-1], runs[:0:-1], strict=True):
                link = rf"\s*[,;]\s*|\s*,?\s*{_AND}\s+" if "=" in a[2] and "=" in b[2] else rf"\s*,?\s*{_AND}\s+"
                if not re.fullmatch(link, whole[a[1] : b[0]]):
                    break
                chain.insert(0, bare(a[2]))
            return " \\text{ and } ".join(dict.fromkeys(chain))
    return bare(lines[-1]) if len(lines) == 1 and not prose(lines[-1]) else ""


def stated(text: str, read: str = "auto") -> str:
    """The final answer as it stands in a text; "" where there is none. read: as of `explicit`."""
    text = clean(text)
    answer = explicit(text, read)
    if answer is None:
        return "" if read == "boxed" else loose(text)
    return answer


# numbers


FINE = 6  # decimals that a rounding of an exact value needs to stand for it


@dataclass(frozen=True, slots=True)
class Number:
    """value: exact; of a decimal also its decimals (digits written behind the point) and ulp (what its last digit counts)."""

    value: Fraction
    decimals: int = 0
    ulp: Fraction = Fraction(0)

    @property
    def fine(self) -> bool:
        """Has it so many digits that it may stand for an exact value that it rounds?"""
        return self.decimals >= FINE and abs(self.value) >= self.ulp * 10 ** (FINE - 1)

    def __str__(self) -> str:
        """The same text for equal numbers: "2.5" where the decimals end, else "1/3"."""
        below, places = self.value.denominator, 0
        while below % 10 == 0 or below > 1 and not all(below % prime for prime in (2, 5)):
            below //= 10 if below % 10 == 0 else 2 if below % 2 == 0 else 5
            places += 1
        if below > 1:
            return str(self.value)
        digits = str(abs(self.value) * 10**places).zfill(places + 1)
        text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
        return ("-" if self.value < 0 else "") + text


_SPACE = r"(?:\s|~|\\[,;:! ])*"
_WHOLE = r"[1-9]\d{0,2}(?:(?P<sep>,|\{,\}|\\[,!;: ]|,\\!|[\u00a0\u202f ])\d{3}(?:(?P=sep)\d{3})*)(?!\d)|\d+"
_DECIMAL = re.compile(
    rf"(?P<sign>[-+]?){_SPACE}(?:(?P<whole>{_WHOLE})(?P<point>\.\d*)?|(?P<bare>\.\d+))"
    rf"(?:[eE](?P<e>[-+]?\d+)|{_SPACE}(?:\\times|\\cdot|[×·x*]){_SPACE}10{_SPACE}(?:\^|\*\*){_SPACE}[({{]?(?P<ten>[-+]?\d+)[)}}]?)?"
)
_FRACTION = re.compile(
    rf"(?P<sign>[-+]?){_SPACE}(?:(?P<whole>\d+)(?:{_SPACE}(?={_SPACE}\\[dtc]?frac)|(?:\s|~|\\[,;: ])+))?"
    rf"(?:(?P<a>\d+){_SPACE}/{_SPACE}(?P<b>\d+)|\\[dtc]?frac\s*(?:\{{\s*(?P<c>-?\d+)\s*\}}|(?P<d>\d))\s*(?:\{{\s*(?P<f>\d+)\s*\}}|(?P<g>\d)))"
)
_REPEATING = re.compile(r"(?P<sign>-?)(?P<whole>\d+)\.(?P<after>\d*)\\overline\{(?P<again>\d+)\}")
_HALVES = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_VULGAR = re.compile(rf"(?<=\d)\s*([{_HALVES}])")
MOST = 400  # digits of an exponent's number: what is larger is no number that is written out


def number(text: str) -> Number | None:
    """A text that is one number: integer, decimal, power of ten, fraction or mixed number; None for anything else."""
    text = text.strip()
    text = text if text.isascii() else vulgar(text)
    if len(text) > 2 * MOST:
        return None
    match = _DECIMAL.fullmatch(text)
    if match:
        whole = re.sub(r"\D", "", match["whole"] or "")
        after = (match["point"] or match["bare"] or ".")[1:]
        ten = int(match["e"] or match["ten"] or 0)
        if abs(ten) > MOST:
            return None
        value = Fraction(int((whole + after) or 0)) * Fraction(10) ** (ten - len(after))
        ulp = Fraction(10) ** (ten - len(after)) if after else Fraction(0)
        return Number(-value if match["sign"] == "-" else value, len(after), ulp)
    match = _REPEATING.fullmatch(text)
    if match:
        whole, after, again = match["whole"], match["after"], match["again"]
        value = Fraction(int(whole + after + again) - int(whole + after), 10 ** len(after + again) - 10 ** len(after))
        return Number(-value if match["sign"] == "-" else value)
    match = _FRACTION.fullmatch(text)
    if match:
        above, below = int(match["a"] or match["c"] or match["d"]), int(match["b"] or match["f"] or match["g"])
        whole = int(match["whole"] or 0)
        if not below or match["whole"] and not 0 <= above < below:
            return None
        value = whole + Fraction(above, below)
        return Number(-value if match["sign"] == "-" else value)
    return None


def vulgar(text: str) -> str:
    """½ as 1/2, with a space behind a whole number."""
    return re.sub(
        f"[{_HALVES}]", lambda match: unicodedata.normalize("NFKC", match[0]).replace("⁄", "/"), _VULGAR.sub(r" \1", text)
    )


_NUMBER = re.compile(
    r"(?<!\^)(?<!\^\{)(?:(?<![\w.)])-|(?<=[^\x00-\x7f])-)?"
    r"(?:(?:[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?![,\d])|\d+(?:,\d+)*)(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d+(?![\w.]))?"
)


def numbers(text: str) -> list[str]:
    """The numbers in a text, in order and in canonical form ("1,234.50" is "1234.5")."""
    text = re.sub(r"(?<=-)\\?[$€£¥](?=[\d.])", "", text) if "-" in text else text
    return [shortest(each) for each in _NUMBER.findall(text)]


def shortest(written: str) -> str:
    """The canonical form of a number with or without separators of thousands."""
    if written.isdigit():
        return written.lstrip("0") or "0"
    grouped = re.fullmatch(r"-?[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?", written)
    return str(number(written.replace(",", "") if grouped else written) or written)
