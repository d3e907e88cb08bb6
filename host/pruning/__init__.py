"""What to prune: criteria score operators, allocators share a budget over layers, schedules set the pace.

Each is a plain function in a registry; a new one is a function and one decorator line.
"""

from host.pruning.allocators import ALLOCATORS, AllocationTask, Allocator
from host.pruning.calibration import Calibration, classification_loss, split_calibration
from host.pruning.criteria import CRITERIA, Criterion
from host.pruning.plan import PrunePlan, nested_plan
from host.pruning.registry import Registry
from host.pruning.schedules import SCHEDULES, Schedule, Stage

__all__ = [
    "ALLOCATORS",
    "CRITERIA",
    "SCHEDULES",
    "AllocationTask",
    "Allocator",
    "Calibration",
    "Criterion",
    "PrunePlan",
    "Registry",
    "Schedule",
    "Stage",
    "classification_loss",
    "nested_plan",
    "split_calibration",
]
