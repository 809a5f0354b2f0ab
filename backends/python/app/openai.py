"""`/v1/*` in OpenAI's shapes: models and chat completions, whole or streamed."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response

from app import MODEL, SERVICE
from app.body import read_json
from app.chat import Chat, parse
from app.infer import Model
from app.reply import ApiError, encode, reply
from app.settings import Latency
from app.work import EventStream

_FINGERPRINT = f"fp_echo_{SERVICE}"
_MODEL_CARD = {"id": MODEL, "object": "model", "created": 1735689600, "owned_by": "aigateway"}


def routes(model: Model, token_latency: Latency) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.api_route("/models", methods=["GET", "HEAD"])
    async def models() -> Response:
        return reply({"object": "list", "data": [_MODEL_CARD]})

    @router.api_route("/models/{name}", methods=["GET", "HEAD"])
    async def one_model(name: str) -> Response:
        if name != MODEL:
            raise ApiError(404, "model_not_found", "The model does not exist.", "model")
        return reply(_MODEL_CARD)

    @router.post("/chat/completions")
    async def chat_completions(request: Request) -> Response:
        chat = parse(await read_json(request))
        await model.think(request)
        if chat.stream:
            return EventStream(_events(chat, token_latency), model.cancelled)
        return reply(_completion(chat))

    return router


def _head(chat: Chat, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(14)}",
        "object": kind,
        "created": int(time.time()),
        "model": chat.model,
    }


def _completion(chat: Chat) -> dict[str, Any]:
    tokens, reason = chat.answer()
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(tokens),
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {
        **_head(chat, "chat.completion"),
        "choices": [choice],
        "usage": _usage(chat, len(tokens)),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def _usage(chat: Chat, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": chat.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": chat.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


async def _events(chat: Chat, token_latency: Latency) -> AsyncGenerator[bytes, None]:
    """The chunks of one answer. With include_usage each has `usage`, null but in the last."""
    tokens, reason = chat.answer()
    head = {
        **_head(chat, "chat.completion.chunk"),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    no_usage = {"usage": None} if chat.include_usage else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**head, "choices": [choice], **no_usage})

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for token in tokens:
        await asyncio.sleep(token_latency.draw_seconds())
        yield chunk({"content": token})
    yield chunk({}, reason)
    if chat.include_usage:
        yield _event({**head, "choices": [], "usage": _usage(chat, len(tokens))})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + encode(value) + b"\n\n"
