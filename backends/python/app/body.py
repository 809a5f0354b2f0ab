"""A request's JSON body, read up to a limit."""

import json
from collections.abc import AsyncGenerator
from typing import Any, NoReturn

from fastapi import Request

from app.reply import ApiError

LIMIT = 1 << 20


async def limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    if int(request.headers.get("content-length") or 0) > limit:
        raise _too_large(limit)
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        yield part


async def read_json(request: Request) -> Any:
    body = bytearray()
    async for part in limited(request, LIMIT):
        body += part
    return parse_json(body)


def parse_json(text: bytes | bytearray | str) -> Any:
    try:
        if not isinstance(text, str):
            text = text.decode()
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "The request body is not valid JSON.") from None


def _not_json(name: str) -> NoReturn:
    # RFC 8259 §6: NaN and Infinity are not permitted, though Python would read them.
    raise ValueError(name)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "body_too_large", f"The request body is larger than {limit} bytes.")
