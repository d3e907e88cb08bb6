"""AgentClient: everything the host asks of a device agent, over HTTP.

The HTTP client is injected (`AgentClient(httpx.Client(...))`), so tests pass one bound to an
application in the same process. Every request may be repeated: artifacts are named by their hash,
a submission carries an Idempotency-Key, the rest is idempotent by itself. So a lost connection is
retried with exponential backoff, and an agent that restarts in between is not even noticed.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import numpy.typing as npt

from edge_s4op.artifact import Artifact
from edge_s4op.errors import (
    AgentError,
    AgentUnreachableError,
    BadInferenceInputError,
    MeasurementError,
    UsageError,
)
from edge_s4op.following import NoEventsError, followed
from edge_s4op.inferring import infer_request, outputs_from
from edge_s4op.messages import (
    ArtifactInfo,
    Certificate,
    DeviceFacts,
    FamilyPin,
    FamilyRequest,
    Job,
    JobState,
    MeasurementRequest,
    MeasurementResult,
    Samples,
    ServedFamily,
    ServedModel,
    ServeOptions,
    ServeRequest,
)
from edge_s4op.tensors_binary import HEADER_LENGTH
from edge_s4op.transport import RetryPolicy, Transport, checked_url, json_body

__all__ = ["AgentClient", "RetryPolicy"]

Array = npt.NDArray[Any]

T = TypeVar("T")

_ENDED = ("succeeded", "failed", "cancelled")
_POLL_S = 0.2
_SERVE_HEADERS = {"Prefer": "respond-async, wait=1"}  # RFC 7240: answer after a second, loaded or not


class AgentClient:
    """A device agent as seen from the host. Not safe for use by several threads at once.

    Every method may raise AgentUnreachableError (no answer, after the retries), AgentProtocolError
    (something else answers) and AgentRefusedError (an error status, with the agent's own words).
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(http, retry or RetryPolicy(), sleep)
        self._binary = False  # whether the agent is known to take binary tensors

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        retry: RetryPolicy | None = None,
    ) -> AgentClient:
        """A client for `url` ("http://jetson:8600"). Sends nothing yet. Raises UsageError.

        Proxy variables of the environment are ignored, since a device sits on the local network;
        who needs a proxy builds the `httpx.Client`.
        """
        timeout = httpx.Timeout(timeout_s, connect=connect_timeout_s)
        return cls(httpx.Client(base_url=checked_url(url), timeout=timeout, trust_env=False), retry=retry)

    @property
    def url(self) -> str:
        """The agent's address, as errors name it."""
        return self._transport.url

    def close(self) -> None:
        """Close the connections."""
        self._transport.http.close()

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def health(self) -> bool:
        """Whether the agent is ready for work (False: it answers, but is starting or broken)."""
        response = self._transport.send("GET", "/v2/health/ready", retry_busy=False)
        if response.status_code == 503:
            return not self._transport.error_text(response)
        answer = self._transport.parsed(response, dict[str, Any])
        if answer.get("ready") is not True:
            raise self._transport.not_an_agent(f"{answer}")
        return True

    def device(self) -> DeviceFacts:
        """What the device is."""
        return self._transport.call("GET", "/v1/device", DeviceFacts)

    def artifacts(self) -> list[ArtifactInfo]:
        """Every model file the agent holds."""
        return self._transport.call("GET", "/v1/artifacts", list[ArtifactInfo])

    def put_artifact(self, artifact: Artifact) -> ArtifactInfo:
        """Make sure the agent holds `artifact`; the bytes travel only if it does not yet."""
        path = f"/v1/artifacts/{artifact.sha256}"
        held = self._transport.send("GET", path)
        if held.status_code != 404:
            return self._transport.parsed(held, ArtifactInfo)
        self._transport.error_text(held)  # a 404 that is not an agent's ends here, before the upload
        return self._transport.call("PUT", path, ArtifactInfo, content=artifact.content)

    def remove_artifact(self, sha256: str) -> None:
        """Make the agent forget a model file; it refuses while the file is served or to be measured."""
        self._remove(_path("artifacts", sha256))

    def submit(self, request: MeasurementRequest, *, idempotency_key: str | None = None) -> Job:
        """Queue a measurement. However often the request is repeated, it is queued once."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._transport.call("POST", "/v1/measurements", Job, body=request, headers=headers)

    def jobs(self, state: JobState | None = None) -> list[Job]:
        """The agent's latest measurements, newest first; only those in `state` if given."""
        params = {} if state is None else {"state": state}
        return self._transport.call("GET", "/v1/measurements", list[Job], params=params)

    def job(self, job_id: str) -> Job:
        """The present state of a measurement."""
        return self._transport.call("GET", _path("measurements", job_id), Job)

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Change the priority of a measurement that waits, higher runs earlier; refused once it runs."""
        path = _path("measurements", job_id)
        return self._transport.call("PATCH", path, Job, json={"priority": priority})

    def cancel(self, job_id: str) -> Job:
        """Cancel a measurement: at once if it waits, soon if it runs; an ended one stays as it is."""
        return self._transport.call("DELETE", _path("measurements", job_id), Job)

    def samples(self, job_id: str) -> Samples:
        """The raw latencies of a measurement that succeeded."""
        return self._transport.call("GET", _path("measurements", job_id) + "/samples", Samples)

    def certificate(self, job_id: str) -> Certificate:
        """All that is needed to judge a measurement later; refused (409) for one without a result."""
        return self._transport.call("GET", _path("measurements", job_id) + "/certificate", Certificate)

    def wait(
        self,
        job_id: str,
        *,
        on_progress: Callable[[Job], None] | None = None,
        poll_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Job:
        """Wait until the measurement has ended, however it ended.

        `on_progress` gets the job whenever it changed, as the agent sends it. An agent that sends no events
        is asked every 0.2 s, and with `poll_s` any agent is, that often.

        Raises AgentUnreachableError, naming the job, when the agent is lost meanwhile, and
        AgentError when it has not ended after `timeout_s` (the job stays queued or running).
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with contextlib.closing(self._states(job_id, poll_s, deadline)) as states:
            for job in states:
                if on_progress is not None:
                    on_progress(job)
                if job.state in _ENDED:
                    return job
                if time.monotonic() >= deadline:
                    raise AgentError(
                        f"measurement {job_id} on {self.url} has not ended after {timeout_s:g} s",
                        found=_described(job),
                        fix="wait longer, or cancel it",
                    )
        raise AssertionError("states of a measurement without end")

    def measure(
        self,
        artifact: Artifact,
        request: MeasurementRequest,
        *,
        on_progress: Callable[[Job], None] | None = None,
        poll_s: float | None = None,
        timeout_s: float | None = None,
    ) -> MeasurementResult:
        """Upload, queue, wait: the whole way from a model file to its latency.

        Raises MeasurementError when the measurement failed or was cancelled. A measurement that
        nobody waits for any more (Ctrl-C) is cancelled on the device.
        """
        if request.artifact_sha256 != artifact.sha256:
            raise UsageError(
                "the measurement request names another artifact",
                expected=artifact.sha256,
                found=request.artifact_sha256,
            )
        self.put_artifact(artifact)
        job = self.submit(request)
        try:
            job = self.wait(job.id, on_progress=on_progress, poll_s=poll_s, timeout_s=timeout_s)
        except KeyboardInterrupt:
            self._abandon(job.id)
            raise
        if job.result is None:
            reason = f": {job.error}" if job.error else ""
            raise MeasurementError(f"measurement {job.id} on {self.url} {job.state}{reason}")
        return job.result

    def serve(
        self,
        name: str,
        request: ServeRequest,
        *,
        on_progress: Callable[[ServedModel], None] | None = None,
    ) -> ServedModel:
        """Serve an artifact under `name`; a model already there is replaced without a gap.

        Waits for the end, which takes minutes where an engine is built first. Who stops waiting (Ctrl-C)
        does not stop the device: `unserve` does.
        """
        return self._put_to_serve(_path("models", name), request, ServedModel, on_progress)

    def unserve(self, name: str) -> None:
        """Stop serving `name`."""
        self._remove(_path("models", name))

    def served(self) -> list[ServedModel]:
        """Every model being served, also those that failed to load."""
        return self._transport.call("GET", "/v1/models", list[ServedModel])

    def serve_family(
        self,
        name: str,
        request: FamilyRequest,
        *,
        on_progress: Callable[[ServedFamily], None] | None = None,
    ) -> ServedFamily:
        """Serve several variants under `name`; the agent chooses among them. Waits as `serve` does."""
        return self._put_to_serve(_path("families", name), request, ServedFamily, on_progress)

    def family(self, name: str) -> ServedFamily:
        """The variant in use, how each fares, the last switches and why."""
        return self._transport.call("GET", _path("families", name), ServedFamily)

    def families(self) -> list[ServedFamily]:
        """Every family being served."""
        return self._transport.call("GET", "/v1/families", list[ServedFamily])

    def pin(self, name: str, variant: str | None) -> ServedFamily:
        """Hold one variant of a family, whatever happens; None lets the agent choose again."""
        path = _path("families", name) + "/pin"
        return self._transport.call("POST", path, ServedFamily, body=FamilyPin(variant=variant))

    def unserve_family(self, name: str) -> None:
        """Stop serving a family."""
        self._remove(_path("families", name))

    def infer(self, model: str, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        """Run one batch on a served model (Open Inference Protocol).

        Tensors travel as bytes once an answer has shown that the agent understands that, and in JSON before.
        Raises BadInferenceInputError before sending NaN, infinity or another dtype; outputs may hold NaN.
        """
        content, headers = infer_request(feeds, self._binary)
        path = f"/v2/models/{quote(model, safe='')}/infer"
        response = self._transport.send("POST", path, content=content, headers=headers)
        self._transport.check(response)
        lengths = response.headers.get_list(HEADER_LENGTH)
        try:
            outputs = outputs_from(response.content, lengths)
        except (BadInferenceInputError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._transport.not_an_agent(f"outputs that cannot be read ({error})") from error
        self._binary = bool(lengths)
        return outputs

    def _put_to_serve(
        self, path: str, request: ServeOptions, kind: type[T], on_progress: Callable[[T], None] | None
    ) -> T:
        while True:
            response = self._transport.send("PUT", path, content=json_body(request), headers=_SERVE_HEADERS)
            served = self._transport.parsed(response, kind)
            if on_progress is not None:
                on_progress(served)
            if response.status_code != 202:
                return served

    def _remove(self, path: str) -> None:
        response = self._transport.send("DELETE", path)
        self._transport.check(response)
        if response.status_code != 204:
            raise self._transport.not_an_agent(f"HTTP {response.status_code} for a removal")

    def _states(self, job_id: str, poll_s: float | None, deadline: float) -> Generator[Job, None, None]:
        """The job again and again: at every change by events, and whenever these end or are not offered."""
        follow = poll_s is None
        while True:
            if follow:
                left_s = max(deadline - time.monotonic(), 0.0)
                try:
                    yield from followed(self._transport, _path("measurements", job_id), left_s)
                except NoEventsError:
                    follow = False
            yield self._job_or_lost(job_id)
            self._transport.sleep(_POLL_S if poll_s is None else poll_s)

    def _job_or_lost(self, job_id: str) -> Job:
        try:
            return self.job(job_id)
        except AgentUnreachableError as error:
            raise AgentUnreachableError(
                f"the agent was lost during measurement {job_id}: {error.what}",
                fix="restart the agent: it takes the measurement up again under the same id",
            ) from error

    def _abandon(self, job_id: str) -> None:
        """Cancel once, without patience: the interrupt matters more than a job that ends by itself."""
        with contextlib.suppress(AgentError):
            AgentClient(self._transport.http, retry=RetryPolicy(retries=0)).cancel(job_id)


def _path(kind: str, name: str) -> str:
    return f"/v1/{kind}/{quote(name, safe='')}"


def _described(job: Job) -> str:
    doing = f" ({job.stage})" if job.stage else ""
    return f"it is {job.state}{doing}" + ("" if job.progress is None else f", {job.progress:.0%} done")
