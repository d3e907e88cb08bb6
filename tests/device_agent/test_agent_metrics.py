"""/metrics: what a Prometheus server scrapes of an agent, and what its log says of requests."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from device_agent.observer import Observer
from device_agent.readings import BoardReadings
from edge_s4op.profiler.telemetry import Board, Sensor
from tests.device_agent.agent_helpers import agent_process, scaling_artifact
from tests.device_agent.agent_requests import ended, infer, serve, serve_family, submitted, upload
from tests.device_agent.conftest import Start, TestClient
from tests.device_agent.fakes import Gate, gated_device, wait_until

_UNITS = ("_seconds", "_bytes", "_celsius", "_hertz", "_watts", "_ratio")
_OTHER_UNITS = ("_ms", "_us", "_ns", "_mb", "_percent", "_mhz", "_milliseconds", "_kilobytes", "_minutes")


def families(http: TestClient) -> dict[str, Metric]:
    answer = http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(http: TestClient, sample: str, **labels: str) -> float | None:
    found = [
        s.value
        for family in families(http).values()
        for s in family.samples
        if s.name == sample and labels.items() <= s.labels.items()
    ]
    assert len(found) <= 1, f"{sample} {labels} is there {len(found)} times"
    return found[0] if found else None


def board_of(values: dict[str, Callable[[], float | None]]) -> Board:
    units = {"temperature": "°C", "clock": "MHz", "power": "W", "load": "%"}
    named = ((*name.split(" ", 1), read) for name, read in values.items())
    return Board(tuple(Sensor(kind, what, units[kind], read) for kind, what, read in named))


def observe(http: TestClient, board: Board) -> None:
    """Let the agent behind `http` have `board` in place of this machine's."""
    state = http.app.state
    state.observer = Observer(state.agent, lambda: board)


def test_every_metric_is_named_explained_and_in_base_units(http: TestClient) -> None:
    serve(http, "m", scaling_artifact())
    infer(http, "m")
    for name, family in families(http).items():
        assert re.fullmatch(r"s4op_[a-z][a-z0-9_]*", name), name
        assert family.documentation.strip(), f"{name} has no HELP"
        assert family.type in ("counter", "gauge", "summary", "histogram"), f"{name} has no TYPE"
        assert not any(f"{unit}_" in f"{name}_" for unit in _OTHER_UNITS), f"{name} is in no base unit"
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            reserved = sample.name.endswith(("_count", "_sum", "_bucket"))
            assert not reserved or family.type in ("summary", "histogram"), sample.name
            if "duration" in name or "latency" in name:
                assert name.endswith(_UNITS), name


def test_requests_and_their_time_are_counted_by_model(http: TestClient) -> None:
    serve(http, "m", scaling_artifact())
    for _ in range(3):
        assert infer(http, "m").status_code == 200
    assert value(http, "s4op_inference_request_success_total", model="m") == 3
    assert value(http, "s4op_inference_request_failure_total", model="m") == 0
    assert value(http, "s4op_inference_count_total", model="m") == 3
    total_s = value(http, "s4op_inference_request_duration_seconds_sum", model="m")
    infer_s = value(http, "s4op_inference_compute_infer_duration_seconds_sum", model="m")
    assert 0 < infer_s <= total_s < 60
    assert value(http, "s4op_inference_recent_latency_seconds", model="m", quantile="0.99") > 0
    assert value(http, "s4op_queue_depth", model="m") == 0
    assert value(http, "s4op_model_ready", model="m") == 1


def test_a_family_counts_as_one_and_tells_its_variant(http: TestClient) -> None:
    family = {"large": scaling_artifact(2.0), "small": scaling_artifact(3.0)}
    assert serve_family(http, "f", **family).status_code == 200
    for _ in range(2):
        assert infer(http, "f").status_code == 200
    assert value(http, "s4op_inference_request_success_total", model="f") == 2
    assert value(http, "s4op_model_variant", model="f", variant="large") == 1
    assert value(http, "s4op_model_variant", model="f", variant="small") == 0
    assert http.post("/v1/families/f/pin", json={"variant": "small"}).status_code == 200
    assert value(http, "s4op_model_variant", model="f", variant="large") == 0
    assert value(http, "s4op_model_variant", model="f", variant="small") == 1


