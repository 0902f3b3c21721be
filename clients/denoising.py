"""Options of models of data: the words a user writes, and the message they stand for on the wire."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from gephyra.protos import denoising_pb2, training_service_pb2

from .errors import InvalidArgument, Violation
from .request import Named, fill, full_name
from .words import DEVICES, PRECISIONS, resolved, spelt, words_of

__all__ = [
    "HEADS", "LEVELS", "METHOD", "PREDICTIONS", "SCHEDULES", "SOLVERS", "WEIGHTINGS", "DenoisingOptions",
    "denoising_config", "denoising_options",
]  # fmt: skip

METHOD = "denoising"
"""The method that models a data set."""
PREDICTIONS = words_of(denoising_pb2.Prediction.items(), "PREDICTION_")
WEIGHTINGS = words_of(denoising_pb2.Weighting.items(), "WEIGHTING_")
SCHEDULES = words_of(denoising_pb2.NoiseSchedule.items(), "NOISE_SCHEDULE_")
LEVELS = words_of(denoising_pb2.NoiseLevels.items(), "NOISE_LEVELS_")
HEADS = words_of(denoising_pb2.Head.items(), "HEAD_")
SOLVERS = words_of(denoising_pb2.Solver.items(), "SOLVER_")

_WORDS = {
    "prediction": PREDICTIONS, "weighting": WEIGHTINGS, "schedule": SCHEDULES, "levels": LEVELS, "head": HEADS,
    "solver": SOLVERS, "device": DEVICES, "precision": PRECISIONS,
}  # fmt: skip
_BUDGETS = ("preset", "seconds", "iterations")
_FIELDS = [field.name for field in training_service_pb2.DenoisingConfig.DESCRIPTOR.fields]


class DenoisingOptions(TypedDict, total=False):
    """The options of `client.train` that a model of data has beside those it shares with samplers of a target.

    Shared are seed, preset, seconds, iterations (300 s if no budget is given), batch_size (256), width (128),
    learning_rate (0.002), ema (0.999), device and precision. One that is left out, or None, is the server's default.
    """

    prediction: str | None
    """`noise`, `data`, `velocity` (default), `score`, `flow-velocity`, `edm` or `energy`; a head of levels: `data`."""
    weighting: str | None
    """`elbo` (default), `simple`, `rescaled`, `min-snr`, `soft-min-snr`, `p2`, `sigmoid`, `truncated-snr`, `edm` or
    `flow-matching`."""
    schedule: str | None
    """`cosine` (default), `linear`, `uniform-log-snr`, `rectified`, `logit-normal` or `edm`."""
    levels: str | None
    """Where the noise levels of a batch lie: `uniform`, `low-discrepancy`, `stratified`, `uniform-log-snr`,
    `lognormal`, `logit-normal` or `adaptive` (default)."""
    head: str | None
    """`auto` (default: levels where the data lie on few of them), `continuous` or `levels`."""
    time_steps: int | None
    """Steps of discrete time; continuous if left out."""
    high: float | None
    """Highest log signal-to-noise ratio; from the finest direction of the data if left out."""
    blocks: int | None
    """Residual blocks, or resolutions of a U-Net; 3."""
    image: Sequence[int] | None
    """Channels, height and width where rows are images; rows are vectors if left out."""
    weight_decay: float | None
    """What weights lose in a step, over the learning rate, with 1000 rows; less with more rows; 1."""
    validation: float | None
    """Share of the rows that only choose the stopping point; 0.1."""
    solver: str | None
    """How draws are made unless `draw` says otherwise: `ancestral`, `ancestral-large`, `ddim`, `dpm-solver` (default),
    `heun`, `euler-maruyama` or `flow`."""
    solver_steps: int | None
    """Steps of a draw; 32."""
    score_of: Named | str | None
    """A target of which the rows are draws, columns in its order, or its name: its score at the rows makes more of few
    of them. Not for levels."""


def denoising_config(options: Mapping[str, Any]) -> training_service_pb2.DenoisingConfig:
    """The wire form of options; one that is None is left to the server.

    Raises InvalidArgument, naming the field, for an unknown word, two budgets, a value of the wrong kind, or an option
    that a model of data does not have.
    """
    for name, value in options.items():
        if value is not None and name not in (*_FIELDS, "preset"):
            sentence = f"{name} is an option of samplers of a target; a model of data has {', '.join(_FIELDS)}"
            raise InvalidArgument(sentence, reason="INCONSISTENT_SETTINGS", violations=[Violation(name, sentence)])
    given = resolved(options, _WORDS, _BUDGETS, "denoising")
    image = given.pop("image", None)
    if "score_of" in given:
        given["score_of"] = full_name("targets", given["score_of"])
    config = fill(training_service_pb2.DenoisingConfig(), "denoising.", **given)
    if image is not None:
        try:
            config.image.extend(image)
        except (TypeError, ValueError):
            sentence = f"image must be channels, height and width; got {image!r}"
            raise InvalidArgument(sentence, violations=[Violation("denoising.image", sentence)]) from None
    return config


def denoising_options(config: training_service_pb2.DenoisingConfig) -> dict[str, Any]:
    """The options for which a config stands; inverse of `denoising_config`."""
    options = spelt(config, _WORDS)
    if "image" in options:
        options["image"] = tuple(options["image"])
    return options
