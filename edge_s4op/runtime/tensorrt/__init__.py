"""TensorRT as a backend: build an engine from the artifact, keep it, run it.

    artifact -> graph (functions stripped or inlined) -> engine, built in a child process -> runner
                                                          kept in engine_dir, by key

`library` alone imports TensorRT, `cuda` alone talks to the CUDA driver and `cuda_pycuda` alone to PyCUDA;
every module here imports without any of them.
"""

from __future__ import annotations

__all__: list[str] = []
