"""A model of data as the target of a bridge, through the service: log Z is 0, and the draws have its moments."""

from pathlib import Path

import numpy as np
import pytest

from gephyra.clients import Client
from tests.statistics import FALSE_ALARM_RATE, standard_errors

DRAWS = 4000


def rows() -> np.ndarray:
    """Two unequal modes on a curve, far from standard units."""
    generator = np.random.default_rng(5)
    sign = generator.choice([-1.0, 1.0], (1500, 1), p=[0.35, 0.65])
    x = sign * [2.0, 1.0] + 0.4 * generator.standard_normal((1500, 2))
    x[:, 1] += 0.3 * x[:, 0] ** 2
    return np.array([5.0, -3.0] + [2.0, 0.5] * x)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_bridge_on_a_model_of_data_finds_log_z_zero_and_its_moments(tmp_path: Path) -> None:
    """A point costs 32 evaluations of the network and of all its derivatives, so paths are few and short."""
    with Client.local(tmp_path) as client:
        job = client.train(
            client.upload(rows(), progress=False), method="denoising", iterations=600, width=32, blocks=2
        )
        model = job.result(progress=False)
        target = client.register(model)
        assert target.log_z == 0.0
        job = client.train(target, "dbs", target_evaluations=150_000, steps=8, batch_size=128, width=32)
        bridge = job.result(progress=False)
        evidence = bridge.evidence()
        print("\n", evidence)
        assert abs(evidence.log_z) <= 0.05
        draws, own = bridge.draw(DRAWS, seed=1), model.draw(DRAWS, seed=2, solver="flow", solver_steps=64)
    weight = np.exp(draws.log_weights - draws.log_weights.max())
    weight /= weight.sum()
    effective = 1.0 / np.square(weight).sum()
    for power in (1, 2):
        ours, theirs = draws.x**power, own.x**power
        error = np.hypot(theirs.std(0) / np.sqrt(DRAWS), theirs.std(0) / np.sqrt(effective))
        assert (np.abs(weight @ ours - theirs.mean(0)) <= standard_errors(FALSE_ALARM_RATE / 4) * error).all()
