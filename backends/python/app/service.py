"""What the routes of all dialects share: the model, its names, and how streams are paced."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import Response

from app import MODEL
from app.infer import Model
from app.reply import ApiError, encode
from app.settings import Latency
from app.work import EventStream


def unknown_model() -> ApiError:
    return ApiError(404, "model_not_found", "The model does not exist.", "model")


@dataclass(frozen=True)
class Service:
    model: Model
    models: tuple[str, ...]
    token_latency: Latency

    def listed(self) -> tuple[str, ...]:
        return self.models or (MODEL,)

    def resolve(self, name: str | None) -> str:
        """The model that answers. Where none are named in the settings, any name will do."""
        if name is None:
            return self.listed()[0]
        if self.models and name not in self.models:
            raise unknown_model()
        return name

    def stream(self, events: AsyncGenerator[bytes, None]) -> Response:
        return EventStream(events, self.model.cancelled)

    async def paced(
        self, opening: Iterable[bytes], tokens: Iterable[bytes], closing: Iterable[bytes]
    ) -> AsyncGenerator[bytes, None]:
        for event in opening:
            yield event
        for event in tokens:
            await asyncio.sleep(self.token_latency.draw_seconds())
            yield event
        for event in closing:
            yield event


def named(name: str, value: dict[str, Any]) -> bytes:
    """An event as Responses and Messages have it: its name is also its type."""
    return b"event: " + name.encode() + b"\n" + data({"type": name, **value})


def data(value: dict[str, Any]) -> bytes:
    return b"data: " + encode(value) + b"\n\n"
