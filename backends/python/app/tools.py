"""Functions that a request lets the model call, in chats, Responses and Messages.

The model is a willing one: it calls whenever it may, unless a function's result was said last.
"""

import json
from dataclasses import dataclass
from typing import Any

from app.members import cut, echo, invalid, member, missing, split, wrong_type


@dataclass(frozen=True)
class Call:
    name: str
    arguments: str  # A JSON object.


def answer(prompt: str, call: Call | None, limit: int | None) -> tuple[list[str], str]:
    """The tokens of the echo, or of a call's arguments, and the reason why they end."""
    if call is None:
        return echo(prompt, limit)
    return cut(split(call.arguments), limit, "tool_calls")


def pick(body: dict[str, Any], prompt: str, after_result: bool) -> Call | None:
    """The function that `tool_choice` names, else the first, with the prompt as its argument."""
    tools = _read(body)
    choice = body.get("tool_choice")
    if not isinstance(choice, str | dict | None):
        raise wrong_type("tool_choice", "a string or an object")
    named = choice if isinstance(choice, dict) else {}
    if not tools or after_result or "none" in (choice, named.get("type")):
        return None
    inner = named.get("function")
    name = (inner if isinstance(inner, dict) else named).get("name")
    if name is None:
        name = next(iter(tools))
    elif not isinstance(name, str) or name not in tools:
        text = "Invalid value for 'tool_choice': one of the tools is needed."
        raise invalid("invalid_value", text, "tool_choice")
    arguments = {tools[name]: prompt}
    return Call(name, json.dumps(arguments, ensure_ascii=False, separators=(",", ":")))


def _read(body: dict[str, Any]) -> dict[str, str]:
    """The functions among the tools and the name of what each wants; searches and others pass."""
    tools = {}
    for i, tool in enumerate(member(body, "tools", list, "an array of objects") or ()):
        if not isinstance(tool, dict):
            raise wrong_type(f"tools[{i}]", "an object")
        if tool.get("type") not in (None, "function", "custom"):
            continue
        function = tool.get("function", tool)
        if not isinstance(function, dict):
            raise wrong_type(f"tools[{i}].function", "an object")
        name = function.get("name")
        if not name:
            raise missing(f"tools[{i}].name")
        if not isinstance(name, str):
            raise wrong_type(f"tools[{i}].name", "a string")
        tools[name] = _wanted(function.get("parameters", function.get("input_schema")))
    return tools


def _wanted(schema: Any) -> str:
    required = schema.get("required") if isinstance(schema, dict) else None
    if isinstance(required, list) and required and isinstance(required[0], str):
        return required[0]
    return "text"
