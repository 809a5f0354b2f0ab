"""`/v1/rerank` and `/v1/score`: how many words two texts share."""

import math
import secrets
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from app.body import read_json
from app.members import inputs, invalid, max_tokens, member, missing, read_model, split, wrong_type
from app.reply import reply
from app.service import Service


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/rerank")
    @router.post("/rerank")
    async def rerank(request: Request) -> Response:
        body = await read_json(request)
        model = read_model(body)
        query = member(body, "query", str, "a string")
        if query is None:
            raise missing("query")
        documents = _documents(body)
        most = max_tokens(body, "top_n")
        with_text = member(body, "return_documents", bool, "a boolean") is not False
        model = service.resolve(model)
        await service.model.think(request, "rerank")
        results: list[dict[str, Any]] = [
            {"index": i, "relevance_score": _likeness(query, text)}
            | ({"document": {"text": text}} if with_text else {})
            for i, text in enumerate(documents)
        ]
        results.sort(key=lambda result: -result["relevance_score"])
        tokens = sum(len(split(query)) + len(split(text)) for text in documents)
        return reply(
            {
                "id": f"rerank-{secrets.token_hex(14)}",
                "model": model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                "results": results[:most],
            }
        )

    @router.post("/v1/score")
    @router.post("/score")
    async def score(request: Request) -> Response:
        body = await read_json(request)
        model = read_model(body)
        left, right = inputs(body, "text_1"), inputs(body, "text_2")
        if len(left) == 1:
            left = left * len(right)
        if len(left) != len(right):
            text = "Invalid 'text_2': as many texts as text_1, or text_1 must be one."
            raise invalid("invalid_value", text, "text_2")
        model = service.resolve(model)
        await service.model.think(request, "score")
        pairs = list(zip(left, right, strict=True))
        tokens = sum(a[1] + b[1] for a, b in pairs)
        return reply(
            {
                "id": f"score-{secrets.token_hex(14)}",
                "object": "list",
                "created": int(time.time()),
                "model": model,
                "data": [
                    {"index": i, "object": "score", "score": _likeness(a[0], b[0])}
                    for i, (a, b) in enumerate(pairs)
                ],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
            }
        )

    return router


def _documents(body: dict[str, Any]) -> list[str]:
    documents = member(body, "documents", list, "an array of strings or of objects with a text")
    if documents is None:
        raise missing("documents")
    if not documents:
        raise invalid("empty_array", "Invalid 'documents': the array is empty.", "documents")
    texts = [one.get("text") if isinstance(one, dict) else one for one in documents]
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise wrong_type(f"documents[{i}]", "a string or an object with a text")
    return texts


def _likeness(a: str, b: str) -> float:
    """The cosine of two texts as sets of words."""
    left, right = set(a.lower().split()), set(b.lower().split())
    if not left or not right:
        return 0.0
    return len(left & right) / math.sqrt(len(left) * len(right))
