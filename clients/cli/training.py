"""The options of `gephyra train`, in groups; the words come from the tables of the client."""

from collections.abc import Iterable
from typing import Annotated

import typer

from ..words import DEVICES, INTEGRATORS, LOSSES, METHODS, PRECISIONS, PRECONDITIONS, PRESETS

__all__ = [
    "AnnealingRate", "BatchSize", "Device", "DiffusionRate", "Ema", "GoalEssFraction", "GoalGap", "Integrator",
    "Iterations", "LearnAnnealing", "LearnDiffusion", "LearnPrior", "LearnTime", "LearningRate", "Loss", "Method",
    "Precision", "Precondition", "Preset", "PriorRate", "RewardToGo", "Samples", "Seconds", "Start", "Steps",
    "TargetEvaluations", "TimeRate", "Width", "Workers",
]  # fmt: skip

_BUDGET, _MODEL, _LEARNED, _MACHINE = "Budget (one of four) and goal", "Model", "What is learned, and how", "Machine"


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def _on(what: str) -> str:
    return f"Learn {what}; on if not given."


def _rate(what: str) -> str:
    return f"How fast {what} is learned, over the learning rate; 1.0 if not given."


_SECONDS = ", ".join(f"{word} ({seconds:g} s)" for word, seconds in PRESETS.items())

Preset = Annotated[
    str | None, typer.Option(help=f"{_SECONDS}; standard if no budget is given.", rich_help_panel=_BUDGET)
]
Seconds = Annotated[float | None, typer.Option(help="Wall seconds of training.", rich_help_panel=_BUDGET)]
Iterations = Annotated[int | None, typer.Option(help="Optimiser steps.", rich_help_panel=_BUDGET)]
TargetEvaluations = Annotated[
    int | None,
    typer.Option(help="Points at which the target is evaluated, preconditioning included.", rich_help_panel=_BUDGET),
]
GoalEssFraction = Annotated[
    float | None,
    typer.Option(help="End earlier at this effective sample size over number of paths.", rich_help_panel=_BUDGET),
]
GoalGap = Annotated[
    float | None, typer.Option(help="End earlier at this log Z - ELBO, in nats.", rich_help_panel=_BUDGET)
]

Method = Annotated[
    str | None,
    typer.Option(help=f"The bridge, -ud underdamped: {_list(METHODS)}; dbs if not given.", rich_help_panel=_MODEL),
]
Loss = Annotated[
    str | None, typer.Option(help=f"The loss: {_list(LOSSES)}; rkl-ld if not given.", rich_help_panel=_MODEL)
]
Precondition = Annotated[
    str | None,
    typer.Option(
        help=f"The coordinates and the prior: {_list(PRECONDITIONS)}; auto if not given.", rich_help_panel=_MODEL
    ),
]
Integrator = Annotated[
    str | None,
    typer.Option(help=f"Of an underdamped method: {_list(INTEGRATORS)}; obab if not given.", rich_help_panel=_MODEL),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="SAMPLER",
        help="Go on from a sampler of this target; method, integrator, steps and width are its own.",
        rich_help_panel=_MODEL,
    ),
]
Samples = Annotated[
    str | None,
    typer.Option(
        metavar="DATASET",
        help="Start from draws of this target: a data set with a column for each unconstrained coordinate, in order.",
        rich_help_panel=_MODEL,
    ),
]
Steps = Annotated[int | None, typer.Option(help="Transitions a path; 32 if not given.", rich_help_panel=_MODEL)]
Width = Annotated[
    int | None, typer.Option(help="Width of the control networks; 64 if not given.", rich_help_panel=_MODEL)
]

BatchSize = Annotated[
    int | None, typer.Option(help="Paths an optimiser step; 256 if not given.", rich_help_panel=_LEARNED)
]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak learning rate; 0.005 if not given.", rich_help_panel=_LEARNED)
]
LearnDiffusion = Annotated[
    bool | None,
    typer.Option(help=_on("diffusion coefficients (underdamped: friction, step size)"), rich_help_panel=_LEARNED),
]
LearnPrior = Annotated[bool | None, typer.Option(help=_on("mean and scale of the prior"), rich_help_panel=_LEARNED)]
LearnAnnealing = Annotated[bool | None, typer.Option(help=_on("the annealing schedule"), rich_help_panel=_LEARNED)]
LearnTime = Annotated[bool | None, typer.Option(help=_on("the share of time of each step"), rich_help_panel=_LEARNED)]
DiffusionRate = Annotated[float | None, typer.Option(help=_rate("the diffusion"), rich_help_panel=_LEARNED)]
PriorRate = Annotated[float | None, typer.Option(help=_rate("the prior"), rich_help_panel=_LEARNED)]
AnnealingRate = Annotated[float | None, typer.Option(help=_rate("the annealing schedule"), rich_help_panel=_LEARNED)]
TimeRate = Annotated[float | None, typer.Option(help=_rate("the time"), rich_help_panel=_LEARNED)]
RewardToGo = Annotated[
    bool | None,
    typer.Option(help="Weigh each kernel by what comes after it (rkl-ld); off if not given.", rich_help_panel=_LEARNED),
]
Ema = Annotated[
    float | None,
    typer.Option(
        help="Decay a step of the averaged parameters that are kept; 0.0 if not given.", rich_help_panel=_LEARNED
    ),
]

Device = Annotated[
    str | None,
    typer.Option(help=f"Where it is trained: {_list(DEVICES)}; auto if not given.", rich_help_panel=_MACHINE),
]
Precision = Annotated[
    str | None,
    typer.Option(help=f"Of states and networks: {_list(PRECISIONS)}; float32 if not given.", rich_help_panel=_MACHINE),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that share the paths of a step; the batch must be a multiple; 1 if not given.",
        rich_help_panel=_MACHINE,
    ),
]
