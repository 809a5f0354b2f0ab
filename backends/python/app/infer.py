"""`/infer`: one prompt in, its echo out."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from app import MODEL
from app.body import read_json
from app.reply import ApiError, reply
from app.settings import Latency
from app.stats import Stats
from app.work import ClientGone, while_connected


class Model:
    """The simulated model: what each execution costs, and the count of them."""

    def __init__(self, latency: Latency, stats: Stats) -> None:
        self._latency = latency
        self._stats = stats

    async def think(self, request: Request, dialect: str = "infer") -> None:
        """Takes the time an inference takes; raises ClientGone when nobody waits any more."""
        seconds = self.begin(request.headers.get("x-request-id"), dialect)
        if seconds == 0:
            return
        try:
            await while_connected(request.receive, asyncio.sleep(seconds))
        except ClientGone:
            self.cancelled()
            raise

    def begin(self, request_id: str | None, dialect: str) -> float:
        """Counts an execution and says how many seconds it takes."""
        self._stats.execute(request_id, dialect)
        return self._latency.draw_seconds()

    def cancelled(self) -> None:
        self._stats.cancelled += 1


def routes(model: Model) -> APIRouter:
    router = APIRouter()

    # One route for all methods, so that a 405 names all of them in Allow.
    @router.api_route("/infer", methods=["GET", "HEAD", "POST"])
    async def infer(request: Request) -> Response:
        if request.method == "POST":
            prompt = _member(await read_json(request))
        else:
            prompt = request.query_params.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise _bad_prompt(prompt)
        start = time.monotonic()
        await model.think(request)
        elapsed = round((time.monotonic() - start) * 1000)
        return reply({"result": f"echo: {prompt}", "latency_ms": elapsed, "model": MODEL})

    return router


def _member(body: Any) -> Any:
    if not isinstance(body, dict):
        message = 'The request body must be a JSON object such as {"prompt":"hello"}.'
        raise ApiError(422, "invalid_body", message)
    return body.get("prompt")


def _bad_prompt(prompt: Any) -> ApiError:
    if prompt is None:
        return ApiError(422, "missing_prompt", "A prompt is required.")
    if prompt == "":
        return ApiError(422, "empty_prompt", "The prompt must not be empty.")
    return ApiError(422, "invalid_prompt", "The prompt must be a string.")
