"""What to prune: criteria score operators, allocators share a budget over layers, schedules set the pace.

Each is a plain function in a registry; a new one is a function and one decorator line.
"""

from host.pruning.allocators import ALLOCATORS, AllocationTask, Allocator
from host.pruning.calibration import Calibration, classification_loss, split_calibration
from host.pruning.criteria import CRITERIA, Criterion
from host.pruning.features import FEATURE_SCORES, FeatureScore, choose_features, feature_scores
from host.pruning.plan import PrunePlan, nested_plan, plan_from_config
from host.pruning.registry import Registry
from host.pruning.schedules import SCHEDULES, Schedule, Stage
from host.pruning.states import MODE_SCORES, ModeScore, choose_modes

__all__ = [
    "ALLOCATORS",
    "CRITERIA",
    "FEATURE_SCORES",
    "MODE_SCORES",
    "SCHEDULES",
    "AllocationTask",
    "Allocator",
    "Calibration",
    "Criterion",
    "FeatureScore",
    "ModeScore",
    "PrunePlan",
    "Registry",
    "Schedule",
    "Stage",
    "choose_features",
    "choose_modes",
    "classification_loss",
    "feature_scores",
    "nested_plan",
    "plan_from_config",
    "split_calibration",
]
