"""none.json, memory.json and redis.json in testdata are three recorded runs of a few seconds."""

import csv
import io
import json
import shutil
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import perf_report as report
import pytest

DATA = Path(__file__).parent / "testdata"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FILES = {
    "Perf_Baseline.md",
    "PerfReport_CacheV1.md",
    "perf_cache_v1_results.json",
    "perf_cache_v1_results.csv",
    "PerfReport_v2.md",
    "perf_v2_results.json",
    "perf_v2_results.csv",
    "perf_cache.svg",
}


def recorded(mode: str) -> Any:
    return json.loads((DATA / f"{mode}.json").read_text(encoding="utf-8"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for mode in report.MODES:
        shutil.copy(DATA / f"{mode}.json", folder)
    return folder


def test_the_files_and_their_names(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert report.main(["report", str(raw), str(out)]) == 0
    assert {path.name for path in out.iterdir()} == FILES
    for path in out.iterdir():
        assert "n/a" not in path.read_text(encoding="utf-8").lower()


def test_the_baseline_needs_only_its_own_run(raw: Path, tmp_path: Path) -> None:
    (raw / "memory.json").unlink()
    (raw / "redis.json").unlink()
    assert report.main(["baseline", str(raw), str(tmp_path)]) == 0
    text = (tmp_path / "Perf_Baseline.md").read_text(encoding="utf-8")
    assert text.startswith("# Performance without a cache\n")
    assert "| requests that reached the backend | 481 |\n" in text


def test_the_figures_of_a_run() -> None:
    data = recorded("memory")
    data["gateway_before"]["process_cpu_seconds_total"] = 1.5
    data["gateway_after"]["process_cpu_seconds_total"] = 2.0
    data["gateway_after"]["process_resident_memory_bytes"] = 20 << 20
    data["gateway_after"]["process_resident_memory_peak_bytes"] = 30 << 20
    data["backend"]["requests"] = 120
    metrics = data["k6"]["metrics"]
    metrics["http_reqs"]["values"] = {"count": 480, "rate": 60.0}
    metrics["http_req_failed"]["values"] = {"rate": 0.25, "passes": 120, "fails": 360}
    metrics["cache_hit"]["values"] = {"rate": 0.75, "passes": 288, "fails": 96}
    metrics["http_req_duration"]["values"] |= {"avg": 9, "med": 1, "p(95)": 50, "p(99)": 52}
    metrics["checks"]["thresholds"]["rate>0.999"]["ok"] = False
    assert report.parse_run(data, "memory").result == report.Result(
        mode="memory",
        requests=480,
        rps=60,
        mean_ms=9,
        p50_ms=1,
        p95_ms=50,
        p99_ms=52,
        error_rate=0.25,
        hit_ratio=0.75,
        gateway_cpu_seconds=0.5,
        gateway_cpu_us_per_request=1e6 * 0.5 / 480,
        gateway_rss_bytes=20 << 20,
        gateway_rss_peak_bytes=30 << 20,
        backend_requests=120,
        backend_requests_saved=360,
        backend_requests_saved_ratio=0.75,
        thresholds_missed=1,
    )


def test_json_and_csv_say_the_same(raw: Path) -> None:
    files = report.report_files(raw)
    for name, modes in (("perf_cache_v1", ["none", "memory"]), ("perf_v2", ["none", "redis"])):
        told = json.loads(files[f"{name}_results.json"])
        rows = list(csv.DictReader(io.StringIO(files[f"{name}_results.csv"])))
        assert [run["mode"] for run in told["results"]] == modes
        assert [{key: str(value) for key, value in run.items()} for run in told["results"]] == rows
        assert told["load"] == {"rate": 60, "seconds": 8, "seed": 1}


def test_the_comparison_shows_every_figure(raw: Path) -> None:
    text = report.report_files(raw)["PerfReport_CacheV1.md"]
    assert "| no cache | memory | change |\n" in text
    for row in report.ROWS:
        assert f"\n| {row.label} |" in text
    assert "| requests that reached the backend | 481 | 280 | -41.8 % |\n" in text
    assert "| hit ratio of GETs | 0.00 % | 49.38 % | +49.38 points |\n" in text
    assert "- Thresholds missed with memory: none\n" in text


def test_a_missed_threshold_is_told(raw: Path) -> None:
    data = recorded("redis")
    data["k6"]["metrics"]["cache_hits"]["thresholds"]["count>0"]["ok"] = False
    (raw / "redis.json").write_text(json.dumps(data), encoding="utf-8")
    text = report.report_files(raw)["PerfReport_v2.md"]
    assert "- Thresholds missed with memory and Redis: `cache_hits: count>0`\n" in text


def test_the_chart(raw: Path) -> None:
    svg = report.report_files(raw)["perf_cache.svg"]
    space = "{http://www.w3.org/2000/svg}"
    root = ET.fromstring(svg)
    bars = [r for r in root.iter(f"{space}rect") if float(r.get("height", "0")) != 12]
    assert len(bars) == len(report.PANELS) * len(report.MODES)
    assert all(float(bar.get("height", "-1")) >= 0 for bar in bars)
    assert "prefers-color-scheme: dark" in svg
    assert "href" not in svg


def remove(group: str, name: str) -> Any:
    return lambda data: data[group].pop(name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(mode="none"), "this is not a record of the mode memory"),
        (lambda d: d.pop("k6"), "this is not a k6 summary"),
        (lambda d: d.pop("backend"), "backend is missing"),
        (remove("backend", "requests"), "requests of backend is missing"),
        (
            remove("gateway_after", "process_resident_memory_peak_bytes"),
            "process_resident_memory_peak_bytes of gateway_after is missing",
        ),
        (
            remove("gateway_before", "process_cpu_seconds_total"),
            "process_cpu_seconds_total of gateway_before is missing",
        ),
        (lambda d: d["k6"]["metrics"].pop("cache_hit"), "the summary has no metric cache_hit"),
        (
            lambda d: d["k6"]["metrics"]["http_req_duration"]["values"].pop("p(99)"),
            "p(99) of the metric http_req_duration is missing",
        ),
        (
            lambda d: d["k6"]["metrics"]["http_reqs"]["values"].update(count=0),
            "no request was sent",
        ),
        (lambda d: d["k6"].update(load={}), "differ in their load"),
        (lambda d: d.update(cores=64), "differ in their number of cores"),
        (lambda d: d["cachez"].update(enabled=False), "the cache was off in the run memory"),
        (
            lambda d: d["cachez"].update(backend="redis"),
            "the cache's backend was redis in the run memory",
        ),
        (lambda d: d.pop("cachez"), "cachez does not say whether the cache was enabled"),
    ],
)
def test_what_is_wrong_is_said(
    change: Any, told: str, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recorded("memory")
    change(data)
    (raw / "memory.json").write_text(json.dumps(data), encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    assert report.main(["report", str(raw), str(out)]) == 1
    assert told in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "command"),
    [("none", "perf:baseline"), ("memory", "perf:cached"), ("redis", "perf:redis")],
)
def test_a_missing_run_names_its_command(
    mode: str, command: str, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / f"{mode}.json").unlink()
    assert report.main(["report", str(raw), str(tmp_path)]) == 1
    assert f"{mode}.json is missing: make {command} makes it" in capsys.readouterr().err


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    data = recorded("memory")
    for name, group in (("before", "gateway_before"), ("after", "gateway_after")):
        page = ["# HELP process_cpu_seconds_total Said by the system.", "other_total 7"]
        page += [f"{series} {value}" for series, value in data[group].items()]
        (folder / f"{name}.txt").write_text("\n".join(page) + "\n", encoding="utf-8")
    for name, group in (("cachez", "cachez"), ("stats", "backend"), ("k6", "k6")):
        (folder / f"{name}.json").write_text(json.dumps(data[group]), encoding="utf-8")
    return folder


def test_a_run_is_kept_as_it_was(notes: Path, tmp_path: Path) -> None:
    want = recorded("memory")
    kept = report.record("memory", notes, NOW)
    assert kept["recorded"] == "2026-01-02T03:04:05+00:00"
    for group in ("gateway_before", "gateway_after", "cachez", "backend", "k6"):
        assert kept[group] == want[group]
    out = tmp_path / "memory.json"
    assert report.main(["record", "memory", str(notes), str(out)]) == 0
    assert report.parse_run(json.loads(out.read_text(encoding="utf-8")), "memory")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("after.txt", None, "after.txt: No such file"),
        ("after.txt", "<html>\n", "after.txt is no page of metrics"),
        ("after.txt", "process_cpu_seconds_total many\n", "is no sample"),
        ("stats.json", "{}", "requests of backend is missing"),
        ("k6.json", "{", "k6.json is not JSON"),
    ],
)
def test_a_run_that_cannot_be_reported_is_not_kept(
    file: str,
    content: str | None,
    told: str,
    notes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is None:
        (notes / file).unlink()
    else:
        (notes / file).write_text(content, encoding="utf-8")
    out = tmp_path / "memory.json"
    assert report.main(["record", "memory", str(notes), str(out)]) == 1
    assert told in capsys.readouterr().err
    assert not out.exists()
