"""`/v1/audio/transcriptions` and translations: forms with a file, to which nobody listens."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from app.body import limited
from app.members import echo, invalid, missing, wrong_type
from app.reply import ApiError, reply
from app.service import Service, data

_LIMIT = 25 << 20  # OpenAI's
_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


@dataclass(frozen=True)
class _Upload:
    name: str
    size: int
    model: str
    format: str
    stream: bool


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/audio")

    @router.post("/{task}")
    async def audio(task: str, request: Request) -> Response:
        if task not in ("transcriptions", "translations"):
            raise ApiError(404, "not_found", "Not Found")
        upload = await _read(request)
        model = service.resolve(upload.model)
        tokens, _ = echo(f"{upload.name}, {upload.size} bytes", None)
        await service.model.think(request, task)
        heard = upload.size // 1000 + 1
        used = {
            "type": "tokens",
            "input_tokens": heard,
            "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
            "output_tokens": len(tokens),
            "total_tokens": heard + len(tokens),
        }
        text = "".join(tokens)
        if upload.stream:
            parts = (data({"type": "transcript.text.delta", "delta": token}) for token in tokens)
            last = data({"type": "transcript.text.done", "text": text, "usage": used})
            return service.stream(service.paced((), parts, (last, b"data: [DONE]\n\n")))
        return _whole(upload.format, {"text": text, "usage": used}, (task, model))

    return router


def _whole(form: str, answer: dict[str, Any], about: tuple[str, str]) -> Response:
    text = answer["text"]
    match form:
        case "text":
            return Response(f"{text}\n", media_type="text/plain")
        case "srt":
            return Response(
                f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n", media_type="text/plain"
            )
        case "vtt":
            return Response(
                f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n", media_type="text/plain"
            )
        case "verbose_json":
            task, model = about
            verb = "transcribe" if task == "transcriptions" else "translate"
            more = {"task": verb, "language": "english", "duration": 1.0, "segments": []}
            return reply({**more, **answer, "model": model})
    return reply(answer)


async def _read(request: Request) -> _Upload:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise invalid("invalid_form", "The body must be multipart/form-data.", None)
    try:
        form = await MultiPartParser(request.headers, limited(request, _LIMIT)).parse()
    except (MultiPartException, KeyError, UnicodeDecodeError):
        raise invalid("invalid_form", "The form is malformed.", None) from None
    try:
        return _understand(form)
    finally:
        await form.close()


def _understand(form: FormData) -> _Upload:
    file = form.get("file")
    if file is None or isinstance(file, str):
        raise missing("file")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    if not fields.get("model"):
        raise missing("model")
    wanted = fields.get("response_format", "json")
    stream = fields.get("stream", "").lower()
    if wanted not in _FORMATS:
        raise wrong_type("response_format", ", ".join(_FORMATS))
    if stream not in ("", "0", "1", "false", "true"):
        raise wrong_type("stream", "a boolean")
    return _Upload(
        file.filename or "", file.size or 0, fields["model"], wanted, stream in ("1", "true")
    )
