"""Answers and errors in the one JSON form the service has."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.work import ClientGone

_INVALID = "invalid_request_error"
_ANTHROPIC = {404: "not_found_error", 413: "request_too_large"}
_CODES = {404: "not_found", 405: "method_not_allowed"}


def encode(value: Any) -> bytes:
    # A lone surrogate has no UTF-8 form; backslashreplace writes its JSON escape.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(value), status, headers, media_type="application/json")


class ApiError(Exception):
    """A request that cannot be answered, and why."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param


def install(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _crash)
    app.add_exception_handler(ClientGone, _nobody_there)
    app.add_exception_handler(ClientDisconnect, _nobody_there)


def _error(
    request: Request, status: int, error: dict[str, Any], param: str | None
) -> dict[str, Any]:
    if request.url.path == "/v1/messages" or request.url.path.startswith("/v1/messages/"):
        kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else _INVALID)
        return {"type": "error", "error": {"type": kind, "message": error["message"]}}
    if request.url.path.startswith("/v1/"):  # OpenAI's shape has one more member.
        error = {
            "message": error["message"],
            "type": error["type"],
            "param": param,
            "code": error["code"],
        }
    return {"error": error}


def refusal(exc: ApiError) -> Response:
    """An error in OpenAI's shape, for who has no Request: a WebSocket that is not accepted."""
    error = {"message": str(exc), "type": _INVALID, "param": exc.param, "code": exc.code}
    return reply({"error": error}, exc.status)


async def _api_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ApiError)
    error = {"message": exc.message, "type": _INVALID, "code": exc.code}
    return reply(_error(request, exc.status, error, exc.param), exc.status)


async def _http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    code = _CODES.get(exc.status_code, "bad_request")
    error = {"message": exc.detail, "type": _INVALID, "code": code}
    headers = dict(exc.headers or {})
    if "Allow" in headers:  # A set's order changes from process to process.
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return reply(_error(request, exc.status_code, error, None), exc.status_code, headers)


async def _crash(request: Request, exc: Exception) -> Response:
    message = "The server had an error while processing the request."
    error = {"message": message, "type": "server_error", "code": "internal_error"}
    return reply(_error(request, 500, error, None), 500)


async def _nobody_there(request: Request, exc: Exception) -> Response:
    return Response(status_code=499)
