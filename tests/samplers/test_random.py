"""Noise as a function of (stream, seed, counter)."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from gephyra.samplers.random import keyed_generator, normal_noise, torch_generator

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
