"""What a text states: a table of forms times a table of values. A new form is one line."""

# ruff: noqa: E501 (tables of texts)
import random
import re
import time
from pathlib import Path

import pytest

from iteration import extract
from iteration.extract import bare, boxed, clause, clean, explicit, number, numbers, prose, stated
from iteration.verify import choice, exact, math
from iteration.verify.math import plain

# @ is the value. Behind the | stands what the form is for: any value in LaTeX, or one number without LaTeX.
FORMS = [
    line.replace("\\n", "\n")
    for line in r"""
@
$@$
\boxed{@}
$\boxed{@}$
\fbox{@}
So we get \[\boxed{@}\]
We try 3 and 4. Therefore the result is $\boxed{@}$, as 2 was to be shown.
Fill in \boxed{ } with 7 of them.\n\boxed{@}
First \boxed{1}. No, that was wrong: \boxed{@}.
The answer is @
The answer is @.
The answer is $@$.
The answer is: @
The answer is **@**.
The answer is **$@$**.
The answer is `@`.
The final answer is $@$. I hope it is correct.
Final Answer: The final answer is $@$. I hope it is correct.
The correct answer is @. (I checked it with 4 other values.)
The answer is $@$, not $77$.
The answer is therefore $@$, because 5 is prime.
Step 1: take 3.\nStep 2: take 4.\n\nAnswer: @
Answer: $@$
**Answer:** @
**Answer: @**
**Final Answer**\n\n@
**Final Answer**\n\n$$@$$
## Final Answer\n@
### Answer\n@
### Answer:\n\n$$\n@\n$$
#### @
It takes 3 steps.\n#### @
<answer>@</answer>
<answer> $@$ </answer>
<think>7 or 8</think>\n<answer>\boxed{@}</answer>
<answer>The answer is @.</answer>
So 3 and 4 are out.\n\n**@**
It follows that it is **@**.
Therefore $x^2 = 9$ and we end with\n$$@$$
Therefore $x^2 = 9$ and we end with $@$.
Hence we have\n@
The answer is @.<|im_end|>
答案是@。
答案：@
所以答案是 $@$。
最终答案：**@**
答：@
Ответ: @
Ответ: $@$.
답: @
정답은 $@$입니다.
答えは $@$ です。
Die Antwort ist @.
Die endgültige Antwort lautet: $@$.
La réponse est @.
Réponse finale : $@$
La respuesta es @.
Respuesta final: $@$
A resposta é @.
La risposta è @.
Het antwoord is @.
Odpowiedź: @
Cevap: @
Đáp án: @
Jawabannya adalah @.
الجواب: @
الإجابة النهائية هي $@$
उत्तर: @
คำตอบคือ @
Jibu ni @.
ANSWER: @
ANSWER: $@$
answer = @
Final answer = $@$
| Answer | @ |
| **Answer** | $@$ |
| Step | Value |\n|---|---|\n| 1 | 7 |\n| Answer | $@$ |
{"answer": "@"}
{"steps": ["7 + 8"], "answer": "$@$", "confidence": 0.9}
- **Answer**: $@$
> **Answer:** $@$
Final Answer: $@$
Final Answer: The final answer is @. I hope it is correct.
The answer is @.\n```python\nprint("The answer is", 7)\n```
```\n7 + 8\n```\nThe answer is @.
The answer is @. For example, the answer would be 77 if she had 8.
The answer is @.\n\nExample: The answer is 77.
If she had 8, the answer would be 77. Here the answer is @.
The answer is not 77 but @.
The answer is not 77. It is @.
The answer is 77. Wait, no: @
The answer is 77. Wait, that is wrong. The answer is @.
You might think the answer is 77, but it is @.
\boxed{77} is wrong. The answer is @.
\boxed{77}? No: \boxed{@}.
So 77 is not right.\nFinally \boxed{@}.
Answer: ~~77~~ $@$
The answer is @, not 77.
It is not 77. The answer is $@$.
答案不是77，而是$@$。
Ответ не 77, а $@$.
La respuesta no es 77, sino $@$.
Die Antwort ist nicht 77, sondern $@$.
La réponse n'est pas 77 mais $@$.
**Answer**\n\n$@$
# Answer\n\n**$@$**
The final answer is $\boxed{@}$. I hope it is correct.
Therefore, $@$.
So the answer is: $$@$$
""".strip().splitlines()
]
PROSE = [
    line.replace("\\n", "\n")
    for line in """
There are @ apples in the 2 baskets.\\nSo the farmer has @ apples left.
She sold 7 + 5 clips. In total Natalia sold @ clips.
Therefore, it takes @ minutes.
Janet makes $@ every day at the market.
因此，现在篱笆上有@只鸟。
所以她一共卖了 @ 个夹子。
したがって、合計は@個です。
따라서 모두 @개입니다.
Таким образом, осталось @ яблок.
لذلك، يوجد الآن @ طائرًا على السياج.
Also bleiben @ Äpfel übrig.
Donc il reste @ pommes.
Así que quedan @ manzanas.
The answer is @ apples.
The answer is @ apples per day for 3 days.
The answer is that she has @ apples.
So she needs **@** eggs for 4 cakes.
答案是@只。
Ответ: @ яблок.
""".strip().splitlines()
]


