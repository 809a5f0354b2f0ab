"""The application: which route goes where."""

from fastapi import FastAPI, Request, Response

from app import (
    SERVICE,
    audio,
    generate,
    infer,
    messages,
    openai,
    ranking,
    realtime,
    responses,
    speech,
    tokens,
)
from app.log import Observe
from app.reply import install, reply
from app.service import Service
from app.settings import Settings
from app.stats import Stats


def create_app(settings: Settings) -> FastAPI:
    stats = Stats()
    model = infer.Model(settings.infer_latency, stats)
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_middleware(Observe, stats=stats, access_log=settings.access_log)
    install(app)
    app.include_router(infer.routes(model))
    service = Service(model, settings.models, settings.token_latency)
    # Speech before audio, whose path has a place for any other task.
    chats = (openai, generate, responses, messages, realtime)
    for dialect in (*chats, ranking, speech, audio, tokens):
        app.include_router(dialect.routes(service))

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> Response:
        return reply({"ok": True, "service": SERVICE})

    @app.api_route("/stats", methods=["GET", "HEAD"])
    async def show_stats(request: Request) -> Response:
        only_id = request.query_params.get("id")
        return reply(stats.snapshot(only_id), headers={"Cache-Control": "no-store"})

    return app
