"""What the words of `settings` stand for: the only place where they become objects, one table each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from .density import (
    Cosine,
    LevelDensity,
    LinearBeta,
    Truncated,
    Uniform,
    log_normal_noise,
    logit_normal_time,
    straight,
)
from .prediction import Data, EdmOutput, FlowVelocity, Noise, Prediction, Score, Velocity
from .reconstruction import Continuous, Dequantised, Discrete, Reconstruction, cell_widths
from .sampling import AdaptiveHistogram, Independent, LowDiscrepancy, NoiseLevels, Stratified
from .schedule import Rectified, Schedule, VarianceExploding, VariancePreserving
from .settings import LevelsName, PredictionName, ReconstructionName, ScheduleName, SolverName, WeightingName
from .solvers import Ancestral, Ddim, DpmSolver2M, EulerMaruyama, Flow, Heun, Solver
from .weighting import Weighting, elbo, min_snr, p2, sigmoid, simple, soft_min_snr, truncated_snr

__all__ = [
    "LEVELS",
    "PREDICTIONS",
    "RECONSTRUCTIONS",
    "SCHEDULES",
    "SOLVERS",
    "WEIGHTINGS",
    "LevelSource",
    "NoiseSchedule",
]


class NoiseSchedule(NamedTuple):
    """A process with its levels."""

    schedule: Schedule
    clock: LevelDensity
    """Of the time in dz/dt."""
    density: LevelDensity
    """p(lambda) between the lowest and the highest level."""
    low: float
    high: float


class LevelSource(NamedTuple):
    """Levels of batches."""

    levels: NoiseLevels
    memory: AdaptiveHistogram | None
    """The proposal inside, where it learns."""


def _named(schedule: Schedule, clock: LevelDensity, native: LevelDensity) -> Callable[[float, float], NoiseSchedule]:
    return lambda low, high: NoiseSchedule(schedule, clock, Truncated(native, low, high), low, high)


_STRAIGHT, _EDM = straight(), log_normal_noise()

SCHEDULES: Mapping[ScheduleName, Callable[[float, float], NoiseSchedule]] = {
    ScheduleName.COSINE: _named(VariancePreserving(), Cosine(), Cosine()),
    ScheduleName.LINEAR: _named(VariancePreserving(), LinearBeta(), LinearBeta()),
    ScheduleName.UNIFORM: lambda low, high: NoiseSchedule(
        VariancePreserving(), Uniform(low, high), Uniform(low, high), low, high
    ),
    ScheduleName.RECTIFIED: _named(Rectified(), _STRAIGHT, _STRAIGHT),
    ScheduleName.LOGIT_NORMAL: _named(Rectified(), _STRAIGHT, logit_normal_time()),
    ScheduleName.EDM: _named(VarianceExploding(), _EDM, _EDM),
}
"""Of the lowest and the highest lambda."""

PREDICTIONS: Mapping[PredictionName, Callable[[NoiseSchedule], Prediction]] = {
    PredictionName.NOISE: lambda given: Noise(),
    PredictionName.DATA: lambda given: Data(),
    PredictionName.VELOCITY: lambda given: Velocity(),
    PredictionName.SCORE: lambda given: Score(),
    PredictionName.FLOW_VELOCITY: lambda given: FlowVelocity(given.clock),
    PredictionName.EDM: lambda given: EdmOutput(),
    # An energy's gradient is a score; its network is an `EnergyModel`.
    PredictionName.ENERGY: lambda given: Score(),
}

WEIGHTINGS: Mapping[WeightingName, Callable[[NoiseSchedule, Prediction], Weighting]] = {
    WeightingName.ELBO: lambda given, prediction: elbo(),
    WeightingName.SIMPLE: lambda given, prediction: simple(prediction),
    WeightingName.RESCALED: lambda given, prediction: simple(Data()),
    WeightingName.MIN_SNR: lambda given, prediction: min_snr(),
    WeightingName.SOFT_MIN_SNR: lambda given, prediction: soft_min_snr(),
    WeightingName.P2: lambda given, prediction: p2(),
    WeightingName.SIGMOID: lambda given, prediction: sigmoid(),
    WeightingName.TRUNCATED_SNR: lambda given, prediction: truncated_snr(),
    WeightingName.EDM: lambda given, prediction: simple(EdmOutput()),
    WeightingName.FLOW_MATCHING: lambda given, prediction: simple(FlowVelocity(given.clock)),
}
"""Of the schedule and what the network predicts. Data are standardised, so the EDM scale of data is one."""


def _adaptive(given: NoiseSchedule, steps: int | None) -> LevelSource:
    memory = AdaptiveHistogram(given.low, given.high)
    return LevelSource(NoiseLevels(given.density, LowDiscrepancy(), memory, steps), memory)


def _proposed(given: NoiseSchedule, steps: int | None, proposal: LevelDensity) -> LevelSource:
    bounded = Truncated(proposal, given.low, given.high)
    return LevelSource(NoiseLevels(given.density, LowDiscrepancy(), bounded, steps), None)


LEVELS: Mapping[LevelsName, Callable[[NoiseSchedule, int | None], LevelSource]] = {
    LevelsName.UNIFORM: lambda given, steps: LevelSource(NoiseLevels(given.density, Independent(), None, steps), None),
    LevelsName.LOW_DISCREPANCY: lambda given, steps: LevelSource(
        NoiseLevels(given.density, LowDiscrepancy(), None, steps), None
    ),
    LevelsName.STRATIFIED: lambda given, steps: LevelSource(
        NoiseLevels(given.density, Stratified(), None, steps), None
    ),
    LevelsName.UNIFORM_LOG_SNR: lambda given, steps: _proposed(given, steps, Uniform(given.low, given.high)),
    LevelsName.LOGNORMAL: lambda given, steps: _proposed(given, steps, log_normal_noise()),
    LevelsName.LOGIT_NORMAL: lambda given, steps: _proposed(given, steps, logit_normal_time()),
    LevelsName.ADAPTIVE: _adaptive,
}
"""Of the schedule and the steps of discrete time, None for continuous."""

RECONSTRUCTIONS: Mapping[ReconstructionName, Callable[[Tensor], Reconstruction]] = {
    ReconstructionName.CONTINUOUS: lambda levels: Continuous(),
    ReconstructionName.DISCRETE: Discrete,
    ReconstructionName.DEQUANTISED: lambda levels: Dequantised(cell_widths(levels)),
}
"""Of the levels of the data in the model's coordinates, `dim x count` with NaN for none."""

SOLVERS: Mapping[SolverName, Callable[[], Solver]] = {
    SolverName.ANCESTRAL: lambda: Ancestral(0.0),
    SolverName.ANCESTRAL_LARGE: lambda: Ancestral(1.0),
    SolverName.DDIM: Ddim,
    SolverName.DPM_SOLVER: DpmSolver2M,
    SolverName.HEUN: Heun,
    SolverName.EULER_MARUYAMA: EulerMaruyama,
    SolverName.FLOW: Flow,
}
