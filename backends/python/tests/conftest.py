"""The application in two forms: inside the test, and as a process on a socket."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from app.application import create_app
from app.settings import Latency, Settings

_ROOT = Path(__file__).parent.parent


@pytest.fixture
def client() -> Iterator[TestClient]:
    settings = Settings(infer_latency=Latency(0, 0), token_latency=Latency(0, 0), access_log=False)
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def named() -> Iterator[TestClient]:
    """With models of its own, one with a slash in its name."""
    nothing = Latency(0, 0)
    settings = Settings(
        infer_latency=nothing,
        token_latency=nothing,
        access_log=False,
        models=("org/big", "small"),
    )
    with TestClient(create_app(settings)) as client:
        yield client


@dataclass
class Process:
    """`python -m app` on a port of its own."""

    popen: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def port(self) -> int:
        return int(wait_for(self.lines)[0]["port"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stats(self) -> dict[str, Any]:
        return dict(httpx2.get(f"{self.url}/stats").json())

    def terminate(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(10)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(**env: str) -> Process:
        log = tmp_path / f"log{len(started)}"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", "app"],
                cwd=_ROOT,
                env={**os.environ, "HOST": "127.0.0.1", "PORT": "0", **env},
                stdout=out,
            )
        started.append(popen)
        return Process(popen, log)

    yield run
    for popen in started:
        popen.kill()
        popen.wait()


def wait_for(read: Callable[[], Any], seconds: float = 60) -> Any:
    """Calls read until it returns something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := read():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s")
