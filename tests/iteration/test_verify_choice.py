import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from iteration.errors import UserError
from iteration.tasks import choice as task
from iteration.types import State
from iteration.verify.choice import Choice, letter


@pytest.fixture
def questions(tmp_path):
    rows = [
        {"Question": f"Which is {i}?", "Correct Answer": f"right {i}"}
        | {f"Incorrect Answer {k}": f"wrong {i}.{k}" for k in (1, 2, 3)}
        for i in range(200)
    ]
    path = tmp_path / "gpqa.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return task.Choice(train=str(path))


def test_options_stand_in_an_order_that_is_drawn_and_kept(questions):
    first, second = (questions.draw("train", 0, 1000, np.random.default_rng(seed)) for seed in (0, 1))
    orders = {p.id: json.loads(p.answer)["order"] for p in first}
    assert len(set(map(tuple, orders.values()))) == 24, "all orders occur"
    again = {p.id: json.loads(p.answer)["order"] for p in second}
    assert sum(orders[name] != again[name] for name in orders) > 100, "another draw has other orders"
    for problem in first[:20]:
        stored = json.loads(problem.answer)
        options = dict(line.split(") ", 1) for line in problem.prompt.splitlines()[2:])
        assert options[stored["right"]].startswith("right ")
        assert [int(text.split(".")[1]) if "." in text else 0 for text in options.values()] == stored["order"]


def test_a_question_in_several_orders(questions):
    questions.orders = 4
    drawn = questions.draw("train", 0, 40, np.random.default_rng(0))
    assert len(drawn) == 40 and len({p.id for p in drawn}) == 40
    groups = {}
    for problem in drawn:
        groups.setdefault(problem.id.partition("/")[0], []).append(json.loads(problem.answer)["order"])
    assert len(groups) == 10 and all(len(orders) == 4 for orders in groups.values())
    assert len({tuple(order) for orders in groups.values() for order in orders}) > 12


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Answer: B", "B"),
        ("answer: b", ""),
        ("The answer is clear to me.\nSo I choose C.", "C"),
        ("\\boxed{A} is wrong. The answer is B", "B"),
        ("The correct answer is (C).", "C"),
        ("**Answer: D**", "D"),
        ("so \\boxed{A}", "A"),
        ("\\boxed{\\text{B}}", "B"),
        ("A is wrong. B is wrong.\n\nC", "C"),
        ("(D)", "D"),
        ("The answer is A. Wait, the answer is B.", "B"),
        ("I think it is an apple", ""),
        ("", ""),
        ("A or B", ""),
        ("answer: all of them", ""),
        ("The answer is C. Option A ignores friction.", "C"),
        ("My answer: I think it's B.", "B"),
        ("My answer: I think it is B", "B"),
        ("Answer: I think C", "C"),
        ("The answer is I.", "I"),
        ("\\boxed{\\textbf{(C)}\\ 12}", "C"),
        ("\\boxed{C. 12 m}", "C"),
        ("\\boxed{A} or \\boxed{B}", ""),
        ("The answer is A or B.", ""),
        ("The answer is A and B.", ""),
        ("The answer is B, not C.", "B"),
        ("The answer is not A but B.", "B"),
        ("The answer is not A.", ""),
        ("Answer: A train moves.", ""),
        ("Answer: A", "A"),
        ("Answer: A) a train", "A"),
        ("The answer is **C**", "C"),
        ("<answer>C</answer>", "C"),
        ("<answer>(C)</answer>", "C"),
        ("答案是C。", "C"),
        ("答案：C", "C"),
        ("Ответ: C", "C"),
        ("The best option is D.", "D"),
        ("Option C is correct.", "C"),
        ("I choose D.", "D"),
        ("I pick B because A is silly.", "B"),
        ("C is correct. A is not.", "C"),
        ("The answer is option B.", "B"),
        ("The answer is (B) 12 apples, since (A) is wrong.", "B"),
        ("The answer is B because A is wrong.", "B"),
        ("A) no\nB) yes\n\nAnswer: B) yes", "B"),
        ("### Answer\n\n**C**", "C"),
        ("Answer: $\\boxed{C}$", "C"),
        ("Answer: $C$", "C"),
        ("The answer is C: the friction is zero.", "C"),
        ("The answer is C<|im_end|>", "C"),
        ("Final answer: C", "C"),
        ("(C) 12 m", "C"),
        ("C. 12 m", "C"),
        ("So the answer is clearly C.", "C"),
        ("Therefore, the correct choice is (B).", "B"),
        ("Answer: None of A, B", ""),
        ("The correct option is B", "B"),
        ("The answer is A. It could also be B.", ""),
        ("the answer is the letter D", "D"),
        ("Answer: neither", ""),
        ("\\boxed{B} is wrong, so \\boxed{C}", "C"),
        ("Answer: B (as A and C fail)", "B"),
        ("Answer: B and D", ""),
        ("Answer: B, D", ""),
        ("Answer: (B), (D)", ""),
        ("Answer: B/D", ""),
        ("Answer: BD", ""),
        ("D) is the answer", "D"),
    ],
)
def test_letters(text, found):
    assert letter(text) == found


