"""What a text states as its final answer: in boxes, in tags, behind "the answer is" in many languages, else at its end.

`explicit` finds what is marked as the answer, `stated` also what merely stands last, `number` reads one number.
Over 400 lines: its tables of markers, denials and numbers in words cover some twenty languages.

- A value that the text denies ("not 3", "3 is wrong", "3? No") is never the answer; what the text puts in its place is.
- Words that change a value ("less than 5", "5 squared") stay with it.
- A text that states several values ("2 or 3") states all of them: they come as one text, joined by "and". Two boxes, tags or
  markers count both where they stand in one sentence, where the second begins with "or" or "also", where the words before
  both are the same but for one ("(a) ... (b) ...", "Alice has ... Bob has ..."), or where they give different names a value.
  Otherwise, and where words such as "so", "finally" or "wait" stand between them, the last one counts.
- Examples, "if it were so, the answer would be 7", and code beside an answer are not looked at.
"""

# ruff: noqa: E501 (tables of phrases)
from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 4_000  # characters of a text that are looked at, from its end

# what is no part of a text: special tokens, marks without width, other scripts' digits and signs

_SPECIAL = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>|[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe0f\ufeff\r✅✓✔\U0001f300-\U0001faff]"
)
_SIGNS = str.maketrans({"−": "-", "﹣": "-", "‐": "-", "‑": "-", "，": ", ", "、": ", ", "٫": ".", "٬": ",", "\u2009": " "})
_DASH = re.compile(r"(?<![\w)\]}])(?<![\w)\]}] )[–—](?=[\d.$])")


