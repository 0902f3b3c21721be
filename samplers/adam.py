"""Adam (Kingma and Ba 2015) as a direction, with its moments in the open.

Ours, because the preconditioner needs the direction without the step (it moves in a frame of its own), checkpoints need
the moments, and torch's optimisers load the compiler on first use: 1.8 s of every training process.
"""

import torch
from torch import Tensor

__all__ = ["Adam"]

_FIRST_DECAY = 0.9
_SECOND_DECAY = 0.999
_FLOOR = 1e-8


class Adam:
    """Running moments of the gradient of one array.

    Args:
        like: An array of the gradient's shape and dtype.
    """

    def __init__(self, like: Tensor) -> None:
        self._first, self._second, self._count = torch.zeros_like(like), torch.zeros_like(like), 0

    def direction(self, gradient: Tensor) -> Tensor:
        """Take note of a gradient; returns the normalised direction, of size about one, along it."""
        self._count += 1
        self._first.lerp_(gradient, 1.0 - _FIRST_DECAY)
        self._second.lerp_(gradient.square(), 1.0 - _SECOND_DECAY)
        first = self._first / (1.0 - _FIRST_DECAY**self._count)
        second = self._second / (1.0 - _SECOND_DECAY**self._count)
        return first / (second.sqrt_() + _FLOOR)

    def tensors(self) -> dict[str, Tensor]:
        """The state, for a checkpoint."""
        return {"first": self._first, "second": self._second, "count": torch.tensor(self._count)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned. Raises ValueError for moments of another shape."""
        if tensors["first"].shape != self._first.shape:
            raise ValueError(f"moments must have shape {tuple(self._first.shape)}, got {tuple(tensors['first'].shape)}")
        self._first, self._second = (tensors[name].to(self._first, copy=True) for name in ("first", "second"))
        self._count = int(tensors["count"])
