"""Environments of workers: variables that numerical libraries read before anything can be said to them."""

import os

__all__ = ["serving_environment", "training_environment"]

# glibc hands large blocks back to the kernel at every free and asks for them again a moment later: page faults made a
# training step take 72 ms that takes 59 ms with these settings (one core). Other allocators ignore them.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def serving_environment() -> dict[str, str]:
    """Settings that keep every numerical library in a worker on one thread: sums must not depend on the machine."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return _KEEP_MEMORY | threads | {"XLA_FLAGS": flags}


def training_environment(threads: int) -> dict[str, str]:
    """Settings for a worker that may use several threads.

    Idle OpenMP threads sleep instead of spinning: where the processors are shared, spinning was measured to make
    training 20 to 30 times slower (2 threads on 2 busy cores), and sleeping costs little where they are free.
    """
    passive = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    return _KEEP_MEMORY | passive
