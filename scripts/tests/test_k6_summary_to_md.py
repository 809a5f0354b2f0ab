"""The recorded summaries in testdata are what k6 wrote: smoke.json by handleSummary, exported.json
by --summary-export, with one threshold missed."""

import json
from pathlib import Path
from typing import Any

import k6_summary_to_md as md
import pytest

DATA = Path(__file__).parent / "testdata"


def recorded(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def test_a_summary_of_ours() -> None:
    text = md.markdown(md.read_summary(DATA / "smoke.json"), "k6: smoke")
    assert text.startswith("# k6: smoke\n\n3.")
    assert "| metric | avg | min | med | max | p(90) | p(95) | p(99) | p(99.9) |\n" in text
    assert "| `checks` | `rate==1` | held |\n" in text
    assert "| `checks` | 100 %, 63 of 63 |\n" in text
    assert "| cachez has its figures | 3 | 0 |\n" in text
    assert "**missed**" not in text
    assert "n/a" not in text.lower()


def test_an_exported_summary_says_true_for_what_failed() -> None:
    summary = md.read_summary(DATA / "exported.json")
    assert summary.missed() == ["http_req_duration: p(95)<0.0001"]
    text = md.markdown(summary, "k6")
    assert "| `http_req_duration` | `p(95)<0.0001` | **missed** |\n" in text
    assert "| `http_req_failed` | `rate<0.5` | held |\n" in text
    assert "| pages / status \\| is 200 | 4 | 0 |\n" in text
    assert "| `http_reqs` | 4, " in text


def test_every_metric_and_check_is_told() -> None:
    for name in ("smoke.json", "exported.json"):
        summary = md.read_summary(DATA / name)
        text = md.markdown(summary, "k6")
        for metric in summary.metrics:
            assert f"| `{metric}` |" in text


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (0, "0"),
        (4, "4"),
        (1234567, "1,234,567"),
        (1127.4321, "1,127"),
        (12.3456, "12.35"),
        (0.123456, "0.1235"),
        (0.00012345, "0.000123"),
        (-1.5, "-1.500"),
    ],
)
def test_short(value: float, want: str) -> None:
    assert md.short(value) == want


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("metrics"), "this is not a k6 summary: it has no metrics"),
        (lambda s: s.update(metrics={}), "this is not a k6 summary: it has no metrics"),
        (
            lambda s: s["metrics"]["http_req_duration"]["values"].pop("p(99)"),
            "p(99) of the metric http_req_duration is missing",
        ),
        (
            lambda s: s["metrics"]["http_reqs"]["values"].update(count=None),
            "count of the metric http_reqs is missing",
        ),
        (
            lambda s: s["metrics"]["http_reqs"]["values"].update(count="many"),
            "count of the metric http_reqs is 'many', which is no number",
        ),
        (
            lambda s: s["metrics"]["http_reqs"]["values"].update(rate=float("nan")),
            "rate of the metric http_reqs is nan, which is no number",
        ),
        (
            lambda s: s["metrics"]["http_reqs"].update(type="wave"),
            "the metric http_reqs is of no type that k6 has",
        ),
        (lambda s: s["metrics"].update(http_reqs=3), "the metric http_reqs is not an object"),
        (
            lambda s: s["root_group"]["checks"][0].pop("fails"),
            "fails of the check /healthz is 200 is missing",
        ),
    ],
)
def test_what_is_wrong_is_said(
    change: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = recorded("smoke.json")
    change(summary)
    path, out = tmp_path / "summary.json", tmp_path / "out.md"
    path.write_text(json.dumps(summary), encoding="utf-8")
    assert md.main([str(path), "-o", str(out)]) == 1
    assert told in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot read"), ("{", "is not JSON"), ("[]", "this is not a k6 summary")],
)
def test_a_file_that_is_none(
    content: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "summary.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert md.main([str(path)]) == 1
    assert told in capsys.readouterr().err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.md"
    assert md.main([str(DATA / "smoke.json"), "-o", str(out), "--title", "Smoke"]) == 0
    assert out.read_text(encoding="utf-8").startswith("# Smoke\n")
    assert md.main([str(DATA / "smoke.json")]) == 0
    assert capsys.readouterr().out.startswith("# k6: smoke\n")
