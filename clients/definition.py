"""What a target is, on the client: a captured program or a family of the server's catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gephyra.protos import target_service_pb2, tensor_pb2

from .errors import InvalidArgument, Violation
from .tensors import to_tensor

__all__ = ["CatalogueDefinition", "Definition", "catalogue"]

_INT64 = range(-(2**63), 2**63)


class Definition(Protocol):
    """Anything that `client.register` takes: `catalogue(...)`, what `from_...` functions return, a model of data."""

    def definition(self) -> target_service_pb2.TargetDefinition:
        """The wire form, every array inline."""
        ...


@dataclass(frozen=True, slots=True)
class CatalogueDefinition:
    """A target that the server knows by name."""

    family: str
    """For example `funnel`."""
    parameters: Mapping[str, Any]
    """Numbers, words and arrays by name."""

    def definition(self) -> target_service_pb2.TargetDefinition:
        """The wire form. Raises InvalidArgument naming a parameter that has none."""
        named = [_parameter(name, self.parameters[name]) for name in sorted(self.parameters)]
        return target_service_pb2.TargetDefinition(
            catalogue=target_service_pb2.CatalogueTarget(family=self.family, parameters=named)
        )


def catalogue(family: str, /, **parameters: Any) -> CatalogueDefinition:
    """A target of the server's catalogue, ready to register.

    Args:
        family: Its name, for example `funnel`; `gephyra info` lists them with their parameters.
        **parameters: Numbers, words, and arrays (or nested lists of numbers).

    Raises:
        InvalidArgument: for a value that is none of these. The server checks names and domains.

    Example:
        >>> catalogue("funnel", dim=10).family
        'funnel'
    """
    made = CatalogueDefinition(family, dict(parameters))
    made.definition()
    return made


def _parameter(name: str, value: Any) -> target_service_pb2.CatalogueParameter:
    """One named value in its wire form."""
    made = target_service_pb2.CatalogueParameter(name=name)
    if isinstance(value, bool | np.bool_):
        made.bool_value = bool(value)
    elif isinstance(value, int | np.integer) and int(value) in _INT64:
        made.int_value = int(value)
    elif isinstance(value, float | np.floating):
        made.float_value = float(value)
    elif isinstance(value, str):
        made.str_value = value
    else:
        made.array.inline.CopyFrom(_array(name, value))
    return made


def _array(name: str, value: Any) -> tensor_pb2.Tensor:
    """A sequence of numbers in its wire form."""
    try:
        return to_tensor(np.asarray(value), name)
    except ValueError as error:
        expected = f"expected a number, a word, or an array of numbers; got {type(value).__name__}"
        raise InvalidArgument(
            f"parameter {name}: {expected} ({error})",
            reason="PARAMETER_INVALID",
            violations=[Violation(f"definition.catalogue.parameters[{name}]", expected)],
        ) from None
