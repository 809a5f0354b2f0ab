#!/usr/bin/env python3
"""What the cache is worth: the same k6 profile with none, in memory and in Redis.

    perf_report.py record MODE NOTES OUT.json   keep one run
    perf_report.py baseline RAW OUT             Perf_Baseline.md, of RAW/none.json
    perf_report.py report RAW OUT               all reports, of the three runs in RAW

MODE is none, memory or redis. NOTES is a folder with k6.json, before.txt and after.txt (the
gateway's /metrics), cachez.json and stats.json (the backend's). A figure that is missing is an
error, and so are runs that did not do the same work.
"""

import argparse
import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from k6_summary_to_md import (
    Summary,
    SummaryError,
    body,
    number,
    parse_summary,
    read_json,
    short,
    table,
)

MODES = {"none": "no cache", "memory": "memory", "redis": "memory and Redis"}
COMMANDS = {"none": "make perf:baseline", "memory": "make perf:cached", "redis": "make perf:redis"}
CHART = "perf_cache.svg"
LOAD = ("rate", "seconds", "seed")


@dataclass(frozen=True)
class Result:
    """The figures of one run. Times are milliseconds, ratios 0 to 1."""

    mode: str
    requests: int
    rps: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    error_rate: float
    hit_ratio: float
    gateway_cpu_seconds: float
    gateway_cpu_us_per_request: float
    gateway_rss_bytes: int
    gateway_rss_peak_bytes: int
    backend_requests: int
    backend_requests_saved: int
    backend_requests_saved_ratio: float
    thresholds_missed: int


@dataclass(frozen=True)
class Run:
    result: Result
    summary: Summary
    raw: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of a comparison: what it is called, the field it shows and how it is written."""

    label: str
    field: str
    write: Callable[[float], str]


def mebibytes(n: float) -> str:
    return f"{n / (1 << 20):.1f} MiB"


def milliseconds(ms: float) -> str:
    return f"{ms:.2f} ms"


def percent(ratio: float) -> str:
    return f"{100 * ratio:.2f} %"


ROWS = (
    Row("requests", "requests", short),
    Row("requests a second", "rps", lambda n: f"{n:.1f}"),
    Row("mean", "mean_ms", milliseconds),
    Row("p50", "p50_ms", milliseconds),
    Row("p95", "p95_ms", milliseconds),
    Row("p99", "p99_ms", milliseconds),
    Row("errors", "error_rate", percent),
    Row("hit ratio of GETs", "hit_ratio", percent),
    Row("gateway CPU", "gateway_cpu_seconds", lambda n: f"{n:.2f} s"),
    Row("gateway CPU a request", "gateway_cpu_us_per_request", lambda n: f"{n:.0f} µs"),
    Row("gateway memory at the end", "gateway_rss_bytes", mebibytes),
    Row("gateway memory at most", "gateway_rss_peak_bytes", mebibytes),
    Row("requests that reached the backend", "backend_requests", short),
    Row("backend requests saved", "backend_requests_saved", short),
    Row("backend requests saved, share", "backend_requests_saved_ratio", percent),
)

# What the chart shows; of all of these less is better.
PANELS = (
    Row("p50, ms", "p50_ms", short),
    Row("p95, ms", "p95_ms", short),
    Row("p99, ms", "p99_ms", short),
    Row("CPU a request, µs", "gateway_cpu_us_per_request", short),
    Row("memory at most, MiB", "gateway_rss_peak_bytes", lambda n: f"{n / (1 << 20):.0f}"),
    Row("backend requests", "backend_requests", short),
)


def record(mode: str, notes: Path, now: datetime) -> dict[str, Any]:
    """One run as it is kept: what k6, the gateway and the backend said."""
    return {
        "mode": mode,
        "recorded": now.isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "gateway_before": read_metrics(notes / "before.txt"),
        "gateway_after": read_metrics(notes / "after.txt"),
        "cachez": read_json(notes / "cachez.json"),
        "backend": read_json(notes / "stats.json"),
        "k6": read_json(notes / "k6.json"),
    }


def read_metrics(path: Path) -> dict[str, float]:
    """The series of a Prometheus page that reports need."""
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise SummaryError(f"cannot read {path}: {fault.strerror}") from fault
    wanted = ("process_", "go_goroutines", "http_requests_", "upstream_requests_", "cache_")
    series = {}
    for line in page.splitlines():
        found = re.fullmatch(r"([a-z_:]+(?:\{.*\})?) (\S+)", line)
        if found and line.startswith(wanted):
            try:
                series[found[1]] = float(found[2])
            except ValueError as fault:
                raise SummaryError(f"{path}: {line!r} is no sample") from fault
    if not series:
        raise SummaryError(f"{path} is no page of metrics")
    return series


def load(raw: Path, mode: str) -> Run:
    path = raw / f"{mode}.json"
    if not path.exists():
        raise SummaryError(f"{path} is missing: {COMMANDS[mode]} makes it")
    data = read_json(path)
    try:
        return parse_run(data, mode)
    except SummaryError as fault:
        raise SummaryError(f"{path}: {fault}") from fault


def parse_run(data: Any, mode: str) -> Run:
    if not isinstance(data, dict) or data.get("mode") != mode:
        raise SummaryError(f"this is not a record of the mode {mode}")
    summary = parse_summary(data.get("k6"))
    check_mode(data, mode)
    requests = int(summary.figure("http_reqs", "count"))
    if requests == 0:
        raise SummaryError("no request was sent")
    cpu = field(data, "gateway_after", "process_cpu_seconds_total") - field(
        data, "gateway_before", "process_cpu_seconds_total"
    )
    backend = int(field(data, "backend", "requests"))
    duration = "http_req_duration"
    result = Result(
        mode=mode,
        requests=requests,
        rps=summary.figure("http_reqs", "rate"),
        mean_ms=summary.figure(duration, "avg"),
        p50_ms=summary.figure(duration, "med"),
        p95_ms=summary.figure(duration, "p(95)"),
        p99_ms=summary.figure(duration, "p(99)"),
        error_rate=summary.figure("http_req_failed", "rate"),
        hit_ratio=summary.figure("cache_hit", "rate"),
        gateway_cpu_seconds=round(cpu, 3),
        gateway_cpu_us_per_request=1e6 * cpu / requests,
        gateway_rss_bytes=int(field(data, "gateway_after", "process_resident_memory_bytes")),
        gateway_rss_peak_bytes=int(
            field(data, "gateway_after", "process_resident_memory_peak_bytes")
        ),
        backend_requests=backend,
        backend_requests_saved=requests - backend,
        backend_requests_saved_ratio=(requests - backend) / requests,
        thresholds_missed=len(summary.missed()),
    )
    return Run(result, summary, data)


def check_mode(data: dict[str, Any], mode: str) -> None:
    """The gateway's own word for the cache it had."""
    cachez = data.get("cachez")
    enabled = cachez.get("enabled") if isinstance(cachez, dict) else None
    if not isinstance(enabled, bool):
        raise SummaryError("cachez does not say whether the cache was enabled")
    if enabled != (mode != "none"):
        raise SummaryError(f"the cache was {'on' if enabled else 'off'} in the run {mode}")
    if enabled and cachez.get("backend") != mode:
        raise SummaryError(f"the cache's backend was {cachez.get('backend')} in the run {mode}")


