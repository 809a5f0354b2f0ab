"""The part of OpenAI's chat request that this service understands; the rest is ignored."""

import re
from dataclasses import dataclass
from typing import Any

from app.reply import ApiError

_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_TOKEN = re.compile(r"[^ \t\r\n]+[ \t\r\n]*|[ \t\r\n]+")  # A word with the space behind it.


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
        tokens = split(f"echo: {self.prompt}")
        if self.max_tokens is not None and len(tokens) > self.max_tokens:
            return tokens[: self.max_tokens], "length"
        return tokens, "stop"


def split(text: str) -> list[str]:
    return _TOKEN.findall(text)


def parse(body: Any) -> Chat:
    if not isinstance(body, dict):
        raise _invalid("invalid_type", "The request body must be a JSON object.", None)
    model = _member(body, "model", str, "a string")
    if not model:
        raise _missing("model")
    messages = _member(body, "messages", list, "an array of objects")
    if messages is None:
        raise _missing("messages")
    if not messages:
        raise _invalid("empty_array", "Invalid 'messages': the array is empty.", "messages")
    texts = [_text(message, f"messages[{i}]") for i, message in enumerate(messages)]
    asked = [text for message, text in zip(messages, texts, strict=True) if _is_user(message)]
    stream, include_usage = _streaming(body)
    if body.get("n") not in (None, 1) or isinstance(body.get("n"), bool):
        raise _invalid("unsupported_value", "Unsupported value: 'n' must be 1.", "n")
    return Chat(
        model=model,
        prompt=asked[-1] if asked else texts[-1],
        prompt_tokens=sum(len(split(text)) for text in texts),
        max_tokens=_max_tokens(body),
        stream=stream,
        include_usage=include_usage,
    )


def _is_user(message: dict[str, Any]) -> bool:
    return bool(message["role"] == "user")


def _text(message: Any, where: str) -> str:
    if not isinstance(message, dict):
        raise _wrong_type(where, "an object")
    role = message.get("role")
    if role is None:
        raise _missing(f"{where}.role")
    if role not in _ROLES:
        supported = ", ".join(f"'{name}'" for name in _ROLES)
        text = f"Invalid value for '{where}.role'. Supported values are: {supported}."
        raise _invalid("invalid_value", text, f"{where}.role")
    content = message.get("content")
    if content is None:
        if role == "assistant":  # An assistant's turn may consist of tool calls only.
            return ""
        raise _missing(f"{where}.content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _wrong_type(f"{where}.content", "a string or an array of objects")
    return "".join(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _wrong_type(where, "an object with a type")
    if part["type"] != "text":
        return ""
    if not isinstance(part.get("text"), str):
        raise _wrong_type(f"{where}.text", "a string")
    return str(part["text"])


def _streaming(body: dict[str, Any]) -> tuple[bool, bool]:
    stream = bool(_member(body, "stream", bool, "a boolean"))
    options = _member(body, "stream_options", dict, "an object")
    if options is None:
        return stream, False
    if not stream:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise _invalid("invalid_value", text, "stream_options")
    include = options.get("include_usage")
    if not isinstance(include, bool | None):
        raise _wrong_type("stream_options.include_usage", "a boolean")
    return stream, bool(include)


def _max_tokens(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(name, "an integer")
        if value < 1:
            text = f"Invalid '{name}': must be at least 1."
            raise _invalid("integer_below_min_value", text, name)
        return value
    return None


def _member(body: dict[str, Any], name: str, wanted: type, description: str) -> Any:
    value = body.get(name)
    if value is not None and not isinstance(value, wanted):
        raise _wrong_type(name, description)
    return value


def _missing(param: str) -> ApiError:
    text = f"Missing required parameter: '{param}'."
    return _invalid("missing_required_parameter", text, param)


def _wrong_type(param: str, wanted: str) -> ApiError:
    return _invalid("invalid_type", f"Invalid type for '{param}': expected {wanted}.", param)


def _invalid(code: str, message: str, param: str | None) -> ApiError:
    return ApiError(400, code, message, param)
