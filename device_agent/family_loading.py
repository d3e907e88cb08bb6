"""Loading a family: every variant opened, warmed and timed, the best first."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass

from device_agent.batching import has_batch_axis
from device_agent.errors import log_build, sentence_of
from device_agent.family import Member
from device_agent.family_switching import Speed
from device_agent.gate import Gate
from device_agent.joining import time_runs_s
from device_agent.loads import Load
from device_agent.opening import Opened, Opener
from device_agent.scheduler import Scheduler
from device_agent.statistics import ModelStatistics
from edge_s4op.artifact import Manifest
from edge_s4op.errors import S4opError, UsageError
from edge_s4op.messages import FamilyRequest, FamilyVariant, ServedFamily, ServeRequest
from edge_s4op.runtime import Runner

__all__ = ["FamilyLoad", "Loaded", "check_alike", "open_members", "speed_of"]

_log = logging.getLogger("device_agent.families")

_RUNS = 25  # timed of each batch size
_LONGEST_S = 1.0  # of timing one batch size; three runs in any case
# What a client relies on, whichever variant answers.
_ALIKE = ("inputs", "outputs", "preprocessing", "class_labels", "streaming")


class FamilyLoad:
    """From the request to serve a family until it is served or has failed. For several threads."""

    def __init__(self, request: FamilyRequest) -> None:
        self.request = request
        self.unwanted = threading.Event()
        self.outcome: Future[ServedFamily] = Future()
        self._now: tuple[int, Load] | None = None

    @property
    def at(self) -> tuple[str | None, float | None]:
        """What is being done, and the share of all variants done."""
        if self.outcome.done():
            return None, None
        if self._now is None:
            return "waiting for its turn", 0.0
        number, load = self._now
        stage, share = load.at
        count = len(self.request.variants)
        return f"variant {number + 1} of {count}: {stage}", min((number + (share or 0.0)) / count, 1.0)

    @property
    def error(self) -> Exception | None:
        """Why it failed, if it did."""
        error = self.outcome.exception() if self.outcome.done() else None
        return error if isinstance(error, Exception) else None

    def part(self, number: int, request: ServeRequest) -> Load:
        """The load of one variant, which ends when this one is unwanted."""
        load = Load(request)
        load.unwanted = self.unwanted
        self._now = (number, load)
        return load

    def result(self, wait_s: float | None) -> ServedFamily | None:
        """Wait for the end, at most `wait_s`; None when it has not come. Raises why it failed."""
        try:
            return self.outcome.result(wait_s)
        except TimeoutError:
            return None


@dataclass(frozen=True)
class Loaded:
    """The variants that could be loaded, by preference, and why the others could not, by name.

    `manifest` and `request` are those of the first, `max_batch` as it was asked for or found.
    """

    members: Sequence[Member]
    manifest: Manifest
    request: ServeRequest
    errors: dict[str, str]


def check_alike(manifests: dict[str, Manifest]) -> None:
    """Raise UsageError unless the variants (name -> manifest) differ in nothing but their numbers."""
    (first, expected), *others = manifests.items()
    for name, manifest in others:
        for field in _ALIKE:
            if getattr(manifest, field) != getattr(expected, field):
                raise UsageError(
                    f"variants: {first!r} and {name!r} differ in their {field}",
                    expected=_told(getattr(expected, field)),
                    found=_told(getattr(manifest, field)),
                    fix="serve them under names of their own, or export all from one model",
                )


def open_members(
    opener: Opener,
    gate: Gate,
    name: str,
    load: FamilyLoad,
    whole: ModelStatistics,
    *,
    keep_going: bool = False,
) -> Loaded:
    """Load every variant. With `keep_going` those that fail are left out, unless all do.

    Raises what Opener.open does; nothing stays loaded then.
    """
    members: list[Member] = []
    loaded: list[Opened] = []
    errors: dict[str, str] = {}
    for number, variant in enumerate(load.request.by_preference()):
        try:
            opened, speed = _opened(opener, name, variant, load, number)
        except Exception as error:
            if not keep_going or load.unwanted.is_set() or opener.stopping.is_set():
                _close(members)
                raise
            _log.warning("family %s: variant %s cannot be loaded: %s", name, variant.name, error)
            log_build(error)
            errors[variant.name] = sentence_of(error)
        else:
            statistics = ModelStatistics(whole)
            title = f"{name}/{variant.name}"
            scheduler = Scheduler(
                opened.runner,
                opened.request,
                gate,
                statistics,
                title,
                variant.name,
                leaves_some=opened.is_batch_found,
            )
            members.append(Member(variant, speed, scheduler, statistics))
            loaded.append(opened)
    if not members:
        raise _none_left(name, errors)
    return Loaded(members, loaded[0].runner.manifest, loaded[0].request, errors)


def speed_of(
    runner: Runner,
    request: ServeRequest,
    name: str,
    cores: int,
    now_s: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Time a warm runner: one row, and a full batch where requests are joined.

    The fastest of some runs counts: what else the device does meanwhile must not change the variants' order.
    Instances count as far as the cores go round. Raises InferenceError, BadInferenceInputError.
    """
    rows = (request.max_batch or 1) if has_batch_axis(runner.manifest) else 1
    sizes = (1,) if rows == 1 else (1, rows)
    run_s, *_ = times_s = time_runs_s(runner, sizes, now_s, _RUNS, _LONGEST_S)
    full_s = times_s[-1]
    at_once = min(request.instances, max(cores // request.threads, 1))
    return Speed(name, run_s * 1e3, at_once * max(rows / full_s, 1 / run_s))


def _opened(
    opener: Opener, name: str, variant: FamilyVariant, load: FamilyLoad, number: int
) -> tuple[Opened, Speed]:
    part = load.part(number, load.request.serve_request(variant))
    opened = opener.open(f"{name}/{variant.name}", part, None)

    def unwanted() -> bool:
        return load.unwanted.is_set() or opener.stopping.is_set()

    try:
        part.report("timing", None)
        with opener.loader.hold(f"timing {name}/{variant.name}", unwanted=unwanted):
            return opened, speed_of(opened.runner, opened.request, variant.name, opener.loader.cores)
    except Exception:
        opened.runner.close()
        raise


def _close(members: Sequence[Member]) -> None:
    for member in members:
        member.scheduler.stop_accepting()


def _none_left(name: str, errors: dict[str, str]) -> S4opError:
    reasons = "; ".join(f"{variant}: {error}" for variant, error in errors.items())
    return S4opError(f"family {name!r}: no variant can be loaded: {reasons}")


def _told(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_told(each) for each in value) + "]"
    return str(value)
