"""Constants of a density, kept in double precision and handed out in the precision of the points."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["Constant"]


class Constant:
    """An array that follows the element type and the device of the points it meets.

    It is rounded once per element type, from its double precision master, and carries no gradient.
    """

    def __init__(self, value: ArrayLike | Tensor) -> None:
        """Take the value, any shape; integers and booleans become doubles."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self._master = torch.from_numpy(np.array(array, dtype=np.float64))
        self._copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self._master.shape)

    @property
    def master(self) -> Tensor:
        """The value in double precision on the CPU. Not to be written to."""
        return self._master

    def like(self, x: Tensor) -> Tensor:
        """The value in x's element type on x's device. Not to be written to."""
        key = (x.dtype, x.device)
        if key not in self._copies:
            self._copies[key] = self._master.to(device=x.device, dtype=x.dtype)
        return self._copies[key]
