"""Values of every kind, and answers that are nearly them and wrong: what a verifier must read, and what it must reject."""

from __future__ import annotations

import random
import re

KINDS = {
    "integer": "C | -B | A000C",
    "thousands": "A,C | B,C,C | A{,}C",
    "decimal": "B.B | -A.0A | 0.000A | C.B",
    "scientific": r"A\times 10^{-B} | A.B\times 10^{B} | Ae-A | 10^{B} | 10^{-B}",
    "fraction": r"\frac{A}{B} | -\dfrac{A}{B} | A/B | \frac{C}{B}",
    "mixed": r"A\frac{1}{A} | B 1/A",
    "root": r"A\sqrt{B} | \sqrt[3]{B} | \frac{A+\sqrt{B}}{A}",
    "pi": r"B\pi | \frac{A\pi}{B} | \pi^{A}",
    "power": r"A^{B} | \frac{1}{A^{B}} | 2^{C} | \frac{1}{C!} | A^{B}+1",
    "percent": r"B\% | B.A\%",
    "point": r"(A, B) | \left(-\frac{1}{A}, B\right) | (A, B, C)",
    "interval": r"[A, B) | (-\infty, B] | [B, \infty) | (-A, B]",
    "union": r"(-\infty, -A)\cup(B, \infty) | [A, B)\cup(C, \infty)",
    "set": r"\{A, B, C\} | \{-A, B\} | A, B, C",
    "solutions": r"x=A \text{ or } x=B | x=A, y=B",
    "letters": r"R-r | \frac{GMm}{r^A} | \frac{M}{m+B} | \{P, q, R\} | V^2-v^2",
    "polynomial": r"x^2-Bx+A | (x-A)(x+B) | Ax^3+B | Axy-B",
    "rational": r"\frac{x}{x+B} | \frac{A}{x-B}",
    "equation": r"x=B | y=Ax+B | x^2+y^2=B | Ax+By=C",
    "inequality": r"x<B | A\le x<B",
    "unit": r"B\text{ cm}^2 | B\text{ cm} | B m/s | \$B | B^\circ",
    "matrix": r"\begin{pmatrix} A & B \\ C & A \end{pmatrix} | \begin{pmatrix} A \\ -B \end{pmatrix}",
    "logarithm": r"\log_{A} B | \ln B",
    "trigonometry": r"\sin B^\circ | \cos(x+B) | \tan^{-1} B",
    "complex": "A+Bi | -A-Bi",
    "binomial": r"\binom{B}{A} | B!",
    "base": "1A0_{11} | 101_2",
    "ratio": "A:B",
    "letter": r"\text{(C)} | D",
    "word": r"\text{Monday} | ABC | angel",
}  # A: 3 to 9, B: 11 to 99, C: 101 to 999, all different within a value


def values(seed: int = 0, each: int = 2) -> list[tuple[str, str]]:
    """(kind, value): `each` of every template."""
    draw, made = random.Random(seed), []
    for kind, templates in KINDS.items():
        for template in templates.split(" | "):
            for _ in range(each):
                left = {"A": list(range(3, 10)), "B": list(range(11, 100)), "C": list(range(101, 1000))}
                if kind in ("letter", "word"):
                    made.append((kind, template))
                    break
                put = lambda found, left=left: str(left[found[0]].pop(draw.randrange(len(left[found[0]]))))  # noqa: E731
                made.append((kind, re.sub(r"(?<![A-Za-z])[ABC](?=[^a-z]|[a-z]{1,2}(?![a-z])|e-|$)", put, template)))
    return made


