"""Serving as a whole: replaced, unloaded, loaded again, warmed, drained; no accepted request is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, ValuesView
from concurrent.futures import Future

import httpx
import numpy as np
import pytest

from device_agent.device import Device, local_device
from device_agent.errors import RequestError
from device_agent.scheduler import Answered, ClosingError, Wanted
from device_agent.serving import Serving
from edge_s4op.artifact import Artifact
from edge_s4op.errors import InferenceError, UnknownModelError, UsageError
from edge_s4op.messages import RepositoryEntry, ServeRequest
from edge_s4op.runtime import RunnerOptions
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import first_output, infer, serve, upload
from tests.device_agent.fakes import wait_until
from tests.device_agent.runners import HeldRunner, wanted

FOREVER_S = 30


class HeldDevice:
    """This machine; its runners, in order of opening, run once the test lets them."""

    def __init__(self) -> None:
        self.runners: list[HeldRunner] = []

    def device(self) -> Device:
        here = local_device()
        return Device(here.facts, lambda: {"onnxruntime": "1", "held": "1"}, self._open, here.measure)

    def _open(self, artifact: Artifact, backend: str, options: RunnerOptions) -> HeldRunner:
        runner = HeldRunner(artifact)
        self.runners.append(runner)
        return runner

    def hold(self) -> HeldRunner:
        """The newest runner, whose runs wait from now on."""
        runner = self.runners[-1]
        runner.open.clear()
        while runner.begun.acquire(blocking=False):
            pass  # it was warmed
        return runner


@pytest.fixture
def held() -> HeldDevice:
    return HeldDevice()


def serving_of(http: httpx.Client) -> Serving:
    return http.app.state.agent.serving


def y_of(future: Future[Answered]) -> float:
    return future.result(FOREVER_S).outputs["y"][0, 0].item()


def busy(serving: Serving, runner: HeldRunner, name: str = "m", count: int = 4) -> list[Future[Answered]]:
    """Requests 1, 2, ... of which the first runs and the others wait."""
    futures = [serving.model(name).submit(wanted(1))]
    runner.wait_for_runs(1)
    return futures + [serving.model(name).submit(wanted(number + 1)) for number in range(1, count)]


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_replaced_model_answers_what_waited_for_it_and_then_closes(start, held: HeldDevice) -> None:
    http = start(device=held.device())
    serve(http, "m", scaling_artifact(2.0))
    serving, old = serving_of(http), held.hold()
    before = serving.model("m")
    futures = busy(serving, old)
    replacing = in_background(lambda: serve(http, "m", scaling_artifact(3.0)))
    wait_until(lambda: len(held.runners) == 2 and serving.model("m").runner is held.runners[1])
    assert y_of(serving.model("m").submit(wanted(9))) == 18
    assert y_of(before.submit(wanted(9))) == 18  # asked through the old one, answered by the new one
    assert [batch for batch in held.runners[1].batches if batch == [9]] == [[9], [9]]
    assert not any(future.done() for future in futures)
    old.open.set()
    assert [y_of(future) for future in futures] == [2, 4, 6, 8]
    replacing.join()
    assert old.is_closed.wait(FOREVER_S)
    assert old.complaints == []


@pytest.mark.parametrize("how", ["remove", "unload"])
def test_a_model_taken_away_answers_what_waited_for_it(start, held: HeldDevice, how: str) -> None:
    http = start(device=held.device())
    serve(http, "m", scaling_artifact(2.0))
    serving, runner = serving_of(http), held.hold()
    model, futures = serving.model("m"), busy(serving, runner)
    taking = in_background(lambda: getattr(serving, how)("m"))
    wait_until(lambda: not [entry for entry in serving.index() if entry.state == "READY"])
    for ask in (lambda: serving.model("m"), lambda: model.submit(wanted(5))):
        with pytest.raises(UnknownModelError if how == "remove" else RequestError):
            ask()
    assert not any(future.done() for future in futures)
    runner.open.set()
    assert [y_of(future) for future in futures] == [2, 4, 6, 8]
    taking.join()
    assert runner.is_closed.wait(FOREVER_S)
    assert runner.complaints == []


def test_an_unloaded_model_is_remembered_across_a_restart_and_can_be_loaded(start) -> None:
    http = start()
    served = serve(http, "m", scaling_artifact(2.0), max_batch=4, max_queue=7).json()
    serve(http, "other", scaling_artifact(3.0))
    serving_of(http).unload("m")
    unloaded = RepositoryEntry(name="m", state="UNAVAILABLE", reason="unloaded")
    assert serving_of(http).index() == [unloaded, RepositoryEntry(name="other", state="READY")]
    http.__exit__(None, None, None)

    http = start()
    serving = serving_of(http)
    wait_until(lambda: [entry.state for entry in serving.index()] == ["UNAVAILABLE", "READY"])
    assert serving.index()[0] == unloaded
    model = http.get("/v1/models").json()[0]
    assert (model["ready"], model["unloaded"], model["error"]) == (False, True, None)
    assert model["serving"] == served["serving"]
    answer = infer(http, "m")
    assert answer.status_code == 503
    assert "/v2/repository/models/m/load" in answer.json()["error"]
    serving.load("m")
    serving.load("m")  # it is; nothing happens
    assert first_output(infer(http, "m")) == [2, 4, 6]
    assert http.get("/v1/models").json()[0] == served
    http.__exit__(None, None, None)

    serving = serving_of(start())
    wait_until(lambda: [entry.state for entry in serving.index()] == ["READY", "READY"])


def test_an_unloaded_model_keeps_its_file_and_can_be_served_again_or_removed(start) -> None:
    http = start()
    artifact = scaling_artifact(2.0)
    serve(http, "m", artifact)
    serving_of(http).unload("m")
    assert http.delete(f"/v1/artifacts/{artifact.sha256}").status_code == 409
    assert serve(http, "m", artifact).json()["ready"]
    assert first_output(infer(http, "m")) == [2, 4, 6]
    serving_of(http).unload("m")
    assert http.delete("/v1/models/m").status_code == 204
    assert serving_of(http).index() == []
    assert http.delete(f"/v1/artifacts/{artifact.sha256}").status_code == 204


def test_load_and_unload_of_an_unknown_model_say_so(http: httpx.Client) -> None:
    for act in (serving_of(http).load, serving_of(http).unload, serving_of(http).model):
        with pytest.raises(UnknownModelError, match="no model 'm'"):
            act("m")


def test_the_index_tells_what_is_loaded_and_why_something_is_not(start) -> None:
    here, go, refuse = local_device(), threading.Event(), threading.Event()

    def opened(artifact: Artifact, backend: str, options: RunnerOptions) -> HeldRunner:
        assert go.wait(FOREVER_S)
        if refuse.is_set():
            raise InferenceError("this device is too small")
        return HeldRunner(artifact)

    http = start(device=Device(here.facts, here.backends, opened, here.measure))
    serving, artifact = serving_of(http), upload(http, scaling_artifact(2.0))
    request = ServeRequest(artifact_sha256=artifact.sha256)
    assert serving.put("m", request, 0.0) is None
    assert serving.index()[0].state == "LOADING"
    with pytest.raises(RequestError, match="being loaded"):
        serving.model("m")
    go.set()
    assert serving.put("m", request).ready
    assert serving.index() == [RepositoryEntry(name="m", state="READY")]
    serving.unload("m")
    refuse.set()
    with pytest.raises(InferenceError, match="too small"):
        serving.load("m")
    (entry,) = serving.index()
    assert entry.state == "UNAVAILABLE"
    assert "too small" in entry.reason


def test_a_model_is_warm_before_it_is_ready(start, held: HeldDevice) -> None:
    http = start(device=held.device())
    serve(http, "m", scaling_artifact(2.0), max_batch=6)
    assert {len(batch) for batch in held.runners[0].batches} == {1, 6}
    assert len(held.runners[0].batches) >= 4
    assert serving_of(http).model("m").statistics.snapshot().execution_count == 0


def test_an_engine_is_warmed_for_each_power_of_two() -> None:
    from device_agent.warming import warm_batches

    assert warm_batches("tensorrt", 6) == [1, 2, 4, 6]
    assert warm_batches("tensorrt", 8) == [1, 2, 4, 8]
    assert warm_batches("tensorrt", 1) == warm_batches("onnxruntime", 1) == [1]
    assert warm_batches("onnxruntime", 8) == [1, 8]


def test_a_model_whose_first_run_fails_is_not_served(start) -> None:
    class Failing(HeldRunner):
        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            raise InferenceError("no memory for activations")

    here, runners = local_device(), []

    def opened(artifact: Artifact, backend: str, options: RunnerOptions) -> Failing:
        runners.append(Failing(artifact))
        return runners[-1]

    http = start(device=Device(here.facts, here.backends, opened, here.measure))
    answer = serve(http, "m", scaling_artifact(2.0))
    assert answer.status_code == 500
    assert "no memory for activations" in answer.json()["error"]
    assert runners[0].is_closed.is_set()
    assert http.get("/v1/models").json() == []


def test_instances_are_for_backends_that_run_several_at_once(start, held: HeldDevice) -> None:
    http = start(device=held.device())
    artifact = upload(http, scaling_artifact(2.0))
    request = ServeRequest(artifact_sha256=artifact.sha256, backend="held", instances=2)
    with pytest.raises(UsageError, match="instances: the backend 'held' runs one inference at a time"):
        serving_of(http).put("m", request)
    assert serve(http, "m", artifact, instances=2).status_code == 200
    serving, runner = serving_of(http), held.hold()
    futures = [serving.model("m").submit(wanted(number)) for number in (1, 2, 3)]
    runner.wait_for_runs(2)
    runner.open.set()
    assert [y_of(future) for future in futures] == [2, 4, 6]
    assert runner.most_running == 2


def test_draining_answers_what_waits_and_refuses_what_comes(start, held: HeldDevice) -> None:
    http = start(device=held.device())
    serve(http, "m", scaling_artifact(2.0), max_queue=60_000)
    serving, runner = serving_of(http), held.hold()
    futures, model = busy(serving, runner), serving.model("m")
    drained: list[bool] = []
    draining = in_background(lambda: drained.append(serving.drain(FOREVER_S)))

    def is_closing() -> bool:
        try:
            futures.append(model.submit(wanted(len(futures) + 1)))
        except ClosingError as error:
            return error.retry_after_s == 1
        return False

    wait_until(is_closing)
    answer = infer(http, "m")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    runner.open.set()
    assert [y_of(future) for future in futures] == [2.0 * (number + 1) for number in range(len(futures))]
    draining.join()
    assert drained == [True]
    assert runner.is_closed.is_set()


def test_draining_counts_a_replaced_model_that_has_requests_yet(start, held: HeldDevice) -> None:
    http = start(device=held.device())
    serve(http, "m", scaling_artifact(2.0))
    serving, old = serving_of(http), held.hold()
    futures = busy(serving, old)
    replacing = in_background(lambda: serve(http, "m", scaling_artifact(3.0)))
    wait_until(lambda: len(held.runners) == 2 and serving.model("m").runner is held.runners[1])
    threading.Timer(0.1, old.open.set).start()
    assert serving.drain(FOREVER_S)
    assert old.is_closed.is_set()  # so that all of its requests were answered by then
    assert [y_of(future) for future in futures] == [2, 4, 6, 8]
    replacing.join()


def test_a_name_taken_by_something_else_serves_no_model(start, held: HeldDevice) -> None:
    http = start(device=held.device())
    serve(http, "a", scaling_artifact(2.0))
    serving = serving_of(http)
    serving.attach("family", serving.model("a"))
    assert y_of(serving.model("family").submit(wanted(4))) == 8
    assert serve(http, "family", scaling_artifact(3.0)).status_code == 409
    with pytest.raises(RequestError, match="a model is served as 'a'"):
        serving.attach("a", serving.model("family"))
    assert [entry.name for entry in serving.index()] == ["a", "family"]
    serving.detach("family")
    with pytest.raises(UnknownModelError):
        serving.model("family")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_queue", 0),
        ("instances", 0),
        ("max_delay_ms", -1),
        ("timeout_ms", 0),
        ("priority_levels", 0),
        ("default_priority", 2),
    ],
)
def test_a_wrong_policy_names_the_field(http: httpx.Client, field: str, value: float) -> None:
    answer = serve(http, "m", scaling_artifact(2.0), **{field: value})
    assert answer.status_code == 400
    assert field in answer.json()["error"]


class Meanwhile(dict[str, np.ndarray]):
    """Feeds at whose first look something else happens."""

    def __init__(self, feeds: Mapping[str, np.ndarray], happens: Callable[[], object]) -> None:
        super().__init__(feeds)
        self._happens: list[Callable[[], object]] = [happens]

    def values(self) -> ValuesView[np.ndarray]:
        while self._happens:
            self._happens.pop()()
        return super().values()


def test_a_model_replaced_in_the_middle_of_submitting_hands_the_request_on(start, held: HeldDevice) -> None:
    http = start(device=held.device())
    serve(http, "m", scaling_artifact(2.0))
    feeds = Meanwhile(wanted(4).feeds, lambda: serve(http, "m", scaling_artifact(3.0)))
    assert y_of(serving_of(http).model("m").submit(Wanted(feeds))) == 8
    assert held.runners[0].is_closed.is_set()
    assert held.runners[1].batches[-1] == [4]
    assert held.runners[0].complaints == []
