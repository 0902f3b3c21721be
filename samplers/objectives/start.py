"""Which warm start a bridge takes."""

from ..bridge import Bridge
from ..denoising.bridge import DenoisingBridge
from ..given import GivenDraws
from ..objective import Objective
from ..settings import TrainingSettings
from .denoise import DenoisingStart
from .warm import WarmStart

__all__ = ["warm_start"]


def warm_start(bridge: Bridge, settings: TrainingSettings, rows: GivenDraws, after: Objective) -> Objective:
    """Training on rows, the draws in the bridge's coordinates, before the loss `after`."""
    if isinstance(bridge, DenoisingBridge):
        return DenoisingStart(bridge, rows, after)
    return WarmStart(bridge, settings, rows, after)
