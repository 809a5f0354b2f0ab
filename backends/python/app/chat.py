"""The part of OpenAI's chat request that this service understands; the rest is ignored."""

from dataclasses import dataclass
from typing import Any

from app.members import (
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
from app.tools import Call, answer, pick

_ROLES = ("developer", "system", "user", "assistant", "tool", "function")


@dataclass(frozen=True)
class Chat:
    model: str
    prompt: str
    prompt_tokens: int
    max_tokens: int | None
    stream: bool
    include_usage: bool
    call: Call | None

    def answer(self) -> tuple[list[str], str]:
        """The tokens of the answer and the reason why it ends."""
        return answer(self.prompt, self.call, self.max_tokens)


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
        call=pick(body, prompt, after_result(body)),
    )


def conversation(body: dict[str, Any]) -> tuple[str, int]:
    """What the user said or a function gave back last, and how many tokens everybody said.

    In chats and in Messages.
    """
    texts = conversation_text(body)
    asked = [text for message, text in zip(body["messages"], texts, strict=True) if _asks(message)]
    return asked[-1] if asked else texts[-1], sum(len(split(text)) for text in texts)


def conversation_text(body: dict[str, Any]) -> list[str]:
    messages = member(body, "messages", list, "an array of objects")
    if messages is None:
        raise missing("messages")
    if not messages:
        raise invalid("empty_array", "Invalid 'messages': the array is empty.", "messages")
    return [message_text(message, f"messages[{i}]") for i, message in enumerate(messages)]


def after_result(body: dict[str, Any]) -> bool:
    """Whether what was said last is what a function gave back."""
    last = body["messages"][-1]
    if last["role"] in ("tool", "function"):
        return True
    parts = last.get("content")
    return isinstance(parts, list) and any(part.get("type") == "tool_result" for part in parts)


def _asks(message: dict[str, Any]) -> bool:
    return message["role"] in ("user", "tool", "function")


def message_text(message: Any, where: str) -> str:
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
