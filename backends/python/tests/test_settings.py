import pytest

from app.settings import BadSettings, Latency, Settings, load
from app.stats import Stats


def test_defaults_and_empty_values() -> None:
    assert load({}) == Settings()
    assert load({"PORT": "", "INFER_LATENCY_MS": "", "HOST": ""}) == Settings()


def test_values() -> None:
    env = {"PORT": "9", "HOST": "::1", "INFER_LATENCY_MS": "3-4", "ACCESS_LOG": "off"}
    settings = load(env)
    assert (settings.port, settings.host, settings.access_log) == (9, "::1", False)
    assert settings.infer_latency == Latency(3, 4)
    assert load({"MODELS": "org/big, small"}).models == ("org/big", "small")
    assert load({"INFER_LATENCY_MS": "0"}).infer_latency.draw_seconds() == 0
    assert load({"TOKEN_LATENCY_MS": "7"}).token_latency == Latency(7, 7)
    assert 0.003 <= settings.infer_latency.draw_seconds() <= 0.004


def test_all_faults_are_reported_together() -> None:
    env = {"PORT": "65536", "INFER_LATENCY_MS": "50-30", "ACCESS_LOG": "maybe", "MODELS": "a,a"}
    with pytest.raises(BadSettings) as caught:
        load(env)
    assert [line.split("=")[0] for line in str(caught.value).splitlines()] == list(env)


@pytest.mark.parametrize("text", ["-1", "5-", "-", "a", "1-2-3", "9999999999", "1.5"])
def test_bad_latencies(text: str) -> None:
    with pytest.raises(BadSettings):
        load({"INFER_LATENCY_MS": text})


def test_stats_keep_the_last_ten_thousand_ids() -> None:
    stats = Stats()
    for i in range(10_000):
        stats.execute(f"id-{i}")
    stats.execute("id-0")  # Seen again, hence no longer the oldest.
    stats.execute("new")
    executed = stats.snapshot()["executed"]
    assert len(executed) == 10_000
    assert executed["id-0"] == 2
    assert "id-1" not in executed
    assert stats.executions == 10_002


def test_stats_cut_long_ids() -> None:
    stats = Stats()
    stats.execute("x" * 5000)
    assert stats.snapshot("x" * 5000)["executed"] == {"x" * 200: 1}
