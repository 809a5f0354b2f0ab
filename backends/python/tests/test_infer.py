from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.body import LIMIT


def test_healthz(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"ok": True, "service": "python"}
    assert client.head("/healthz").status_code == 200


def test_post_echoes(client: TestClient) -> None:
    answer = client.post("/infer", json={"prompt": "hello"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"result": "echo: hello", "latency_ms": 0, "model": "echo-python"}


def test_get_echoes(client: TestClient) -> None:
    answer = client.get("/infer", params={"prompt": "grüße & co"})
    assert answer.json()["result"] == "echo: grüße & co"
    assert "cache-control" not in answer.headers
    assert client.head("/infer?prompt=x").status_code == 200


def test_lone_surrogate_survives(client: TestClient) -> None:
    answer = client.post("/infer", content=b'{"prompt":"\\ud800"}')
    assert b'"echo: \\ud800"' in answer.content


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "missing_prompt"),
        (b'{"prompt":null}', 422, "missing_prompt"),
        (b'{"prompt":""}', 422, "empty_prompt"),
        (b'{"prompt":7}', 422, "invalid_prompt"),
        (b'{"prompt":["a"]}', 422, "invalid_prompt"),
        (b'["prompt"]', 422, "invalid_body"),
        (b'"prompt"', 422, "invalid_body"),
        (b"", 400, "invalid_json"),
        (b"{prompt}", 400, "invalid_json"),
        (b'{"prompt":NaN}', 400, "invalid_json"),
        (b'{"prompt":"\xff"}', 400, "invalid_json"),
        (b'\xef\xbb\xbf{"prompt":"a"}', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
    ],
)
def test_bad_bodies(client: TestClient, body: bytes, status: int, code: str) -> None:
    answer = client.post("/infer", content=body)
    assert (answer.status_code, _error(answer)["code"]) == (status, code)


@pytest.mark.parametrize(("query", "code"), [("", "missing_prompt"), ("?prompt=", "empty_prompt")])
def test_bad_queries(client: TestClient, query: str, code: str) -> None:
    answer = client.get("/infer" + query)
    assert (answer.status_code, _error(answer)["code"]) == (422, code)


def test_body_limit(client: TestClient) -> None:
    frame = len(b'{"prompt":""}')
    fits = b'{"prompt":"' + b"a" * (LIMIT - frame) + b'"}'
    assert client.post("/infer", content=fits).status_code == 200
    answer = client.post("/infer", content=fits + b" ")
    assert (answer.status_code, _error(answer)["code"]) == (413, "body_too_large")
    chunked = client.post("/infer", content=iter([fits, b" "]))
    assert (chunked.status_code, _error(chunked)["code"]) == (413, "body_too_large")


def test_unknown_route_and_method(client: TestClient) -> None:
    answer = client.get("/nope")
    assert (answer.status_code, _error(answer)["code"]) == (404, "not_found")
    assert client.get("/infer/").status_code == 404
    answer = client.delete("/infer")
    assert (answer.status_code, _error(answer)["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_stats_count_executions_by_id(client: TestClient) -> None:
    for _ in range(2):
        client.post("/infer", json={"prompt": "a"}, headers={"X-Request-ID": "one"})
    client.get("/infer?prompt=a", headers={"X-Request-ID": "two"})
    client.get("/infer?prompt=", headers={"X-Request-ID": "refused"})
    client.get("/infer?prompt=anonymous")
    client.get("/healthz")
    answer = client.get("/stats")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "requests": 5,
        "executions": 4,
        "cancelled": 0,
        "dialects": {"infer": 4},
        "executed": {"one": 2, "two": 1},
    }
    assert client.get("/stats?id=two").json()["executed"] == {"two": 1}


def _error(answer: Any) -> dict[str, Any]:
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "code"]
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    return dict(error)
