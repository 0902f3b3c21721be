"""Stores of objects that hold what a server's folder only keeps a copy of: S3, or none at all."""

from .base import Objects, ObjectsRefused, Stored
from .nowhere import NoObjects
from .opening import open_objects

__all__ = ["NoObjects", "Objects", "ObjectsRefused", "Stored", "open_objects"]
