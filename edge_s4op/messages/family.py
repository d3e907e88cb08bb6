"""Several variants of one model, served under one name with an objective for their latency."""

from __future__ import annotations

from pydantic import Field, model_validator

from edge_s4op.messages.base import MODEL_NAME_PATTERN, SHA256_PATTERN, Message
from edge_s4op.messages.serving import ServeOptions, ServeRequest

__all__ = [
    "FamilyPin",
    "FamilyRequest",
    "FamilySwitch",
    "FamilyVariant",
    "LatencyObjective",
    "ServedFamily",
    "SwitchingPolicy",
    "VariantState",
]


class FamilyVariant(Message):
    """One of the models; `accuracy` is a fraction of one, None where it is not known."""

    name: str = Field(pattern=MODEL_NAME_PATTERN)
    artifact_sha256: str = Field(pattern=SHA256_PATTERN)
    accuracy: float | None = Field(default=None, ge=0, le=1)


class LatencyObjective(Message):
    """A percentile of the time from a request's arrival to its answer, waiting included."""

    p99_ms: float | None = Field(default=None, gt=0, le=3_600_000)
    p50_ms: float | None = Field(default=None, gt=0, le=3_600_000)

    @model_validator(mode="after")
    def _check(self) -> LatencyObjective:
        if (self.p99_ms is None) == (self.p50_ms is None):
            raise ValueError("an objective is either p99_ms or p50_ms")
        return self

    @property
    def percent(self) -> int:
        """99 or 50."""
        return 50 if self.p99_ms is None else 99

    @property
    def limit_ms(self) -> float:
        """What that percentile may come to."""
        limit_ms = self.p50_ms if self.p99_ms is None else self.p99_ms
        assert limit_ms is not None
        return limit_ms


class SwitchingPolicy(Message):
    """When to take a faster variant, and when to come back."""

    min_dwell_s: float = Field(default=2.0, ge=0, le=86_400, description="between two switches, at least")
    window_s: float = Field(default=5.0, ge=0.5, le=60, description="answers that the percentile is of")
    recover_s: float = Field(
        default=10.0,
        ge=0,
        le=86_400,
        description="how long a better variant must look safe before it is taken; twice as long after each "
        "return that did not last, 32 times at most",
    )
    recover_margin: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="safe: of the time the objective leaves for waiting, this share suffices",
    )
    queue_limit: int | None = Field(
        default=None, ge=1, le=65_536, description="more requests waiting than this are a threat, too"
    )
    temperature_limit_c: float | None = Field(
        default=None, gt=0, le=150, description="the board's hottest sensor; None: not watched"
    )
    temperature_margin_c: float = Field(
        default=5.0, ge=0, le=100, description="so far below the limit it must be to come back"
    )
    temperature_dwell_s: float = Field(
        default=30.0, ge=0, le=86_400, description="how long a variant may take to cool the board"
    )


class FamilyRequest(ServeOptions):
    """Which variants to serve under a name, how, and what latency is to be kept.

    The preferred variant is the most accurate; the first, where any has no accuracy.
    """

    variants: tuple[FamilyVariant, ...] = Field(min_length=1, max_length=16)
    objective: LatencyObjective
    policy: SwitchingPolicy = SwitchingPolicy()

    @model_validator(mode="after")
    def _check_variants(self) -> FamilyRequest:
        for field in ("name", "artifact_sha256"):
            values = [getattr(variant, field) for variant in self.variants]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"variants: two have the {field} {twice[0]!r}")
        return self

    def by_preference(self) -> tuple[FamilyVariant, ...]:
        """The variants, the best first; equally accurate ones as they came."""
        if any(variant.accuracy is None for variant in self.variants):
            return self.variants
        return tuple(sorted(self.variants, key=lambda variant: -(variant.accuracy or 0.0)))

    def serve_request(self, variant: FamilyVariant) -> ServeRequest:
        """How one variant is served."""
        options = {name: getattr(self, name) for name in ServeOptions.model_fields}
        return ServeRequest(artifact_sha256=variant.artifact_sha256, **options)


class FamilyPin(Message):
    """The variant to hold, whatever happens; None: choose again."""

    variant: str | None = Field(pattern=MODEL_NAME_PATTERN)


class VariantState(Message):
    """One variant now: what it took when it was loaded, and what its last answers took.

    `run_ms` is the fastest of some single runs, `capacity_per_s` the requests it can answer a second.
    """

    name: str
    artifact_sha256: str
    accuracy: float | None = None
    ready: bool
    error: str | None = None
    run_ms: float | None = None
    capacity_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    rate_per_s: float = 0.0
    answered: int = 0


class FamilySwitch(Message):
    """One change of the variant in use."""

    at: str = Field(description="ISO 8601, UTC")
    from_variant: str
    to_variant: str
    reason: str


class ServedFamily(Message):
    """A family being served: variants by preference, the last switches oldest first.

    `met_share` is the share of the last minute's answers within the objective's limit, None without any.
    `temperature_c` is the board's hottest sensor if there is a limit, None where none can be read: then the
    limit has no effect. `stage` and `progress` are as in ServedModel.
    """

    name: str = Field(pattern=MODEL_NAME_PATTERN)
    serving: FamilyRequest
    ready: bool
    current: str | None = None
    pinned: str | None = None
    variants: tuple[VariantState, ...] = ()
    switches: tuple[FamilySwitch, ...] = ()
    met_share: float | None = Field(default=None, ge=0, le=1)
    temperature_c: float | None = None
    error: str | None = None
    stage: str | None = None
    progress: float | None = Field(default=None, ge=0, le=1)