def values() -> list[str]:
    """About a hundred values in LaTeX, of every kind."""
    draw = random.Random(0)
    a, b, c = (lambda: draw.randint(2, 9)), (lambda: draw.randint(11, 99)), (lambda: draw.randint(101, 999))
    kinds = [
        lambda: f"{c()}",
        lambda: f"-{b()}",
        lambda: f"{b()}.{b()}",
        lambda: f"{a()},{c()}",
        lambda: f"\\frac{{{a()}}}{{{b()}}}",
        lambda: f"-\\dfrac{{{a()}}}{{{b()}}}",
        lambda: f"{a()}/{b()}",
        lambda: f"{a()}\\sqrt{{{b()}}}",
        lambda: f"\\frac{{{a()}+\\sqrt{{{b()}}}}}{{{a()}}}",
        lambda: f"{b()}\\pi",
        lambda: f"{a()}^{{{b()}}}",
        lambda: f"{a()}\\times 10^{{-{b()}}}",
        lambda: f"{b()}\\%",
        lambda: f"({a()}, {b()})",
        lambda: f"\\left(-\\frac{{1}}{{{a()}}}, {b()}\\right)",
        lambda: f"[{a()}, {b()})",
        lambda: f"(-\\infty, {b()}]",
        lambda: f"\\{{{a()}, {b()}, {c()}\\}}",
        lambda: f"x^2-{b()}x+{a()}",
        lambda: f"\\frac{{x}}{{x+{b()}}}",
        lambda: f"x={b()}",
        lambda: f"{b()}\\text{{ cm}}^2",
        lambda: f"{b()}^\\circ",
        lambda: f"\\begin{{pmatrix}} {a()} & {b()} \\\\ {c()} & {a()} \\end{{pmatrix}}",
        lambda: f"\\log_{{{a()}}} {b()}",
        lambda: f"\\binom{{{b()}}}{{{a()}}}",
        lambda: f"{a()}+{b()}i",
    ]
    return [kind() for kind in kinds for _ in range(4)]


VALUES = values()
NUMBERS = ["9", "-7", "0", "1,234", "12.5", "0.75", "1234567", "-3.25", "100"]


