"""Data sets of the sampling literature as CSV files: their layout, reading, writing, and where to get them.

A table is float64, rows x columns, NaN for a value that was not observed.
"""

from .layout import DATASETS, Dataset
from .sources import OpenML, ScikitLearn, Table, fetch

__all__ = ["DATASETS", "Dataset", "OpenML", "ScikitLearn", "Table", "fetch"]
