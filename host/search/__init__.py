"""Search for a family of pruned models, steered by latency measured on the device."""

from host.search.loop import prune_search
from host.search.options import PUBLISHED_RATES, PUBLISHED_SEEDS, PruneOptions
from host.search.progress import OnProgress, Phase, SearchProgress

__all__ = [
    "PUBLISHED_RATES",
    "PUBLISHED_SEEDS",
    "OnProgress",
    "Phase",
    "PruneOptions",
    "SearchProgress",
    "prune_search",
]
