"""`/v1/responses`, OpenAI's second way to chat."""

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from app.body import read_json
from app.members import (
    echo,
    invalid,
    max_tokens,
    member,
    missing,
    prose,
    read_model,
    split,
    streaming,
    wrong_type,
)
from app.reply import reply
from app.service import Service, named


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/responses")
    async def responses(request: Request) -> Response:
        body = await read_json(request)
        model = read_model(body)
        texts = [member(body, "instructions", str, "a string") or "", *_said(body.get("input"))]
        stream, _ = streaming(body)
        tokens, reason = echo(texts[-1], max_tokens(body, "max_output_tokens"))
        model = service.resolve(model)
        await service.model.think(request, "responses")
        answer = _Answer(model, tokens, reason == "length", sum(len(split(t)) for t in texts))
        if not stream:
            return reply(answer.ended())
        return service.stream(service.paced(answer.opening(), answer.deltas(), answer.closing()))

    return router


def _said(given: Any) -> list[str]:
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array of objects")
    if not given:
        raise invalid("empty_array", "Invalid 'input': the array is empty.", "input")
    texts = []
    for i, item in enumerate(given):
        if not isinstance(item, dict):
            raise wrong_type(f"input[{i}]", "an object")
        if item.get("role") is not None:  # A tool's call and its output have none.
            texts.append(prose(item.get("content"), f"input[{i}].content"))
    return texts


class _Answer:
    def __init__(self, model: str, tokens: list[str], cut: bool, prompt_tokens: int) -> None:
        self.model = model
        self.tokens = tokens
        self.status = "incomplete" if cut else "completed"
        self.prompt_tokens = prompt_tokens
        self.id = f"resp_{secrets.token_hex(14)}"
        self.item = f"msg_{secrets.token_hex(14)}"
        self.created = int(time.time())
        self.number = 0

    def state(self, status: str, **known: Any) -> dict[str, Any]:
        state: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self.model,
            "output": [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": None,
        }
        return {**state, **known}

    def ended(self) -> dict[str, Any]:
        output = len(self.tokens)
        reason = {"reason": "max_output_tokens"} if self.status == "incomplete" else None
        return self.state(
            self.status,
            incomplete_details=reason,
            output=[self.message(self.status, [self.text("".join(self.tokens))])],
            usage={
                "input_tokens": self.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": output,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.prompt_tokens + output,
            },
        )

    def message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        message = {"id": self.item, "type": "message", "role": "assistant"}
        return {**message, "status": status, "content": content}

    def text(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def event(self, name: str, **members: Any) -> bytes:
        self.number += 1
        return named(f"response.{name}", {"sequence_number": self.number - 1, **members})

    def part(self, name: str, **members: Any) -> bytes:
        place = {"item_id": self.item, "output_index": 0, "content_index": 0}
        return self.event(name, **place, **members)

    def opening(self) -> list[bytes]:
        begun = self.state("in_progress")
        item = self.message("in_progress", [])
        return [
            self.event("created", response=begun),
            self.event("in_progress", response=begun),
            self.event("output_item.added", output_index=0, item=item),
            self.part("content_part.added", part=self.text("")),
        ]

    def deltas(self) -> Any:
        for token in self.tokens:
            yield self.part("output_text.delta", delta=token, logprobs=[])

    def closing(self) -> Any:
        text = "".join(self.tokens)
        item = self.message(self.status, [self.text(text)])
        yield self.part("output_text.done", text=text, logprobs=[])
        yield self.part("content_part.done", part=self.text(text))
        yield self.event("output_item.done", output_index=0, item=item)
        yield self.event(self.status, response=self.ended())
