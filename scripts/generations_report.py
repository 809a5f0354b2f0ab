#!/usr/bin/env python3
"""What the cache for generations is worth: the profile generations without it and with it.

    generations_report.py NONE.json CACHED.json OUT   Perf_Generations.md, .json and .svg in OUT

Both are k6's summaries. A figure that is missing is an error, and so are runs that did not do
the same work.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from k6_summary_to_md import SummaryError, read_json, table

NAME = "Perf_Generations"
STYLE = """
text { font: 11px sans-serif; fill: #24292f } .title { font-weight: 600 }
.without { fill: #e3b341 } .with { fill: #58a6ff } .axis { stroke: #8c959f }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""


@dataclass(frozen=True)
class Result:
    """The figures of one run. Times are milliseconds."""

    requests: int
    failed: float
    tokens_generated: int
    tokens_spared: int
    engine_seconds: float
    first_token_p50: float
    first_token_p95: float
    answer_p50: float
    answer_p95: float


@dataclass(frozen=True)
class Row:
    label: str
    field: str
    write: Callable[[float], str]


def whole(n: float) -> str:
    return f"{n:,.0f}"


def milliseconds(n: float) -> str:
    return f"{n:.1f} ms"


ROWS = (
    Row("tokens the engine wrote", "tokens_generated", whole),
    Row("tokens it was spared", "tokens_spared", whole),
    Row("engine time", "engine_seconds", lambda n: f"{n:.1f} s"),
    Row("first token, p50", "first_token_p50", milliseconds),
    Row("first token, p95", "first_token_p95", milliseconds),
    Row("whole answer, p50", "answer_p50", milliseconds),
    Row("whole answer, p95", "answer_p95", milliseconds),
)


def value(data: Any, metric: str, name: str) -> float:
    found = data.get("metrics", {}).get(metric, {}).get("values", {}).get(name)
    if not isinstance(found, int | float):
        raise SummaryError(f"the summary has no {metric} {name}")
    return float(found)


def result(data: Any) -> Result:
    return Result(
        requests=int(value(data, "http_reqs", "count")),
        failed=value(data, "http_req_failed", "rate"),
        tokens_generated=int(value(data, "tokens_generated", "count")),
        tokens_spared=int(value(data, "tokens_spared", "count")),
        engine_seconds=value(data, "engine_ms", "count") / 1000,
        first_token_p50=value(data, "first_token", "med"),
        first_token_p95=value(data, "first_token", "p(95)"),
        answer_p50=value(data, "http_req_duration", "med"),
        answer_p95=value(data, "http_req_duration", "p(95)"),
    )


def check_same_work(without: Any, cached: Any) -> None:
    for data in (without, cached):
        if data.get("profile") != "generations":
            raise SummaryError("a summary is not of the profile generations")
    if without.get("load") != cached.get("load"):
        raise SummaryError(f"the runs did other work: {without.get('load')}, {cached.get('load')}")


def markdown(load: Any, without: Result, cached: Result) -> str:
    rows = []
    for row in ROWS:
        a, b = getattr(without, row.field), getattr(cached, row.field)
        change = f"{100 * (b - a) / a:+.0f} %" if a else ""
        rows.append([row.label, row.write(a), row.write(b), change])
    method = (
        f"`make perf:generations`: {load['rate']} chat completions a second for "
        f"{load['seconds']} s, prompts by Zipf's law, half of them streams, six in ten with a "
        "temperature of 0, in front of FastAPI. Engine time is from the request to the last byte "
        "of what the engine answered."
    )
    work = (
        f"{without.requests:,} and {cached.requests:,} requests, "
        f"{100 * without.failed:.2f} % and {100 * cached.failed:.2f} % failed."
    )
    lines = [
        "# What the cache for generations is worth",
        "",
        method,
        "",
        *table(["", "without", "with", "change"], rows),
        "",
        work,
        "",
        f"![the same as bars]({NAME.lower()}.svg)",
        "",
    ]
    return "\n".join(lines)


def chart(without: Result, cached: Result) -> str:
    """A pair of bars for each figure, each with a scale of its own that begins at zero."""
    parts = [f"<style>{STYLE}</style>"]
    for i, (name, text) in enumerate((("without", "without"), ("with", "with the cache"))):
        parts.append(f'<rect class="{name}" x="{10 + 90 * i}" y="10" width="12" height="12"/>')
        parts.append(f'<text x="{28 + 90 * i}" y="20">{text}</text>')
    for i, row in enumerate(ROWS):
        x, y = 190 * (i % 4), 40 + 150 * (i // 4)
        values = [float(getattr(r, row.field)) for r in (without, cached)]
        most = max(values) or 1.0
        parts.append(f'<text class="title" x="{x + 10}" y="{y + 14}">{row.label}</text>')
        for j, (name, n) in enumerate(zip(("without", "with"), values, strict=True)):
            height = 80 * n / most
            left, top = x + 14 + 80 * j, y + 125 - height
            parts.append(
                f'<rect class="{name}" x="{left}" y="{top:.1f}" width="66" height="{height:.1f}"/>'
            )
            parts.append(f'<text x="{left}" y="{top - 4:.1f}">{row.write(n)}</text>')
        axis = f'x1="{x + 10}" x2="{x + 170}" y1="{y + 125}" y2="{y + 125}"'
        parts.append(f'<line class="axis" {axis}/>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 340" role="img">\n'
        "<title>The same chat completions without a cache for generations and with it</title>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def files(without: Any, cached: Any) -> dict[str, str]:
    check_same_work(without, cached)
    a, b = result(without), result(cached)
    both = {"load": without["load"], "without": asdict(a), "with": asdict(b)}
    return {
        f"{NAME}.md": markdown(without["load"], a, b),
        f"{NAME.lower()}.json": json.dumps(both, indent=2) + "\n",
        f"{NAME.lower()}.svg": chart(a, b),
    }


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        made = files(read_json(Path(arguments[0])), read_json(Path(arguments[1])))
    except SummaryError as error:
        print(f"generations_report.py: {error}", file=sys.stderr)
        return 1
    for name, text in made.items():
        (Path(arguments[2]) / name).write_text(text, encoding="utf-8")
        print(f"{arguments[2]}/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
