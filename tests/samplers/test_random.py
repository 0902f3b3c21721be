"""Noise as a function of (stream, seed, counter)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gephyra.samplers.random import keyed_generator, normal_noise, rough_normal_noise, torch_generator

KEY = st.tuples(st.sampled_from(["draw", "train"]), st.integers(0, 2**64 - 1), st.integers(0, 2**40))


@given(KEY, KEY)
def test_different_keys_give_different_noise(one: tuple[str, int, int], other: tuple[str, int, int]) -> None:
    same = torch.equal(normal_noise((8,), *one), normal_noise((8,), *other))
    assert same == (one == other)


def test_torch_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    normal_noise((4,), "draw", 0, 0)
    torch_generator("init", 0)
    assert torch.equal(before, torch.get_rng_state())


def test_the_stream_is_a_promise() -> None:
    """These numbers may never change: stored samplers would draw other samples."""
    assert normal_noise((3,), "draw", 0, 0).tolist() == [0.36614006757736206, -1.196808099746704, -1.2491965293884277]
    assert int(keyed_generator("draw", 0).integers(2**32)) == 963_812_494


def test_rough_noise_is_normal_as_far_as_a_gradient_sees() -> None:
    """Moments within 5 standard errors (false alarms: 2e-6 in all), a grid without ends, no half that is favoured."""
    count = 2**20
    noise = rough_normal_noise((count,), "train", 0, 0).double()
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        spread = math.sqrt({1: 1.0, 2: 2.0, 3: 15.0, 4: 96.0}[power] / count)
        assert float(noise.pow(power).mean()) == pytest.approx(moment, abs=5.0 * spread)
    ordered = torch.special.ndtr(noise.sort().values)
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    # Kolmogorov's statistic passes 2.3 / sqrt(n) with probability 5e-5.
    assert float((ordered - uniform).abs().max()) < 2.3 / math.sqrt(count)
    assert float(noise.abs().max()) < 5.5


@given(KEY, st.integers(1, 9))
def test_rough_noise_is_a_function_of_its_key(key: tuple[str, int, int], size: int) -> None:
    assert torch.equal(rough_normal_noise((size,), *key), rough_normal_noise((9,), *key)[:size])
