"""Compression of a user's own torch model with SSM layers: score, plan, prune, fine-tune, export, measure.

They bring batches, loss and metric; the model is any nn.Module with `host.models.SSMLayer` among its modules.
"""

from host.compress.exporting import export
from host.compress.layers import copy_model, current_plan, cut
from host.compress.loop import Compressed, compress
from host.compress.measuring import learn_latency, measure
from host.compress.planning import calibration, plan_budget, plan_ratio, score
from host.compress.tuning import TunedEpoch, Tuning, fine_tune
from host.models.layer import SSMLayer, ssm_layers
from host.models.surgery import apply_plan

__all__ = [
    "Compressed",
    "SSMLayer",
    "TunedEpoch",
    "Tuning",
    "apply_plan",
    "calibration",
    "compress",
    "copy_model",
    "current_plan",
    "cut",
    "export",
    "fine_tune",
    "learn_latency",
    "measure",
    "plan_budget",
    "plan_ratio",
    "score",
    "ssm_layers",
]