def test_the_tables_are_large():
    assert len(FORMS) >= 60 and len(set(FORMS)) == len(FORMS) and len(VALUES) >= 100 and all("@" in form for form in FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_every_value_is_read_in_every_form(form):
    missed = [(value, found) for value in VALUES if plain(found := stated(form.replace("@", value))) != plain(value)]
    assert not missed, (len(missed), missed[:3])


@pytest.mark.parametrize("form", PROSE)
def test_a_number_is_read_in_sentences(form):
    for value in NUMBERS:
        found = stated(form.replace("@", value))
        assert numbers(found) == [str(number(value))], (value, found)


BOXES = [
    (r"\boxed{1} and \boxed{2}", "1 and 2"),
    (r"\boxed{-2} or \boxed{1}", "-2 and 1"),
    (r"\boxed{1}, \boxed{2}, \boxed{3}", "1 and 2 and 3"),
    (r"$x = \boxed{1}$ and $y = \boxed{2}$", "1 and 2"),
    (r"$\boxed{k=45} \text{ and } \boxed{n=2}$", "k=45 and n=2"),
    (r"\boxed{1} papers and \boxed{2} bins", "1 and 2"),
    (r"\boxed{7}\n\n\boxed{7}", "7"),
    (r"First \boxed{1}. Then \boxed{7}.", "7"),
    (r"\boxed{7} is wrong, so \boxed{3}", "3"),
    (r"\boxed{7} is wrong and \boxed{3} is right", "3"),
    (r"\boxed{1} or rather \boxed{2}", "2"),
    (r"\boxed{1} or possibly \boxed{2}", "1 and 2"),
    (r"\boxed{1} but also \boxed{2}", "1 and 2"),
    (r"(a) \boxed{1} (b) \boxed{2}", "1 and 2"),
    (r"(a) \boxed{1}.\n(b) \boxed{2}.", "1 and 2"),
    (r"Alice has \boxed{1}, Bob has \boxed{2}", "1 and 2"),
    (r"Alice has \boxed{1}. Bob has \boxed{2}.", "1 and 2"),
    (r"\boxed{1}, then \boxed{2}", "1 and 2"),
    (r"$\boxed{x=1}$. Therefore $\boxed{y=2}$", "x=1 and y=2"),
    (r"$\boxed{x=1}$. Therefore $\boxed{x=2}$", "x=2"),
    (r"So first \boxed{1}. We add one. Finally \boxed{2}", "2"),
    (r"\boxed{1}, so the total is \boxed{2}", "2"),
    (r"\boxed{1} + 1 = \boxed{2}", "2"),
    (r"Step 1 gives \boxed{1}.\nStep 2 gives \boxed{2}.", "2"),
    (r"-\boxed{5}", "-5"),
    (r"3-\boxed{5}", "5"),
    (r"\boxed{5}\pi", r"5\pi"),
    (r"\boxed{\boxed{5}}", "5"),
    (r"\boxed 5.", "5"),
    (r"\fbox{5}", "5"),
    (r"\boxed{{\frac{1}{2}}}", r"{\frac{1}{2}}"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{ } \boxed{}", None),
    (r"\boxed{5", None),
    (r"no box", None),
]


@pytest.mark.parametrize(("text", "found"), BOXES)
def test_all_boxes_that_stand_together_count_and_else_the_last(text, found):
    said = boxed(text.replace("\\n", "\n"))
    assert (said and said.replace(r" \text{ and } ", " and ")) == found


# What stands around a box makes another value of it, denies it or contradicts it.
DENIED = [
    line.replace("\\n", "\n")
    for line in r"""
\boxed{18}\n\nWait, I made a mistake. So the answer is 27.
\boxed{18}\n#### 27
\boxed{18}\nFinal answer: 27
The answer is not \boxed{3}.
It isn't \boxed{3}
\boxed{3} is wrong. The correct answer is 4.
$\boxed{3}$ is incorrect.
\boxed{3} cannot be right.
\boxed{3}. That is wrong.
2\boxed{3}
\boxed{3}x
\boxed{3}^2
$\boxed{3}\times10^5$
$\sqrt{\boxed{3}}$
so x is -\boxed{3}
\boxed{3}/4
\boxed{3} or 4
\boxed{3}.5
\boxed{3}\cdot 10^5
$x\boxed{3}$
$\frac{\boxed{3}}{4}$
$\frac{1}{\boxed{3}}$
5-\boxed{3}
4 + \boxed{3}
\boxed{3}!$
\boxed{3}\text{i}
\boxed{3}_4
\boxed{3} - 4
""".strip().splitlines()
]
KEPT = [
    line.replace("\\n", "\n")
    for line in r"""
\boxed{3}
The answer is $\boxed{3}$.
\boxed{3}, not 4.
The answer is not 4 but \boxed{3}.
It isn't 4, it is \boxed{3}
**\boxed{3}**
*\boxed{3}*
Answer - \boxed{3}
\boxed{3} - this is it
x=\boxed{3}\text{ cm}
\boxed{3}\,\text{cm}^2
\boxed{3}\%
\boxed{3}^\circ
\boxed{3}^{\circ}
\boxed{3} cm
The answer is 4. Wait. \boxed{3}
\boxed{3}\nFinal answer: 3
\boxed{3}\n#### 3
\boxed{3}. The answer is correct.
\boxed{3}\nThe answer is in simplest form.
\boxed{3} dollars. The answer is $3.00.
\[ \boxed{3} \]
\(\boxed{3}\)
4 is wrong. \boxed{3}
Final answer: \boxed{3}!
The answer is\boxed{3}
答案是\boxed{3}
\boxed{3} I hope it is correct
\boxed{3} a nice number
\boxed{3}=\frac{6}{2}
""".strip().splitlines()
]


# "right | text"; "-" where no number may be accepted, because the text denies or changes each or states two.
ENDINGS = (Path(__file__).parent / "golden" / "endings.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", ENDINGS)
def test_of_the_numbers_in_a_text_the_stated_one_alone_is_accepted(line):
    right, text = line.replace("⏎", "\n").split(" | ", 1)
    said = stated(text)
    candidates = {sign + each for each in re.findall(r"\d+(?:\.\d+)?", clean(text)) for sign in ("", "-")}
    accepted = {each for each in candidates | {right} if math.compare(each, text, "auto")["state"] == "correct"}
    assert accepted == ({right} - {"-"}), said
    if not re.search(
        r"[^\W\d_]|[≠≥~]", said.replace(r"\text{ and }", "")
    ):  # names and words that change a number are the comparison's
        assert exact.final_number(text) in (str(number(right)), "")


def test_what_a_text_denies():
    for before in (
        "It is not ",
        "it isn't ",
        "cannot be ",
        "We exclude ",
        "I doubt that it is ",
        "not 3 or ",
        "不是",
        "не ",
        "kein ",
        "n'est pas ",
    ):
        assert extract.denied(before), before
    for before in (
        "It is ",
        "It is not 3 but ",
        "not 3, it is ",
        "those not sold are ",
        "no doubt ",
        "not only ",
        "It is not so. It is ",
    ):
        assert not extract.denied(before), before
    for behind in (
        " is wrong",
        "? No",
        ". That cannot be right",
        " (incorrect)",
        "不是答案",
        "ではない",
        " ist falsch",
        " isn't right",
    ):
        assert extract.denied("", behind), behind
    for behind in (
        " is right",
        ". No more is needed",
        " incorrect answers",
        ", not 4",
        "? Yes",
        ". It is not possible to have 4",
    ):
        assert not extract.denied("", behind), behind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The answer is less than 5", "less than 5"),
        ("The answer is half of 5", "half of 5"),
        ("The answer is about 5", "about 5"),
        ("The answer is about 5.25 metres", "5.25 metres"),
        ("The answer is between 3 and 5", r"between 3 \text{ and } 5"),
        ("the answer is 5 squared", "5 squared"),
        ("the answer is 5 million", "5000000"),
        ("the answer is 5 and a half", "5 and a half"),
        ("The answer is at least 5 apples.", "at least 5"),
        ("Die Antwort ist mehr als 5.", "mehr als 5"),
        ("答案大于5。", "大于5"),
        ("Ответ: 5 миллионов", "5000000"),
        ("5 crore", "50000000"),
        ("The answer is 5 more than before.", "5"),
        ("They add up to 5.", "5"),
        ("She picked 9 - 4 = 5 more than Tom.", "9 - 4 = 5"),
    ],
)
def test_words_that_change_a_value_stay_with_it(text, said):
    assert stated(text) == said


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("minus 5", "-5"),
        ("negative 5", "-5"),
        ("La respuesta es menos 5.", "-5"),
        ("The answer is minus \\frac{1}{2}", "-0.5"),
        ("7 minus 5", "5"),
        ("Au moins 5", "5"),
        ("答案是负5。", "-5"),
        ("Die Antwort ist 1.234,5.", "1234.5"),
        ("Ответ: 3,25", "3.25"),
        ("الجواب هو ٣٫٥", "3.5"),
        ("答案是－３５。", "-35"),
    ],
)
def test_signs_and_decimals_of_many_languages(text, found):
    assert exact.final_number(text) == found


