"""A Ray cluster of two nodes on this machine, with a processor each, on loopback addresses alone."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

# The last makes Ray take 127.0.0.1 for this machine's address: then its servers listen there only.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
_NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
# A lost node is noticed in about two seconds instead of fifteen.
_HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


class TwoNodes:
    """The head, to which this process and servers connect, and a node that may be killed. Skips where Ray is missing.

    Attributes:
        address: host:port.
    """

    def __init__(self) -> None:
        os.environ.update(_ENVIRONMENT)
        pytest.importorskip("ray", reason="Ray is not installed, so nothing that needs it is tested: gephyra[ray]")
        from ray._private import ray_constants
        from ray.cluster_utils import Cluster

        # As the variable says, if Ray was imported before it was set.
        ray_constants.ENABLE_RAY_CLUSTER = False

        with _careless():
            # Has few types.
            self._cluster: Any = Cluster(initialize_head=True, head_node_args={**_NODE, "_system_config": _HEALTH})
            self.address: str = self._cluster.address
            self._other: Any = self._cluster.add_node(**_NODE)

    def is_on_other(self, process: psutil.Process) -> bool:
        """Whether a process is below the node that may be killed."""
        raylets = self._other.all_processes["raylet"]
        return any(parent.pid == raylet.process.pid for parent in process.parents() for raylet in raylets)

    def kill_other(self) -> None:
        """SIGKILL to everything that Ray runs on that node."""
        with _careless():
            self._cluster.remove_node(self._other, allow_graceful=False)

    def replace_other(self) -> None:
        """Add another node like it."""
        with _careless():
            self._other = self._cluster.add_node(**_NODE)

    def close(self) -> None:
        """End the cluster."""
        with _careless():
            self._cluster.shutdown()


@contextmanager
def _careless() -> Iterator[None]:
    """Ray starts its servers with files that it leaves to be collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()