NUMBER = r"^-?\d[\d,.]*$"
SWAPS = {  # one change each: what is found, what stands there in the mutant
    "sign": [(r"^(?![-\\]begin|-)(?=[\dx\\(a-z])", "-"), (r"^-", ""), (r"(?<=[\w} ])-(?=[\d({\\])", "+"), (r"\+", "-")],
    "digit": [
        (r"\d(?=\D*$)", "next"),
        (r"\d", "next"),
        (r"\d(?=\d)", ""),
        (r"(?<=\d)(?=[^\d.]|$)(?<!\.\d)(?<!\.\d\d)(?<!\.0{3}\d)", "0"),
    ],
    "point": [(r"(?<=\d)\.(?=\d)", ""), (r"(?<=\d)(?=\d\D*$)", ".")],
    "bracket": [(r"^\(|(?<=cup)\(", "["), (r"^\[|(?<=cup)\[", "("), (r"\)$", "]"), (r"\]$", ")")],
    "flip": [(r"\\d?frac\{([^{}]+)\}\{([^{}]+)\}", r"\\frac{\2}{\1}"), (r"(\d+)([/:])(\d+)", r"\3\2\1"), (r"m/s", "s/m")],
    "element": [(r"(?<=[({\[])[^,()]+,\s*(?=.*,)", ""), (r",\s*[^,()]+(?=\\\}$)", ""), (r"(?=\\\}$)", ", 1000")],
    "order": [(r"^\((\d+), (\d+)", r"(\2, \1"), (r"(\d+) & (\d+)", r"\2 & \1"), (r"x=(\d+), y=(\d+)", r"x=\2, y=\1")],
    "exponent": [(r"\^\{?(-?\d+)\}?", "power"), (r"\^2", ""), (r"(?<=x)(?=[-+])", "^2")],
    "unit": [
        (r"cm\}\^2", "cm}^3"),
        (r"\{ cm\}$", "{ m}"),
        (r"\{ cm\}$", "{ cm}^2"),
        (r"m/s", "km/h"),
        (r"^\\\$(\d+)", r"\1 cents"),
        (r"\{ cm\}$", "{ kg}"),
        (r"\{ cm\}$", "{ birds}"),
        (r"\{ cm\}$", "{ cm or more}"),
    ],
    "words": [(NUMBER, rf"\\text{{{words} }}\g<0>") for words in ("less than", "not", "half of", "at least", "over")]
    + [(NUMBER, rf"\g<0>\\text{{ {words}}}") for words in ("squared", "or more", "and a half", "thirds", "below zero")],
    "scale": [(NUMBER, rf"\g<0>{scale}") for scale in (r"\\text{ Million}", r"\\text{k}", r"\\text{i}", r"\\mathrm{\\pi}")],
    "mark": [(r"(?<![A-Za-z\\])x(?![A-Za-z])", "x'"), (r"(?<![A-Za-z\\])x(?![A-Za-z])", r"\\vec{x}"), ("^ABC", r"\\angle ABC")],
    "case": [
        (r"R", "r"),
        (r"(?<!\\f)r(?!ac)", "R"),
        (r"V", "v"),
        (r"M(?=\})", "m"),
        (r"(?<=GM)m|m(?=\+)", "M"),
        (r"P", "p"),
        (r"q", "Q"),
    ],
    "name": [(r"^x(?==)", "y"), (r"x", "z")],
    "function": [
        (r"\\sqrt", ""),
        (r"\\sin", r"\\cos"),
        (r"\\cos", r"\\sin"),
        (r"\\ln", r"\\log_{10}"),
        (r"\\pi", ""),
        (r"!", ""),
        (r"i$", ""),
    ],
    "relation": [("<", ">"), ("<", r"\\le "), (r"\\le", "<")],
    "base": [(r"_\{?(\d)\}?$", r"_{8}"), (r"_\{?(\d)\}?$", "")],
    "word": [("Monday", "Sunday"), ("ABC", "ACB"), ("ABC", "CAB"), ("angel", "angle"), (r"\(C\)", "(D)"), ("^D$", "E")],
}


def mutants(value: str) -> list[tuple[str, str]]:
    """(kind of change, wrong answer) for a value."""
    made = []
    for kind, swaps in SWAPS.items():
        for pattern, put in swaps:
            found = re.search(pattern, value)
            if not found:
                continue
            digit = {"next": lambda f: str((int(f[0]) + 1) % 10 or 1), "power": lambda f: f"^{{{int(f[1]) + 1}}}"}
            wrong = value[: found.start()] + re.sub(pattern, digit.get(put, put), value[found.start() :], count=1)
            if wrong != value and (kind, wrong) not in made:
                made.append((kind, wrong))
    return made
