"""`/v1/messages` in Anthropic's shapes."""

import secrets
from typing import Any

from fastapi import APIRouter, Request, Response

from app.body import read_json
from app.chat import conversation
from app.members import echo, max_tokens, missing, prose, read_model, split, streaming
from app.reply import reply
from app.service import Service, named


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/messages")

    @router.post("")
    async def messages(request: Request) -> Response:
        body = await read_json(request)
        model, prompt, prompt_tokens = _read(body)
        limit = max_tokens(body, "max_tokens")
        if limit is None:
            raise missing("max_tokens")
        stream, _ = streaming(body)
        model = service.resolve(model)
        tokens, reason = echo(prompt, limit)
        await service.model.think(request, "messages")
        stop = "max_tokens" if reason == "length" else "end_turn"
        answer = {
            "id": f"msg_{secrets.token_hex(14)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": "".join(tokens)}],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": _usage(prompt_tokens, len(tokens)),
        }
        if not stream:
            return reply(answer)
        begun = {**answer, "content": [], "stop_reason": None, "usage": _usage(prompt_tokens, 0)}
        ended = {"stop_reason": stop, "stop_sequence": None}
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        opening = (
            named("message_start", {"message": begun}),
            named("content_block_start", block),
            named("ping", {}),
        )
        parts = (
            named("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": t}})
            for t in tokens
        )
        closing = (
            named("content_block_stop", {"index": 0}),
            named("message_delta", {"delta": ended, "usage": answer["usage"]}),
            named("message_stop", {}),
        )
        return service.stream(service.paced(opening, parts, closing))

    @router.post("/count_tokens")
    async def count_tokens(request: Request) -> Response:
        model, _, prompt_tokens = _read(await read_json(request))
        service.resolve(model)
        await service.model.think(request, "count_tokens")
        return reply({"input_tokens": prompt_tokens})

    return router


def _read(body: Any) -> tuple[str, str, int]:
    model = read_model(body)
    prompt, tokens = conversation(body)
    system = body.get("system")
    if system is not None:
        tokens += len(split(prose(system, "system")))
    return model, prompt, tokens


def _usage(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }
