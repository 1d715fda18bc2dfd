"""The memory estimate grows with what it should, and `memory = "auto"` picks the mildest options that fit."""

import pytest

from blissmask.config.training import TrainSection
from blissmask.training.memory import Load, choose_options, estimate, size_of

GIB = 1 << 30
# About a 14B model: 40 blocks of width 5120.
BLOCK = {f"self_attn.{name}.weight": (5120, 5120) for name in "qkvo"} | {f"cross_attn.{name}.weight": (5120, 5120) for name in "qkvo"}
BLOCK |= {"ffn.0.weight": (13824, 5120), "ffn.2.weight": (5120, 13824)}
SIZE = size_of([(f"blocks.{n}.{name}", shape) for n in range(40) for name, shape in BLOCK.items()] + [("head.weight", (64, 5120))])
LOAD = Load(tokens=4096, weight_bytes=2, swaps=True)
GIVEN = TrainSection()


def test_size_is_read_from_names_and_shapes():
    assert (SIZE.blocks, SIZE.width, SIZE.other_weights) == (40, 5120, 64 * 5120)
    assert SIZE.block_weights == 40 * (8 * 5120**2 + 2 * 5120 * 13824)
    assert SIZE.lora_per_rank == 40 * (8 * 2 * 5120 + 2 * (5120 + 13824))


def test_each_option_lowers_the_estimate():
    plain = estimate(SIZE, GIVEN, LOAD)
    checkpointed = estimate(SIZE, GIVEN.model_copy(update={"gradient_checkpointing": True}), LOAD)
    swapped = estimate(SIZE, GIVEN.model_copy(update={"gradient_checkpointing": True, "blocks_to_swap": 20}), LOAD)
    rounded = estimate(SIZE, GIVEN.model_copy(update={"gradient_checkpointing": True, "blocks_to_swap": 20, "int8_base": True}), LOAD)
    assert plain > checkpointed > swapped > rounded


@pytest.mark.parametrize(
    ("free", "picked"),
    [
        (200, (False, False, False)),
        (40, (True, False, False)),
        (26, (True, True, False)),
        (21.5, (True, False, True)),
        (10, (True, True, True)),
    ],
)
def test_the_mildest_options_that_fit_are_picked(free, picked):
    options, fits = choose_options(SIZE, GIVEN, LOAD, free=int(free * GIB))
    assert fits
    assert (options.gradient_checkpointing, options.blocks_to_swap > 0, options.int8_base) == picked


def test_float8_that_the_user_gave_stays_float8():
    options, _ = choose_options(SIZE, GIVEN.model_copy(update={"fp8_base": True}), LOAD, free=10 * GIB)
    assert options.fp8_base
    assert not options.int8_base


def test_what_cannot_fit_is_said():
    _, fits = choose_options(SIZE, GIVEN, LOAD, free=GIB)
    assert not fits


def test_nothing_is_swapped_where_there_is_no_gpu():
    options, _ = choose_options(SIZE, GIVEN, Load(tokens=4096, weight_bytes=4, swaps=False), free=GIB)
    assert options.blocks_to_swap == 0
