"""How a runner is to be opened: what every backend may be told, and may ignore where it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_s4op.errors import UsageError

__all__ = ["DEFAULT_ENGINE_DIR", "RunnerOptions"]

DEFAULT_ENGINE_DIR = Path("~/.cache/edge-s4op/engines")


@dataclass(frozen=True)
class RunnerOptions:
    """Options of one runner. ONNX Runtime uses `threads`, `spin_wait` and `plugin` alone.

    threads             CPU threads of one inference (ONNX Runtime)
    batch               the largest batch the runner must take: an engine is built for 1..batch
    engine_dir          where built engines are kept; None: ~/.cache/edge-s4op/engines
    on_progress         told what is being done and the share done, 0 to 1 (None: unknown), while opening
    should_stop         asked while opening; True ends it with a BuildError ("cancelled")
    build_memory_bytes  most memory (resident set) the building process may take; None: no cap of ours
    build_timeout_s     longest time one build may take, seconds
    plugin              the SSMConv plugin's library; "auto": look for it; None: function bodies
    cuda_graph          replay inferences as a CUDA graph; None: where the device can capture one
    spin_wait           spin while waiting for the device (ONNX Runtime: threads for work); None: yes
    rebuild             build anew an engine that was built before
    """

    threads: int = 1
    batch: int = 1
    engine_dir: Path | None = None
    on_progress: Callable[[str, float | None], None] | None = None
    should_stop: Callable[[], bool] | None = None
    build_memory_bytes: int | None = None
    build_timeout_s: float = 1800.0
    plugin: Path | Literal["auto"] | None = "auto"
    cuda_graph: bool | None = None
    spin_wait: bool | None = None
    rebuild: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for numbers no backend could use."""
        for name, value in (("threads", self.threads), ("batch", self.batch)):
            if value < 1:
                raise UsageError("cannot open a runner", expected=f"{name} >= 1", found=f"{name} = {value}")
        if not self.build_timeout_s > 0:
            raise UsageError(
                "cannot open a runner", expected="build_timeout_s > 0", found=self.build_timeout_s
            )
        if self.build_memory_bytes is not None and self.build_memory_bytes <= 0:
            raise UsageError(
                "cannot open a runner", expected="build_memory_bytes > 0", found=self.build_memory_bytes
            )
