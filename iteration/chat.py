"""Prompts that are lists of messages.

The prompt of such a problem is JSON text: {"messages": [{"role": ..., "content": ...}, ...]}.
"""

from __future__ import annotations

import json
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
HEAD = '{"messages": ['


def chat_text(messages: list[Any]) -> str:
    """Messages as the text of a prompt. Raises ValueError where they are none, or do not end with the user's."""
    cleaned = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in ROLES or not isinstance(message.get("content"), str):
            raise ValueError(
                f'message {number} of the prompt is not {{"role": ..., "content": TEXT}} with a role of {", ".join(ROLES)}'
            )
        other = [name for name, value in message.items() if name not in ("role", "content") and value is not None]
        if other:
            raise ValueError(f"message {number} of the prompt has {', '.join(other)}; expected only role and content")
        cleaned.append({"role": message["role"], "content": message["content"]})
    if not cleaned or cleaned[-1]["role"] not in ("user", "tool"):
        raise ValueError("the prompt's messages do not end with a message of the user")
    return json.dumps({"messages": cleaned}, ensure_ascii=False)


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
