"""What gRPC sends again by itself, and when it stops that: a service config."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["service_config"]

_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# A failure takes one token, a success gives a tenth of one; with half of them gone nothing is repeated. A server that
# is restarted costs a busy client some; only one that fails again and again takes them all.
_THROTTLING = {"maxTokens": 100, "tokenRatio": 0.1}


def service_config(safe: Mapping[str, Sequence[str]], more: Mapping[str, object]) -> str:
    """The config, as JSON, that has these methods (by service) repeated where the server is unavailable.

    `more` are further entries of it.
    """
    names = [{"service": f"gephyra.v1.{service}", "method": name} for service, names in safe.items() for name in names]
    config: dict[str, Any] = {
        "methodConfig": [{"name": names, "retryPolicy": _RETRY}],
        "retryThrottling": _THROTTLING,
        **more,
    }
    return json.dumps(config)
