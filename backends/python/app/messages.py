"""`/v1/messages` in Anthropic's shapes."""

import json
import secrets
from typing import Any

from fastapi import APIRouter, Request, Response

from app.body import read_json
from app.chat import after_result, conversation
from app.members import max_tokens, missing, prose, read_model, split, streaming
from app.reply import reply
from app.service import Service, named
from app.tools import Call, pick
from app.tools import answer as speak

_STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "stop": "end_turn"}


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
        call = pick(body, prompt, after_result(body))
        tokens, reason = speak(prompt, call, limit)
        await service.model.think(request, "messages")
        block = _Block(call)
        answer = {
            "id": f"msg_{secrets.token_hex(14)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [block.holding("".join(tokens))],
            "stop_reason": _STOPS[reason],
            "stop_sequence": None,
            "usage": _usage(prompt_tokens, len(tokens)),
        }
        if not stream:
            return reply(answer)
        begun = {**answer, "content": [], "stop_reason": None, "usage": _usage(prompt_tokens, 0)}
        ended = {"stop_reason": _STOPS[reason], "stop_sequence": None}
        opening = (
            named("message_start", {"message": begun}),
            named("content_block_start", {"index": 0, "content_block": block.holding("")}),
            named("ping", {}),
        )
        parts = (
            named("content_block_delta", {"index": 0, "delta": block.increment(token)})
            for token in tokens
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


class _Block:
    """The one part of an answer: a text, or a call."""

    def __init__(self, call: Call | None) -> None:
        self._call = call
        self._id = f"toolu_{secrets.token_hex(12)}"

    def holding(self, said: str) -> dict[str, Any]:
        if self._call is None:
            return {"type": "text", "text": said}
        # Arguments that max_tokens has cut are no JSON, and left out.
        given = json.loads(said) if said == self._call.arguments else {}
        return {"type": "tool_use", "id": self._id, "name": self._call.name, "input": given}

    def increment(self, token: str) -> dict[str, Any]:
        if self._call is None:
            return {"type": "text_delta", "text": token}
        return {"type": "input_json_delta", "partial_json": token}


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
