r"""The command line's KEY=VALUE words as a config.

A value is YAML: a number, true, null, a [list], a {map: 1} or plain text. For an option that is a text it is taken as it was
typed, braces, brackets and # included; \n is a line end there, and \\n a backslash before an n.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf, StringNode
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from iteration.errors import UserError

_COMMENT = re.compile(r"(^|\s)#")  # YAML drops what follows it


def split(word: str) -> tuple[str, str]:
    """(key, text) of KEY=VALUE. Raises UserError where it is none."""
    key, sign, text = word.partition("=")
    if not sign or not key:
        raise UserError(f"command line: found {word!r}, expected KEY=VALUE, e.g. rounds=3")
    if text == "???":  # OmegaConf's word for a missing value
        raise UserError(f"command line: {key}: found ???, expected a value")
    return key, text


def read(words: Sequence[str]) -> DictConfig:
    """The words as a config without a schema: what is not YAML is text. Raises UserError naming the key."""
    config = OmegaConf.create({})
    for key, text in map(split, words):
        try:
            value = parsed(text)
        except YAMLError:
            value = text
        put(config, key, value)
    return config


def fit(config: DictConfig, words: Sequence[str], schema: DictConfig) -> None:
    """Take options of `config` (`read`) that a schema has as texts literally. Raises UserError where another is not YAML."""
    for key, text in map(split, words):
        node: Any = schema
        for part in key.split("."):
            node = node._get_node(part) if isinstance(node, DictConfig) and part in list(node) else None
        of_any = isinstance(node, AnyNode) and isinstance(node._value(), str)  # a text or a list of texts
        if isinstance(node, StringNode) or (of_any and not isinstance(OmegaConf.select(config, key), ListConfig)):
            put(config, key, literal(text))
        elif node is not None:
            try:
                parsed(text)
            except YAMLError as error:
                what = getattr(error, "problem", None) or str(error).splitlines()[0]
                raise UserError(f"command line: {key}: found {text!r}, which is not YAML ({what})") from None


def parsed(text: str) -> Any:
    """A value as YAML. Raises YAMLError."""
    if not text or _COMMENT.search(text):
        return text
    try:
        return OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]
    except OmegaConfBaseException as error:
        raise YAMLError(str(error)) from None


def literal(text: str) -> str:
    r"""A text as it was typed, \n being a line end."""
    return re.sub(r"(\\?)\\n", lambda match: "\\n" if match[1] else "\n", text)


def put(config: DictConfig, key: str, value: Any) -> None:
    """Set a dotted key. Raises UserError where it cannot stand there."""
    try:
        OmegaConf.update(config, key, value, force_add=True)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise UserError(f"command line: {key}: {str(error).splitlines()[0]}") from None