@pytest.mark.parametrize("text", DENIED)
def test_a_box_is_not_read_alone_where_what_stands_around_it_changes_it(text):
    assert stated(text) in ("", "4", "-3") and exact.final_number(text) in ("", "4", "-3")


@pytest.mark.parametrize("text", KEPT)
def test_a_box_is_read_amid_other_words(text):
    assert exact.final_number(text) == "3"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"The answer is 7. \boxed{6}", "6"),
        (r"<answer>7</answer> and before it \boxed{6}", "6"),
        (r"\boxed{6} <answer>7</answer>", "7"),
        ("<answer>7", "7"),
        ("<answer></answer> The answer is 7.", "7"),
        ("The answer is 8. Wait, the answer is 10.", "10"),
        ("The answer is 8. Wait, it should be 10.", "10"),
        ("The answer is 3? No. It is 7.", "7"),
        ("The answer is not 3 but 7.", "7"),
        ("The answer is not 3.", ""),
        ("The answer isn't 3.", ""),
        (r"It is \boxed{12", ""),
        ("The answer is 7. The answer is correct.", "7"),
        ("#### Step 3: add 4\nSo we have 7", "7"),
        ("#### 1. Compute\nSo we have 7", "7"),
        ("The roots are 2 and 3.", r"2 \text{ and } 3"),
        ("x = 2, x = 3 are the solutions", r"x = 2 \text{ and } x = 3"),
        ("The answer is 5 apples and 3 oranges.", r"5 \text{ and } 3"),
        ("The answer for part (a) is 5 and for part (b) is 7.", "5 and for part (b) is 7"),
        ("\\boxed{7}" + " We check it with 12 other values." * 300, "7"),
        ("I cannot say.", ""),
        ("", ""),
        ("...", ""),
    ],
)
def test_what_counts_where_several_things_are_said(text, found):
    assert stated(text).strip(".") == found


