"""`/v1/realtime`: OpenAI's Realtime over a WebSocket, in text."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import anyio
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from app.body import parse_json
from app.chat import message_text
from app.members import echo, invalid, max_tokens, member, read_object, split
from app.reply import ApiError, encode, refusal
from app.service import Service
from app.work import ClientGone

_MOST_WAITING = 16  # Messages that are read ahead.
_BAD_DATA = 1003  # RFC 6455 §7.4.1


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        try:
            model = service.resolve(socket.query_params.get("model"))
        except ApiError as error:
            await socket.send_denial_response(refusal(error))
            return
        offered = socket.headers.get("sec-websocket-protocol", "")
        named = "realtime" in [one.strip() for one in offered.split(",")]
        await socket.accept("realtime" if named else None)
        await _Session(service, socket, model).run()

    return router


class _Session:
    def __init__(self, service: Service, socket: WebSocket, model: str) -> None:
        self.service = service
        self.socket = socket
        self.model = model
        self.prompt = ""
        self.prompt_tokens = 0
        self.limit: int | None = None
        self.sent = 0
        self.answering = False

    async def run(self) -> None:
        """Answers one message after the other until the client leaves."""
        messages: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)
        async with anyio.create_task_group() as group:
            group.start_soon(self.work, messages)
            await self.read(messages)
            group.cancel_scope.cancel()
        if self.answering:
            self.service.model.cancelled()

    async def read(self, messages: asyncio.Queue[str]) -> None:
        while (message := await self.socket.receive())["type"] != "websocket.disconnect":
            if message.get("text") is None:
                await self.socket.close(_BAD_DATA)
                return
            await messages.put(message["text"])

    async def work(self, messages: asyncio.Queue[str]) -> None:
        with suppress(ClientGone):  # It is read's to see that the client has left.
            await self.say("session.created", session=self.describe())
            while True:
                await self.hear_event(await messages.get())

    async def hear_event(self, text: str) -> None:
        """Does what an event asks. What cannot be done is said, and the session goes on."""
        body: Any = None
        try:
            body = parse_json(text)
            await self.obey(read_object(body))
        except ApiError as error:
            asked = body.get("event_id") if isinstance(body, dict) else None
            about = {"code": error.code, "message": str(error), "param": error.param}
            fault = {"type": "invalid_request_error", **about, "event_id": asked}
            await self.say("error", error=fault)

    async def say(self, kind: str, **members: Any) -> None:
        self.sent += 1
        event = {"type": kind, "event_id": f"event_{self.sent}", **members}
        try:
            await self.socket.send_text(encode(event).decode())
        except (WebSocketDisconnect, RuntimeError):  # The latter after our close.
            raise ClientGone from None

    def describe(self) -> dict[str, Any]:
        about = {"type": "realtime", "object": "realtime.session", "id": f"sess_{id(self):x}"}
        return {**about, "model": self.model, "output_modalities": ["text"]}

    async def obey(self, body: dict[str, Any]) -> None:
        match body.get("type"):
            case "session.update":
                asked = member(body, "session", dict, "an object") or {}
                self.limit = _limit(asked) or self.limit
                await self.say("session.updated", session=self.describe())
            case "conversation.item.create":
                item = member(body, "item", dict, "an object") or {}
                self.hear(item)
                await self.say("conversation.item.added", item=item, previous_item_id=None)
                await self.say("conversation.item.done", item=item, previous_item_id=None)
            case "response.create":
                await self.respond(member(body, "response", dict, "an object") or {})
            case _:
                known = "session.update, conversation.item.create or response.create"
                raise invalid("invalid_value", f"Invalid 'type': {known} is needed.", "type")

    def hear(self, item: Any) -> None:
        """Takes in a message. Other items say nothing."""
        if isinstance(item, dict) and item.get("type") == "message":
            self.prompt = message_text(item, "item")
            self.prompt_tokens += len(split(self.prompt))

    async def respond(self, asked: dict[str, Any]) -> None:
        said = self.prompt, self.prompt_tokens
        limit = _limit(asked) or self.limit
        for item in member(asked, "input", list, "an array of objects") or ():
            self.hear(item)
        answer = _Answer(self.prompt, self.prompt_tokens, limit)
        self.prompt, self.prompt_tokens = said  # A response's input stays with it,
        self.prompt_tokens += len(answer.tokens)  # but its answer is read again.
        self.answering = True
        seconds = self.service.model.begin(self.socket.headers.get("x-request-id"), "realtime")
        await asyncio.sleep(seconds)
        async with aclosing(self.paced(answer)) as events:
            async for kind, members in events:
                await self.say(kind, response_id=answer.id, output_index=0, **members)
        await self.say("response.done", response=answer.ended())
        self.answering = False

    async def paced(self, answer: "_Answer") -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        yield "response.created", {"response": answer.state("in_progress")}
        yield "response.output_item.added", {"item": answer.message("in_progress")}
        yield "response.content_part.added", answer.within(part={"type": "text", "text": ""})
        for token in answer.tokens:
            await asyncio.sleep(self.service.token_latency.draw_seconds())
            yield "response.output_text.delta", answer.within(delta=token)
        text = "".join(answer.tokens)
        yield "response.output_text.done", answer.within(text=text)
        yield "response.content_part.done", answer.within(part={"type": "text", "text": text})
        yield "response.output_item.done", {"item": answer.message(answer.status)}


def _limit(asked: dict[str, Any]) -> int | None:
    """The most tokens; "inf" is what OpenAI calls no limit."""
    if asked.get("max_output_tokens") == "inf":
        return None
    return max_tokens(asked, "max_output_tokens")


class _Answer:
    def __init__(self, prompt: str, prompt_tokens: int, limit: int | None) -> None:
        self.tokens, reason = echo(prompt, limit)
        self.status = "incomplete" if reason == "length" else "completed"
        self.prompt_tokens = prompt_tokens
        self.id = f"resp_{secrets.token_hex(10)}"
        self.item = f"item_{secrets.token_hex(10)}"

    def within(self, **members: Any) -> dict[str, Any]:
        return {"item_id": self.item, "content_index": 0, **members}

    def state(self, status: str, **known: Any) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [],
            "output_modalities": ["text"],
            "usage": None,
            **known,
        }

    def message(self, status: str) -> dict[str, Any]:
        text = {"type": "output_text", "text": "".join(self.tokens)}
        return {
            "id": self.item,
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [] if status == "in_progress" else [text],
        }

    def ended(self) -> dict[str, Any]:
        heard, said = self.prompt_tokens, len(self.tokens)
        details = {"type": "incomplete", "reason": "max_output_tokens"}
        return self.state(
            self.status,
            status_details=details if self.status == "incomplete" else None,
            output=[self.message(self.status)],
            usage={
                "input_tokens": heard,
                "output_tokens": said,
                "total_tokens": heard + said,
                "input_token_details": {
                    "text_tokens": heard,
                    "audio_tokens": 0,
                    "cached_tokens": 0,
                },
                "output_token_details": {"text_tokens": said, "audio_tokens": 0},
            },
        )
