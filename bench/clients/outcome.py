"""outcome.py guidellm|aiperf REPORT REQUESTS, or outcome.py asked LOG: what came of a run.

The latter tells who asked for what.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path


def guidellm(report: dict, wanted: int) -> None:
    totals = report["benchmarks"][0]["metrics"]["request_totals"]
    finish(totals["successful"], totals["errored"] + totals["incomplete"], wanted)


def aiperf(report: dict, wanted: int) -> None:
    failed = sum(error.get("count", 1) for error in report.get("error_summary") or [])
    finish(int(report["request_count"]["avg"]), failed, wanted)


def finish(answered: int, failed: int, wanted: int) -> None:
    print(f"{answered} of {wanted} answered, {failed} failed")
    # guidellm may stop before it has counted the last ones.
    sys.exit(0 if answered > 0.9 * wanted and failed == 0 else 1)


def asked(log: str) -> None:
    """The requests of the gateway's access log, by who sent them, path and status."""
    seen: Counter[tuple[str, str]] = Counter()
    for line in Path(log).read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("msg") == "access":
            path = re.sub(r"\?.*", "", str(entry.get("path", "")))
            seen[(f"{entry.get('method')} {path}", str(entry.get("status")))] += 1
    for (what, status), times in sorted(seen.items()):
        print(f"{times:6} {what} {status}")


def main(kind: str, path: str, *wanted: str) -> None:
    if kind == "asked":
        asked(path)
        return
    report = json.loads(Path(path).read_text())
    {"guidellm": guidellm, "aiperf": aiperf}[kind](report, int(wanted[0]))


main(*sys.argv[1:])
