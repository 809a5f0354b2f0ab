import base64
import io
import json
import wave
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

_ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a b"}]}


def _hear(socket: Any, last: str) -> list[Any]:
    events = [socket.receive_json()]
    while events[-1]["type"] != last:
        events.append(socket.receive_json())
    return events


def test_a_session(named: TestClient) -> None:
    offered = ["realtime", "openai-insecure-api-key.x"]
    with named.websocket_connect("/v1/realtime?model=small", subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "realtime"
        assert socket.receive_json()["session"]["model"] == "small"
        socket.send_json({"type": "conversation.item.create", "item": _ITEM})
        _hear(socket, "conversation.item.done")
        socket.send_json({"type": "response.create"})
        events = _hear(socket, "response.done")
        assert [event["type"] for event in events] == [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * 3,
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        response = events[-1]["response"]
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["text"] == "echo: a b"
        assert response["usage"]["total_tokens"] == 5
        asked = {"max_output_tokens": 1, "input": [{**_ITEM, "content": "c"}]}
        socket.send_json({"type": "response.create", "response": asked})
        response = _hear(socket, "response.done")[-1]["response"]
        assert response["status"] == "incomplete"
        assert response["usage"]["input_tokens"] == 6
        socket.send_json({"type": "response.create", "response": {"max_output_tokens": "inf"}})
        response = _hear(socket, "response.done")[-1]["response"]
        assert response["output"][0]["content"][0]["text"] == "echo: a b"
    counted = named.get("/stats").json()
    assert (counted["requests"], counted["dialects"]) == (1, {"realtime": 3})


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("{", None),
        ("[]", None),
        ("[" * 10_000, None),
        ('{"type":"nothing"}', "type"),
        ('{"type":["x"]}', "type"),
        ('{"type":"session.update","session":{"max_output_tokens":0}}', "max_output_tokens"),
        ('{"type":"response.create","response":{"input":7}}', "input"),
        (
            json.dumps({"type": "conversation.item.create", "item": {"type": "message"}}),
            "item.role",
        ),
    ],
)
def test_faults_do_not_end_a_session(client: TestClient, text: str, param: str | None) -> None:
    with client.websocket_connect("/v1/realtime") as socket:
        socket.receive_json()
        socket.send_text(text)
        (fault,) = _hear(socket, "error")
        assert fault["error"]["param"] == param
        socket.send_json({"type": "response.create"})
        _hear(socket, "response.done")


def test_refused_sessions(named: TestClient) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        named.websocket_connect("/v1/realtime?model=nope"),
    ):
        pass
    assert refused.value.status_code == 404
    assert refused.value.json()["error"]["code"] == "model_not_found"
    with named.websocket_connect("/v1/realtime") as socket:
        socket.receive_json()
        socket.send_bytes(b"x")
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
        assert ended.value.code == 1003


def test_speech(client: TestClient) -> None:
    def ask(**more: Any) -> Any:
        body = {"model": "m", "input": "a b", "voice": "alloy", **more}
        return client.post("/v1/audio/speech", json=body)

    sound = ask().content
    assert len(sound) == 3 * 960
    assert ask(response_format="pcm").content == sound
    assert ask().headers["content-type"] == "audio/mpeg"
    with wave.open(io.BytesIO(ask(response_format="wav").content)) as played:
        assert played.getparams()[:4] == (1, 2, 24_000, 3 * 480)
        assert played.readframes(9999) == sound
    events = [
        json.loads(event.removeprefix("data: "))
        for event in ask(stream_format="sse").text.split("\n\n")[:-1]
    ]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == sound
    assert events[-1]["usage"]["total_tokens"] == 5
    for more, param in [
        ({"input": ""}, "input"),
        ({"input": "é" * 4097}, "input"),
        ({"voice": None}, "voice"),
        ({"response_format": "mid"}, "response_format"),
        ({"stream_format": "x"}, "stream_format"),
    ]:
        answer = ask(**more)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
