import base64
import json
import struct
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.tokens import Vocabulary

_SAID = [{"role": "user", "content": "hello big world"}]
_ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": _SAID},
    "/v1/completions": {"prompt": "hello big world"},
    "/v1/embeddings": {"input": "hello big world"},
    "/v1/responses": {"input": "hello big world"},
    "/v1/messages": {"messages": _SAID, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": _SAID},
    "/v1/rerank": {"query": "a b", "documents": ["c", {"text": "A b"}, "a"]},
    "/rerank": {"query": "a b", "documents": ["c", {"text": "A b"}, "a"]},
    "/v1/score": {"text_1": "a", "text_2": ["a", "b"]},
    "/score": {"text_1": "a", "text_2": ["a", "b"]},
    "/v1/audio/speech": {"input": "hello big world", "voice": "alloy"},
    "/tokenize": {"prompt": "a b a"},
    "/detokenize": {"tokens": []},
}
_FILE = {"file": ("a.wav", b"RIFF", "audio/wav")}
_AUDIO = ("/v1/audio/transcriptions", "/v1/audio/translations")


@pytest.mark.parametrize("path", [*_ASKED, *_AUDIO])
def test_models_of_every_dialect(named: TestClient, path: str) -> None:
    def ask(model: str) -> Any:
        if path in _AUDIO:
            return named.post(path, data={"model": model}, files=_FILE)
        return named.post(path, json={"model": model, **_ASKED[path]})

    good, bad = ask("org/big"), ask("nope")
    assert good.status_code == 200
    if path != "/v1/audio/speech":
        assert good.json().get("model", "org/big") == "org/big"
    assert bad.status_code == 404
    if path.startswith("/v1/messages"):
        assert bad.json()["type"] == "error"
        assert bad.json()["error"]["type"] == "not_found_error"
    else:
        assert bad.json()["error"]["code"] == "model_not_found"
    counted = named.get("/stats").json()
    assert sum(counted["dialects"].values()) == counted["executions"] == 1


def test_models(named: TestClient) -> None:
    listed = named.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["org/big", "small"]
    assert named.get("/v1/models/org/big").json() == listed[0]
    assert named.get("/v1/models/org%2Fbig").json() == listed[0]
    assert named.get("/v1/models/echo-python").status_code == 404
    assert named.post("/tokenize", json={"prompt": "a"}).status_code == 200


def test_completions(client: TestClient) -> None:
    asked = {"model": "m", "prompt": "hello big world", "max_tokens": 2}
    answer = client.post("/v1/completions", json=asked).json()
    assert answer["choices"][0]["text"] == "echo: hello "
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 5
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    events = client.post("/v1/completions", json={**asked, **stream}).text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "echo: hello "
    assert chunks[-1]["usage"] == answer["usage"]


def test_embeddings(client: TestClient) -> None:
    def vectors(given: Any, **more: Any) -> list[Any]:
        body = {"model": "m", "input": given, **more}
        data = client.post("/v1/embeddings", json=body).json()["data"]
        assert [one["index"] for one in data] == list(range(len(data)))
        return [one["embedding"] for one in data]

    (one,) = vectors("one")
    assert len(one) == 256
    assert sum(x * x for x in one) == pytest.approx(1, abs=1e-5)
    assert vectors(["two", "one"])[1] == one
    assert vectors(["two", "one"])[0] != one
    assert len(vectors([1, 2, 3])) == 1
    assert len(vectors([[1, 2], [3]])) == 2
    packed = base64.b64decode(vectors("one", encoding_format="base64")[0])
    assert list(struct.unpack("<256f", packed)) == one
    assert len(vectors("one", dimensions=3)[0]) == 3


def test_responses(client: TestClient) -> None:
    asked = {
        "model": "m",
        "instructions": "be kind",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi there"}]},
            {"type": "function_call_output", "call_id": "1", "output": "7"},
        ],
    }
    answer = client.post("/v1/responses", json=asked).json()
    assert answer["status"] == "completed"
    assert answer["output"][0]["content"][0]["text"] == "echo: hi there"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (4, 3)
    cut = client.post("/v1/responses", json={**asked, "max_output_tokens": 1}).json()
    assert cut["incomplete_details"] == {"reason": "max_output_tokens"}
    names, events = _events(client, "/v1/responses", {**asked, "stream": True})
    assert names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["usage"] == answer["usage"]


