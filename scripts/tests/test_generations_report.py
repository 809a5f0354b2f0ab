import copy
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import generations_report as report
import pytest
from k6_summary_to_md import SummaryError


def summary(generated: int, spared: int) -> Any:
    trend = {"med": 10.0, "p(95)": 20.0}
    return {
        "profile": "generations",
        "load": {"rate": 20, "seconds": 60, "seed": 1},
        "metrics": {
            "http_reqs": {"values": {"count": 1200}},
            "http_req_failed": {"values": {"rate": 0.0}},
            "tokens_generated": {"values": {"count": generated}},
            "tokens_spared": {"values": {"count": spared}},
            "engine_ms": {"values": {"count": 5000.0}},
            "first_token": {"values": trend},
            "http_req_duration": {"values": trend},
        },
    }


def test_files() -> None:
    made = report.files(summary(1000, 0), summary(400, 600))
    text = made["Perf_Generations.md"]
    assert "| tokens the engine wrote | 1,000 | 400 | -60 % |" in text
    assert "| tokens it was spared | 0 | 600 |  |" in text
    assert json.loads(made["perf_generations.json"])["with"]["tokens_spared"] == 600
    assert ET.fromstring(made["perf_generations.svg"]).tag.endswith("svg")


def test_what_cannot_be_compared() -> None:
    other = summary(1, 1)
    other["load"]["seed"] = 2
    with pytest.raises(SummaryError, match="other work"):
        report.files(summary(1, 1), other)
    other = copy.deepcopy(summary(1, 1))
    del other["metrics"]["engine_ms"]
    with pytest.raises(SummaryError, match="engine_ms"):
        report.files(other, summary(1, 1))
    with pytest.raises(SummaryError, match="profile"):
        report.files({**summary(1, 1), "profile": "mixed"}, summary(1, 1))


def test_main(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("none", "cached"):
        (tmp_path / name).write_text(json.dumps(summary(1, 1)), encoding="utf-8")
    assert report.main([str(tmp_path / "none"), str(tmp_path / "cached"), str(tmp_path)]) == 0
    assert (tmp_path / "Perf_Generations.md").exists()
    assert report.main([]) == 2
    (tmp_path / "none").write_text("{}", encoding="utf-8")
    assert report.main([str(tmp_path / "none"), str(tmp_path / "cached"), str(tmp_path)]) == 1
    assert "generations" in capsys.readouterr().err
