"""`/v1/audio/speech`: noise that depends on the text alone."""

import base64
import hashlib
import struct
from typing import Any

from fastapi import APIRouter, Request, Response

from app.body import read_json
from app.members import echo, invalid, member, missing, read_model, split, wrong_type
from app.service import Service, data

# Only wav and pcm are what they say; in the others nobody will find a sound.
_KINDS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_LONGEST = 4096  # Characters; OpenAI's limit.
_RATE = 24_000  # Samples a second, of 16 bits, one channel.
_REPEAT = 30  # Times 32 bytes: 20 ms a token.


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/audio/speech")
    async def speech(request: Request) -> Response:
        body = await read_json(request)
        model = read_model(body)
        text = _text(body)
        kind = _one_of(body, "response_format", tuple(_KINDS)) or "mp3"
        events = _one_of(body, "stream_format", ("audio", "sse")) == "sse"
        service.resolve(model)
        tokens, _ = echo(text, None)
        await service.model.think(request, "speech")
        if events:
            parts = (data({"type": "speech.audio.delta", "audio": _packed(t)}) for t in tokens)
            heard = len(split(text))
            used = {
                "input_tokens": heard,
                "output_tokens": len(tokens),
                "total_tokens": heard + len(tokens),
            }
            last = data({"type": "speech.audio.done", "usage": used})
            return service.stream(service.paced((), parts, (last,)))
        sound = b"".join(_noise(token) for token in tokens)
        if kind == "wav":
            sound = _wav_head(len(sound)) + sound
        return Response(sound, media_type=_KINDS[kind])

    return router


def _text(body: dict[str, Any]) -> str:
    text = member(body, "input", str, "a string")
    if not text:
        raise missing("input")
    if len(text) > _LONGEST:
        raise invalid("invalid_value", "Invalid 'input': at most 4096 characters.", "input")
    if body.get("voice") is None:  # A name, or an object with an id.
        raise missing("voice")
    return str(text)


def _one_of(body: dict[str, Any], name: str, known: tuple[str, ...]) -> str | None:
    value = member(body, name, str, "a string")
    if value is not None and value not in known:
        raise wrong_type(name, ", ".join(known))
    return value


def _noise(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest() * _REPEAT


def _packed(token: str) -> str:
    return base64.b64encode(_noise(token)).decode()


def _wav_head(size: int) -> bytes:
    about = struct.pack("<IHHIIHH", 16, 1, 1, _RATE, 2 * _RATE, 2, 16)
    samples = struct.pack("<4sI", b"data", size)
    return struct.pack("<4sI", b"RIFF", 36 + size) + b"WAVEfmt " + about + samples
