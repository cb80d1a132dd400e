"""Prompts that are lists of messages.

The prompt of such a problem is JSON text: {"messages": [{"role": ..., "content": ...}, ...]}.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from iteration.rows import check_readable, text_of

ROLES = ("system", "developer", "user", "assistant", "tool")
HEAD = '{"messages": ['
# Text that is a list of messages, written as JSON or by Python or numpy.
_WRITTEN = re.compile(r"""\s*(\{\s*['"]messages['"]\s*:\s*)?(array\()?\[\s*\{\s*['"](role|content|from|value)['"]\s*:""")


def prompt_text(value: Any) -> str:
    """The prompt of a row: its text, or its messages (a list, also one that was written as JSON or by Python) as such a text.

    Raises ValueError where it is neither.
    """
    if isinstance(value, list):
        return chat_text(value)
    text = text_of(value)
    return chat_text(_parsed(text)) if _WRITTEN.match(text) else text


def _parsed(text: str) -> list[Any]:
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        check_readable(value)
        if isinstance(value, dict):
            value = value["messages"]
        if isinstance(value, list):
            return value
    raise ValueError(f"the prompt {text[:40]!r} is messages in a form that cannot be read; store it as JSON or as a list")


def chat_text(messages: list[Any]) -> str:
    """Messages as the text of a prompt. Raises ValueError where they are none, or do not end with the user's."""
    cleaned = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in ROLES or "content" not in message:
            raise ValueError(
                f'message {number} of the prompt is not {{"role": ..., "content": TEXT}} with a role of {", ".join(ROLES)}'
            )
        other = [name for name, value in message.items() if name not in ("role", "content") and value is not None]
        if other:
            raise ValueError(f"message {number} of the prompt has {', '.join(other)}; expected only role and content")
        cleaned.append({"role": message["role"], "content": _content(message["content"], number)})
    if not cleaned or cleaned[-1]["role"] not in ("user", "tool"):
        raise ValueError("the prompt's messages do not end with a message of the user")
    return json.dumps({"messages": cleaned}, ensure_ascii=False)


def _content(content: Any, number: int) -> str:
    """The text of a message; parts of text are joined by line ends, as vLLM joins them. Raises ValueError for other parts."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            what = f"a part of type {kind}" if kind and kind != "text" else "content that is no text"
            raise ValueError(f"message {number} of the prompt has {what}; expected text")
    return "\n".join(part["text"] for part in parts)


def messages_of(prompt: str) -> list[dict[str, str]] | None:
    """The messages of such a prompt; None for plain text."""
    if not prompt.startswith(HEAD):
        return None
    try:
        return json.loads(prompt)["messages"]
    except ValueError:
        return None


def filled(template: str, prompt: str) -> str:
    """A template with the prompt in place of {prompt}; of messages, the last one's content takes that place."""
    messages = messages_of(prompt)
    if messages is None:
        return template.replace("{prompt}", prompt)
    messages[-1]["content"] = template.replace("{prompt}", messages[-1]["content"])
    return json.dumps({"messages": messages}, ensure_ascii=False)
