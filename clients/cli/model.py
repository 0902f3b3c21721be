"""The options of `gephyra train` that only models of data have, and their group."""

from collections.abc import Iterable
from typing import Annotated

import typer

from ..denoising import HEADS, LEVELS, PREDICTIONS, SCHEDULES, SOLVERS, WEIGHTINGS
from ..errors import InvalidArgument, Violation

__all__ = [
    "Blocks", "Head", "High", "Image", "Levels", "Prediction", "Schedule", "ScoreOf", "Solver", "SolverSteps",
    "TimeSteps", "Validation", "WeightDecay", "Weighting", "image_of",
]  # fmt: skip

_PANEL = "Of a data set (method denoising)"


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


Prediction = Annotated[
    str | None,
    typer.Option(
        help=f"What the network predicts: {_list(PREDICTIONS)}; data for a head of levels, else velocity if not given.",
        rich_help_panel=_PANEL,
    ),
]
Weighting = Annotated[
    str | None,
    typer.Option(help=f"How levels count: {_list(WEIGHTINGS)}; elbo if not given.", rich_help_panel=_PANEL),
]
Schedule = Annotated[
    str | None,
    typer.Option(help=f"The noise schedule: {_list(SCHEDULES)}; cosine if not given.", rich_help_panel=_PANEL),
]
Levels = Annotated[
    str | None,
    typer.Option(help=f"Noise levels of a batch: {_list(LEVELS)}; adaptive if not given.", rich_help_panel=_PANEL),
]
Head = Annotated[
    str | None,
    typer.Option(help=f"What the network answers with: {_list(HEADS)}; auto if not given.", rich_help_panel=_PANEL),
]
TimeSteps = Annotated[
    int | None, typer.Option(help="Steps of discrete time; continuous if not given.", rich_help_panel=_PANEL)
]
High = Annotated[
    float | None,
    typer.Option(help="Highest log signal-to-noise ratio; from the data if not given.", rich_help_panel=_PANEL),
]
Blocks = Annotated[int | None, typer.Option(help="Residual blocks; 3 if not given.", rich_help_panel=_PANEL)]
Image = Annotated[
    str | None,
    typer.Option(
        metavar="C,H,W", help="Rows are images: channels, height, width; vectors if not given.", rich_help_panel=_PANEL
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(help="What weights lose in a step, with 1000 rows; 1 if not given.", rich_help_panel=_PANEL),
]
Validation = Annotated[
    float | None,
    typer.Option(help="Share of rows that only choose the stopping point; 0.1 if not given.", rich_help_panel=_PANEL),
]
Solver = Annotated[
    str | None,
    typer.Option(help=f"How draws are made: {_list(SOLVERS)}; dpm-solver if not given.", rich_help_panel=_PANEL),
]
SolverSteps = Annotated[int | None, typer.Option(help="Steps of a draw; 32 if not given.", rich_help_panel=_PANEL)]

ScoreOf = Annotated[
    str | None,
    typer.Option(
        metavar="TARGET", help="The rows are draws of this target, whose score is used too.", rich_help_panel=_PANEL
    ),
]


def image_of(text: str | None) -> tuple[int, ...] | None:
    """What `--image 1,8,8` stands for. Raises InvalidArgument for what is no list of numbers."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        sentence = f"--image must be channels,height,width, such as 1,8,8; got {text!r}"
        raise InvalidArgument(sentence, violations=[Violation("image", sentence)]) from None