# "letter | text"; "-" where none is stated, or several are.
SAID = r"""
B | The answer is (b).
B | \boxed{(b)}
B | (b)
B | not A but B
B | A is wrong, B is right
B | A is wrong. B is right.
- | neither A nor B
- | both A and C
- | All except B
- | The answer is all except B.
A | A (not B)
A | The answer is A (not B).
- | Option B's opposite
- | The answer is Option B's opposite.
- | The answer is A or B
- | The answer is both A and C.
- | The answer is neither A nor B.
B | The answer is not A, it is B.
B | The answer is not A. It is B.
B | It is not A. The answer is B.
- | I would not say A.
A | I would say A.
- | A or C
- | A, C
- | It is either A or C.
- | The answer is A. The answer is B.
- | The answer is A. Or B.
- | The answer is A, or maybe B.
- | The answer could be A. It could also be B.
B | The answer is A. Wait, no: B.
B | The answer is A? No, B.
- | The answer cannot be A.
- | A is wrong
- | Option A is wrong.
- | Option A is incorrect.
- | A is not correct.
B | Option A is incorrect. Option B is correct.
B | Option B is correct. Option A is incorrect.
- | \boxed{A} or \boxed{B}
- | \boxed{A} and \boxed{C}
- | \boxed{A, C}
- | \boxed{AC}
- | \boxed{\text{not } A}
- | It isn't \boxed{A}
- | The answer is not \boxed{A}.
C | **(C)**
C | **C**
C | Answer: **(C)**
C | The correct answer is option (C).
C | The correct answer is: C) 12
C | {"answer": "C"}
C | <answer>(c)</answer>
- | <answer>A or B</answer>
- | <answer>not A</answer>
C | Therefore, C is the correct answer.
C | So the best choice is C, because A and B are wrong.
C | I'd go with C.
C | I'd go with C rather than A.
C | I'd choose C over A.
- | I'd choose between A and C.
- | I choose A or B.
- | I pick A and B.
C | Not A. Not B. So C.
C | A: wrong⏎B: wrong⏎C: right⏎⏎Answer: C
- | The answer is not among A, B, C.
- | None of A, B and C.
- | Options A and B are correct.
- | A and B are correct.
- | A is correct and B is correct.
C | 答案不是A，而是C。
- | 答案不是A。
- | Ответ не A.
- | La respuesta no es A.
- | Die Antwort ist nicht A.
- | The answer is A or maybe C.
C | I was tempted by A, but the answer is C.
C | The answer is C, although A is tempting.
C | The answer is C and not A.
C | The answer isn't A but C.
- | The opposite of A.
- | The answer is the opposite of A.
- | The answer is A's complement.
- | Everything but A.
- | Any option but A
- | The answer is any of A, B or C.
- | If the answer is A, then we are stuck.
- | Suppose the answer is A.
C | Final answer: (c)
C | My final choice: C
C | Choice (C)
C | (C) because the force doubles
C | C, because the force doubles
C | The answer is C, because B is wrong.
D | Answer: D is correct
D | Answer: D, since A, B and C are wrong.
- | Answer: A?
- | Answer: maybe A, maybe B
- | Answer: A/B
- | Answer: (A) or (B)
- | Answer: (a) or (b)
A | Answer: A train at 5 pm? No wait. Answer: A
C | The answer is C. Option A ignores friction.
B | My answer: I think it's B.
- | \boxed{A}, or maybe B
- | \boxed{A}. B works too.
- | The answer is A or B.
- | The answer is A, or possibly B.
- | The answer is not A.
B | A? No, B.
- | A?
- | A is out.
- | We can discard A.
- | We must drop A.
- | The answer is A. Scratch that.
- | It is tempting to say A.
B | It's tempting to pick A, but the answer is B.
B | The answer is A. Wait, no, it is B.
B | A is wrong, B is right.
B | Not A but B
B | B, not A
B | The answer is B, not A.
B | [ANSWER] B [/ANSWER]
B | [ANSWER]B[/ANSWER]
B | <ANSWER>B</ANSWER>
B | <answer>B</answer>
- | <answer>A</answer> or <answer>B</answer>
B | 答案是B。
- | 答案不是B。
B | 答案：B
B | Ответ: B
- | Ответ: не B
B | Die Antwort ist B.
- | Die Antwort ist nicht B.
B | La respuesta es B.
- | La respuesta no es B.
B | La réponse est B.
- | La réponse n'est pas B.
B | The correct option is (B).
B | **B**
B | (B) 12 meters
B | \boxed{\text{(B)}}
B | \boxed{\textbf{(B)}\ 12}
B | \boxed{B}
- | \boxed{A, B}
- | \boxed{A \text{ and } B}
- | All except B.
- | The answer is anything but B.
- | I doubt that the answer is B.
- | If the answer is B, then we are done.
B | The answer is B. A common mistake is to say A.
B | A common mistake is to say A. The answer is B.
B | One might think the answer is A. The answer is B.
- | One might think the answer is A.
- | The wrong answer is A.
B | Option B is correct; option A is not.
- | Both A and B are correct.
- | Either A or B.
B | The answer is option B
B | I choose B because A is wrong.
B | Let's go with B.
- | The answer is B?
- | Is it B?
B | Answer: B) 12
- | The answer is 12.
A | A
A | Answer: A
- | A train leaves.
I | The answer is I.
- | I think so.
B | The answer is B.<|im_end|>
- | At least B.
B | The answer is B or, in other words, option B.
- | B or C, I am not sure
- | Maybe B, maybe C
B | The answer must be B.
- | The answer is not B, C or D.
A | The answer is not B, C or D but A.
A | It is not B, so A.
- | \boxed{B} is wrong.
- | \boxed{B}? No.
C | \boxed{B}? No, \boxed{C}.
- | The answer is B. That is wrong.
- | The answer is B, which is wrong.
- | I would say anything other than B
""".strip().splitlines()


