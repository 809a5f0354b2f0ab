"""`/v1/*` in OpenAI's shapes: models and chat completions, whole or streamed."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response

from app import SERVICE
from app.body import read_json
from app.chat import Chat, parse
from app.reply import encode, reply
from app.service import Service, unknown_model
from app.settings import Latency
from app.tools import Call

_FINGERPRINT = f"fp_echo_{SERVICE}"


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.api_route("/models", methods=["GET", "HEAD"])
    async def models() -> Response:
        return reply({"object": "list", "data": [_card(name) for name in service.listed()]})

    @router.api_route("/models/{name:path}", methods=["GET", "HEAD"])
    async def one_model(name: str) -> Response:
        if name not in service.listed():
            raise unknown_model()
        return reply(_card(name))

    @router.post("/chat/completions")
    async def chat_completions(request: Request) -> Response:
        chat = parse(await read_json(request))
        service.resolve(chat.model)
        await service.model.think(request, "chat")
        if chat.stream:
            return service.stream(_events(chat, service.token_latency))
        return reply(_completion(chat))

    return router


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1735689600, "owned_by": "aigateway"}


def _head(chat: Chat, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(14)}",
        "object": kind,
        "created": int(time.time()),
        "model": chat.model,
    }


def _completion(chat: Chat) -> dict[str, Any]:
    tokens, reason = chat.answer()
    text = "".join(tokens)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if chat.call else text,
        **({"tool_calls": [_called(chat.call, text)]} if chat.call else {}),
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {
        **_head(chat, "chat.completion"),
        "choices": [choice],
        "usage": usage(chat.prompt_tokens, len(tokens)),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def _called(call: Call, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
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

    if chat.call is None:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
    else:
        begun = {"index": 0, **_called(chat.call, "")}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [begun]})
    for token in tokens:
        await asyncio.sleep(token_latency.draw_seconds())
        more = {"index": 0, "function": {"arguments": token}}
        yield chunk({"content": token} if chat.call is None else {"tool_calls": [more]})
    yield chunk({}, reason)
    if chat.include_usage:
        yield _event({**head, "choices": [], "usage": usage(chat.prompt_tokens, len(tokens))})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + encode(value) + b"\n\n"
