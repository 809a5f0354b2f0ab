"""What the requests of all dialects have in common: members of a JSON object, read with care."""

import re
from typing import Any

from app.reply import ApiError

# A word with the space behind it, 32 characters at most.
_TOKEN = re.compile(r"[^ \t\r\n]{1,16}[ \t\r\n]{0,16}|[ \t\r\n]{1,16}")


def split(text: str) -> list[str]:
    return _TOKEN.findall(text)


def echo(prompt: str, limit: int | None) -> tuple[list[str], str]:
    """The tokens of an answer and the reason why it ends."""
    return cut(split(f"echo: {prompt}"), limit, "stop")


def cut(tokens: list[str], limit: int | None, reason: str) -> tuple[list[str], str]:
    if limit is not None and len(tokens) > limit:
        return tokens[:limit], "length"
    return tokens, reason


def read_object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise invalid("invalid_type", "The request body must be a JSON object.", None)
    return body


def read_model(body: Any) -> str:
    model = member(read_object(body), "model", str, "a string")
    if not model:
        raise missing("model")
    return str(model)


def one_choice(body: dict[str, Any]) -> None:
    if body.get("n") not in (None, 1) or isinstance(body.get("n"), bool):
        raise invalid("unsupported_value", "Unsupported value: 'n' must be 1.", "n")


def inputs(body: dict[str, Any], name: str) -> list[tuple[str, int]]:
    """Texts and their tokens: a string, strings, token numbers, or arrays of those.

    Numbers are taken as text, which is enough to tell them apart.
    """
    value = body.get(name)
    if value is None:
        raise missing(name)
    if (one := _input(value)) is not None:
        return [one]
    several = [_input(item) for item in value] if isinstance(value, list) else []
    found = [one for one in several if one is not None]
    if not found or len(found) != len(several):
        wanted = "a string, an array of strings or an array of token numbers, not empty"
        raise wrong_type(name, wanted)
    return found


def _input(value: Any) -> tuple[str, int] | None:
    if isinstance(value, str) and value:
        return value, len(split(value))
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return str(value), len(value)
    return None


def prose(content: Any, where: str) -> str:
    """A string, or an array of parts of which those with text count."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong_type(where, "a string or an array of objects")
    return "".join(part_text(part, f"{where}[{i}]") for i, part in enumerate(content))


def part_text(part: Any, where: str) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise wrong_type(where, "an object with a type")
    if part["type"] == "tool_result":
        return _result_text(part.get("content"))
    if part["type"] not in ("text", "input_text", "output_text"):
        return ""
    if not isinstance(part.get("text"), str):
        raise wrong_type(f"{where}.text", "a string")
    return str(part["text"])


def _result_text(content: Any) -> str:
    """What a function gave back: a string, or the text of its parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def streaming(body: dict[str, Any]) -> tuple[bool, bool]:
    stream = bool(member(body, "stream", bool, "a boolean"))
    options = member(body, "stream_options", dict, "an object")
    if options is None:
        return stream, False
    if not stream:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise invalid("invalid_value", text, "stream_options")
    include = options.get("include_usage")
    if not isinstance(include, bool | None):
        raise wrong_type("stream_options.include_usage", "a boolean")
    return stream, bool(include)


def max_tokens(body: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type(name, "an integer")
        if value < 1:
            text = f"Invalid '{name}': must be at least 1."
            raise invalid("integer_below_min_value", text, name)
        return value
    return None


def member(body: dict[str, Any], name: str, wanted: type, description: str) -> Any:
    value = body.get(name)
    if value is not None and not isinstance(value, wanted):
        raise wrong_type(name, description)
    return value


def missing(param: str) -> ApiError:
    text = f"Missing required parameter: '{param}'."
    return invalid("missing_required_parameter", text, param)


def wrong_type(param: str, wanted: str) -> ApiError:
    return invalid("invalid_type", f"Invalid type for '{param}': expected {wanted}.", param)


def invalid(code: str, message: str, param: str | None) -> ApiError:
    return ApiError(400, code, message, param)
