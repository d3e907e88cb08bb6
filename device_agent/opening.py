"""From a request to serve an artifact to a runner that is warm."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from device_agent.loader import Loader
from device_agent.loads import Load
from device_agent.store import ArtifactStore
from device_agent.warming import warm
from edge_s4op.errors import UsageError
from edge_s4op.messages import ServeRequest
from edge_s4op.runtime import Runner

__all__ = ["Opened", "Opener"]

_CONCURRENT = frozenset({"onnxruntime"})  # backends whose runners run several requests at once


@dataclass(frozen=True)
class Opened:
    """A warm runner, and its request with `max_batch` as it was asked for or found (`is_batch_found`)."""

    runner: Runner
    request: ServeRequest
    is_batch_found: bool


@dataclass(frozen=True)
class Opener:
    """Loads artifacts to be served, one at a time on this machine."""

    store: ArtifactStore
    loader: Loader
    stopping: threading.Event

    def accepted(self, request: ServeRequest) -> ServeRequest:
        """`request` with its backend named.

        Raises RequestError 404 (no such artifact), UsageError: impossible backend, threads or instances.
        """
        accepted = self.loader.accepted(request)
        if accepted.instances > 1 and accepted.backend not in _CONCURRENT:
            raise UsageError(
                f"instances: the backend {accepted.backend!r} runs one inference at a time",
                expected="instances = 1",
                found=accepted.instances,
                fix="raise max_batch, which joins requests",
            )
        self.store.get(request.artifact_sha256)
        return accepted

    def open(self, name: str, load: Load, timeout_s: float | None) -> Opened:
        """The artifact of `load`, loaded and run a few times.

        Raises RequestError 503 (busy, nobody wants it any more), ArtifactError, BuildError, InferenceError.
        """

        def unwanted() -> bool:
            return load.unwanted.is_set() or self.stopping.is_set()

        # Held while it is warmed, too: these are runs, and no measurement may have them beside it.
        with self.loader.hold(f"loading {name}", timeout_s=timeout_s, unwanted=unwanted):
            artifact = self.store.read(load.request.artifact_sha256)
            runner = self.loader.open(artifact, load.request, on_progress=load.report, should_stop=unwanted)
            try:
                load.report("warming up", None)
                request = warm(runner, load.request, unwanted)
                return Opened(runner, request, is_batch_found=load.request.max_batch is None)
            except Exception:
                runner.close()
                raise
