"""`/v1/responses`, OpenAI's second way to chat."""

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from app.body import read_json
from app.members import (
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
from app.tools import Call, pick
from app.tools import answer as speak


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/responses")
    async def responses(request: Request) -> Response:
        body = await read_json(request)
        model = read_model(body)
        texts = [member(body, "instructions", str, "a string") or "", *_said(body.get("input"))]
        stream, _ = streaming(body)
        call = pick(body, texts[-1], _after_result(body["input"]))
        tokens, reason = speak(texts[-1], call, max_tokens(body, "max_output_tokens"))
        model = service.resolve(model)
        await service.model.think(request, "responses")
        answer = _Answer(model, tokens, reason == "length", sum(len(split(t)) for t in texts))
        answer.call = call
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


def _after_result(given: Any) -> bool:
    return isinstance(given, list) and given[-1].get("type") == "function_call_output"


class _Answer:
    call: Call | None = None

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
            output=[self.put(self.status, "".join(self.tokens))],
            usage={
                "input_tokens": self.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": output,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.prompt_tokens + output,
            },
        )

    def put(self, status: str, said: str) -> dict[str, Any]:
        """The one thing in the output: a message, of nothing at first, or a call."""
        if self.call is not None:
            called = {"call_id": f"call_{self.id[5:]}", "name": self.call.name, "arguments": said}
            return {"id": self.item, "type": "function_call", "status": status, **called}
        content = [] if status == "in_progress" else [self.text(said)]
        message = {"id": self.item, "type": "message", "role": "assistant"}
        return {**message, "status": status, "content": content}

    def text(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def event(self, name: str, /, **members: Any) -> bytes:
        self.number += 1
        return named(f"response.{name}", {"sequence_number": self.number - 1, **members})

    def part(self, name: str, /, **members: Any) -> bytes:
        place = {"item_id": self.item, "output_index": 0}
        if self.call is None:
            place["content_index"] = 0
        return self.event(name, **place, **members)

    def opening(self) -> list[bytes]:
        begun = self.state("in_progress")
        item = self.put("in_progress", "")
        events = [
            self.event("created", response=begun),
            self.event("in_progress", response=begun),
            self.event("output_item.added", output_index=0, item=item),
        ]
        if self.call is None:
            events.append(self.part("content_part.added", part=self.text("")))
        return events

    def deltas(self) -> Any:
        for token in self.tokens:
            if self.call is None:
                yield self.part("output_text.delta", delta=token, logprobs=[])
            else:
                yield self.part("function_call_arguments.delta", delta=token)

    def closing(self) -> Any:
        text = "".join(self.tokens)
        item = self.put(self.status, text)
        if self.call is None:
            yield self.part("output_text.done", text=text, logprobs=[])
            yield self.part("content_part.done", part=self.text(text))
        else:
            name = self.call.name
            yield self.part("function_call_arguments.done", name=name, arguments=text)
        yield self.event("output_item.done", output_index=0, item=item)
        yield self.event(self.status, response=self.ended())
