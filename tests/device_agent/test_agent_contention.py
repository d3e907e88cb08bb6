"""Inference while a measurement runs: refused, with an honest time to come back, or served and noted."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from device_agent.device import Device, local_device
from device_agent.traffic import Traffic
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import ended, first_output, infer, job_of, serve, submitted
from tests.device_agent.fakes import Gate, gated_device


def measuring(start, **settings: object) -> tuple[httpx.Client, Gate, str]:
    """An agent that serves "m" and is in the middle of a measurement (at half of a long one)."""
    gate = Gate()
    http = start(device=gated_device(gate), **settings)
    artifact = scaling_artifact(2.0)
    assert serve(http, "m", artifact).status_code == 200
    job_id = submitted(http, artifact, max_duration_ms=40_000, min_duration_ms=0, precision=0.9)
    assert gate.entered.acquire(timeout=10)
    return http, gate, job_id


def test_refused_inference_is_told_when_the_measurement_ends(start) -> None:
    http, gate, job_id = measuring(start, lease_wait_s=0.05)
    answer = infer(http, "m")
    assert answer.status_code == 503
    assert f"measurement {job_id}" in answer.json()["error"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 20  # half of 40 s is left, less what went by since
    assert int(answer.headers["Retry-After"]) > 5
    gate.open.set()
    job = ended(http, job_id)
    assert (job.state, job.result.disturbed) == ("succeeded", ())
    assert first_output(infer(http, "m")) == [2, 4, 6]


def test_shared_inference_runs_at_once_and_the_measurement_says_so(start) -> None:
    http, gate, job_id = measuring(start, lease_wait_s=0, while_measuring="share")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: infer(http, "m"), range(12)))
    statuses = Counter(answer.status_code for answer in answers)
    served = statuses[200]
    assert served >= 1  # those that met one another may be refused, since lease_wait_s is 0
    assert job_of(http, job_id).state == "running"
    gate.open.set()
    (seen,) = ended(http, job_id).result.disturbed
    assert seen.kind == "contended"
    expected = "1 inference was served" if served == 1 else f"{served} inferences were served"
    assert seen.what == f"{expected} meanwhile"


def test_every_concurrent_inference_is_answered_and_counted(start) -> None:
    http, gate, job_id = measuring(start, while_measuring="share")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: infer(http, "m"), range(40)))
    assert all(first_output(answer) == [2, 4, 6] for answer in answers)
    gate.open.set()
    (seen,) = ended(http, job_id).result.disturbed
    assert seen.what == "40 inferences were served meanwhile"


def test_inference_before_and_after_a_shared_measurement_does_not_mark_it(start) -> None:
    http, gate, job_id = measuring(start, while_measuring="share")
    gate.open.set()
    assert ended(http, job_id).result.disturbed == ()
    infer(http, "m")
    again = submitted(http, scaling_artifact(2.0))
    assert ended(http, again).result.disturbed == ()


@pytest.mark.parametrize("mode", ["refuse", "share"])
def test_requests_and_measurements_at_full_speed(start, mode: str) -> None:
    """Nothing is lost, answered wrongly or unmarked, however they meet."""
    http = start(while_measuring=mode)
    artifact = scaling_artifact(2.0)
    serve(http, "m", artifact)
    stop = threading.Event()
    failures: list[str] = []
    answered = Counter()

    def ask() -> None:
        while not stop.is_set():
            answer = infer(http, "m")
            answered[answer.status_code] += 1
            if answer.status_code != 200 or first_output(answer) != [2, 4, 6]:
                failures.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    jobs = [ended(http, submitted(http, artifact, max_duration_ms=300, precision=1e-9)) for _ in range(3)]
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [job.state for job in jobs] == ["succeeded"] * 3
    assert answered[200] > 0
    kinds = [{seen.kind for seen in job.result.disturbed} for job in jobs]
    assert all(("contended" in kind) == (mode == "share") for kind in kinds)


def test_an_inference_that_began_before_a_measurement_counts() -> None:
    traffic = Traffic()
    with traffic.inference():
        pass
    with traffic.inference():
        mark = traffic.mark()
        assert traffic.since(mark) == 1
    assert traffic.since(mark) == 1
    with traffic.inference():
        assert traffic.since(mark) == 2
    assert traffic.since(traffic.mark()) == 0


def test_a_shared_measurement_is_marked_even_where_the_device_saw_a_disturbance(start) -> None:
    from edge_s4op.messages import Disturbance
    from edge_s4op.profiler.measure import Measured

    here = local_device()
    served = threading.Event()
    http_of: list[httpx.Client] = []

    def disturbed(*arguments: object) -> Measured:
        assert infer(http_of[0], "m").status_code == 200
        served.set()
        measured = here.measure(*arguments)
        seen = Disturbance(kind="throttling", what="the GPU was hot")
        result = measured.result.model_copy(update={"disturbed": (seen,)})
        return Measured(result, measured.samples_ms)

    device = Device(here.facts, here.backends, here.open_runner, disturbed)
    http = start(device=device, while_measuring="share")
    http_of.append(http)
    serve(http, "m", scaling_artifact(2.0))
    job = ended(http, submitted(http, scaling_artifact(2.0)))
    assert [seen.kind for seen in job.result.disturbed] == ["throttling", "contended"]
