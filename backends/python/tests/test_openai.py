import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

_CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello big world"}]}
_URL = "/v1/chat/completions"


def test_models(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["echo-python"]
    assert client.get("/v1/models/echo-python").json() == listed["data"][0]
    answer = client.get("/v1/models/other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_whole(client: TestClient) -> None:
    answer = client.post(_URL, json=_CHAT).json()
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "m"
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == "echo: hello big world"
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 4, 7)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens(client: TestClient, name: str) -> None:
    answer = client.post(_URL, json={**_CHAT, name: 2}).json()
    assert answer["choices"][0]["message"]["content"] == "echo: hello "
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


def test_the_last_user_message_is_echoed(client: TestClient) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "sec"}, {"type": "image_url"}]},
        {"role": "assistant", "content": "later"},
    ]
    answer = client.post(_URL, json={"model": "m", "messages": messages}).json()
    assert answer["choices"][0]["message"]["content"] == "echo: sec"


def test_stream(client: TestClient) -> None:
    chunks = _stream(client, {**_CHAT, "stream": True})
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert all("usage" not in chunk for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == "echo: hello big world"
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]


def test_stream_with_usage(client: TestClient) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = _stream(client, {**_CHAT, **options})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"model": 1}, "model", "invalid_type"),
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [{}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "cook"}]}, "messages[0].role", "invalid_value"),
        (
            {"messages": [{"role": "user"}]},
            "messages[0].content",
            "missing_required_parameter",
        ),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "invalid_type"),
        (
            {"messages": [{"role": "user", "content": [1]}]},
            "messages[0].content[0]",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "invalid_type",
        ),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {}}, "stream_options", "invalid_value"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "invalid_type",
        ),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": True}, "max_tokens", "invalid_type"),
        ({"n": 2}, "n", "unsupported_value"),
    ],
)
def test_bad_requests(client: TestClient, change: dict[str, Any], param: str, code: str) -> None:
    answer = client.post(_URL, json={**_CHAT, **change})
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


def test_errors_before_the_request_is_understood(client: TestClient) -> None:
    for answer, status, code in [
        (client.post(_URL, content=b"{"), 400, "invalid_json"),
        (client.post(_URL, content=b"[]"), 400, "invalid_type"),
        (client.post(_URL, content=b" " * (1 << 20) + b"{}"), 413, "body_too_large"),
        (client.get("/v1/nope"), 404, "not_found"),
        (client.get(_URL), 405, "method_not_allowed"),
    ]:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, code, None)


def _stream(client: TestClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(_URL, json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(event.startswith("data: ") for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]