def field(data: dict[str, Any], group: str, name: str) -> float:
    found = data.get(group)
    if not isinstance(found, dict):
        raise SummaryError(f"{group} is missing")
    return number(found.get(name), f"{name} of {group}")


def check_same_work(runs: list[Run]) -> None:
    """Only runs of one load on as many cores can be compared."""
    first = runs[0]
    for run in runs[1:]:
        for what, here, there in (
            ("load", first.summary.load, run.summary.load),
            ("number of cores", first.raw.get("cores"), run.raw.get("cores")),
        ):
            if here != there:
                modes = f"{first.result.mode} and {run.result.mode}"
                raise SummaryError(f"the runs {modes} differ in their {what}: {here}, {there}")


def method(run: Run) -> str:
    told = run.summary.load
    rate, seconds, seed = (number(told.get(n), f"{n} of the load") for n in LOAD)
    return (
        f"Profile `mixed`: {rate:.0f} requests a second for {seconds:.0f} s, 80 % "
        "`GET /infer?prompt=…` with prompts from a Zipf distribution "
        f"(10,000, s = 1.1, seed {seed:.0f}) and 20 % `POST /infer`, in front of a FastAPI process "
        "that takes 30 ms to 50 ms for an answer. Gateway, backend, Redis and k6 share "
        f"{run.raw['cores']} cores; each run has processes of its own, and the cache begins empty. "
        "CPU and memory are the gateway's alone; at this rate much of the CPU time is waking up."
    )


def thresholds(runs: list[Run]) -> list[str]:
    lines = []
    for run in runs:
        missed = run.summary.missed()
        told = ", ".join(f"`{m}`" for m in missed) if missed else "none"
        lines.append(f"- Thresholds missed with {MODES[run.result.mode]}: {told}")
    return [*lines, ""]


def baseline_report(run: Run) -> str:
    rows = [[row.label, row.write(getattr(run.result, row.field))] for row in ROWS]
    lines = [
        "# Performance without a cache",
        "",
        method(run),
        "",
        f"Recorded {run.raw['recorded']}.",
        "",
        *table(["", MODES["none"]], rows),
        *thresholds([run]),
        *body(run.summary),
    ]
    return "\n".join(lines)


def comparison(title: str, before: Run, after: Run) -> str:
    lines = [
        f"# {title}",
        "",
        method(before),
        "",
        f"Recorded {before.raw['recorded']} and {after.raw['recorded']}.",
        "",
        *table(
            ["", MODES[before.result.mode], MODES[after.result.mode], "change"],
            [compare(row, before.result, after.result) for row in ROWS],
        ),
        *thresholds([before, after]),
        "A POST is never answered from the cache, and neither is the first GET of a prompt: "
        "what takes longest stays as it is, so p95 and p99 are those of the backend unless almost "
        "everything is a hit. The mean and the median are what a cache moves. Requests that met "
        "while their answer was being made count as misses, yet saved the backend a request.",
        "",
        f"![What each run took]({CHART})",
        "",
        f"Made by `make perf:all`; the raw results are `perf/{before.result.mode}.json` and "
        f"`perf/{after.result.mode}.json`.",
        "",
    ]
    return "\n".join(lines)