def test_measurements_are_counted_by_state(start: Start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    artifact = upload(http, scaling_artifact())
    running, waiting = submitted(http, artifact), submitted(http, artifact)
    assert gate.entered.acquire(timeout=20)
    assert value(http, "s4op_measurements", state="running") == 1
    assert value(http, "s4op_measurements", state="queued") == 1
    http.delete(f"/v1/measurements/{waiting}")
    gate.open.set()
    assert ended(http, running).state == "succeeded"
    assert value(http, "s4op_measurements", state="running") == 0
    assert value(http, "s4op_measurements_ended_total", state="succeeded") == 1
    assert value(http, "s4op_measurements_ended_total", state="cancelled") == 1


def test_sizes_are_bytes(http: TestClient) -> None:
    artifact = upload(http, scaling_artifact(padding=40_000))
    assert value(http, "s4op_artifacts") == 1
    assert value(http, "s4op_artifacts_bytes") == len(artifact.content)
    assert value(http, "s4op_process_resident_memory_bytes") > 1 << 20
    assert value(http, "s4op_disk_free_bytes") > 0


def test_the_boards_sensors_are_there_in_base_units(http: TestClient) -> None:
    board = board_of(
        {
            "temperature gpu": lambda: 61.5,
            "clock cpu": lambda: 1510.4,
            "power VDD_IN": lambda: 7.9,
            "load gpu": lambda: 25.0,
        }
    )
    observe(http, board)
    assert value(http, "s4op_temperature_celsius", sensor="gpu") == 61.5
    assert value(http, "s4op_clock_hertz", sensor="cpu") == pytest.approx(1510.4e6)
    assert value(http, "s4op_power_watts", sensor="VDD_IN") == 7.9
    assert value(http, "s4op_load_ratio", sensor="gpu") == 0.25
    assert http.get("/v1/overview").json()["board"]["values"]["temperature gpu"] == 61.5


def test_sensors_rest_while_latencies_are_taken(start: Start) -> None:
    gate, reads = Gate(), []
    http = start(device=gated_device(gate))
    observe(http, board_of({"temperature cpu": lambda: reads.append(1) or 50.0}))
    job_id = submitted(http, upload(http, scaling_artifact()))
    assert gate.entered.acquire(timeout=20)
    for _ in range(3):
        assert value(http, "s4op_temperature_celsius", sensor="cpu") is None  # never read before it began
        assert http.get("/v1/overview").json()["board"] is None
    assert not reads
    gate.open.set()
    ended(http, job_id)
    assert value(http, "s4op_temperature_celsius", sensor="cpu") == 50.0


def test_sensors_are_read_once_a_second_however_many_ask() -> None:
    reads, now_s, is_measuring = [], [0.0], [False]
    board = board_of({"temperature cpu": lambda: reads.append(1) or float(len(reads))})
    readings = BoardReadings(lambda: is_measuring[0], lambda: board, lambda: now_s[0])
    assert [readings.latest().values["temperature cpu"] for _ in range(5)] == [1.0] * 5
    now_s[0] = 1.5
    assert readings.latest().values["temperature cpu"] == 2.0
    now_s[0], is_measuring[0] = 9.5, True
    kept = readings.latest()
    assert kept.values["temperature cpu"] == 2.0
    assert kept.age_s == 8.0


def test_two_agents_in_one_process_keep_their_metrics_apart(start: Start, tmp_path: Path) -> None:
    one, other = start(data_dir=tmp_path / "one"), start(data_dir=tmp_path / "other")
    upload(one, scaling_artifact())
    assert value(one, "s4op_artifacts") == 1
    assert value(other, "s4op_artifacts") == 0


def test_openmetrics_for_who_asks_for_it(http: TestClient) -> None:
    answer = http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_a_requests_id_comes_back_and_is_in_the_log(
    http: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "device_agent.requests")
    answer = http.post("/v1/measurements", content=b"{}", headers={"X-Request-Id": "night-run-7"})
    assert answer.headers["X-Request-Id"] == "night-run-7"
    assert [r.message for r in caplog.records if "night-run-7" in r.message and "-> 400" in r.message]


@pytest.mark.parametrize("bad", ["", "two words", "x" * 129, "ä".encode("latin-1")])
def test_an_id_that_is_no_word_is_replaced(http: TestClient, bad: str | bytes) -> None:
    made = [http.get("/v1/device", headers={"X-Request-Id": bad}).headers["X-Request-Id"] for _ in range(2)]
    assert all(re.fullmatch(r"[0-9a-f]{16}", request_id) for request_id in made)
    assert made[0] != made[1]


def test_looking_on_is_not_logged_unless_the_access_log_is_on(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "device_agent.requests")
    quiet, loud = start(data_dir=tmp_path / "a"), start(data_dir=tmp_path / "b", access_log=True)
    quiet.get("/v1/overview", headers={"X-Request-Id": "unseen"})
    quiet.get("/metrics", headers={"X-Request-Id": "unseen"})
    loud.get("/metrics", headers={"X-Request-Id": "seen"})
    text = caplog.text
    assert "unseen" not in text
    assert "GET /metrics -> 200" in text
    assert text.rstrip().endswith("request seen")


def test_the_access_log_has_one_line_a_request_with_its_id(tmp_path: Path) -> None:
    with agent_process(tmp_path / "data", "--access-log") as agent:
        headers = {"X-Request-Id": "once"}
        httpx.get(f"{agent.url}/v2/health/live", headers=headers, trust_env=False, timeout=30)
        httpx.get(f"{agent.url}/v2/health/ready", trust_env=False, timeout=30)
        wait_until(lambda: "/v2/health/ready" in agent.log)  # a line follows its answer
        lines = [line for line in agent.log.splitlines() if "/v2/health/live" in line]
    assert len(lines) == 1
    assert lines[0].endswith("request once")


def test_a_line_end_in_a_path_does_not_end_the_line(
    http: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "device_agent.requests")
    http.get("/v1/measurements/a%0ab")
    assert [r.message for r in caplog.records if "a\\nb" in r.message]
    assert not [r.message for r in caplog.records if "\n" in r.message]
