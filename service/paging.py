"""Sizes of pages, the same for every listing."""

from .config import Limits
from .errors import bad_field

__all__ = ["page_size"]


def page_size(wanted: int, limits: Limits) -> int:
    """Items a page: 0 means the default, large wishes are lowered. Raises InvalidArgument for negative ones."""
    if wanted < 0:
        raise bad_field("page_size", f"expected 0 or more, got {wanted}")
    return min(wanted or limits.page_size, limits.max_page_size)
