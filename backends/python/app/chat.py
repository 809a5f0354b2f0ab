"""The part of OpenAI's chat request that this service understands; the rest is ignored."""

from dataclasses import dataclass
from typing import Any

from app.members import (
    echo,
    invalid,
    max_tokens,
    member,
    missing,
    one_choice,
    prose,
    read_model,
    split,
    streaming,
    wrong_type,
)

_ROLES = ("developer", "system", "user", "assistant", "tool", "function")


@dataclass(frozen=True)
class Chat:
    model: str
    prompt: str
    prompt_tokens: int
    max_tokens: int | None
    stream: bool
    include_usage: bool

    def answer(self) -> tuple[list[str], str]:
        """The tokens of the answer and the reason why it ends."""
        return echo(self.prompt, self.max_tokens)


def parse(body: Any) -> Chat:
    model = read_model(body)
    prompt, prompt_tokens = conversation(body)
    stream, include_usage = streaming(body)
    one_choice(body)
    return Chat(
        model=model,
        prompt=prompt,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens(body, "max_completion_tokens", "max_tokens"),
        stream=stream,
        include_usage=include_usage,
    )


def conversation(body: dict[str, Any]) -> tuple[str, int]:
    """What the user said last, and how many tokens everybody said, in chats and in Messages."""
    texts = conversation_text(body)
    asked = [
        text for message, text in zip(body["messages"], texts, strict=True) if _is_user(message)
    ]
    return asked[-1] if asked else texts[-1], sum(len(split(text)) for text in texts)


def conversation_text(body: dict[str, Any]) -> list[str]:
    messages = member(body, "messages", list, "an array of objects")
    if messages is None:
        raise missing("messages")
    if not messages:
        raise invalid("empty_array", "Invalid 'messages': the array is empty.", "messages")
    return [_text(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _is_user(message: dict[str, Any]) -> bool:
    return bool(message["role"] == "user")


def _text(message: Any, where: str) -> str:
    if not isinstance(message, dict):
        raise wrong_type(where, "an object")
    role = message.get("role")
    if role is None:
        raise missing(f"{where}.role")
    if role not in _ROLES:
        supported = ", ".join(f"'{name}'" for name in _ROLES)
        text = f"Invalid value for '{where}.role'. Supported values are: {supported}."
        raise invalid("invalid_value", text, f"{where}.role")
    content = message.get("content")
    if content is None:
        if role == "assistant":  # An assistant's turn may consist of tool calls only.
            return ""
        raise missing(f"{where}.content")
    return prose(content, f"{where}.content")
