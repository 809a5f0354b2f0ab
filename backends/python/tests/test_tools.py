import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

_SCHEMA = {"type": "object", "required": ["city"]}
_CHAT = [
    {"type": "function", "function": {"name": "weather", "parameters": _SCHEMA}},
    {"type": "function", "function": {"name": "time"}},
]
_MESSAGES = [{"name": "weather", "input_schema": _SCHEMA}]
_RESPONSES = [
    {"type": "web_search"},
    {"type": "function", "name": "weather", "parameters": _SCHEMA},
]
_SAID = [{"role": "user", "content": "Ulm"}]


def _ask(client: TestClient, path: str, **body: Any) -> Any:
    return client.post(path, json={"model": "m", **body})


def _chat(client: TestClient, **body: Any) -> Any:
    return _ask(client, "/v1/chat/completions", **{"messages": _SAID, "tools": _CHAT, **body})


def _events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_chat_calls(client: TestClient) -> None:
    (choice,) = _chat(client).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Ulm"}'}


def test_chat_calls_in_a_stream(client: TestClient) -> None:
    chosen = {"type": "function", "function": {"name": "time"}}
    chunks = _events(_chat(client, stream=True, tool_choice=chosen).text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    begun = deltas[0]["tool_calls"][0]
    assert begun["function"] == {"name": "time", "arguments": ""}
    assert begun["id"].startswith("call_")
    parts = [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas[:-1]]
    assert "".join(parts) == '{"text":"Ulm"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "body",
    [
        {"tool_choice": "none"},
        {"tools": []},
        {"tools": [{"type": "web_search"}]},
        {"messages": [*_SAID, {"role": "assistant"}, {"role": "tool", "content": "Ulm"}]},
    ],
)
def test_chat_does_not_call(client: TestClient, body: dict[str, Any]) -> None:
    message = _chat(client, **body).json()["choices"][0]["message"]
    assert message["content"] == "echo: Ulm"
    assert "tool_calls" not in message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tool_choice": {"function": {"name": "nobody"}}}, "tool_choice"),
        ({"tool_choice": {"name": ["weather"]}}, "tool_choice"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"tools": "x"}, "tools"),
        ({"tools": [7]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": 7}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].name"),
        ({"tools": [{"name": 7}]}, "tools[0].name"),
    ],
)
def test_bad_tools(client: TestClient, body: dict[str, Any], param: str) -> None:
    answer = _chat(client, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_cut_arguments(client: TestClient) -> None:
    choice = _chat(client, messages=[{"role": "user", "content": "a b"}], max_tokens=1).json()
    assert choice["choices"][0]["finish_reason"] == "length"
    asked = {"messages": [{"role": "user", "content": "a b"}], "tools": _MESSAGES}
    answer = _ask(client, "/v1/messages", **asked, max_tokens=1).json()
    assert answer["content"][0]["input"] == {}
    assert answer["stop_reason"] == "max_tokens"


def test_messages_call(client: TestClient) -> None:
    asked = {"messages": _SAID, "tools": _MESSAGES, "max_tokens": 99}
    answer = _ask(client, "/v1/messages", **asked).json()
    (block,) = answer["content"]
    assert answer["stop_reason"] == "tool_use"
    assert (block["type"], block["name"], block["input"]) == (
        "tool_use",
        "weather",
        {"city": "Ulm"},
    )
    events = _events(_ask(client, "/v1/messages", **asked, stream=True).text)
    assert events[1]["content_block"]["type"] == "tool_use"
    parts = [e["delta"]["partial_json"] for e in events if e["type"] == "content_block_delta"]
    assert json.loads("".join(parts)) == {"city": "Ulm"}
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "12 degrees"}
    for content in (result, {**result, "content": [{"type": "text", "text": "12 degrees"}]}):
        asked["messages"] = [{"role": "user", "content": [content]}]
        answer = _ask(client, "/v1/messages", **asked).json()
        assert answer["content"] == [{"type": "text", "text": "echo: 12 degrees"}]


def test_responses_call(client: TestClient) -> None:
    asked: dict[str, Any] = {"input": "Ulm", "tools": _RESPONSES}
    (item,) = _ask(client, "/v1/responses", **asked).json()["output"]
    assert (item["type"], item["name"]) == ("function_call", "weather")
    assert item["arguments"] == '{"city":"Ulm"}'
    events = _events(_ask(client, "/v1/responses", **asked, stream=True).text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events][3:] == [
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    output = {"type": "function_call_output", "call_id": item["call_id"], "output": "12"}
    asked["input"] = [{"role": "user", "content": "Ulm"}, item, output]
    (item,) = _ask(client, "/v1/responses", **asked).json()["output"]
    assert item["content"][0]["text"] == "echo: Ulm"
