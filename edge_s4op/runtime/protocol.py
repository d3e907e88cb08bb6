"""What every backend offers: the runner that measures is the runner that serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_s4op.artifact import Manifest

__all__ = ["Array", "Runner"]

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
