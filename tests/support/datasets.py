"""Data sets that do not ship, from the folder that GEPHYRA_DATA names."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gephyra.clients.datasets import DATASETS

__all__ = ["data_folder", "table"]


def data_folder() -> Path:
    """The folder; skips the test where the variable is not set."""
    if "GEPHYRA_DATA" not in os.environ:
        pytest.skip("GEPHYRA_DATA is not set: it names the folder with the data sets")
    return Path(os.environ["GEPHYRA_DATA"])


def table(name: str) -> NDArray[np.float64]:
    """The table of a data set, by its name in DATASETS."""
    return DATASETS[name].read(data_folder())
