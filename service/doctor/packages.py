"""What is installed, and whether workers can load it: torch and jax are tried in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ..tracing import wanted_exporter
from .finding import Finding, Level, Setup

__all__ = ["check_packages", "check_python", "check_traces", "check_workers"]

_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class _Package:
    name: str
    extra: str
    absent: Level
    """How bad its absence is."""


_PACKAGES = (
    _Package("grpcio", "", Level.STOP), _Package("protobuf", "", Level.STOP),
    _Package("sqlalchemy", "server", Level.STOP), _Package("safetensors", "server", Level.STOP),
    _Package("pydantic", "server", Level.STOP), _Package("prometheus-client", "server", Level.STOP),
    _Package("structlog", "server", Level.STOP), _Package("grpcio-status", "server", Level.STOP),
    _Package("grpcio-health-checking", "server", Level.STOP), _Package("grpcio-reflection", "server", Level.STOP),
    _Package("numpyro", "numpyro", Level.OK), _Package("pyro-ppl", "pyro", Level.OK),
)  # fmt: skip

_TORCH = """
import json, time
began = time.perf_counter()
import torch
seconds = time.perf_counter() - began
cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"version": torch.__version__, "seconds": seconds, "devices": cuda, "built": torch.version.cuda}))
"""
_JAX = """
import json, time
began = time.perf_counter()
import jax
print(json.dumps({"version": jax.__version__, "seconds": time.perf_counter() - began}))
"""


def check_python(setup: Setup) -> Iterator[Finding]:
    """The interpreter, and how much of the machine it may have."""
    from gephyra import __version__

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    numbers = ".".join(map(str, sys.version_info[:3]))
    yield Finding("gephyra", Level.OK, f"{__version__} on Python {numbers}, {processors} processors")


def check_packages(setup: Setup) -> Iterator[Finding]:
    """What the API process needs is installed."""
    found, missing = [], []
    for package in _PACKAGES:
        try:
            found.append(f"{package.name} {version(package.name)}")
        except PackageNotFoundError:
            missing.append(package)
    yield Finding("packages", Level.OK, ", ".join(found))
    for package in missing:
        advice = f"pip install 'gephyra[{package.extra}]'" if package.extra else "pip install --force-reinstall gephyra"
        needed = package.absent is not Level.OK
        what = advice if needed else f"{advice}, if models of that kind are captured here"
        yield Finding(package.name, package.absent, "not installed", what)


def check_workers(setup: Setup) -> Iterator[Finding]:
    """A worker can load torch, and jax for programs of JAX; and which GPUs torch sees."""
    torch, error = _load(_TORCH)
    if torch is None:
        advice = "workers cannot start: pip install 'gephyra[server]', or repair the installation of torch"
        yield Finding("torch", Level.STOP, error, advice)
    else:
        yield Finding("torch", Level.OK, f"{torch['version']}, loads in {torch['seconds']:.1f} s")
        yield _gpu(torch)
    jax, error = _load(_JAX)
    if jax is None:
        advice = "models of NumPyro and functions of JAX cannot be sampled: pip install 'gephyra[jax]'"
        yield Finding("jax", Level.WARNING, error, advice)
    else:
        yield Finding("jax", Level.OK, f"{jax['version']}, loads in {jax['seconds']:.1f} s")


def check_traces(setup: Setup) -> Iterator[Finding]:
    """If the environment asks for traces, what they need is installed."""
    exporter = wanted_exporter(os.environ)
    if not exporter:
        return
    try:
        version("opentelemetry-sdk")
    except PackageNotFoundError:
        advice = "pip install 'gephyra[telemetry]', or unset the OTEL_ variables"
        yield Finding("traces", Level.WARNING, f"the environment asks for {exporter}; OpenTelemetry is missing", advice)
        return
    yield Finding("traces", Level.OK, f"exported by {exporter}")


def _gpu(torch: dict[str, object]) -> Finding:
    devices = torch["devices"]
    assert isinstance(devices, list)
    if devices:
        return Finding("gpu", Level.OK, ", ".join(map(str, devices)))
    built = f"torch is built for CUDA {torch['built']}" if torch["built"] else "torch is the CPU build"
    return Finding("gpu", Level.OK, f"none; {built}, and training runs on the CPU")


def _load(code: str) -> tuple[dict[str, object] | None, str]:
    """What a process like a worker printed, or why there is nothing."""
    safe_path = ["-P"] if sys.flags.safe_path else []
    try:
        done = subprocess.run(
            [sys.executable, *safe_path, "-c", code], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None, f"not loaded within {_SECONDS:.0f} s"
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return None, said[-1] if said else f"the process ended with {done.returncode}"
    record: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return record, ""
