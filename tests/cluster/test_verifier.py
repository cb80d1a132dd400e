"""What the verifiers are shown of an answer that thinks first, and that a chat template may begin its thinking."""

import numpy as np
import pytest

from cluster.remote import encode
from cluster.verifier import Grader, behind_thinking
from iteration.parts import VERIFY, Part
from iteration.types import Problem, State

EIGHT = Problem("p", "3 + 5?", "8")


@pytest.mark.parametrize(
    ("answer", "state", "shown"),
    [
        ("It is 8.", State.CORRECT, "It is 8."),
        ("<think>7? No, 8.</think>It is 8.", State.CORRECT, "It is 8."),
        ("<think>8</think>It is 7.", State.WRONG, "It is 7."),
        ("7? No.\n</think>\n8", State.CORRECT, "\n8"),  # the template had begun the thinking
        ("<think>a</think>7<think>b</think>8", State.CORRECT, "8"),
        ("<think>It is 8.", State.UNPARSEABLE, None),
        ("<think>8</think>", State.UNPARSEABLE, ""),
    ],
)
def test_what_is_judged_stands_behind_the_thinking(answer, state, shown):
    assert behind_thinking(answer) == shown
    grader = Grader(Part(VERIFY, "exact", {}))
    before, verdict, after = grader.verify([EIGHT] * 3, ["8", answer, "7"])
    assert (before.state, verdict.state, after.state) == (State.CORRECT, state, State.WRONG), verdict
    assert state != State.UNPARSEABLE or shown == "" or "no </think>" in verdict.why


def test_a_chat_template_that_begins_the_thinking_is_used_as_it_is(tmp_path):
    from transformers import AutoTokenizer

    from iteration import tiny
    from iteration.tasks.expressions import VOCABULARY

    tiny.build(tmp_path, VOCABULARY, tiny.Shape(hidden_size=32, layers=1, heads=1, kv_heads=1, head_dim=32), 0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    plain = encode(tokenizer, "3 + 5")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %} + 1{% endif %}"
    )
    shown = encode(tokenizer, "3 + 5")
    assert np.array_equal(shown, encode_plain(tokenizer, "3 + 5 + 1")) and len(shown) == len(plain) + 2


def encode_plain(tokenizer, text):
    return np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32)
