"""From the operator's word to an executor."""

from collections.abc import Callable, Mapping

from ..config import ExecutorName, ServerConfig
from .base import Executor
from .local import LocalExecutor

__all__ = ["NoExecutor", "open_executor"]


class NoExecutor(Exception):
    """Workers cannot run where the operator wants them; the message is for the operator."""


def open_executor(config: ServerConfig) -> Executor:
    """Where the workers of this server will run. Raises NoExecutor."""
    return _OPENERS[config.executor](config)


def _open_local(config: ServerConfig) -> Executor:
    return LocalExecutor()


def _open_ray(config: ServerConfig) -> Executor:
    try:
        from .ray import RayExecutor
    except ImportError as error:
        raise NoExecutor("the executor 'ray' needs Ray: pip install 'gephyra[ray]'") from error
    try:
        # A server that was not heard of for so long has lost its right to its attempts too.
        return RayExecutor.connect(config.ray_address, silence=config.timings.lease)
    except ConnectionError as error:
        raise NoExecutor(str(error)) from error


_OPENERS: Mapping[ExecutorName, Callable[[ServerConfig], Executor]] = {
    ExecutorName.LOCAL: _open_local,
    ExecutorName.RAY: _open_ray,
}
