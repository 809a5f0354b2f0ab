"""What happened, counted so that a test can ask how often a request was really executed."""

from collections import OrderedDict
from typing import Any

_MOST_IDS = 10_000
_LONGEST_ID = 200


class Stats:
    def __init__(self) -> None:
        self.requests = 0
        self.executions = 0
        self.cancelled = 0
        self._dialects: dict[str, int] = {}
        self._executed: OrderedDict[str, int] = OrderedDict()

    def execute(self, request_id: str | None, dialect: str = "infer") -> None:
        """Counts one execution. Only the last 10,000 ids are kept, so memory stays bounded."""
        self.executions += 1
        self._dialects[dialect] = self._dialects.get(dialect, 0) + 1
        if not request_id:
            return
        request_id = request_id[:_LONGEST_ID]
        self._executed[request_id] = self._executed.pop(request_id, 0) + 1
        if len(self._executed) > _MOST_IDS:
            self._executed.popitem(last=False)

    def snapshot(self, only_id: str | None = None) -> dict[str, Any]:
        executed = dict(self._executed)
        if only_id is not None:
            executed = {key: n for key, n in executed.items() if key == only_id[:_LONGEST_ID]}
        return {
            "requests": self.requests,
            "executions": self.executions,
            "cancelled": self.cancelled,
            "dialects": dict(sorted(self._dialects.items())),
            "executed": executed,
        }
