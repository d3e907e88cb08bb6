"""TensorRT as a backend: build an engine from the artifact, keep it, run it.

    artifact -> graph (functions stripped or inlined) -> engine, built in a child process -> runner
                                                          kept in engine_dir, by key

`library` alone imports TensorRT and `cuda` alone talks to the CUDA driver; every module here imports
without either.
"""

from __future__ import annotations

__all__: list[str] = []
