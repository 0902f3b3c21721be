"""The words for what a user may choose about a denoising model; `catalogue` has what they stand for.

Imports nothing heavy.
"""

from enum import StrEnum

__all__ = ["LevelsName", "PredictionName", "ReconstructionName", "ScheduleName", "SolverName", "WeightingName"]


class ScheduleName(StrEnum):
    """alpha, sigma and the density of levels."""

    COSINE = "cosine"
    LINEAR = "linear"
    UNIFORM = "uniform-log-snr"
    RECTIFIED = "rectified"
    LOGIT_NORMAL = "logit-normal"
    EDM = "edm"


class PredictionName(StrEnum):
    """What the network predicts."""

    NOISE = "noise"
    DATA = "data"
    VELOCITY = "velocity"
    SCORE = "score"
    FLOW_VELOCITY = "flow-velocity"
    EDM = "edm"
    ENERGY = "energy"


class WeightingName(StrEnum):
    """How levels are weighed; a function of the user's own is no word."""

    ELBO = "elbo"
    SIMPLE = "simple"
    RESCALED = "rescaled"
    MIN_SNR = "min-snr"
    SOFT_MIN_SNR = "soft-min-snr"
    P2 = "p2"
    SIGMOID = "sigmoid"
    TRUNCATED_SNR = "truncated-snr"
    EDM = "edm"
    FLOW_MATCHING = "flow-matching"


class LevelsName(StrEnum):
    """Where the levels of a batch lie; the objective does not depend on it."""

    UNIFORM = "uniform"
    LOW_DISCREPANCY = "low-discrepancy"
    STRATIFIED = "stratified"
    UNIFORM_LOG_SNR = "uniform-log-snr"
    LOGNORMAL = "lognormal"
    LOGIT_NORMAL = "logit-normal"
    ADAPTIVE = "adaptive"


class SolverName(StrEnum):
    """How draws are made."""

    ANCESTRAL = "ancestral"
    ANCESTRAL_LARGE = "ancestral-large"
    DDIM = "ddim"
    DPM_SOLVER = "dpm-solver"
    HEUN = "heun"
    EULER_MARUYAMA = "euler-maruyama"
    FLOW = "flow"


class ReconstructionName(StrEnum):
    """What the last term of the ELBO is."""

    CONTINUOUS = "continuous"
    DISCRETE = "discrete"
    DEQUANTISED = "dequantised"
