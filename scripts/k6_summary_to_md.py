#!/usr/bin/env python3
"""Turns the summary of a k6 run into Markdown.

    k6_summary_to_md.py SUMMARY.json [-o OUT.md] [--title TITLE]

SUMMARY.json is what a profile's handleSummary wrote, or `k6 run --summary-export`. A figure that is
not there, or is no number, is an error.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXPORTED_TYPES = (("avg", "trend"), ("count", "counter"), ("passes", "rate"), ("value", "gauge"))
FIGURES = {
    "counter": ("count", "rate"),
    "rate": ("rate", "passes", "fails"),
    "gauge": ("value", "min", "max"),
}


class SummaryError(Exception):
    """What is wrong with a summary, in words for who runs the script."""


@dataclass(frozen=True)
class Metric:
    name: str
    kind: str
    unit: str
    values: dict[str, float]
    thresholds: dict[str, bool]

    def figure(self, name: str) -> float:
        """The figure of this name; one that is missing or no number is an error."""
        return number(self.values.get(name), f"{name} of the metric {self.name}")


@dataclass(frozen=True)
class Check:
    name: str
    passes: int
    fails: int


@dataclass(frozen=True)
class Summary:
    profile: str
    load: dict[str, Any]
    seconds: float | None
    metrics: dict[str, Metric]
    checks: list[Check]

    def figure(self, metric: str, name: str) -> float:
        if metric not in self.metrics:
            raise SummaryError(f"the summary has no metric {metric}")
        return self.metrics[metric].figure(name)

    def missed(self) -> list[str]:
        """The thresholds that did not hold."""
        return [
            f"{metric.name}: {threshold}"
            for metric in self.metrics.values()
            for threshold, held in metric.thresholds.items()
            if not held
        ]


def number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        found = "is missing" if value is None else f"is {value!r}, which is no number"
        raise SummaryError(f"{what} {found}")
    return float(value)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise SummaryError(f"cannot read {path}: {fault.strerror}") from fault
    except ValueError as fault:
        raise SummaryError(f"{path} is not JSON: {fault}") from fault


def read_summary(path: Path) -> Summary:
    try:
        return parse_summary(read_json(path))
    except SummaryError as fault:
        if str(path) in str(fault):
            raise
        raise SummaryError(f"{path}: {fault}") from fault


def parse_summary(data: Any) -> Summary:
    metrics = data.get("metrics") if isinstance(data, dict) else None
    if not isinstance(metrics, dict) or not metrics:
        raise SummaryError("this is not a k6 summary: it has no metrics")
    milliseconds = data.get("state", {}).get("testRunDurationMs")
    return Summary(
        profile=str(data.get("profile", "")),
        load=data.get("load", {}),
        seconds=None if milliseconds is None else number(milliseconds, "the duration") / 1000,
        metrics={name: parse_metric(name, metrics[name]) for name in sorted(metrics)},
        checks=parse_checks(data.get("root_group", {}), ""),
    )


def parse_metric(name: str, data: Any) -> Metric:
    if not isinstance(data, dict):
        raise SummaryError(f"the metric {name} is not an object")
    if isinstance(data.get("values"), dict):  # handleSummary
        kind, values = str(data.get("type")), data["values"]
        held = {t: bool(result["ok"]) for t, result in data.get("thresholds", {}).items()}
        unit = {"time": "ms", "data": "B"}.get(str(data.get("contains")), "")
    else:  # --summary-export: no types, rates named otherwise, and true for a threshold that failed
        values = {key: value for key, value in data.items() if key != "thresholds"}
        kind = next((kind for key, kind in EXPORTED_TYPES if key in values), "")
        if kind == "rate":
            values["rate"] = values.get("value")
        held = {t: not failed for t, failed in data.get("thresholds", {}).items()}
        unit = exported_unit(name)
    if kind != "trend" and kind not in FIGURES:
        raise SummaryError(f"the metric {name} is of no type that k6 has")
    return Metric(name, kind, unit, values, held)


def exported_unit(name: str) -> str:
    if name.startswith("data_"):
        return "B"
    times = ("http_req_", "iteration_duration", "group_duration")
    return "ms" if name.startswith(times) else ""


def parse_checks(group: dict[str, Any], path: str) -> list[Check]:
    """The checks of a group and the groups in it: lists in one format, objects in the other."""
    found = []
    for check in members(group.get("checks", [])):
        name = path + str(check.get("name"))
        passes = number(check.get("passes"), f"passes of the check {name}")
        fails = number(check.get("fails"), f"fails of the check {name}")
        found.append(Check(name, int(passes), int(fails)))
    for inner in members(group.get("groups", [])):
        found += parse_checks(inner, f"{path}{inner.get('name')} / ")
    return found


def members(found: Any) -> list[dict[str, Any]]:
    return list(found.values()) if isinstance(found, dict) else list(found)


def short(value: float) -> str:
    """Four significant digits, and every digit of what is before the point."""
    if value == int(value):
        return f"{int(value):,}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def with_unit(value: float, unit: str) -> str:
    return f"{short(value)} {unit}".rstrip()


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table whose first column is text and whose others are figures."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    cells = [[cell.replace("|", "\\|") for cell in row] for row in [head, rule, *rows]]
    return [f"| {' | '.join(row)} |" for row in cells] + [""]


def markdown(summary: Summary, title: str) -> str:
    return "\n".join([f"# {title}", "", *body(summary)])


def body(summary: Summary) -> list[str]:
    lines = []
    if summary.seconds is not None:
        lines += [f"{summary.seconds:.1f} s of k6.", ""]
    lines += threshold_lines(summary)
    lines += trend_lines(summary)
    rest = [m for m in summary.metrics.values() if m.kind != "trend"]
    if rest:
        lines += ["## Counts, rates and gauges", ""]
        lines += table(["metric", "figures"], [[f"`{m.name}`", figures(m)] for m in rest])
    if summary.checks:
        lines += ["## Checks", ""]
        rows = [[c.name, short(c.passes), short(c.fails)] for c in summary.checks]
        lines += table(["check", "passed", "failed"], rows)
    return lines


def threshold_lines(summary: Summary) -> list[str]:
    rows = [
        [f"`{m.name}`", f"`{threshold}`", "held" if held else "**missed**"]
        for m in summary.metrics.values()
        for threshold, held in m.thresholds.items()
    ]
    if not rows:
        return []
    return ["## Thresholds", "", *table(["metric", "threshold", "outcome"], rows)]


def trend_lines(summary: Summary) -> list[str]:
    trends = [m for m in summary.metrics.values() if m.kind == "trend"]
    if not trends:
        return []
    columns = sorted(trends[0].values, key=column_order)
    rows = [
        [f"`{m.name}`", *(with_unit(m.figure(column), m.unit) for column in columns)]
        for m in trends
    ]
    return ["## Distributions", "", *table(["metric", *columns], rows)]


def column_order(name: str) -> tuple[int, float]:
    """Averages and extremes first, then percentiles as they rise; k6 writes them in any order."""
    first = ("avg", "min", "med", "max", "count")
    if name in first:
        return first.index(name), 0
    return len(first), float(name.removeprefix("p(").removesuffix(")"))


def figures(metric: Metric) -> str:
    found = {name: metric.figure(name) for name in FIGURES[metric.kind]}
    if metric.kind == "counter":
        count = with_unit(found["count"], metric.unit)
        return f"{count}, {with_unit(found['rate'], metric.unit)}/s"
    if metric.kind == "rate":
        share = f"{short(100 * found['rate'])} %"
        return f"{share}, {short(found['passes'])} of {short(found['passes'] + found['fails'])}"
    return f"{short(found['value'])}, from {short(found['min'])} to {short(found['max'])}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Turn the summary of a k6 run into Markdown.")
    parser.add_argument("summary", type=Path, help="the JSON file that k6 left")
    parser.add_argument("-o", "--out", type=Path, help="where to write; the terminal if not given")
    parser.add_argument("--title", help="the heading")
    given = parser.parse_args(arguments)
    try:
        summary = read_summary(given.summary)
        title = given.title or f"k6: {summary.profile or given.summary.stem}"
        text = markdown(summary, title)
        if given.out:
            given.out.write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text)
    except (SummaryError, OSError) as fault:
        print(f"k6_summary_to_md.py: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
