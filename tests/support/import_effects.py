"""Run as a script: import every module of gephyra and report what an import changed, one line a change.

What third-party packages do when they are first imported is theirs, so they are imported before the first look.
"""

import importlib
import logging
import multiprocessing
import os
import pkgutil
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from hashlib import sha256

import jax
import matplotlib
import numpy as np
import torch

HEAVY = (
    "arviz", "google.protobuf.json_format", "google.rpc.error_details_pb2", "grpc.aio", "grpc_health.v1.health",
    "grpc_reflection.v1alpha.reflection", "grpc_status.rpc_status", "h5netcdf", "hypothesis.extra.numpy", "jax.export",
    "matplotlib.pyplot", "numpyro.infer.util", "psutil", "pydantic", "pyro.infer", "ray", "rich.progress",
    "safetensors.torch", "scipy.stats", "sqlalchemy.orm", "sqlalchemy.dialects.sqlite",
    "torch.fx.experimental.proxy_tensor", "typer",
)  # fmt: skip


def digest(value: object) -> str:
    """A short name for a large value."""
    return sha256(repr(value).encode()).hexdigest()[:12]


def state() -> dict[str, object]:
    """Everything global that an import could disturb."""
    return {
        "environment": dict(os.environ),
        "warning filters": list(warnings.filters),
        "torch random state": digest(torch.get_rng_state().tolist()),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch default dtype": torch.get_default_dtype(),
        "torch gradient mode": torch.is_grad_enabled(),
        "torch determinism": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "torch matmul precision": torch.get_float32_matmul_precision(),
        "torch argument validation": torch.distributions.Distribution._validate_args,
        "torch anomaly mode": torch.is_anomaly_enabled(),
        "numpy random state": digest(np.random.get_state()),  # noqa: NPY002 -- the global state is the point
        "numpy error handling": np.geterr(),
        "python random state": digest(random.getstate()),
        "jax configuration": dict(jax.config.values),
        "matplotlib settings": digest(sorted(dict.items(matplotlib.rcParams))),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "signal handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "root log handlers": list(logging.getLogger().handlers),
        "start method of processes": multiprocessing.get_start_method(allow_none=True),
        "search path": list(sys.path),
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        "recursion limit": sys.getrecursionlimit(),
        "working folder": os.getcwd(),
    }


def modules() -> Iterator[str]:
    """The name of every module that ships, generated ones too."""
    import gephyra

    yield from sorted(found.name for found in pkgutil.walk_packages(gephyra.__path__, "gephyra."))


def main() -> None:
    """Print each module with what its import changed; nothing if all is well."""
    for name in HEAVY:
        importlib.import_module(name)
    before = state()
    for name in ("gephyra", *modules()):
        importlib.import_module(name)
        after = state()
        for part, value in after.items():
            if value != before[part]:
                print(f"importing {name} changed: {part}")
        before = after
    print(f"looked at {sum(name.startswith('gephyra') for name in sys.modules)} modules")


if __name__ == "__main__":
    main()
