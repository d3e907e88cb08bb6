"""S4 and S4D classifiers in PyTorch: definition, pruning masks, surgery, counting, checkpoints."""

from host.models.checkpoint import load_checkpoint, save_checkpoint
from host.models.classifier import Block, Classifier
from host.models.config import ModelConfig
from host.models.count import count_macs, count_parameters
from host.models.layer import SSMLayer, ssm_layers
from host.models.surgery import apply_plan, compact, compact_config, planned_config

__all__ = [
    "Block",
    "Classifier",
    "ModelConfig",
    "SSMLayer",
    "apply_plan",
    "compact",
    "compact_config",
    "count_macs",
    "count_parameters",
    "load_checkpoint",
    "planned_config",
    "save_checkpoint",
    "ssm_layers",
]
