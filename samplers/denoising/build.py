"""From settings to objects: the network, the model around it, the loss."""

import math

import torch

from ..random import torch_generator
from .catalogue import LEVELS, PREDICTIONS, SCHEDULES, WEIGHTINGS, NoiseSchedule
from .denoiser import DenoisingModel
from .frame import LOWEST, Frame
from .level_head import LevelModel, curves
from .loss import DenoisingLoss
from .network import EnergyModel, Network, NetworkModel, ResidualMlp, smooth_norm
from .settings import DenoisingSettings, LevelsName, PredictionName, WeightingName
from .unet import ImageShape, UNet

__all__ = ["build_loss", "build_model", "loss_of", "noise_schedule"]


def noise_schedule(settings: DenoisingSettings, frame: Frame) -> NoiseSchedule:
    """The process between the lowest and the highest level."""
    return SCHEDULES[settings.schedule](LOWEST, frame.high)


def build_model(settings: DenoisingSettings, frame: Frame) -> DenoisingModel:
    """An untrained model. Raises ValueError for a prediction that the head does not make, or images of another size."""
    dim, generator = len(frame.transform.shift), torch_generator("init", settings.seed)
    if frame.levels is not None and frame.frequency is not None:
        if settings.prediction not in (None, PredictionName.DATA):
            raise ValueError(
                f"prediction must be {PredictionName.DATA} for data on levels, got {settings.prediction}: "
                "give head continuous for others"
            )
        outputs = curves(frame.levels.shape[1])
        return LevelModel(_network(settings, dim, outputs, generator), frame.levels, frame.frequency, frame.gaussian)
    given = noise_schedule(settings, frame)
    word = settings.prediction or PredictionName.VELOCITY
    if word is PredictionName.ENERGY:
        return EnergyModel(ResidualMlp(dim, 1, settings.width, settings.blocks, generator, smooth_norm), given.schedule)
    network = _network(settings, dim, 1, generator)
    return NetworkModel(network, PREDICTIONS[word](given), given.schedule, frame.gaussian)


def build_loss(settings: DenoisingSettings, frame: Frame, model: DenoisingModel, levels: LevelsName) -> DenoisingLoss:
    """The loss with a source of levels."""
    return loss_of(noise_schedule(settings, frame), model, settings.weighting, levels, settings.time_steps)


def loss_of(
    given: NoiseSchedule, model: DenoisingModel, weighting: WeightingName, levels: LevelsName,
    time_steps: int | None = None,
) -> DenoisingLoss:  # fmt: skip
    """The loss of a model on a process; `time_steps` None is continuous time."""
    source, weights = LEVELS[levels](given, time_steps), WEIGHTINGS[weighting](given, model.prediction)
    return DenoisingLoss(weights, source.levels, given.schedule, source.memory)


def _network(settings: DenoisingSettings, dim: int, outputs: int, generator: torch.Generator) -> Network:
    """A network of `outputs` answers a dimension."""
    if settings.image is None:
        return ResidualMlp(dim, dim * outputs, settings.width, settings.blocks, generator)
    shape = ImageShape(*settings.image)
    if math.prod(shape) != dim:
        raise ValueError(
            f"image must have channels x height x width = {dim}, the number of columns, got {settings.image}"
        )
    widths = tuple(settings.width * 2**n for n in range(settings.blocks))
    return UNet(shape, outputs, widths, generator)
