"""Whatever is asked in whatever order, through restarts: the server does what a small model of it does (P5)."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.machine import Machine


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck), database=None
    )


@pytest.mark.timeout(300)
def test_a_server_does_what_its_model_does() -> None:
    run_state_machine_as_test(Machine, settings=_settings(2, 15))


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_server_does_what_its_model_does_for_five_hundred_steps() -> None:
    run_state_machine_as_test(Machine, settings=_settings(10, 50))
