"""What host and device share: the operator, the model file, messages, runtime and profiler.

Imports neither torch nor fastapi.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
