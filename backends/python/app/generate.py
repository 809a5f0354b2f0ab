"""`/v1/completions` and `/v1/embeddings` in OpenAI's shapes."""

import base64
import hashlib
import math
import secrets
import struct
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from app import SERVICE
from app.body import read_json
from app.members import (
    echo,
    inputs,
    invalid,
    max_tokens,
    member,
    one_choice,
    read_model,
    streaming,
    wrong_type,
)
from app.openai import usage
from app.reply import reply
from app.service import Service, data

_DIMENSIONS, _MOST_DIMENSIONS, _MOST_INPUTS, _MOST_NUMBERS = 256, 3072, 2048, 1 << 20


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/completions")
    async def completions(request: Request) -> Response:
        body = await read_json(request)
        model = read_model(body)
        prompts = inputs(body, "prompt")
        if len(prompts) != 1:
            raise invalid("invalid_value", "Invalid 'prompt': one prompt at a time.", "prompt")
        one_choice(body)
        stream, include_usage = streaming(body)
        ((prompt, prompt_tokens),) = prompts
        tokens, reason = echo(prompt, max_tokens(body, "max_tokens"))
        model = service.resolve(model)
        await service.model.think(request, "completions")
        head = {
            "id": f"cmpl-{secrets.token_hex(14)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"fp_echo_{SERVICE}",
        }
        used = usage(prompt_tokens, len(tokens))

        if not stream:
            return reply({**head, "choices": [_choice("".join(tokens), reason)], "usage": used})
        no_usage = {"usage": None} if include_usage else {}
        last = [data({**head, "choices": [_choice("", reason)], **no_usage})]
        if include_usage:
            last.append(data({**head, "choices": [], "usage": used}))
        last.append(b"data: [DONE]\n\n")
        parts = (data({**head, "choices": [_choice(token)], **no_usage}) for token in tokens)
        return service.stream(service.paced((), parts, last))

    @router.post("/embeddings")
    async def embeddings(request: Request) -> Response:
        body = await read_json(request)
        model = read_model(body)
        texts = inputs(body, "input")
        dimensions = max_tokens(body, "dimensions") or _DIMENSIONS
        if dimensions > _MOST_DIMENSIONS:
            raise invalid("invalid_value", "Invalid 'dimensions': at most 3072.", "dimensions")
        if len(texts) > _MOST_INPUTS or len(texts) * dimensions > _MOST_NUMBERS:
            text = "Invalid 'input': at most 2048 inputs and 1048576 numbers in the answer."
            raise invalid("invalid_value", text, "input")
        encoding = member(body, "encoding_format", str, "a string") or "float"
        if encoding not in ("float", "base64"):
            raise wrong_type("encoding_format", "float or base64")
        model = service.resolve(model)
        await service.model.think(request, "embeddings")
        total = sum(tokens for _, tokens in texts)
        return reply(
            {
                "object": "list",
                "data": [
                    {
                        "object": "embedding",
                        "index": i,
                        "embedding": _vector(text, dimensions, encoding),
                    }
                    for i, (text, _) in enumerate(texts)
                ],
                "model": model,
                "usage": {"prompt_tokens": total, "total_tokens": total},
            }
        )

    return router


def _choice(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def _vector(text: str, dimensions: int, encoding: str) -> Any:
    """A unit vector that depends on the text alone."""
    seed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    numbers: list[float] = []
    for block in range((dimensions + 7) // 8):
        digest = hashlib.sha256(seed + struct.pack("<I", block)).digest()
        numbers += [number / 2**32 - 0.5 for number in struct.unpack("<8I", digest)]
    numbers = numbers[:dimensions]
    length = math.sqrt(sum(number * number for number in numbers)) or 1
    packed = struct.pack(f"<{dimensions}f", *(number / length for number in numbers))
    if encoding == "base64":
        return base64.b64encode(packed).decode()
    return list(struct.unpack(f"<{dimensions}f", packed))
