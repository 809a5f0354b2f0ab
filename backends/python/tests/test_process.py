"""A real process on a real socket: streams, clients that leave, the log and the end."""

import json
import re
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPConnection
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.conftest import Process, wait_for

_LONG = " ".join(str(i) for i in range(100))


def _chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def _raw(process: Process, head: str, body: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", process.port), timeout=10)
    length = f"content-length: {len(body)}\r\n" if body else ""
    connection.sendall(f"{head}\r\nhost: test\r\n{length}\r\n".encode("latin-1") + body)
    return connection


def test_the_openai_sdk(start: Callable[..., Process]) -> None:
    process = start(INFER_LATENCY_MS="0", TOKEN_LATENCY_MS="0")
    with OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0) as sdk:
        assert [model.id for model in sdk.models.list()] == ["echo-python"]
        whole = sdk.chat.completions.create(
            model="echo-python", messages=[{"role": "user", "content": "hello world"}]
        )
        assert whole.choices[0].message.content == "echo: hello world"
        chunks = list(
            sdk.chat.completions.create(
                model="echo-python",
                messages=[{"role": "user", "content": "hello world"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "echo: hello world"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 5


def test_work_takes_its_time(start: Callable[..., Process]) -> None:
    process = start(INFER_LATENCY_MS="30-50")
    answer = httpx2.get(f"{process.url}/infer?prompt=a").json()
    assert 29 <= answer["latency_ms"] < 1000


def test_a_stream_arrives_as_it_is_made(start: Callable[..., Process]) -> None:
    process = start(INFER_LATENCY_MS="0", TOKEN_LATENCY_MS="100")
    arrived: list[float] = []
    body = _chat("a b c d", stream=True)
    with httpx2.stream("POST", f"{process.url}/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if '"content":"' in line:
                arrived.append(time.monotonic())
    assert arrived[-1] - arrived[0] > 0.3


def test_a_client_that_leaves_a_stream_ends_it(start: Callable[..., Process]) -> None:
    process = start(INFER_LATENCY_MS="0", TOKEN_LATENCY_MS="100")
    body = json.dumps(_chat(_LONG, stream=True)).encode()
    connection = _raw(process, "POST /v1/chat/completions HTTP/1.1\r\nx-request-id: s1", body)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    connection.close()
    wait_for(lambda: process.stats()["cancelled"] == 1)
    assert process.stats()["executed"] == {"s1": 1}
    line = next(line for line in process.lines() if line.get("request_id") == "s1")
    assert (line["status"], line["cut"]) == (200, True)
    assert line["ms"] < 5000  # The whole stream would take ten seconds.


def test_a_client_that_leaves_before_the_answer_ends_the_work(
    start: Callable[..., Process],
) -> None:
    process = start(INFER_LATENCY_MS="60000")
    connection = _raw(process, "GET /infer?prompt=secret HTTP/1.1\r\nx-request-id: w1")
    wait_for(lambda: process.stats()["executed"] == {"w1": 1})
    connection.close()
    wait_for(lambda: process.stats()["cancelled"] == 1)
    line = next(line for line in process.lines() if line.get("request_id") == "w1")
    assert line["status"] == 499


def test_log_lines_cannot_be_forged(start: Callable[..., Process]) -> None:
    process = start(INFER_LATENCY_MS="0")
    head = 'GET /%0A%7F?secret=1 HTTP/1.1\r\nx-request-id: a\t\x85\xff"b'
    with _raw(process, head) as connection:
        assert connection.recv(1000)
    lines = wait_for(lambda: process.lines()[1:])
    assert len(lines) == 1
    assert lines[0]["path"] == "/%0A%7F"
    assert lines[0]["request_id"] == 'a\t\x85\xff"b'
    assert set(lines[0]) == {"time", "service", "method", "path", "status", "ms", "request_id"}
    assert re.fullmatch(rb"[\x20-\x7e\n]*", process.log.read_bytes())


def test_the_connection_survives_a_body_over_the_limit(start: Callable[..., Process]) -> None:
    process = start(INFER_LATENCY_MS="0")
    with closing(HTTPConnection("127.0.0.1", process.port, timeout=10)) as connection:
        connection.auto_open = 0  # A lost connection is an error, not a reason for a new one.
        connection.connect()
        parts = iter([b"x" * 65536] * 64)
        connection.request("POST", "/infer", body=parts, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        answer.read()
        connection.request("GET", "/infer?prompt=a")
        assert connection.getresponse().status == 200


def test_sigterm_lets_an_open_stream_finish(start: Callable[..., Process]) -> None:
    process = start(INFER_LATENCY_MS="0", TOKEN_LATENCY_MS="50")
    body = _chat("a b c d e f g h i j", stream=True)
    with httpx2.stream("POST", f"{process.url}/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        process.popen.terminate()
        wait_for(lambda: _refused(process))
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.popen.wait(10) == 0
    assert process.popen.returncode == 0


def test_sigterm_cuts_a_stream_after_the_grace(start: Callable[..., Process]) -> None:
    process = start(TOKEN_LATENCY_MS="100", SHUTDOWN_GRACE_SECONDS="1")
    url = f"{process.url}/v1/chat/completions"
    with httpx2.stream("POST", url, json=_chat(_LONG, stream=True)) as answer:
        assert answer.status_code == 200
        assert process.terminate() == 0
        with pytest.raises(httpx2.RemoteProtocolError):
            answer.read()


def test_sigterm_with_an_idle_connection(start: Callable[..., Process]) -> None:
    process = start()
    with httpx2.Client() as client:
        assert client.get(f"{process.url}/healthz").status_code == 200
        assert process.terminate() == 0


def test_bad_settings_stop_the_start(start: Callable[..., Process]) -> None:
    process = start(PORT="many")
    assert process.popen.wait(10) == 1


def _refused(process: Process) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", process.port), timeout=1):
        return False
    return True


def test_a_realtime_client_leaves(start: Callable[..., Process]) -> None:
    process = start(MODELS="talker", INFER_LATENCY_MS="60000")
    url = process.url.replace("http:", "ws:") + "/v1/realtime"
    with pytest.raises(InvalidStatus) as refused, connect(f"{url}?model=nope"):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["error"]["code"] == "model_not_found"
    with connect(f"{url}?model=talker") as session:
        assert json.loads(session.recv())["type"] == "session.created"
        session.send('{"type":"response.create"}')
        wait_for(lambda: process.stats()["dialects"].get("realtime") == 1)
    wait_for(lambda: process.stats()["cancelled"] == 1)
    lines = wait_for(lambda: [line for line in process.lines() if line.get("status") == 101])
    assert (lines[0]["method"], lines[0]["path"]) == ("GET", "/v1/realtime")
    assert process.terminate() == 0
