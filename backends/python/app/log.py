"""One JSON line per request, and one per thing that happens to the process."""

import json
import logging
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import SERVICE
from app.stats import Stats

_LONGEST_TEXT = 512
_PROBES = ("/healthz", "/stats")


def write(**fields: Any) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"time": now, "service": SERVICE, **fields})
    # JSON escapes all of C0 and, with ensure_ascii, all beyond ASCII; only DEL is left.
    sys.stdout.write(line.replace("\x7f", "\\u007f") + "\n")
    sys.stdout.flush()


class Lines(logging.Handler):
    """Carries the server's own messages into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"level": record.levelname, "msg": record.getMessage()}
            if record.exc_info:
                fields["exception"] = logging.Formatter().formatException(record.exc_info)
            write(**fields)
        except Exception:
            self.handleError(record)


class Observe:
    """Counts and logs each request. Paths only: a query or a body may hold a prompt."""

    def __init__(self, app: ASGIApp, stats: Stats, access_log: bool) -> None:
        self._app = app
        self._stats = stats
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope["path"] not in _PROBES:
            self._stats.requests += 1
        if not self._access_log:
            await self._app(scope, receive, send)
            return
        await _Line(scope).observe(self._app, receive, send)


class _Line:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._status = 500  # What the client gets when the application raises before it answers.
        self._started = False
        self._finished = False

    async def observe(self, app: ASGIApp, receive: Receive, send: Send) -> None:
        start = time.monotonic()

        async def note(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                self._started = True
                self._status = message["status"]
            elif message["type"] == "websocket.accept":
                self._started = self._finished = True
                self._status = 101
            elif not message.get("more_body", False):
                self._finished = True
            await send(message)

        try:
            await app(self._scope, receive, note)
        finally:
            self._write((time.monotonic() - start) * 1000)

    def _write(self, elapsed_ms: float) -> None:
        request_id = Headers(scope=self._scope).get("x-request-id")
        raw_path: bytes = self._scope.get("raw_path") or self._scope["path"].encode()
        cut = {"cut": True} if self._started and not self._finished else {}
        with suppress(OSError):  # A log that nobody reads any more must not cost a request.
            write(
                method=self._scope.get("method", "GET"),  # A WebSocket's scope has none.
                path=raw_path.decode("latin-1")[:_LONGEST_TEXT],
                status=self._status,
                ms=round(elapsed_ms, 3),
                request_id=request_id and request_id[:_LONGEST_TEXT],
                **cut,
            )
