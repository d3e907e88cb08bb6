"""What every backend offers: the runner that measures is the runner that serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edge_s4op.artifact import Manifest
from edge_s4op.messages import EngineInfo, Layers

__all__ = ["Array", "PartTimes", "ProfiledRunner", "Runner", "TimedRunner"]

Array = npt.NDArray[Any]


class Runner(Protocol):
    """A loaded model, ready to run. Not safe for concurrent use unless the backend says so."""

    @property
    def backend(self) -> str:
        """Registered name of the backend, for example "onnxruntime"."""

    @property
    def backend_version(self) -> str:
        """Version of the library underneath, for example "1.31.1"."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the artifact this runner was made from."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        """Run one batch. Raises BadInferenceInputError for a wrong name, shape or dtype."""

    def close(self) -> None:
        """Release the model; `run` must not be called afterwards."""


@dataclass(frozen=True)
class PartTimes:
    """Where the time of one run went, ms; see `messages.Parts`."""

    h2d_ms: float
    compute_ms: float
    d2h_ms: float
    enqueue_ms: float


@runtime_checkable
class TimedRunner(Runner, Protocol):
    """A runner that built an engine and can tell copying from computing."""

    def part_times(self) -> PartTimes:
        """Of the last `run`. Read after it, so that asking costs the run nothing."""

    def engine_info(self) -> EngineInfo:
        """The engine and how it runs, as of the last `run`."""


@runtime_checkable
class ProfiledRunner(Runner, Protocol):
    """A runner that can tell where its time goes."""

    def layers(
        self, feeds: Mapping[str, np.ndarray], *, should_stop: Callable[[], bool] | None = None
    ) -> Layers:
        """Time by our layers, from runs of their own that are slower than `run`. Raises InferenceError."""