@pytest.mark.parametrize("line", SAID)
def test_the_one_letter_that_is_not_denied_is_stated(line):
    right, text = line.replace("⏎", "\n").split(" | ", 1)
    assert letter(text) == right.strip("-")


def test_a_vote_is_for_the_option_and_not_for_its_letter(questions):
    problem = questions.draw("train", 0, 1, np.random.default_rng(0))[0]
    moved = task.shuffled(questions.all("train")[0], [3, 1, 0, 2])
    right = json.loads(problem.answer)["right"]
    verdicts = Choice().verify([problem, moved, moved, moved], [f"Answer: {right}", "Answer: C", "Answer: A", "Answer: J"])
    assert [v.state for v in verdicts] == [State.CORRECT, State.CORRECT, State.WRONG, State.UNPARSEABLE]
    assert [v.answer for v in verdicts] == ["option 1", "option 1", "option 4", ""]
    assert Choice().one(task.Problem("x", "", "B"), "Answer: B").state == State.FAILED


def test_position_bias_of_one_who_always_says_a(questions):
    problems = questions.draw("train", 0, 1000, np.random.default_rng(2))
    verdicts = Choice().verify(problems, ["Answer: A"] * len(problems))
    found = Choice().report(pa.table({"why": [v.why for v in verdicts]}))
    rights = Counter(json.loads(p.answer)["right"] for p in problems)
    assert found["bias to A"] == pytest.approx(1 - rights["A"] / len(problems))
    assert sum(found.values()) == pytest.approx(0) and found["bias to B"] < -0.15


def test_mistakes_name_the_row(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"Question": "?", "Correct Answer": "x", "wrong": ["x", "y"]}))
    with pytest.raises(UserError, match="row 1: two of its options are the same"):
        task.Choice(test=str(path), wrong_keys=["wrong"])
    with pytest.raises(UserError, match="no column 'Incorrect Answer 1'"):
        task.Choice(test=str(path))


@pytest.mark.parametrize(
    ("answer", "stated"),
    [
        ("The answer is neither A nor B.", ""),
        ("I would not choose A.", ""),
        ("I can't pick A", ""),
        ("We can eliminate option A", ""),
        ("The incorrect option is A.", ""),
        ("Not option A", ""),
        ("pick B rather than choose A", "B"),
        ("It is not A. I choose B.", "B"),
        ("The best option is C, not B.", "C"),
        ("I choose A.", "A"),
    ],
)
def test_a_letter_that_is_denied_is_not_stated(answer, stated):
    assert letter(answer) == stated
