"""`/tokenize`, `/detokenize`, `/version` and `/health` as the engines have them."""

from collections import OrderedDict
from typing import Any

from fastapi import APIRouter, Request, Response

from app.body import read_json
from app.chat import conversation_text
from app.members import invalid, member, missing, read_object, split, wrong_type
from app.reply import reply
from app.service import Service

_MOST_WORDS = 1 << 16
_LONGEST_CONTEXT = 131_072  # What engines say; nothing is enforced here.


class Vocabulary:
    """Numbers the tokens that /tokenize has met, so that /detokenize finds the last 65,536."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._texts: OrderedDict[int, str] = OrderedDict()
        self._next = 0

    def number(self, tokens: list[str]) -> list[int]:
        return [self._number(token) for token in tokens]

    def _number(self, token: str) -> int:
        known = self._ids.get(token)
        if known is not None:
            return known
        number = self._next
        self._next += 1
        self._ids[token] = number
        self._texts[number] = token
        if len(self._texts) > _MOST_WORDS:
            del self._ids[self._texts.popitem(last=False)[1]]
        return number

    def join(self, numbers: list[int]) -> str | None:
        texts = [self._texts.get(number) for number in numbers]
        return None if None in texts else "".join(text or "" for text in texts)


def routes(service: Service) -> APIRouter:
    router = APIRouter()
    words = Vocabulary()

    @router.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        body = read_object(await read_json(request))
        service.resolve(member(body, "model", str, "a string"))
        text = _text(body)
        await service.model.think(request, "tokenize")
        tokens = words.number(split(text))
        return reply(
            {
                "count": len(tokens),
                "max_model_len": _LONGEST_CONTEXT,
                "tokens": tokens,
                "token_strs": None,
            }
        )

    @router.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        body = read_object(await read_json(request))
        service.resolve(member(body, "model", str, "a string"))
        numbers = member(body, "tokens", list, "an array of integers")
        if numbers is None:
            raise missing("tokens")
        if not all(type(number) is int for number in numbers):
            raise wrong_type("tokens", "an array of integers")
        text = words.join(numbers)
        if text is None:
            message = "Invalid 'tokens': numbers that /tokenize has given lately are needed."
            raise invalid("invalid_value", message, "tokens")
        await service.model.think(request, "detokenize")
        return reply({"prompt": text, "content": text})

    @router.api_route("/version", methods=["GET", "HEAD"])
    async def version() -> Response:
        return reply({"version": "1.0.0"})

    @router.api_route("/health", methods=["GET", "HEAD"])
    @router.api_route("/ping", methods=["GET", "HEAD"])
    async def health() -> Response:
        return Response()

    return router


def _text(body: dict[str, Any]) -> str:
    for name in ("prompt", "content"):  # vLLM's name and llama.cpp's
        text = member(body, name, str, "a string")
        if text is not None:
            return str(text)
    if body.get("messages") is None:
        raise missing("prompt")
    return "".join(conversation_text(body))
