"""How much each operator matters. A criterion scores every operator of a model; higher = keep.

A criterion gets any model with SSM layers, which it may run but leaves as it found it, training data (None
where there is none; read lazily, so that a criterion that ignores it pays nothing), and a generator seeded
by the candidate. It returns one float64 array (H,) per layer, in the order of `ssm_layers`. Operators that
are pruned already, by mask or cut out, are never read.

`NEEDS_DATA` names the criteria that raise UsageError without calibration data.
"""

from host.pruning.criteria.block_output import output_change
from host.pruning.criteria.contract import CRITERIA, NEEDS_DATA, Criterion
from host.pruning.criteria.norms import h2, hinf
from host.pruning.criteria.parameters import magnitude
from host.pruning.criteria.randomness import candidate_generator, random
from host.pruning.criteria.sensitivity import fisher, taylor

__all__ = [
    "CRITERIA",
    "NEEDS_DATA",
    "Criterion",
    "candidate_generator",
    "fisher",
    "h2",
    "hinf",
    "magnitude",
    "output_change",
    "random",
    "taylor",
]
