"""How a worker's process ends by itself, by its exit status. Imports nothing."""

__all__ = ["GROUP_LOST", "NONSENSE", "SERVER_GONE"]

SERVER_GONE = 3
NONSENSE = 4
GROUP_LOST = 5
"""Another worker of those that train together is gone."""
