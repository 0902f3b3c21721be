"""Data of every rank reaches the worker as it was sent: a scalar stays a scalar."""

import numpy as np
import pytest
import torch

from gephyra.clients.capture import from_torch
from gephyra.protos import target_service_pb2
from gephyra.service.tensors import from_tensor, to_tensor
from tests.support.server import Stubs, register


@pytest.mark.parametrize("shape", [(), (1,), (3, 1)])
def test_constants_of_any_rank(stubs: Stubs, shape: tuple[int, ...]) -> None:
    location = torch.full(shape, 2.0)

    def log_density(x: torch.Tensor) -> torch.Tensor:
        # A scalar that came back as a vector would make this a vector too.
        terms = -0.5 * (x.sum() - location).square()
        return terms.sum() if shape else terms

    captured = from_torch(log_density, 3)
    target = register(stubs, captured.definition(), f"rank-{len(shape)}-{sum(shape)}")
    request = target_service_pb2.EvaluateTargetRequest(name=target.name, x=to_tensor(np.zeros((1, 3), np.float32)))
    value = from_tensor(stubs.target.EvaluateTarget(request).log_density, "log_density")
    assert value[0] == pytest.approx(-2.0 * location.numel())
