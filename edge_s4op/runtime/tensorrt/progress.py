"""How far a build is: TensorRT's nested phases as one share that never falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_s4op.runtime.tensorrt import library

__all__ = ["PhaseTree", "make_monitor"]


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """Active phases by name. A child fills one step of its parent; its share counts within that step."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, done: int) -> float:
        """The share of the whole build after step `done` (counted from 0) of a phase."""
        if name in self._phases:
            self._phases[name].done = done + 1
            self._share = max(self._share, self._whole(name))
        return self._share

    def finish(self, name: str) -> None:
        self._phases.pop(name, None)

    def _whole(self, name: str) -> float:
        phase = self._phases[name]
        share = min(phase.done / phase.steps, 1.0)
        while phase.parent in self._phases:
            phase = self._phases[phase.parent]
            share = min((phase.done + share) / phase.steps, 1.0)
        return share


def make_monitor(on_share: Callable[[float], None]) -> Any | None:
    """An IProgressMonitor that reports rising shares, 1 % apart; None where TensorRT has none."""
    trt = library.load()
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._tree, self._reported = PhaseTree(), 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tree.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            share = self._tree.step(phase_name, step)
            if share >= self._reported + 0.01:
                self._reported = share
                on_share(share)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._tree.finish(phase_name)

    return Monitor()
