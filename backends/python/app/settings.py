"""What an operator may set, all of it from the environment."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_LONGEST_MS = 600_000
_LONGEST_NAME = 256
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


@dataclass(frozen=True)
class Latency:
    """A span of milliseconds, a new length drawn for each piece of work."""

    low_ms: int
    high_ms: int

    def draw_seconds(self) -> float:
        if self.high_ms == 0:
            return 0.0
        return random.uniform(self.low_ms, self.high_ms) / 1000


@dataclass(frozen=True)
class Settings:
    host: str = "0.0.0.0"
    port: int = 8001
    infer_latency: Latency = Latency(30, 50)
    token_latency: Latency = Latency(5, 5)
    shutdown_grace_seconds: int = 30
    access_log: bool = True
    models: tuple[str, ...] = ()


class BadSettings(ValueError):
    """Every bad value of the environment, one line each."""


def load(env: Mapping[str, str]) -> Settings:
    """Reads the settings. An empty variable counts as unset; all faults are reported together."""
    reader = _Reader(env)
    default = Settings()
    settings = Settings(
        host=env.get("HOST") or default.host,
        port=reader.integer("PORT", default.port, 65535),
        infer_latency=reader.latency("INFER_LATENCY_MS", default.infer_latency),
        token_latency=reader.latency("TOKEN_LATENCY_MS", default.token_latency),
        shutdown_grace_seconds=reader.integer(
            "SHUTDOWN_GRACE_SECONDS", default.shutdown_grace_seconds, 3600
        ),
        access_log=reader.boolean("ACCESS_LOG", default.access_log),
        models=reader.names("MODELS"),
    )
    if reader.faults:
        raise BadSettings("\n".join(reader.faults))
    return settings


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.faults: list[str] = []

    def integer(self, name: str, default: int, highest: int) -> int:
        text = self.env.get(name) or str(default)
        number = _whole(text)
        if number is None or number > highest:
            return self._fault(name, text, f"a whole number from 0 to {highest}", default)
        return number

    def boolean(self, name: str, default: bool) -> bool:
        text = self.env.get(name) or str(default)
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        return self._fault(name, text, "true or false", default)

    def latency(self, name: str, default: Latency) -> Latency:
        text = self.env.get(name)
        if not text:
            return default
        low_text, dash, high_text = text.partition("-")
        low = _whole(low_text)
        high = _whole(high_text) if dash else low
        if low is None or high is None or not low <= high <= _LONGEST_MS:
            return self._fault(name, text, 'milliseconds such as "30-50" or "0"', default)
        return Latency(low, high)

    def names(self, name: str) -> tuple[str, ...]:
        text = self.env.get(name)
        if not text:
            return ()
        names = tuple(one.strip() for one in text.split(","))
        if len(set(names)) < len(names) or not all(0 < len(one) <= _LONGEST_NAME for one in names):
            return self._fault(name, text, "different names with commas between them", ())
        return names

    def _fault(self, name: str, text: str, wanted: str, default: T) -> T:
        self.faults.append(f"{name}={text!r}: must be {wanted}")
        return default


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