def compare(row: Row, before: Result, after: Result) -> list[str]:
    old, new = getattr(before, row.field), getattr(after, row.field)
    if row.write is percent:
        change = f"{100 * (new - old):+.2f} points"
    elif old == 0:
        change = f"{new - old:+,.0f}" if new != old else "none"
    else:
        change = f"{100 * (new - old) / old:+.1f} %"
    return [row.label, row.write(old), row.write(new), change]


def results_json(runs: list[Run]) -> str:
    told = {
        "load": runs[0].summary.load,
        "cores": runs[0].raw["cores"],
        "results": [asdict(run.result) for run in runs],
    }
    return json.dumps(told, indent=2) + "\n"


def results_csv(runs: list[Run]) -> str:
    out = io.StringIO()
    rows = [asdict(run.result) for run in runs]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# Colours that stand apart from each other, and from a white and from a dark page.
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .axis { stroke: #8c959f }
  .none { fill: #9a6700 } .memory { fill: #0969da } .redis { fill: #1a7f37 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .axis { stroke: #7d8590 }
    .none { fill: #e3b341 } .memory { fill: #58a6ff } .redis { fill: #3fb950 }
  }
"""


def chart(runs: list[Run]) -> str:
    """Small bar charts side by side, each with a scale of its own that begins at zero."""
    width, height, columns = 250, 150, 3
    parts = [f"<style>{STYLE}</style>"]
    for i, run in enumerate(runs):
        x = 10 + 160 * i
        parts.append(
            f'<rect class="{run.result.mode}" x="{x}" y="10" width="12" height="12" rx="2"/>'
        )
        parts.append(f'<text x="{x + 18}" y="20">{MODES[run.result.mode]}</text>')
    for i, panel in enumerate(PANELS):
        x, y = width * (i % columns), 40 + height * (i // columns)
        parts.append(f'<g transform="translate({x} {y})">{bars(panel, runs)}</g>')
    rows = -(-len(PANELS) // columns)
    size = f"{width * columns} {40 + height * rows}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">\n'
        "<title>The same requests without a cache, with one in memory, and with Redis; "
        "less is better</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def bars(panel: Row, runs: list[Run]) -> str:
    values = [float(getattr(run.result, panel.field)) for run in runs]
    most = max(values) or 1.0
    base, tallest = 125, 80
    parts = [f'<text class="title" x="10" y="18">{panel.label}</text>']
    for i, (run, value) in enumerate(zip(runs, values, strict=True)):
        height = tallest * value / most
        x, top = 14 + 74 * i, base - height
        size = f'x="{x}" y="{top:.1f}" width="60" height="{height:.1f}"'
        label = f'x="{x + 30}" y="{top - 4:.1f}" text-anchor="middle"'
        parts.append(f'<rect class="{run.result.mode}" {size}/>')
        parts.append(f"<text {label}>{panel.write(value)}</text>")
    parts.append(f'<line class="axis" x1="10" x2="230" y1="{base}" y2="{base}"/>')
    return "".join(parts)


def baseline_files(raw: Path) -> dict[str, str]:
    return {"Perf_Baseline.md": baseline_report(load(raw, "none"))}


def report_files(raw: Path) -> dict[str, str]:
    none, memory, redis = runs = [load(raw, mode) for mode in MODES]
    check_same_work(runs)
    return {
        "Perf_Baseline.md": baseline_report(none),
        "PerfReport_CacheV1.md": comparison("The memory cache against none", none, memory),
        "perf_cache_v1_results.json": results_json([none, memory]),
        "perf_cache_v1_results.csv": results_csv([none, memory]),
        "PerfReport_v2.md": comparison("The Redis cache against none", none, redis),
        "perf_v2_results.json": results_json([none, redis]),
        "perf_v2_results.csv": results_csv([none, redis]),
        CHART: chart(runs),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Report what the cache is worth.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record", help="keep one run")
    one.add_argument("mode", choices=MODES)
    one.add_argument("notes", type=Path, help="the folder with what k6, gateway and backend said")
    one.add_argument("out", type=Path, help="the JSON file to write")
    for name, what in (("baseline", "the run without a cache"), ("report", "all three runs")):
        command = commands.add_parser(name, help=f"write the reports of {what}")
        command.add_argument("raw", type=Path, help="the folder of recorded runs")
        command.add_argument("out", type=Path, help="the folder to write to")
    given = parser.parse_args(arguments)
    try:
        if given.command == "record":
            data = record(given.mode, given.notes, datetime.now(UTC))
            parse_run(data, given.mode)
            files = {given.out: json.dumps(data, indent=1) + "\n"}
        else:
            make = baseline_files if given.command == "baseline" else report_files
            files = {given.out / name: text for name, text in make(given.raw).items()}
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
            print(path)
    except (SummaryError, OSError) as fault:
        print(f"perf_report.py: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
