"""What the verifiers are shown of an answer that thinks first, and that a chat template may begin its thinking."""

import numpy as np
import pytest

from cluster.engine import Generate
from cluster.remote import RemotePolicy, encode
from cluster.verifier import Grader, behind_thinking
from iteration import tiny
from iteration.parts import VERIFY, Part
from iteration.steps import StepEnds, step_ends
from iteration.tasks.expressions import VOCABULARY
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
        ("<think>a</think>8<think>wait, no", State.UNPARSEABLE, None),
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
    tokenizer = tiny_tokenizer(tmp_path)
    plain = encode(tokenizer, "3 + 5")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %} + 1{% endif %}"
    )
    shown = encode(tokenizer, "3 + 5")
    assert np.array_equal(shown, encode_plain(tokenizer, "3 + 5 + 1")) and len(shown) == len(plain) + 2


def test_what_the_model_is_shown_is_the_text_of_the_root(tmp_path):
    """So that `traces` can write it, and a verifier knows whether a template began the thinking."""
    tokenizer = tiny_tokenizer(tmp_path)
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if add_generation_prompt %} + 1{% endif %}"
    root = RemotePolicy(tokenizer, {"p": "3 + 5"}, Generate(), None).show(EIGHT)
    assert root.text == "3 + 5 + 1" and np.array_equal(root.token_ids, encode_plain(tokenizer, root.text))


def test_a_tokenizer_that_ends_every_text_does_not_end_prompts(tmp_path):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer(tmp_path)
    plain, end = encode_plain(tokenizer, "3 + 5"), tokenizer.eos_token_id
    for template in ("$A <eos>", "<pad> $A <eos>", "<pad> $A"):
        names = [("<eos>", end), ("<pad>", tokenizer.pad_token_id)]
        tokenizer._tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=names)
        assert (tokenizer("3 + 5").input_ids[-1] == end) == template.endswith("<eos>")
        begins = [tokenizer.pad_token_id] * template.startswith("<pad>")
        assert encode(tokenizer, "3 + 5").tolist() == [*begins, *plain]
        assert encode(tokenizer, "3 <eos>").tolist() == [*begins, plain[0], end], "one that the prompt itself holds stays"


def test_tokens_beyond_the_tokenizer_end_no_step_and_have_no_text(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    newline, beyond = tokenizer.convert_tokens_to_ids("\n"), len(tokenizer) + 3
    ids = np.array([6, newline, beyond, 7, newline], np.int32)
    assert step_ends(tokenizer, "\n")[ids].tolist() == [False, True, False, False, True]
    assert StepEnds(["a", "\n", "b"], "\n\n")[np.array([0, 1, 9, 1, 2])].tolist() == [False, False, False, True, False]
    assert tokenizer.decode([6, beyond]) == tokenizer.decode([6])


def tiny_tokenizer(folder):
    from transformers import AutoTokenizer

    tiny.build(folder, VOCABULARY, tiny.Shape(hidden_size=32, layers=1, heads=1, kv_heads=1, head_dim=32), 0)
    return AutoTokenizer.from_pretrained(folder)


def encode_plain(tokenizer, text):
    return np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32)
