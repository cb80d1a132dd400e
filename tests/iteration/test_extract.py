"""What a text states: a table of forms times a table of values. A new form is one line."""

import random

import pytest

from iteration.verify.extract import bare, boxed, clause, explicit, number, numbers, prose, stated
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
