"""Search for a family of pruned models, steered by latency measured on the device."""

from host.search.loop import prune_search
from host.search.options import (
    PUBLISHED_RATES,
    PUBLISHED_SEEDS,
    Budget,
    FineTuning,
    PruneOptions,
    published_options,
)
from host.search.placement import Placement
from host.search.progress import OnProgress, Phase, SearchProgress

__all__ = [
    "PUBLISHED_RATES",
    "PUBLISHED_SEEDS",
    "Budget",
    "FineTuning",
    "OnProgress",
    "Phase",
    "Placement",
    "PruneOptions",
    "SearchProgress",
    "prune_search",
    "published_options",
]