def test_messages(client: TestClient) -> None:
    asked = {"model": "m", "max_tokens": 3, "system": "be kind", "messages": _SAID}
    answer = client.post("/v1/messages", json=asked).json()
    assert answer["content"] == [{"type": "text", "text": "echo: hello big "}]
    assert answer["stop_reason"] == "max_tokens"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (5, 3)
    names, events = _events(client, "/v1/messages", {**asked, "stream": True})
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["usage"]["input_tokens"] == 5
    assert events[-2]["usage"]["output_tokens"] == 3
    counted = client.post("/v1/messages/count_tokens", json={"model": "m", "messages": _SAID})
    assert counted.json() == {"input_tokens": 3}


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"max_tokens": None}, 400, "invalid_request_error"),
        ({"messages": []}, 400, "invalid_request_error"),
        ({"system": 1}, 400, "invalid_request_error"),
        ({"metadata": "x" * (1 << 20)}, 413, "request_too_large"),
    ],
)
def test_errors_of_messages(
    client: TestClient, change: dict[str, Any], status: int, kind: str
) -> None:
    asked = {"model": "m", "max_tokens": 3, "messages": _SAID}
    answer = client.post("/v1/messages", json={**asked, **change})
    assert answer.status_code == status
    assert answer.json() == {
        "type": "error",
        "error": {"type": kind, "message": answer.json()["error"]["message"]},
    }


def test_ranking(client: TestClient) -> None:
    asked = {"model": "m", **_ASKED["/v1/rerank"], "top_n": 2}
    answer = client.post("/v1/rerank", json=asked).json()
    assert [result["index"] for result in answer["results"]] == [1, 2]
    assert answer["results"][0]["document"] == {"text": "A b"}
    assert answer["results"][0]["relevance_score"] == pytest.approx(1)
    assert answer["usage"]["total_tokens"] == 10
    answer = client.post("/score", json={"model": "m", **_ASKED["/score"]}).json()
    assert [one["score"] for one in answer["data"]] == [1, 0]


def test_audio(client: TestClient) -> None:
    def ask(**fields: str) -> Any:
        return client.post(_AUDIO[0], data={"model": "m", **fields}, files=_FILE)

    assert ask().json()["text"] == "echo: a.wav, 4 bytes"
    assert ask().json()["usage"]["total_tokens"] == 5
    assert ask(response_format="text").text == "echo: a.wav, 4 bytes\n"
    assert ask(response_format="verbose_json").json()["task"] == "transcribe"
    assert ask(response_format="vtt").text.startswith("WEBVTT")
    assert ask(response_format="mp3").json()["error"]["param"] == "response_format"
    events = [event.removeprefix("data: ") for event in ask(stream="true").text.split("\n\n")]
    assert events[-2:] == ["[DONE]", ""]
    assert json.loads(events[-3])["text"] == "echo: a.wav, 4 bytes"


def test_broken_forms(client: TestClient) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    large = b"x" * ((25 << 20) + 1)
    for answer, status, code in [
        (client.post(_AUDIO[0], json={}), 400, "invalid_form"),
        (client.post(_AUDIO[0], content=b"x", headers=form), 400, "invalid_form"),
        (
            client.post(_AUDIO[0], content=b"x", headers={"Content-Type": "multipart/form-data"}),
            400,
            "invalid_form",
        ),
        (client.post(_AUDIO[0], data={"model": "m"}), 400, "invalid_form"),
        (client.post(_AUDIO[0], files=_FILE), 400, "missing_required_parameter"),
        (client.post(_AUDIO[0], files={"file": large}), 413, "body_too_large"),
        (client.post("/v1/audio/nothing"), 404, "not_found"),
    ]:
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_tokenize(client: TestClient) -> None:
    text = "hello  big, big world"
    answer = client.post("/tokenize", json={"model": "m", "prompt": text}).json()
    assert answer["count"] == len(answer["tokens"]) == 4
    back = client.post("/detokenize", json={"tokens": answer["tokens"]}).json()
    assert back["prompt"] == text
    assert client.post("/detokenize", json={"tokens": [99]}).status_code == 400
    assert client.post("/detokenize", json={"tokens": ["a"]}).status_code == 400
    assert client.post("/tokenize", json={"messages": _SAID}).json()["count"] == 3
    assert client.post("/tokenize", json={}).status_code == 400


def test_the_vocabulary_forgets() -> None:
    words = Vocabulary()
    words.number([f"w{i}" for i in range((1 << 16) + 1)])
    assert words.join([0]) is None
    assert words.join([1, 1 << 16]) == "w1w65536"
    assert words.number(["w0"]) == [(1 << 16) + 1]


def test_doors(client: TestClient) -> None:
    for path in ("/health", "/ping"):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert "version" in client.get("/version").json()


def _events(client: TestClient, path: str, body: Any) -> tuple[list[str], list[Any]]:
    answer = client.post(path, json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, rest = answer.text.split("\n\n")
    assert rest == ""
    names, values = [], []
    for event in events:
        name, _, line = event.partition("\n")
        values.append(json.loads(line.removeprefix("data: ")))
        assert values[-1]["type"] == name.removeprefix("event: ")
        names.append(values[-1]["type"])
    return names, values
