"""What solvers and likelihoods ask of a model: the mean of the data given a noised point."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from .prediction import Prediction
from .schedule import Level, Schedule, preserving

__all__ = ["Denoiser", "DenoisingModel", "Reparametrised", "predicted"]


class Denoiser(ABC):
    """An estimate of E[x | y], y = sqrt(sigmoid(lambda)) x + sqrt(sigmoid(-lambda)) eps.

    Attributes:
        dim: Dimension of x and y.
    """

    dim: int

    @abstractmethod
    def data(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """x, `batch x dim`, in y's element type, at noised points y, `batch x dim`.

        Their levels are log_snr, `(batch,)`, or `(1,)` where they share one.
        """


class DenoisingModel(nn.Module, Denoiser):
    """A denoiser that is trained: its output is a prediction, in the scale of a schedule.

    Attributes:
        prediction: What the output is.
        schedule: alpha and sigma in its definition.
    """

    prediction: Prediction
    schedule: Schedule

    @abstractmethod
    def output(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """The prediction, `batch x dim`, at noised points y, `batch x dim`, of levels log_snr, `(batch,)`."""

    def data(self, y: Tensor, log_snr: Tensor) -> Tensor:
        level = self.schedule.at(log_snr.to(y))
        return self.prediction.data(self.output(y, log_snr), level.rho * y, level)


class Reparametrised(DenoisingModel):
    """A denoiser as a model with a given prediction: nothing to train, but every loss can be evaluated on it."""

    def __init__(self, denoiser: Denoiser, prediction: Prediction, schedule: Schedule) -> None:
        super().__init__()
        self.dim, self.prediction, self.schedule = denoiser.dim, prediction, schedule
        self._denoiser = denoiser

    def output(self, y: Tensor, log_snr: Tensor) -> Tensor:
        return predicted(self.prediction, self.schedule.at(log_snr.to(y)), self._denoiser.data(y, log_snr), y)


def predicted(prediction: Prediction, level: Level, x: Tensor, y: Tensor) -> Tensor:
    """The prediction that stands for data x at noised points y, both `batch x dim`."""
    return prediction.of(x, preserving(level.log_snr[..., 0]).noise(y, x), level)
