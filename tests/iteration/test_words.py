"""What is typed as KEY=VALUE: texts literally, everything else as YAML."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from iteration.errors import UserError
from iteration.words import fit, literal, parsed, read, split


@dataclass
class Inner:
    text: str = ""
    number: float = 0.0
    several: list[int] = field(default_factory=list)


@dataclass
class Outer:
    name: str = "a"
    inner: Inner = field(default_factory=Inner)


def loaded(*words: str) -> Outer:
    found = read(words)
    fit(found, words, OmegaConf.structured(Outer))
    return OmegaConf.merge(OmegaConf.structured(Outer), found)


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(TEXTS.filter(lambda text: "${" not in text and text != "???"))
def test_a_text_is_what_was_typed_also_after_it_was_stored(text):
    found = loaded(f"inner.text={text}")
    assert found.inner.text == literal(text) and (r"\n" in text or found.inner.text == text)
    again = OmegaConf.merge(OmegaConf.structured(Outer), OmegaConf.create(OmegaConf.to_yaml(found)))
    assert again.inner.text == found.inner.text, "as a run's config.yaml is read again"


@given(st.text("[]{}#~:,'\"&*!|>%@`- \\ab1", max_size=8))
def test_any_value_of_a_number_is_a_number_or_one_line(text):
    try:
        found = read([f"inner.number={text}"])
        fit(found, [f"inner.number={text}"], OmegaConf.structured(Outer))
    except UserError as error:
        assert str(error).startswith("command line: inner.number: found ") and "\n" not in str(error)
    else:
        assert found.inner.number == parsed(text)


def test_a_line_end_is_typed_as_backslash_n():
    assert literal(r"a\nb") == "a\nb" and literal(r"a\\nb") == r"a\nb" and literal(r"\boxed{}\t") == r"\boxed{}\t"


def test_numbers_lists_and_texts():
    found = loaded("inner.number=1e-4", "inner.several=[1, 2]", "name=[1, 2]", "inner.text=a=b")
    assert (found.inner.number, list(found.inner.several), found.name, found.inner.text) == (1e-4, [1, 2], "[1, 2]", "a=b")
    assert split("a.b=c=d") == ("a.b", "c=d") and parsed("") == "" and parsed("null") is None


@pytest.mark.parametrize("word", ["rounds", "=3", "", "="])
def test_a_word_without_key_or_sign_is_refused(word):
    with pytest.raises(UserError, match="expected KEY=VALUE"):
        read([word])
