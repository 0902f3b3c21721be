"""Uncontrolled chains converge to their stochastic differential equations at the order their splitting promises.

On a Gaussian target the end of a path is affine in its noise: zero and unit vectors as noise give mean and variance of
x_N exactly, without sampling. The limit's moments solve a linear ordinary differential equation.
"""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from gephyra.samplers.algorithms import build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.random import torch_generator
from gephyra.samplers.settings import Integrator, Method, TrainingSettings
from gephyra.samplers.simulate import simulate
from gephyra.targets.gaussian import Gaussian

MEAN, VARIANCE = 0.7, 0.25
TIME, FRICTION, SIGMA = 1.5, 2.0, 1.2
STEPS = (16, 32, 64, 128, 256)


def chain(method: Method, integrator: Integrator | None, steps: int) -> Bridge:
    """A bridge without networks at work, in equal steps of the coefficients above."""
    settings = TrainingSettings(method=method, integrator=integrator, steps=steps, width=2)
    bridge = build(Ingredients(1, settings, torch_generator("tests", 0))).double()
    values = {"log_time": np.log(TIME), "log_friction": np.log(FRICTION), "log_sigma": np.log(SIGMA), "raw_time": 0.0}
    with torch.no_grad():
        for name, parameter in bridge.named_parameters():
            if (last := name.split(".")[-1]) in values:
                parameter.fill_(values[last])
    return bridge


@torch.no_grad()
def end_moments(bridge: Bridge, target: Gaussian) -> np.ndarray:
    """Mean and variance of x_N."""
    rows = bridge.noise_rows
    noise = torch.cat([torch.zeros(1, rows), torch.eye(rows)]).double().T[:, :, None]
    end = simulate(bridge, target, noise).state[-1, :, 0]
    return np.array([float(end[0]), float((end[1:] - end[0]).square().sum())])


def annealed(beta: float) -> tuple[float, float]:
    """Offset and slope of the annealed score of the target from the prior N(0, 1)."""
    return beta * MEAN / VARIANCE, -beta / VARIANCE - (1.0 - beta)


def limit(drift: np.ndarray, score_row: int, weight: float, noise: np.ndarray) -> np.ndarray:
    """Mean and variance of x at time 1 of dz = (drift z + weight annealed score e_row) dt + sqrt(noise) dW."""
    size = len(drift)

    def slope(time: float, moments: np.ndarray) -> np.ndarray:
        mean, covariance = moments[:size], moments[size:].reshape(size, size)
        offset, stiffness = annealed(time)
        matrix, shift = drift.copy(), np.zeros(size)
        matrix[score_row, 0] += weight * stiffness
        shift[score_row] = weight * offset
        return np.concatenate([matrix @ mean + shift, (matrix @ covariance + covariance @ matrix.T + noise).ravel()])

    start = np.concatenate([np.zeros(size), np.eye(size).ravel()])
    end = solve_ivp(slope, (0.0, 1.0), start, rtol=1e-12, atol=1e-12).y[:, -1]
    return np.array([end[0], end[size]])


def overdamped_limit() -> np.ndarray:
    return limit(np.zeros((1, 1)), 0, 0.5 * SIGMA**2, np.array([[SIGMA**2]]))


def underdamped_limit() -> np.ndarray:
    drift = np.array([[0.0, TIME], [0.0, -FRICTION]])
    return limit(drift, 1, TIME, np.diag([0.0, 2.0 * FRICTION]))


CASES = {
    "Euler-Maruyama": (Method.ULA, None, overdamped_limit, 1.0),
    "OBAB": (Method.ULA_UD, Integrator.OBAB, underdamped_limit, 2.0),
    "OBABO": (Method.ULA_UD, Integrator.OBABO, underdamped_limit, 2.0),
    "OBAB, control forces only": (Method.DIS_UD, Integrator.OBAB, underdamped_limit, 1.0),
    "OBABO, control forces only": (Method.DIS_UD, Integrator.OBABO, underdamped_limit, 2.0),
}


@pytest.mark.parametrize("name", CASES)
def test_weak_order(name: str) -> None:
    method, integrator, exact, order = CASES[name]
    target = Gaussian([MEAN], [VARIANCE])
    errors = [np.linalg.norm(end_moments(chain(method, integrator, n), target) - exact()) for n in STEPS]
    fitted = -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    print(name, errors, fitted)
    assert abs(fitted - order) < 0.4, (fitted, errors)


def test_splittings_agree_at_the_end() -> None:
    """O is half an O twice, and the first and last halves see a momentum that is stationary or no longer used."""
    target = Gaussian([MEAN], [VARIANCE])
    obab, obabo = (end_moments(chain(Method.ULA_UD, integrator, 12), target) for integrator in Integrator)
    assert obab == pytest.approx(obabo, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_exact_steps_leave_their_law_alone(steps: int) -> None:
    """The Ornstein-Uhlenbeck reference has the prior as its exact law at any number of steps."""
    bridge = chain(Method.DDS, None, steps)
    assert end_moments(bridge, Gaussian([0.0], [1.0])) == pytest.approx([0.0, 1.0], abs=1e-12)
