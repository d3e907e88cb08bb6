"""One served family's name: its request, its family at work, what the agent says of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from device_agent.errors import RequestError, busy_error, sentence_of
from device_agent.family import Family
from device_agent.family_loading import FamilyLoad
from device_agent.served import Served
from edge_s4op.messages import FamilyRequest, FamilyVariant, ServedFamily, VariantState

__all__ = ["FamilySlot", "described", "ready_family_of"]


@dataclass
class FamilySlot:
    """One name: ready (`family`, `served`), failed (`error`), or yet to be loaded (neither)."""

    request: FamilyRequest
    pinned: str | None = None
    family: Family | None = None
    served: Served | None = None
    error: str | None = None
    errors: dict[str, str] = field(default_factory=dict)  # of single variants, by name


def ready_family_of(name: str, slot: FamilySlot | None) -> tuple[Family, Served]:
    """The family at work. Raises RequestError 503 when it is not ready."""
    if slot is not None and slot.family is not None and slot.served is not None:
        return slot.family, slot.served
    if slot is None or slot.error is None:
        raise busy_error(f"family {name!r} is being loaded")
    raise RequestError(
        f"family {name!r} could not be loaded: {slot.error}",
        status_code=503,
        fix=f"serve it again: PUT /v1/families/{name}",
    )


def described(name: str, slot: FamilySlot | None, load: FamilyLoad | None) -> ServedFamily:
    """What is served under `name`, and what is being loaded there; one of the two is given."""
    known = slot or load
    assert known is not None
    stage, progress = (None, None) if load is None else load.at
    error = sentence_of(load.error) if load is not None and load.error is not None else None
    family = None if slot is None else slot.family
    return ServedFamily(
        name=name,
        serving=known.request,
        ready=family is not None,
        current=None if family is None else family.current,
        pinned=None if slot is None else slot.pinned,
        variants=tuple(_variant(each, slot) for each in known.request.by_preference()),
        switches=() if family is None else family.switches,
        met_share=None if slot is None else _met_share(slot),
        temperature_c=None if family is None else family.temperature_c(),
        error=error or (None if slot is None else slot.error),
        stage=stage,
        progress=progress,
    )


def _variant(variant: FamilyVariant, slot: FamilySlot | None) -> VariantState:
    members = () if slot is None or slot.family is None else slot.family.members
    member = next((each for each in members if each.variant.name == variant.name), None)
    error = None if slot is None else slot.errors.get(variant.name)
    if member is None:
        return VariantState(**variant.model_dump(), ready=False, error=error)
    p50_ms, p99_ms, rate_per_s = member.statistics.window()
    return VariantState(
        **variant.model_dump(),
        ready=True,
        run_ms=member.speed.run_ms,
        capacity_per_s=member.speed.capacity_per_s,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        rate_per_s=rate_per_s,
        answered=member.statistics.snapshot().success.count,
    )


def _met_share(slot: FamilySlot) -> float | None:
    latencies_ms = [] if slot.served is None else slot.served.statistics.latencies_ms()
    if not latencies_ms:
        return None
    limit_ms = slot.request.objective.limit_ms
    return sum(latency_ms <= limit_ms for latency_ms in latencies_ms) / len(latencies_ms)
