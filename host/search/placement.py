"""Where the work of a search is done; another placement changes how long it takes, not what comes out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Placement"]


class Placement(BaseModel):
    """`executor` is "processes" or "ray" (with `ray_address`: a cluster's, None: this machine).

    `workers` None: one per candidate, at most one a core; a single one works in the search's own process.
    `mixed_devices`: agents on different kinds of devices measure every model, and budgets hold on all.
    An agent that does not answer is asked again every `ask_every_s` for `agent_wait_s`, then the search
    stops; it can be resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: str = "processes"
    ray_address: str | None = None
    workers: int | None = Field(default=None, ge=1)
    mixed_devices: bool = False
    agent_wait_s: float = Field(default=300.0, ge=0)
    ask_every_s: float = Field(default=2.0, gt=0)