def clean(text: str) -> str:
    """The end of a text, or what is around its last box, without special tokens, its digits and signs in ASCII."""
    if len(text) > LONGEST:
        box = text.rfind("\\boxed")
        text = text[: box + LONGEST // 2][-LONGEST:] if 0 <= box < len(text) - LONGEST else text[-LONGEST:]
    if text.isascii():
        if "<|" in text or "s>" in text or "\r" in text or "<e" in text or "<p" in text:
            text = _SPECIAL.sub("", text)
    else:
        text = _DASH.sub("-", re.sub(r"[^\x00-\x7f]", _ascii, _SPECIAL.sub("", text).translate(_SIGNS)))
    text = re.sub(r"<<[^<>\n]*>>", "", text) if "<<" in text else text  # what a calculator is told: "5 * 3 = <<5*3=15>>15"
    if "nswer]" in text or "ANSWER" in text:
        text = re.sub(r"[<\[](/?)(?:final_)?answer[>\]]", r"<\1answer>", text, flags=re.IGNORECASE)
    if "," in text and re.search(r",(?:\d\d?|\d{4,})(?!\d)", text) and _COMMA.search(text) and _EUROPEAN.search(text):
        text = _COMMA.sub(lambda match: f"{match[1].replace('.', '')}.{match[2]}", text)
    small = text.lower()
    english = " the " in small or " and " in small or " to " in small or " = " in small
    stems = _STEMS_ENGLISH if english else _STEMS_FOREIGN if small.isascii() else _STEMS_OF_SCALES
    if any(map(small.__contains__, stems)):
        text = _MINUS.sub("-", _SCALED.sub(_scaled, _SCALED.sub(_scaled, text)))
        text = re.sub(r"\\(?:text|math)[a-z]*\s*\{[\s~]*\}", "", text)
    text = _GROUPED.sub(lambda match: re.sub(r"\D", "", match[0]), text) if "'" in text or "_" in text else text
    text = re.sub(r"~~[^~\n]{1,80}~~", "", text) if "~~" in text else text
    return re.sub(r"(?<![\w)}\]$\\~])~(?=\s?\$?-?\d)", "about ", text) if "~" in text else text


_GROUPED = re.compile(r"(?<![\w.,'])[1-9]\d{0,2}(?:(?:'\d{3})+|(?:_\d{3})+)(?![\d'_])")  # 1'234, 1_000
# "1.234,5" and "3,5" where the words around are of a language that writes decimals so
_COMMA = re.compile(r"(?<![\d.,({\[])(?<!\d[,;] )(\d{1,3}(?:\.\d{3})+|\d+),(\d{1,2}|\d{4,})(?![\d.,]*\d|[)}\]])")
_EUROPEAN = re.compile(
    r"[а-яё]{2}|\b(?:die|der|das|ist|sind|beträgt|la|les?|des|est|vaut|el|los|una?|es|il|sono|vale|het|een|wynosi|svaret|cevap)\b"
    r"|(?<!\w)[éè](?!\w)|\b(?:resposta|respuesta|risposta|antwoord|antwort|odpowied|svar)|réponse",
    re.IGNORECASE,
)
_MINUS_WORDS = "minus|negative|минус|мінус|menos|moins|meno|eksi|âm"
_MINUS = re.compile(
    rf"(?<![\w)\]}}$%])(?<![\d)\]}}$%]\s)(?<!\ba[ul]\s)(?<!\bdu\s)(?<!pelo\s)(?<!\\)(?:{_MINUS_WORDS})\s+(?=\\?\$?(?:\.?\d|\\(?:boxed|[dt]?frac|sqrt)))"
    r"|(?:负|負|マイナス|마이너스\s|سالب\s|ناقص\s)(?=\\?\$?(?:\d|\\boxed))",
    re.IGNORECASE,
)
_SCALES = {
    3: "thousands?|тысяч[аи]?|тис(?:яч[аі]?)?|тыс|tausend|mille|mila|tysi[ąę]c[ey]?|ribu|duizend|천|千",
    4: "万|萬|만",
    5: "lakhs?",
    6: "millions?|million(?:en|er)|mill[óo]n(?:es)?|milh(?:ão|ões)|milion[eiy]?|milionów|milyon|миллион(?:а|ов)?|млн|мільйон(?:а|ів)?|miljoen"
    "|juta|triệu|مليون",
    7: "crores?",
    8: "亿|億|억",
    9: "billions?|milliard(?:s|en|er|e)?|миллиард(?:а|ов)?|млрд|мільярд(?:а|ів)?|miljard|milyar",
    12: "trillions?",
    2: "hundreds?|百",
}
_SCALE = "|".join(f"(?P<e{scale}>{words})" for scale, words in _SCALES.items())
_STEMS_ENGLISH = ("illion", "ousand", "undred", "lakh", "crore", "minus", "negative")
_STEMS_FOREIGN = (
    *_STEMS_ENGLISH,
    *re.findall(
        r"\S+",
        "menos moins meno eksi illiard mille milh milion milyon tausend mila tysi ribu duizend millon juta miljoen miljard",
    ),
)
_STEMS_OF_SCALES = (
    *_STEMS_FOREIGN,
    *re.findall(
        r"\S+", "тыс тис мил мл міл triệu مليون 万 萬 만 亿 億 억 천 千 百 минус мінус âm 负 負 マイナス 마이너스 سالب ناقص"
    ),
)
_SCALED = re.compile(
    r"(?<![\d.,])(?P<whole>\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.(?P<after>\d{1,15}))?(?!\d)(?P<closed>[}$]*)(?:\s|~)?(?P<macro>\\(?:text|math)[a-z]*\s*\{(?:\s|~)*)?"
    rf"(?:{_SCALE})(?:(?<=[^\x00-ӿ])|(?!\w|-))",
    re.IGNORECASE,
)


def _scaled(match: re.Match) -> str:
    """ "1.5 million" as 1500000."""
    after = match["after"] or ""
    scale = int(match.lastgroup[1:])
    digits = f"{match['whole']}{after}".replace(",", "") + "0" * max(0, scale - len(after))
    point = len(after) - scale
    digits = f"{digits[:-point]}.{digits[-point:]}" if point > 0 else digits.lstrip("0") or "0"
    return digits + match["closed"] + (match["macro"] or "")


def _ascii(match: re.Match) -> str:
    sign = match[0]
    if "！" <= sign <= "～":
        return chr(ord(sign) - 0xFEE0)
    return str(unicodedata.digit(sign)) if unicodedata.category(sign) == "Nd" else sign


# what a text denies, and what changes a value


def _phrases(table: str, before: str = r"(?<!\w)", behind: str = r"(?!\w)") -> str:
    """A pattern for the phrases of a table, by default as whole words; they stand between " | " or lines."""
    phrases = "|".join(re.sub(r" +", r"\\s+", each) for each in re.split(r" \| |\n", table.strip()))
    return f"{before}(?:{phrases}){behind}"


_DOUBTS = (
    r"(?<!no\s)doubt(?:s|ful)? | den(?:y|ies) | (?:false|wrong|incorrect|untrue) (?:that|to \w+) | impossible | disagree(?:s|d|ing)? | unlikely | hardly"
    r" | tempting | mistake(?= (?:is|was|would be|to)) | (?:might|may) (?:think|say|guess|believe|expect|assume) | first guess | used to be"
)
# They deny what follows; those of the second table also what follows "is" ("not true that it is 3").
_NOT = re.compile(
    _phrases(
        r"""
(?:not|never)(?! only) | neither | nor | nobody | no one | cannot | (?:thought|believed|claimed|said) to be | no(?= [a-zé\d$])(?! (?:doubt|matter|problem|more than|of)) | \w+n['’]t
except(?:ing)?(?: for)? | exclud(?:es?|ed|ing) | discard(?:s|ed|ing)? | dismiss(?:es|ed|ing)? | (?:we|can|must|should) (?:drop|ignore) | eliminat(?:es?|ed|ing) | reject(?:s|ed|ing)? | rul(?:es?|ed|ing) out
(?:instead|rather|(?<!none\s)other) (?:of|than) | (?:different|far) from | (?:anything|everything|all) but | unlike
DOUBTS
(?:wrong|incorrect|false) (?:answers?|values?|results?|options?|choices?|guess|solutions?|numbers?)
nicht | weder | kein(?:e[mnrs]?)? | pas | jamais | nunca | não | nem | non | né | nie | niet | geen | inte | ikke | tidak | bukan
không | chẳng | не | ни | нет | ні | ليس | ليست | لا | δεν | όχι | לא | אינ\w+ | nu | si(?= \d)
""".replace("DOUBTS", _DOUBTS)
    )
    + r"|\b(?:wrong|incorrect|false|ignor(?:e|ing)|disregard(?:ing)?|omit(?:ting)?)[\s$]*$|(?<!\w)非|不是|不等[于於]|不[为為]|不会是|不可能|[并並而]非|ไม่|≠|\\neq?(?![a-z])|\\not(?![a-z])|(?<![\d)}A-Za-z])!=",
    re.IGNORECASE,
)
_NOT_THAT = re.compile(
    _phrases(
        r"""
(?:not|\w+n['’]t|never|cannot) (?:\w+ )?(?:(?:the )?(?:true|case|correct|right|certain)|mean|imply|follow|think|believe|say|claim|conclude|agree|know|sure|that (?:the|it))
DOUBTS | no way
""".replace("DOUBTS", _DOUBTS)
    ),
    re.IGNORECASE,
)
_INSTEAD = re.compile(r"[;,]|" + _phrases("but | rather | instead"), re.IGNORECASE)
_ASSERTED = re.compile(  # ends what a negation reaches: "those not sold are 3"
    _phrases(r"""
but | rather | instead | so | thus | hence | therefore | because | since | it['’]s | that['’]s | sondern | sino | mais | mas | но | а
(?<=[\w$)}]\s)(?:is|are|was|were|has|have|gives?|get|leaves?|makes?|numbers?|totals?|equals?|sont|sind)
""")
    + "|[,;:=]|而是",
    re.IGNORECASE,
)
_LISTED = re.compile(
    r".*[\d}$)]\s*,?"
    + _phrases("or | and | nor | oder | ou | o | noch | ni | и | или | 或 | 和", r"\s*", r"\s*(?:[a-zé]+\s+)?\W*"),
    re.IGNORECASE | re.DOTALL,
)
_STOPS = r"(?=\s*(?:[.,;:!)\n—-]|$))"
_RIGHT = rf"(?:be |(?:seem|look|sound)s? )?(?:(?:the )?(?:right|correct|true|answer|solution|case)|(?:it|valid|possible|work|fit|satisfy){_STOPS})"
_FALSE = rf"(?:(?:wrong|incorrect|mistaken|untrue|fails|false|impossible|invalid|too (?:high|low|big|small|large)|a(?: \w+)? (?:mistake|error)|a contradiction|contradictory|absurd|not){_STOPS}"
_DENIED_BEHIND = re.compile(
    r"[\s$*_`)\]}\\\"']*(?:\?(?!\s*(?:yes|right|correct|indeed))|"
    + _phrases(
        rf"""
(?:VERB )(?:be |an? )?(?:\w+ )?(?:wrong|incorrect|mistaken|untrue|extraneous|excluded|rejected|discarded|eliminated|ruled out)
(?:fails|contradicts|makes no sense) | (?:does not|doesn['’]t|fails to) (?:work|fit|satisfy|make|hold) | (?:drops?|falls?) out | must go{_STOPS} | (?:scratch|ignore|disregard|forget) (?:that|this|it) | i take (?:that|it|this) back
VERB (?:no (?:answer|solution|option|root|candidate)|never|out{_STOPS}|what (?:an?|one|some|many|most)) | just kidding | i(?: a|['’])m wrong | i was wrong | let me retract
(?:VERB )?(?:(?:also|clearly|obviously|actually|definitely|just|simply) )?(?:{_FALSE})|(?:can)?not {_RIGHT})
(?:is|was|ca|could|do|does|must)n['’]t {_RIGHT} | (?:is|can|could|does|must)(?: not|not) {_RIGHT}
(?:no|nope)(?=\s*[,.!:;—-]|\s+(?:that|it|wait|this)\b|\s*$)
""".replace("VERB", "(?:is|was|are|seems|looks|(?:must|would|has to|have to) be|can|could|does|must)"),
        r"[\s.,;!:(—–-]*(?:(?:but|and|hmm+|wait|oh|oops|sorry|well|actually)[\s,.…]+)*(?:(?:that|this|it|which)(?:['’]s)?\s*)?",
    )
    + _phrases(
        r"""
(?:is|was|would be|seems|has to be|must be|can be) (?:too (?:many|few|much|little)|out of|left out|ignored|omitted|irrelevant|unrelated|unnecessary|extra|an? (?:distractor|decoy|red herring)|(?:more|less|fewer|greater|larger|smaller) than)
(?:plays|has) no (?:role|part|effect|influence|bearing) | (?:does not|doesn['’]t) (?:count|matter|belong|apply|enter|contribute) | (?:stays|remains|falls|drops) out
""",
        r"|[\s$*_`]*",
    )
    + r"|\s*is\s+not\b(?!\s+only)|\s*(?:不是|不对|不正确|是错|错误|并非|ではな|ではあり|でな|じゃな|(?:이|가)?\s*아[니닙]|değil|नहीं|নয়|не\s|неверн|неправильн"
    r"|は間違|[은는] 틀|ليس|خطأ|ist\s+(?:falsch|nicht)|es\s+(?:incorrect|fals|errón)|no\s+es\b|n['’]est\s+pas|est\s+(?:faux|incorrect)|não\s+é|est[áa]\s+errad"
    r"|è\s+sbagliat|non\s+è))",
    re.IGNORECASE,
)


def _sentence(before: str) -> str:
    """The end of a text, from where its last sentence begins."""
    end = max(
        before.rfind(". "), before.rfind("? "), before.rfind("! "), before.rfind("\n"), before.rfind("。"), before.rfind(".$ ")
    )
    if end > 2 and (before[end - 3 : end] == "e.g" or before[end - 1] == ":"):
        return _sentence(before[:end]) + before[end:]
    return before[end + 1 :]


_BUT_WRONG = re.compile(
    r"[^.!?\n]{0,80}\bbut\s+(?:it|that|this|they)(?:['’]s|\s+(?:is|are))\s+(?:wrong|incorrect|not\s+(?:right|correct|true))\b",
    re.IGNORECASE,
)
# The first words of what denies: a text without them need not be looked at closely.
_DENIAL_WORDS = """
not never neither nor nobody no cannot thought believed claimed said t except excepting excludes exclude excluded excluding
eliminate eliminates eliminated eliminating ignoring disregard disregarding omit omitting reject rejects rejected rejecting rule rules ruled ruling instead rather other
different far anything everything all unlike doubt doubts doubtful deny denies false wrong incorrect untrue impossible
disagree disagrees disagreed disagreeing unlikely hardly discard discards discarded discarding dismiss dismisses dismissed dismissing drop ignore tempting mistake
might may guess used nicht weder kein keine keinen keinem keiner keines pas jamais nunca nem non nie niet geen inte ikke tidak bukan nu si ne neq
"""
# Words before a number, or on either side of it, without which it is neither denied nor changed.
_CHANGE_WORDS = """
than least most only up under over above below between beyond nearly almost halfway near short as otherwise exceed exceeds
range ranges after before following preceding successor predecessor complement half twice thrice double triple times root
square cube inverse reciprocal opposite negative log factorial power multiple multiples factor factors divisor divisors sum
product difference ratio percent divisible divided multiplied base mod modulo minus plus about around roughly approximately
approx circa close etwa environ aproximadamente cerca mehr weniger kleiner mindestens menos mayor menor al mitad doble moins
au mais que maior pelo metade maggiore minore meno di sqrt ln exp sin cos tan third quarter fourth fifth tenth infinity inf
pi hundred hundreds thousand thousands million millions billion billions trillion trillions lakh lakhs crore crores mille
mila tausend milliard milliards millionen millioner milliarde milliarden milliarder millon millones inferior superior milion
milioni milione ribu juta duizend miljoen miljard milyar milyon eksi
"""
_BEHIND_WORDS = """
or and also alternatively another maybe perhaps possibly but though although it this that which i too works is was are am be
seems looks must would can could may might does do did fails contradicts makes drops falls scratch disregard forget just
plays stays remains has hmm wait oh oops sorry well actually correction let hold mean make second squared cubed raised to if
unless provided with give absurd contradictory invalid mistaken nope retract at out degrees k mil bn mn tn oder ou ist es
est sondern sino
"""
DENIALS = frozenset(_DENIAL_WORDS.split())
HINTS = DENIALS | frozenset(_CHANGE_WORDS.split())
HINTS_BEHIND = HINTS | frozenset(_BEHIND_WORDS.split())
_LOWER = re.compile(r"[a-z]+")


def may_deny(text: str) -> bool:
    return not text.isascii() or "!=" in text or not DENIALS.isdisjoint(_LOWER.findall(text.lower()))


def denied(before: str, behind: str = "") -> bool:
    """Does a text deny the value that stands between `before` and `behind`?"""
    if behind and (_DENIED_BEHIND.match(behind) or "but" in behind and _BUT_WRONG.match(behind)):
        return True
    before = _sentence(before)
    if not may_deny(before):
        return False
    *_, last = [None, *_NOT.finditer(before)]
    if not last:
        return False
    that = _NOT_THAT.search(before)
    if that:
        return not _INSTEAD.search(before, that.end())
    between = before[last.end() :]
    if re.search(r"\d", between):
        return (
            bool(re.search(r"[({\[][^)}\]]*$", between))
            or bool(_LISTED.fullmatch(between))
            and not _ASSERTED.search(re.sub("[=,]", "", between))
        )
    return not _ASSERTED.search(between)


# "about" changes an integer only: a decimal is a rounding anyway.
_ABOUT = (
    _phrases("""
about | around | roughly | approximately | approx\\.? | circa | close to | примерно | около | приблизительно | etwa | ungefähr | environ
aproximadamente | cerca de
""")
    + "|(?:大约|大概|約|约|接近)(?:是|为|为|等于)?"
)
_CHANGES_BEFORE = re.compile(
    rf"(?:(?P<about>{_ABOUT})|"
    + _phrases(r"""
(?:less|fewer|more|greater|larger|smaller|bigger|higher|lower|older|younger|longer|shorter) than(?: or equal to)?
at (?:least|most) | not only | (?<!add\s)(?<!adds\s)(?<!sum\s)(?<!sums\s)(?<!rounds\s)(?<!rounded\s)up to | under | over | above | below | between | beyond | nearly | almost | halfway to | near | short of | as (?:many|much|few|little|high|low) as | otherwise | exceeds? | ranges? from \S+ to
(?:next|previous|first|last|number|prime|integer|even|odd|multiple) (?:\w+ )?(?:after|before|following|preceding) | (?:successor|predecessor|complement) of
(?:an?|one)[ -](?:half|third|quarter|fourth|fifth|tenth) of | half(?: of)? | twice | thrice | double | triple | times
(?:square|cubic|cube) root of | (?:square|cube|inverse|reciprocal|opposite|negative|log|factorial|power|multiples?|factors?|divisors?) of
(?:sum|product|difference|ratio) (?:of|between) | percent of | divisible by | divided by | multiplied by | base | mod(?:ulo)? | minus | plus
(?:weniger|mehr|größer|kleiner) als | mindestens | höchstens | die hälfte von | menos de | más de | (?:mayor|menor) que | al menos
(?:la mitad|el doble) de | (?:moins|plus) de | au (?:moins|plus) | la moitié de | mais de | (?:plus|moins) \w+ que | (?:inférieure?|supérieure?) à | (?:inferior|superior) a | (?:maggiore|minore|più|meno) di | maior que | pelo menos | metade de
меньше | больше | менее | более | половин\w+(?: от)? | أقل من | أكثر من | نصف
""")
    + r"|(?:小于|大于|[少多]于|至少|至多|最多|超过|不到)(?:是|为|有)?|약)[\s$(\\]*$",
    re.IGNORECASE,
)
_CHANGES_BEHIND = re.compile(
    r"\s*(?:"
    + _phrases(
        r"""
squared | cubed | and (?:an? |one |three )?(?:half|third|quarter|fourth|fifth|tenth)s? | or (?:more|less|fewer|so|higher|lower|greater|larger|above|below)
factorial | (?:raised )?to the (?:\w+ )?power | plus | minus | times(?= [\d$\\(]) | divided by | multiplied by | mod(?:ulo)?
(?:only if|unless|provided) | if(?= (?:you|we|one|\$?[a-z]\$? (?:is|=))) | with an? (?:error|uncertainty|tolerance) | give or take
(?:\w+ )?(?:less|more|fewer) than(?= \$?[\d\\]) | percent (?:less|more|of) | at (?:the )?(?:very )?(?:least|most) | out of(?= \$?\d) | over(?= \$?[\d.]+\s*(?:$|[,;)])) | in \d{1,3}(?=\s*(?:$|[.,;)])) | in base | (?:degrees? )?below zero | k | mil | bn | mn | tn | raised to
to the (?:power|\w+ power|\d+(?:st|nd|rd|th)|second|third|fourth|fifth) | dozens? and
(?:oder|ou|o|или) (?:mehr|weniger|plus|moins|más|menos|mais|больше|более|меньше|менее)
""",
        "",
    )
    + r"|%\s+of\b|\+(?=\s*(?:$|[.,]))|以上|以下|以内|未満|보다|이상|이하|미만|초과|より|的(?:一半|两倍|平方|倍|\d))",
    re.IGNORECASE,
)


# boxes and tags

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_ONE_BOX = re.compile(r"\\boxed\{(\d+)\}(?!\s*(?:\\pi|π|\\?%))")
_ALONE = re.compile(r"[\s$.]*")
_TAG = re.compile(
    r"<(answer|final_answer)>((?:(?!</?(?:final_)?answer>).)*+)(?:</\1>|\Z)"
    r"|[\"'](?:final_?|correct_?)?answer[\"']\s*:\s*(\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|-?[\d.]+(?:[eE][-+]?\d+)?(?=\s*[,}\n]))",
    re.DOTALL | re.IGNORECASE,
)
AND = r"(?:and|or|und|oder|et|ou|和|或|及|与|или)"
_AND = rf"(?:{AND}|(?<=\s)(?:y|e|o|и|و|أو)(?=\s))"
# What stands between two values: the second replaces the first, follows from it, or is stated beside it.
_REPLACED = re.compile(
    r"\b(?:not|no|wrong|incorrect|rather|actually|wait|instead|but(?!\s+also)|mistake|correction|oops|sorry|hmm|scratch|hold\s+on)\b|n['’]t\b|不|错|\b(?:nicht|sondern)\b|(?<!\w)(?:не|нет)(?!\w)",
    re.IGNORECASE,
)
_FOLLOWS = re.compile(
    r"\b(?:so|thus|hence|therefore|finally|final|next|step|conclu\w+|simplif\w+)\b|[.!?]\s+(?:then|now)\b"
    r"|^\s*\$?\s*(?:=|[-+*/].*=\s*$|\\(?:implies|Rightarrow|to|approx)\b|⇒|=>|→|->|≈)|因此|所以|итого|всего",
    re.IGNORECASE,
)
_TOTAL = re.compile(r"\b(?:total|altogether|overall|combined|answer|together|result\w*)\b", re.IGNORECASE)
_BESIDE = re.compile(
    r"[\s$.,;:)\]}\\]*(?:or\b|also\b|alternatively\b|another\b|and\b|(?:it|or|this)\s+(?:could|may|might|can)\b|maybe\b|perhaps\b|possibly\b|或者?)",
    re.IGNORECASE,
)
_NAME = re.compile(r"([A-Za-z]\w{0,5}(?:_\{?\w\}?)?)\s*=(?!=)")
_BEHIND = re.compile(r"\s*(?:\\pi(?![A-Za-z])|π|\\?%)")  # belongs to the box before it
_SIGN = re.compile(r"(?:^|[=$(\[{,])\s*-\s*$|[A-Za-z]\s+-$")
_FUNCTIONS = r"\\(?:sqrt|[dtc]?frac|[dt]?binom|log|ln|exp|sin|cos|tan|cot|sec|csc|overline)(?![A-Za-z])"
_TIMES = r"\\(?:times|cdot|div|pm|mp)(?![A-Za-z])"
# What makes another value of a box: it stands before the box, or behind it.
_INTO = re.compile(
    rf"(?:\d|(?<![A-Za-z\\])[A-Za-z]|(?:[\d)}}\]]|(?<![A-Za-z])[A-Za-z])(?:\s*[+/^]|[^\S\n]*[-*])\s*|{_TIMES}\s*"
    rf"|(?<![\d.])(?<![Ss]tep\s)(?<![Pp]art\s)(?<![Cc]ase\s)\d+(?:\.\d+)?[^\S\n]*:[^\S\n]*"
    rf"|(?:half\s+of|twice|(?:square|cubic|cube|fourth)\s+root\s+of|square\s+of|reciprocal\s+of|inverse\s+of|opposite\s+of|half)[\s$]*"
    rf"|{_FUNCTIONS}\s*(?:\[[^\[\]]*\]|\{{[^{{}}]*\}})?\s*\{{?\s*)\Z"
)
_ONTO = re.compile(
    rf"\s*(?:{_TIMES}|{_FUNCTIONS}|(?:\\[,;:! ])?\\(?:text|mathrm)\s*\{{\s*[a-fi-kn-rt-z]\s*\}}|[.,:]?\d|[a-zA-Z](?![A-Za-z])(?<!\s[aAI])|[_/](?=[\w\\({{])"
    r"|\^(?!\s*\{?\s*\\circ)|\s?[-+*]\s?(?=[\d({]|\\(?![\])]))|[-+](?=[A-Za-z])|!\s*(?:\$|\\[)\]])"
    rf"|\$?\s*(?:squared|cubed|(?:plus|minus|or\s+more|or\s+less|and\s+a\s+half)\b))",
    re.IGNORECASE,
)
_ROUGHLY = re.compile(r"approx|about|roughly|≈", re.IGNORECASE)


def _beside(text: str, start: int, end: int, said: str, read: str) -> str:
    """What the last box states, start to end, `said`, with regard to its surroundings; "" where they contradict it."""
    before, behind = text[max(0, start - 80) : start], text[end : end + 300]
    if denied(before, behind):
        return (_marked(behind) or _replacement(behind)) if read != "boxed" else ""
    tail = before.rstrip(" $\n")  # quickly, what is most frequent: "= \\boxed", "is \\boxed"
    plain = "\\" not in tail[-12:] and (tail[-1:] in "=" or tail[-3:].isalpha() and tail[-4:].lower() not in ("half", "wice"))
    if _ONTO.match(behind) or not plain and _INTO.search(before[-48:]) and not _SIGN.search(before):
        return ""
    if _CHANGES_BEHIND.match(behind) or _other(said, behind):
        return ""
    marked = _marked(text[end:]) or (_TAKEN_BACK.search(behind) and _replacement(behind)) if read != "boxed" else None
    return said if not marked or _ROUGHLY.search(behind) or _agree(said, marked) else ""


def _changed(text: str, start: int, end: int) -> bool:
    """Do words around a bold value or a tag change it: "at least", "or fewer"? A box may stand behind "at least"."""
    change = _CHANGES_BEFORE.search(text[max(0, start - 26) : start])
    if change and "\n" in change[0] and not _OPEN.search(change[0].rstrip("* $\n(\\")):
        change = None  # "33 times", and the value in the next line
    return bool(change and not change["about"] or _CHANGES_BEHIND.match(text, end))


_OPEN = re.compile(r"(?:than|least|most|of|between|to|by)\Z", re.IGNORECASE)


def _other(said: str, behind: str) -> str:
    """What is stated beside a value, behind it; "" where that is nothing else."""
    more = _MORE.match(behind)
    if not more or _ROUGHLY.search(more[0]):
        return ""
    other = value(clause(behind[more.end() :].split("\n", 1)[0])[0])
    other = other if "(" in other else other.rstrip(")")
    if amount(said) is not None and amount(other) is not None:
        return "" if restates(said, other) else other
    return "" if other == said or re.search(r"\d", other) and _agree(said, other) else other


def _agree(boxed: str, marked: str) -> bool:
    """Is what is marked behind a box the same, or nothing that could be compared?"""
    letters = [
        re.fullmatch(r"[(\s]*([A-J])(?:[).:\s].*)?", re.sub(r"\\text\w*\s*\{([^{}]*)\}", r"\1", each))
        for each in (boxed, marked)
    ]
    if all(letters):
        return letters[0][1] == letters[1][1]
    ends = [re.sub(r"^.*(?:=|>>)", "", each) for each in (boxed, marked)]
    pair = [number(re.sub(r"[$\s{}]|\\text\s*\{.*", "", each) if "frac" not in each else bare(each)) for each in ends]
    if all(pair):
        return pair[0].value == pair[1].value
    return not re.search(r"\d", marked) or set(numbers(ends[0])) == set(numbers(ends[1]))


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


def _intro(text: str, end: int) -> list[str]:
    """The words of the sentence that a value ends."""
    sentence = re.split(r"[.!?;,](?=\s)|\n", text[max(0, end - 120) : end])[-1]
    return re.findall(r"\w+|[^\w\s$*\\{}\[\]():.]", sentence)


def _both(text: str, first: tuple[int, int, str], second: tuple[int, int, str]) -> bool:
    """Do two values count both, and not the second alone? The rule stands at the top of this file."""
    between = text[first[1] : second[0]]
    names = [_NAME.match(each[2]) for each in (first, second)]
    if all(names) and names[0][1] != names[1][1]:
        return True
    if len(between) > 200 or _REPLACED.search(between):
        return False
    if _BESIDE.match(between):
        return True
    if _FOLLOWS.search(between):
        return False
    if not re.search(r"[.!?](?=\s)|[。！？\n]", between.rstrip()):
        return not _TOTAL.search(between)
    intros = [_intro(text, each[0]) for each in (first, second)]
    alike = len(intros[0]) == len(intros[1]) and sum(a != b for a, b in zip(*intros, strict=True)) <= 1
    return alike and (len(intros[0]) > 1 or not _TOTAL.search(between))


def _chain(text: str, spans: list[tuple[int, int, str]]) -> str:
    """The last span, and those before it as long as they count beside it."""
    contents = [spans[-1][2]]
    for before, after in zip(spans[-2::-1], spans[:0:-1], strict=True):
        if not _both(text, before, after):
            break
        contents.insert(0, before[2])
    return " \\text{ and } ".join(distinct(contents))


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
_VERBS = r"(?:would|will|should|must|could|might|may)\s+be|equals|becomes|comes\s+(?:out\s+)?to(?:\s+be)?"
_PAIRS = [line.replace("VERBS", _VERBS).split(" | ") for line in _WORDS.strip().splitlines()]
_MARK = r"[*_`\s]{0,6}(?:(?:\([^()\n]{1,30}\)|\d(?!\d))[*_`\s]{0,6})?"
_START = r"(?<![^\W\d_])"
_SAYS = "|".join(
    rf"(?:{word}){_MARK}(?:[:=|]|->|→|(?:{verbs})(?:(?<=[^\x00-\x7f])|(?![A-Za-z]))\s*:?)" for word, verbs in _PAIRS
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
    r"(?:[\s:*_`]|(?<=\n)[>|]|(?:therefore|thus|then|simply|just|clearly|indeed|actually|exactly|equal\s+to|given\s+by|as\s+follows)\b[\s,:]*+"
    r"|(?:(?:approximately|about|roughly)\b|\\approx|≈)[\s,:$]*+(?=-?\d*\.\d))+(?=\S)",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(  # "the answer is correct" says nothing of what it is
    r"(?:correct|right|wrong|incorrect|reasonable|clear|valid|verified|consistent|confirmed|found|given|below|above|unique|simple)"
    r"(?![A-Za-z])",
    re.IGNORECASE,
)
# "For example, the answer is 7", "if she had 3, the answer would be 7": a sentence that does not speak of this problem
_EXAMPLE = re.compile(
    r"\b(?:e\.g\b|examples?\b|for\s+instance\b|suppose\b|imagine\b)|例如|比如|например|zum\s+beispiel|par\s+exemple|por\s+ejemplo",
    re.IGNORECASE,
)
_OPENING = re.compile(r"\s*(?:(?:So|Thus|Therefore|Hence|Finally),?\s+)?(?:[Tt]he\s+)?(?:final\s+|correct\s+)?")
_SUPPOSED = re.compile(
    r"\b(?:if|whether|assum(?:e|ing)|suppos(?:e|ing))\s+(?:that\s+)?(?:the\s+|your\s+|my\s+)?$", re.IGNORECASE
)
_WOULD = re.compile(r"\b(?:would|might|could)\b", re.IGNORECASE)
_IF = re.compile(r"\b(?:if|had|were|unless|otherwise)\b", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|correction|sorry|oops|mistake|no,|scratch that|hold on|let me re|i mean|make that|second thought)",
    re.IGNORECASE,
)
_ASSERTS = re.compile(
    r"(?:^|[.,;:!?—-]|\s)\s*(?:(?:but|rather|instead|actually|so|then|no|and)[\s,:]+)*(?:(?:it|that|this|which|(?:the|my)\s+(?:(?:correct|right|actual|real|true|final|new)\s+)?(?:answer|value|one|result|number))"
    r"(?:['’]s|\s+(?:is|was|should\s+be|must\s+be|has\s+to\s+be|equals|becomes|=))(?:\s+(?:actually|really|in\s+fact|instead|rather))*|(?:(?<!thing\s)(?<!all\s)but|rather|instead|(?:no|wait)(?=\s*[,:—-]))(?=[\s,:—-]+[$(*\[]*(?:-?[\d\\]|(?-i:[A-Ja-z])(?![A-Za-z])))"
    r"|i\s+meant?|make\s+(?:that|it)|sondern|sino|mais|mas|ma|es\s+ist|c['’]est|это)\s*[:,—-]?\s+|而是|(?<!\w)(?:а|но)\s+|,\s*是",
    re.IGNORECASE,
)
# Another value beside one that is stated: "or else 6", "(or 6)", "it could be 6", "6 works too"
_MORE = re.compile(
    r"[\s$*]*[.,;–—-]?[\s$*]*(?:(?:\\text\s*\{\s*(?:or|and)\s*\}|\((?:or|maybe|possibly|perhaps)(?=\s+\$?-?[\d.,]+\$?\s*\))|(?:or|and|also|alternatively|possibly|maybe|perhaps"
    r"|another \w+ is|but(?=\s+\$?-?\d\S*\s+(?:also|works|too|is\s+also)\b)|(?:(?:but|though|although)\s+)?it\s+(?:could|might|may|can)(?:\s+also)?(?:\s+be)?)\b)"
    r"[\s,]*(?:(?:also|possibly|maybe|perhaps|even|else|sometimes|[a-z]+ly|it\s+(?:could|might|may)(?:\s+also)?\s+be|it\s+is|is)[\s,]+)*(?=[$*(]*-?(?:\d|\\(?!boxed|fbox))|[*(]*(?-i:[A-J])\b)"
    r"|\(?(?=(?:\$?-?\d[\d.]*\$?|\(?(?-i:[A-HJ])\)?)\s+(?:also|too|(?:also\s+)?works|is\s+(?:also|another))\b))",
    re.IGNORECASE,
)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", re.DOTALL)
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


def explicit(text: str, read: str = "auto") -> str | None:
    """What a cleaned text marks as its answer: "" where it marks one and denies it or never ends it, None where it marks none.

    read: "boxed" looks at boxes alone, "last" at everything else, "auto" at all, boxes before what stands around them.
    A text that marks none, but denies or changes what stands last, states what `loose` finds.
    """
    at = text.find("\\boxed{")  # quickly, what is most frequent: one box with an integer
    quick = _ONE_BOX.match(text, at) if at >= 0 and read != "last" and text.count("box") == 1 and "nswer>" not in text else None
    if quick and _ALONE.fullmatch(text, quick.end()) and (not at or text[at - 1] in "$ \n"):
        before = text[max(0, at - 80) : at]
        if not before.rstrip("$ \n").endswith(("-", "+", "/", "*")) and not (
            "\\" in before[-12:] or _INTO.search(before) or denied(before)
        ):
            return quick[1]
    said = marked(text, read)
    if said is None and read != "boxed":
        digit = max(map(text.rfind, "0123456789"))
        last = text[max(text.rfind("\n", 0, max(0, digit)), digit - 300, 0) :]
        if not _PLAIN.fullmatch(last) and (may_deny(last) or _ODD.search(last.lower())):
            said = "" if _LABELLED.search(text[-600:]) else loose(text)
            changed = not said or prose(said) or _NOT.search(said) or _SEVERAL.search(said)
            return said if changed or numbers(said)[-1:] != numbers(last)[-1:] else None
    return said


_SEVERAL = re.compile(rf"(?<![^\W\d_]){AND}(?![^\W\d_])|\d\s?[,;]\s+-?\d|\d[,;]\s*[a-z]\w?\s?=", re.IGNORECASE)


def marked(text: str, read: str = "auto") -> str | None:
    """As `explicit`, but None for every text that marks no answer."""
    if "```" in text and read != "boxed":
        outside = _FENCE.sub("\n", text)
        said = _outside(outside, read) if outside.strip() else None
        if said is not None:
            return said
    return _outside(text, read)


_LABELLED = re.compile(r"(?:^|[\s(])a\).*[\s(][b-e]\)[^\n]*\Z", re.DOTALL)  # "a) 5, b) 6"
_PLAIN = re.compile(r"[#$=:A-Z\s]*[\d.,]*")
_ODD = re.compile(  # a hint, found quickly, that the last number of a text may not be its answer alone
    r"\d[\s$*.,;)]*(?:\?|[^\x00-\x7f]|\b(?:or|and|is|was|are|seems|can|could|does|that|this|it|no|maybe|possibly|perhaps|would|must|squared|cubed|fails|drops|falls|ist|est|es|değil)\b)"
    r"|than\s|multiple\s|divisible\s|below|least|most\b|about|half|twice|double|root\s|between|nearly|almost|around|roughly|approx|under|over|up\s+to|times\s|[,;]\s\$?\d+\W*$|\d[,;]\s*[a-z]\w?\s?=|\A\s*\$?\d[^=]*\b(?:and|or|in|during|within|after)\s|\d[^.\n]*\bor\s[^.\n]*\d|=\s*[*$]*[\d.,]+[*]*\s[a-z][^=]*\d|[b-e]\)|[^\x00-ɏ]",
)


def _outside(text: str, read: str) -> str | None:
    """`marked` for a text without code."""
    boxes = _boxes(text) if read != "last" and "box" in text else []
    if boxes is None:
        return ""
    tags = [] if read == "boxed" or "nswer" not in text or not re.search(r"nswer[>\"']", text) else list(_TAG.finditer(text))
    tags = [(tag.start(), tag.end(), (tag[2] or _json(tag[3])).strip()) for tag in tags if tag[2] or tag[3]]
    tags = [tag for tag in tags if tag[2]]
    if tags and (not boxes or tags[-1][1] > boxes[-1][0]):
        inside = [(start, end, stated(content, read)) for start, end, content in tags[-8:]]
        said, behind = _chain(text, inside), text[tags[-1][1] :][:300]
        if denied("", behind):
            return _replacement(behind)
        return "" if _changed(text, *tags[-1][:2]) or _other(said, behind) else said
    if boxes:
        kept = [box for box in boxes[:-1] if not denied("", text[box[1] : box[1] + 60])] + boxes[-1:]
        return _beside(text, *boxes[-1][:2], _chain(text, kept), read)
    return _marked(text) if read != "boxed" else None


def _json(text: str) -> str:
    """A JSON value as text; a model may leave the backslashes of LaTeX as they are."""
    text = text.strip("\"'").replace('\\"', '"')
    escaped = all(len(run) % 2 == 0 for run in re.findall(r"\\+", text))
    return text.replace("\\\\", "\\") if escaped else text


def _replacement(text: str) -> str:
    """What a text puts in the place of a value that it denies: "it is 4", "but 4"; "" where nothing."""
    said = ""
    for asserted in _ASSERTS.finditer(text[:300]):
        rest = text[asserted.end() :]
        found = value(clause(rest.split("\n", 1)[0])[0])
        if _WORTH.match(found) and not _DENIED_BEHIND.match(rest[len(found) :]):
            said = found
    return said


def marks(text: str) -> list[int]:
    """Where words of markers stand, e.g. "answer"."""
    small = text.lower()
    return [small.find(stem) for stem in (_STEMS if text.isascii() else _STEMS + _MORE_STEMS) if stem in small]


def _marked(text: str) -> str | None:
    for mark in ("####", "answer is "):  # quickly, what is most frequent
        at = text.rfind(mark)
        simple = _SIMPLE.fullmatch(text, at + len(mark)) if at >= 0 else None
        if simple and (mark == "####" or text.count("nswer") == 1 and not unsaid(text, at, at)):
            return simple[1]
    places = marks(text)
    if not places:
        return None
    begin = max(0, text.rfind("\n", 0, max(0, min(places) - 20)))
    found, skipped = None, False
    for marker in reversed(list(_MARKER.finditer(text, begin))):
        said = _behind(text if found is None else text[: found[0]], marker)
        if said is None:
            continue
        if said is _SKIPPED:
            skipped = True
            continue
        if not isinstance(said, tuple):
            return said if found is None else found[2]
        if found is None:
            found = (*said,)
            continue
        return (
            _chain(text, [said, found])
            if not _agree(found[2], said[2]) and said[1] <= found[0] and _WORTH.match(said[2])
            else found[2]
        )
    return found[2] if found else "" if skipped else None


_SKIPPED = "\0"
_WORTH = re.compile(r".*\d|\\[a-z]|\W*[A-J]\b")  # a value or a letter


def unsaid(text: str, start: int, end: int) -> str:
    """Why a marker from start to end states nothing: "example", "denied", or ""."""
    before = _sentence(text[max(0, start - 200) : start])
    if _OPENING.fullmatch(before) and not may_deny(text[start:end]) and "ould" not in text[start:end]:
        return ""
    if _EXAMPLE.search(before) or _SUPPOSED.search(before) or _WOULD.search(text, start, end) and _IF.search(before):
        return "example"
    return "denied" if denied(before + text[start:end]) else ""


def _behind(text: str, marker: re.Match) -> tuple[int, int, str] | str | None:
    """(start, end, value) behind a marker; a text that is stated instead of it; None where the marker states nothing."""
    why = unsaid(text, *marker.span())
    if why == "example":
        return _SKIPPED
    rest = text[marker.end() :]
    simple = _SIMPLE.fullmatch(rest)
    if simple and not why:
        return marker.start(), len(text), simple[1]
    lead = _LEAD.match(rest)
    rest = rest[lead.end() if lead else 0 :]
    if not rest.strip() or _NO_ANSWER.match(rest):
        return None
    shown = _DISPLAY.match(rest)
    line = " ".join(shown[0].split()) if shown else rest.split("\n", 1)[0]
    line = re.split(r"\s\|\s*$|\s\|\s", line)[0] if "|" in marker[0] else line
    said, end = clause(line)
    if _WOULD.search(marker[0]) and re.match(r"\s*,?\s*(?:if|had|were|unless)\b", line[len(said) :], re.IGNORECASE):
        return _SKIPPED
    if "####" in marker[0] and not _is_result(line, rest):
        return None
    behind = rest[len(said) :]
    if end == "?" and not re.match(r"\?\s*(?:yes|right|correct)", behind, re.IGNORECASE) and re.search(r"\d|\\", said):
        return _replacement(behind[1:])
    if end == "?" or not bare(said):
        return None
    stands = value(said)
    no = _NOT.match(stands)
    if why or not stands or no and _WORTH.match(stands[no.end() :].strip()) or denied("", behind):
        return _replacement(said + behind)
    if _TAKEN_BACK.search(behind) and _runs(behind):
        return loose(behind)
    if re.match(r"[\s,;]*(?:but|however)\b", behind, re.IGNORECASE):
        stands = _replacement(re.split(r"[.!?](?=\s)|\n", behind, maxsplit=1)[0]) or stands
    other = _other(stands, behind)
    stands += f" \\text{{ and }} {other}" if other else ""
    return marker.start(), len(text) - len(behind), stands


def _is_result(line: str, rest: str) -> bool:
    """Does "#### ..." give a result, or is it a heading?"""
    heading = re.match(r"(?:step|part|case)\b|\d+[.)]\s+\D", line, re.IGNORECASE)
    return not heading and (bool(re.search(r"[\d\\]", line)) or not rest[len(line) :].strip()) and not _is_title(line)


def _is_title(line: str) -> bool:
    return bool(re.match(_TITLE, line.strip() + "\n", re.IGNORECASE))


# from a sentence to the value in it

FORMULA = r"\$\$(?:\\\$|[^$])+\$\$|(?<![\\$])\$(?![\s$])(?:\\.|[^$\n\\])*(?<![\s\\])\$(?![\d$])|\\\((?:.*?)\\\)|\\\[(?:.*?)\\\]"
_END = re.compile(
    r"(?P<end>[.?](?=[\s*_`\"')\]]|$)|(?<![\w)\0\\])!|[。！？；])|;\s(?=[a-z]{2})|\s(?:[—–]|--?)\s(?=[A-Za-z]{2})"
    r"|(?<!thing)(?<! all),?\s+but\b|,?\s+(?:not|because|since|which|where|instead|rather|though|although|while|given|assuming|meaning)\b"
    r"|,\s*(?:so|as|for|if|with|after|when|no|nicht|pas|não|non|nie|niet|а не|I\s+mean|that\s+is|i\.e|namely)\b|\s\((?=[^()]*[A-Za-z]{2,}\s)"
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
    if text[:1].isalnum() and text[-1].isalnum():
        return text
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
_MONTHS |= {"december"}
DAY = re.compile(rf"(?:{'|'.join(_MONTHS)}) (\d\d?)", re.IGNORECASE)
_MONTHS |= {"am", "pm"}
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
        end, said = (tail.end(), said + tail[0]) if tail else (end, said)
        near = text[max(0, start - 60) : start]
        hinted = not near.isascii() or not HINTS.isdisjoint(_LOWER.findall(near.lower()))
        before, behind = _CHANGES_BEFORE.search(near) if hinted else None, _CHANGES_BEHIND.match(text, end)
        behind = behind if behind and not (tail and behind[0].strip() in ("over", "out of")) else None
        between = text[runs[-1][1] : start - len(before[0])] if before and runs else ""
        if before and runs and before[0].strip() in ("over", "under") and (not between.strip() or _NOUN.fullmatch(between)):
            before = None  # "12 cm over 3 days"
        if before and "=" not in said and not (before["about"] and "." in said):
            start, said = start - len(before[0]), before[0] + said
        if behind:
            end, said = behind.end(), said + behind[0]
        runs.append((start, end, said))
    return runs


def amount(text: str) -> Fraction | None:
    """The number that a text is; of a percentage its hundredth."""
    text = bare(_MONEY.sub("", text))
    share = re.fullmatch(r"(.+?)\s*(?:\\?%|\\text\s*\{\s*percent\s*\}|percent)", text)
    found = number(bare(share[1]) if share else text)
    return found and (found.value / 100 if share else found.value)


def restates(a: str, b: str) -> bool:
    """Is b the same number as a, or its rounding to two decimals or more?"""
    x, y, decimals = amount(a), amount(b), len(bare(b).partition(".")[2])
    return x is not None and y is not None and (x == y or decimals > 1 and abs(x - y) <= Fraction(1, 2 * 10**decimals))


def distinct(values: list[str]) -> list[str]:
    """Values without those that only restate an earlier one: "1/2 or 0.5"."""
    kept: list[str] = []
    for each in values:
        kept += [] if each in kept or any(restates(one, each) for one in kept) else [each]
    return kept


def _restated(text: str) -> str:
    """A value without what only restates it behind it, in brackets: "1/2 (0.5)"."""
    aside = _ASIDE.fullmatch(text) if text.endswith(")") else None
    if not aside or amount(aside[1]) is None or amount(aside[2]) is None:
        return text
    return " \\text{ and } ".join(distinct([bare(aside[1]), bare(aside[2])]))


_ASIDE = re.compile(r"([^()]+?)\s+\((?:or|i\.e\.,?|that\s+is,?|=|≈|about|approximately|\s)*([^()a-z]+)\)")


def plain_marks(text: str) -> str:
    """A sentence without bold, italics and backticks."""
    return _BOLD.sub(lambda match: match[2] or match[4] or match[5], text)


# What says more of a value: "12 apples, 3 more than before", "17 dollars and 0 cents"
_ADDED = re.compile(
    r"(?<=[\w$%])(?:,\s+\$?[\d.,]+\s(?:\w+\s)?(?:more|less|fewer)\s(?:\w+\s)?than\b[^\n=]*(?=\n|\Z)|,?\s+and\s+0+\s+(?:cents?|minutes?|seconds?)\b)"
)


def _with_noun(whole: str, run: tuple[int, int, str]) -> str:
    """A value with the noun that ends its sentence as its unit: "3 pears"."""
    noun = _UNIT_NOUN.fullmatch(whole, run[1]) if number(run[2]) else None
    return f"{bare(run[2])}\\text{{ {noun[1]}}}" if noun else _restated(bare(run[2]))


_UNIT_NOUN = re.compile(
    r"\s+(?!(?:left|more|less|fewer|total|altogether|each|per|in|times|remaining|together)\b)([a-z]{3,})"
    r"(?:\s+(?:left|altogether|in\s+total|remaining|each))?"
)


def value(text: str) -> str:
    """The value that a clause behind "the answer is" states: the whole of it, or the number or formula in it."""
    if text.isdigit():
        return text
    whole = bare(_ADDED.sub("", plain_marks(text)))
    runs = _runs(whole)
    if not prose(whole) or not runs:
        values = distinct([said for *_, said in runs]) if len(runs) > 1 else []
        return bare(values[0]) if len(values) == 1 else _restated(whole)
    runs = _not_denied(whole, runs)
    if not runs:
        return ""
    values = distinct([said for *_, said in runs])
    if len(values) == 1:
        return _with_noun(whole, runs[0]) if len(runs) == 1 else _restated(bare(values[0]))
    between = [whole[a[1] : b[0]] for a, b in zip(runs, runs[1:], strict=False)]
    begins = not whole[: runs[0][0]].strip("(¤$\\ ")
    if any(map(_RANGE.fullmatch, between)):
        return whole
    if begins and _APART.match(between[0]):
        return bare(runs[0][2])
    if all(_JOIN.fullmatch(each) for each in between):
        return " \\text{ and } ".join(bare(each) for each in values)
    return whole if begins else bare(runs[-1][2])


_RANGE = re.compile(r"\s*(?:to|through|till|until|bis|à|до|至|到|[-–])\s*")
_WORD = re.compile(r"[(\[]?\\(?:text\w*|math\w+|mbox)\s*\{[^{}]*\}[)\]]?")


_FAREWELL = re.compile(r"\b(?:let\s+me\s+know|I\s+hope\s+(?:this|that|it))\b[^\n]*\s*\Z", re.IGNORECASE)
_CONTRAST = re.compile(  # "3, not 4"
    r"[\s,(.]*"
    + _phrases(r"(?:and |but )?(?:not|rather than|instead of|nicht|pas|no|não|non|nie|niet|не|а не|而?不是)", "")
    + r"[\s$*]*",
    re.IGNORECASE,
)


def loose(text: str) -> str:
    """What stands last in a text that marks no answer: a line that is a value, else the last bold one or the last number."""
    text = _FAREWELL.sub("", text) if "know" in text or "hope" in text else text
    lines = [line for line in _DISPLAY.sub(lambda match: " ".join(match[0].split()), text).splitlines() if line.strip()]
    for i in range(len(lines) - 1, -1, -1):
        line, after = lines[i], "\n".join(["", *lines[i + 1 :]])
        whole = bare(_ADDED.sub("", plain_marks(line)))
        runs = _runs(whole)
        if not prose(whole) and (runs or len(lines) == 1 or _WORD.fullmatch(whole)):
            return "" if denied(_NOT.match(whole) and whole or "", line[len(line.rstrip("?")) :] + after) else _restated(whole)
        bold = [(match, bare(match[2] or match[4] or match[5])) for match in _BOLD.finditer(line)]
        bold = [(match, each) for match, each in bold if not _changed(line, *match.span())]
        bold = [(match, each) for match, each in bold if _WORD.fullmatch(each) or _runs(each) and not prose(each)]
        if bold:
            match, said = bold[-1]
            return "" if denied(line[: match.start()], line[match.end() :] + after) else said
        if runs:
            return _last_run(whole, runs, line[len(line.rstrip("?")) :] + after)
    return bare(lines[-1]) if len(lines) == 1 and not prose(lines[-1]) else ""


_NOUN = re.compile(r"(?:\s+(?!is\b|was\b|are\b)[a-z]+){1,3}\W*", re.IGNORECASE)
_WITHIN = re.compile(
    r"\s*(?:(?!(?:an?|per|each|every)\s)[a-z]+\s+){0,3}(?:in|over|during|within|after)\s*"
)  # "12 apples in 3 bags"
_RESULT = re.compile(r"(?<![<>!])=\s*\$?\d[\d,]*(?:\.\d+)?")
# A number that a result is for, to its sentence's end: "= 5 hours to read 120 pages"
_FOR = r"(?:\s(?!(?:is|are|was|were|has|have|gives|leaves|makes|wrong|incorrect)\b)[A-Za-z][a-z'-]*)"
BESIDE = re.compile(
    rf"{_FOR}{{0,4}}\s(?:in|of|for|per|from|with|during|on|by|at|every|to)(?:\s[a-z'-]+){{0,2}}\s\$?\d[\d.,]*{_FOR}*[.\s]*\Z"
)
_LIST = re.compile(rf"\s*(?:,|,?\s*{AND}\s)\s*")


def _denied_run(whole: str, run: tuple[int, int, str], after: str = "") -> bool:
    """Is a value of a sentence denied? What is computed there ("she did not eat 9 - 4 = 5 of them") is not denied before."""
    computed = re.search(r"\d\s*[-+*/×÷–].*=", run[2])
    return denied("" if computed else whole[: run[0]], whole[run[1] :] + after)


def _not_denied(whole: str, runs: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """The values of a sentence that are not denied; "not 1, 2 or 3" denies all three."""
    kept, no = [], None
    for run in runs:
        if _denied_run(whole, run) or no and _LIST.fullmatch(whole[no[1] : run[0]]):
            no = run
        else:
            kept.append(run)
    return kept


def _last_run(whole: str, runs: list[tuple[int, int, str]], after: str) -> str:
    """The last value of a sentence, with those that stand beside it; "" where it is denied and none stands in its place."""
    if _denied_run(whole, runs[-1], after):
        if len(runs) < 2 or not _CONTRAST.fullmatch(whole[runs[-2][1] : runs[-1][0]]) or _denied_run(whole, runs[-2]):
            return ""
        runs = runs[:-1]
    result = _RESULT.match(whole, whole.rfind("=")) if "=" in whole else None
    if result and BESIDE.match(whole, result.end()):
        runs = [run for run in runs if run[0] < result.end()]
    between = [whole[a[1] : b[0]] for a, b in zip(runs, runs[1:], strict=False)]
    begins = not whole[: runs[0][0]].strip("(¤$\\ ")
    lists = bool(between) and begins and not any("=" in run[2] for run in runs)
    if lists and (len(runs) == 2 and _RANGE.fullmatch(between[0]) or all(map(_JOIN.fullmatch, between))):
        return whole
    if (
        begins
        and len(runs) == 2
        and _WITHIN.fullmatch(between[0])
        and _NOUN.fullmatch(re.sub(r"^\W*[\d.,]+", "", whole[runs[1][0] :]))
    ):
        return bare(runs[0][2])
    chain = [_with_noun(whole, runs[-1]) if begins and len(runs) == 1 else _restated(bare(runs[-1][2]))]
    for a, b in zip(runs[-2::-1], runs[:0:-1], strict=True):
        link = rf"\s*[,;]\s*|\s*,?\s*{_AND}\s+" if "=" in a[2] and "=" in b[2] else rf"\s*,?\s*{_AND}\s+"
        link = (
            r"\s*[,;]\s*|" + link
            if re.search(r"(?:\b(?:are|get|have|find|obtain)|:)(?:[-\d.,\s$]|and|or)*$", whole[: b[0]])
            else link
        )
        link = rf"\s*(?:[a-z]+\s+){{0,2}}[a-z]*,?\s*\(?or\s+|{link}"
        more = _MORE.match(whole, a[1])
        if any("=" in each[2] and not _NAME.match(each[2]) for each in (a, b)):  # "40 = 2x or x = 20", "half or 8 / 2 = 4"
            break
        if not re.fullmatch(link, whole[a[1] : b[0]]) and not (more and more.end() >= b[0]):
            break
        chain.insert(0, bare(a[2]))
    return " \\text{ and } ".join(distinct(chain))


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
    if text.isascii() and text.isdigit() and len(text) <= MOST:
        return Number(Fraction(int(text)))
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
    whole, _, after = written.partition(".")
    if whole.isdigit() and after.isdigit():
        return f"{whole.lstrip('0') or '0'}.{after.rstrip('0')}".rstrip(".")
    grouped = re.fullmatch(r"-?[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?", written)
    return str(number(written.replace(",", "") if grouped else written) or written)