def test_which_marks_are_looked_at():
    text = r"\boxed{1}. The answer is 5. It took 9 steps."
    assert explicit(text) == "", "they contradict each other"
    assert (explicit(text.replace("5", "1")), explicit(text, "boxed"), explicit(text, "last")) == ("1", "1", "5")
    assert explicit("It took 9 steps.") is None and stated("The answer is 5.", "boxed") == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", "5"),
        ("-5.50", "-5.5"),
        (".5", "0.5"),
        ("1,234", "1234"),
        (r"12\,345", "12345"),
        (r"1{,}234{,}567", "1234567"),
        ("3e-4", "0.0003"),
        (r"3\times 10^{8}", "300000000"),
        ("2/4", "0.5"),
        (r"\frac13", "1/3"),
        (r"-\dfrac{3}{6}", "-0.5"),
        ("1 3/4", "1.75"),
        (r"3\frac{1}{2}", "3.5"),
        ("2½", "2.5"),
        (r"0.1\overline{6}", "1/6"),
        ("7/0", None),
        ("1 5/4", None),
        ("1,23", None),
        ("0,123", None),
        ("3 4", None),
        ("1e99999", None),
        ("x", None),
        ("", None),
    ],
)
def test_numbers(text, value):
    found = number(text)
    assert (found and str(found)) == value


def test_pieces():
    assert bare("**$9$**.") == "9" and bare("`185\\`") == "185" and bare("$5$ and $6$") == "$5$ and $6$"
    assert clause("6. (I checked it with 4.)") == ("6", ".") and clause("2, not 3.")[0] == "2" and clause("3.5")[0] == "3.5"
    assert prose("12 apples left") and prose("9元") and not prose("12 cm") and not prose("3ab") and not prose("x = 2 or x = 3")


HOSTILE = [
    "answer " + " " * 4000,
    "\\boxed{" * 600,
    "(" * 4000,
    "(\\x" * 1300,
    "$" * 4000,
    "**" * 2000,
    "\n" * 4000,
    "1,2" * 1300,
]
HOSTILE += ["thus " * 800, "<answer>" * 500, "#### " * 800, "answer is not " * 300, "A or " * 800, "{" * 4000, "1 and " * 700]
HOSTILE += ["\\boxed{1}" * 400, "answer: " + "1x" * 2000, "### answer" + "*: " * 1200, " (" + "a" * 4000, "答案是" * 1300]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_model_writes_takes_long(text):
    """`exact` and `choice` read answers without a sandbox."""
    began = time.process_time()
    for read in (stated, exact.final_number, choice.letter):
        read(text)
    assert time.process_time() - began < 5
