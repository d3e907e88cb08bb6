"""Settings for the whole suite, made before any test module is imported."""

import os
import tempfile
from pathlib import Path

# The suite's models are tiny, and training and agent processes run side by side. On two cores with one
# other busy process a training step took 15 ms with one OpenMP thread and 870 ms with two (their
# spin-waits starve each other). A variable rather than a call: child processes inherit it, and tests
# without torch need not import it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Agents of other programs on this machine, of another run of this suite and of its other processes are not
# waited for: a process of `pytest --numprocesses` inherits the variable from the one that started it.
if "PYTEST_XDIST_WORKER" in os.environ or "S4OP_DEVICE_LOCK" not in os.environ:
    os.environ["S4OP_DEVICE_LOCK"] = str(Path(tempfile.mkdtemp(prefix="s4op-tests-")) / "device.lock")
