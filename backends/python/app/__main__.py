"""`python -m app`: reads the environment, serves until SIGTERM, exits 0."""

import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from app.application import create_app
from app.body import LIMIT
from app.log import Lines, write
from app.settings import BadSettings, Settings, load


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        write(level="INFO", msg="listening", host=host, port=port)


def main() -> None:
    try:
        settings = load(os.environ)
    except BadSettings as bad:
        sys.exit(str(bad))
    logging.basicConfig(level=logging.WARNING, handlers=[Lines()])
    serve(settings)


def serve(settings: Settings) -> None:
    server = _Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            http="httptools",
            ws_max_size=LIMIT,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_grace_seconds,
        )
    )

    def stop(number: int, frame: FrameType | None) -> None:
        # uvicorn raises a signal again after it has shut down; by then all is done and 0 is right.
        if not server.started:
            sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()


if __name__ == "__main__":
    main()
