"""The memory estimate grows with what it should, and `memory = "auto"` picks the mildest options that fit."""

from dataclasses import replace

import pytest

from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.memory.estimate import Load, choose_options, estimate, forecast, resting_bytes, size_of
from blissmask.training.memory.options import MemoryOptions

GIB = 1 << 30
# About a 14B model: 40 blocks of width 5120.
BLOCK = {f"self_attn.{name}.weight": (5120, 5120) for name in "qkvo"} | {
    f"cross_attn.{name}.weight": (5120, 5120) for name in "qkvo"
}
BLOCK |= {"ffn.0.weight": (13824, 5120), "ffn.2.weight": (5120, 13824)}
SIZE = size_of(
    [(f"blocks.{n}.{name}", shape) for n in range(40) for name, shape in BLOCK.items()] + [("head.weight", (64, 5120))]
)
LORA = LoraShape(rank=32, alpha=32.0)
LOAD = Load(tokens=4096, weight_bytes=2, on_gpu=True, lora=LORA)
GIVEN = MemoryOptions()


def test_size_is_read_from_names_and_shapes():
    assert (SIZE.blocks, SIZE.width, SIZE.other_weights) == (40, 5120, 64 * 5120)
    assert SIZE.block_weights == 40 * (8 * 5120**2 + 2 * 5120 * 13824)
    assert SIZE.lora_per_rank == 40 * (8 * 2 * 5120 + 2 * (5120 + 13824))


def test_each_part_is_forecast_by_itself():
    whole, checkpointed = (forecast([SIZE], MemoryOptions(gradient_checkpointing=on), LOAD) for on in (False, True))
    trained = SIZE.lora_per_rank * LORA.rank
    assert whole.weights == 2 * (SIZE.block_weights + SIZE.other_weights)
    assert (whole.lora, whole.optimizer) == (trained * (4 + 4), trained * 2 * 4)
    assert replace(checkpointed, activations=whole.activations) == whole
    assert checkpointed.activations < whole.activations / 10


def test_each_option_lowers_the_estimate():
    plain = estimate([SIZE], GIVEN, LOAD)
    checkpointed = estimate([SIZE], MemoryOptions(gradient_checkpointing=True), LOAD)
    swapped = estimate([SIZE], MemoryOptions(gradient_checkpointing=True, blocks_to_swap=20), LOAD)
    rounded = estimate([SIZE], MemoryOptions(gradient_checkpointing=True, blocks_to_swap=20, int8_base=True), LOAD)
    assert plain > checkpointed > swapped > rounded


@pytest.mark.parametrize(
    ("free", "picked"),
    [
        (200, (False, False, False)),
        (40, (True, False, False)),
        (26, (True, True, False)),
        (23, (True, False, True)),
        (10, (True, True, True)),
    ],
)
def test_the_mildest_options_that_fit_are_picked(free, picked):
    options, fits = choose_options([SIZE], GIVEN, LOAD, free=int(free * GIB))
    assert fits
    assert (options.gradient_checkpointing, options.blocks_to_swap > 0, options.int8_base) == picked


def test_float8_that_the_user_gave_stays_float8():
    options, _ = choose_options([SIZE], MemoryOptions(fp8_base=True), LOAD, free=10 * GIB)
    assert options.fp8_base
    assert not options.int8_base


def test_nf4_that_the_user_gave_stays_and_takes_a_good_quarter_of_bfloat16():
    options, fits = choose_options([SIZE], MemoryOptions(nf4_base=True), LOAD, free=int(15.5 * GIB))
    assert fits
    assert (options.nf4_base, options.int8_base, options.blocks_to_swap) == (True, False, 0)
    weights = forecast([SIZE], options, LOAD).weights - 2 * SIZE.other_weights
    assert weights == SIZE.block_weights * (4 + 16 / 64) / 8


def test_what_cannot_fit_is_said():
    _, fits = choose_options([SIZE], GIVEN, LOAD, free=GIB)
    assert not fits


def test_nothing_is_swapped_where_there_is_no_gpu():
    options, _ = choose_options([SIZE], GIVEN, replace(LOAD, weight_bytes=4, on_gpu=False), free=GIB)
    assert options.blocks_to_swap == 0


def test_two_experts_side_by_side_take_twice_the_weights_and_in_turn_those_of_one():
    weights = (SIZE.block_weights + SIZE.other_weights) * 2
    adapters = SIZE.lora_per_rank * LORA.rank * 16
    one, both = (estimate([SIZE] * count, GIVEN, LOAD) for count in (1, 2))
    assert both - one == weights + adapters
    assert estimate([SIZE] * 2, MemoryOptions(offload_inactive_dit=True), LOAD) - one == adapters
    shared = replace(LOAD, shared_lora=True)
    assert estimate([SIZE] * 2, MemoryOptions(offload_inactive_dit=True), shared) == one


def test_experts_take_turns_before_anything_is_swapped():
    options, fits = choose_options([SIZE] * 2, GIVEN, LOAD, free=44 * GIB)
    assert fits
    assert options.offload_inactive_dit
    assert options.blocks_to_swap == 0


def test_with_checkpointing_one_block_is_counted_and_the_inputs_of_all():
    few, many = (
        estimate([SIZE], MemoryOptions(gradient_checkpointing=True), replace(LOAD, tokens=tokens))
        for tokens in (1000, 2000)
    )
    # 66 kept by one block, 30 beside it, 2 bytes of input for each of 40 blocks.
    assert many - few == 1000 * 5120 * (66 + 30 + 2 * 40)


def test_a_lokr_keeps_the_product_of_its_factors():
    difference = estimate([SIZE], GIVEN, replace(LOAD, lora=replace(LORA, kind="lokr"))) - estimate([SIZE], GIVEN, LOAD)
    assert difference == SIZE.block_weights * 2


def test_dora_and_float32_keep_more_for_the_backward_pass():
    dora, wide = replace(LOAD, lora=replace(LORA, dora=True)), replace(LOAD, weight_bytes=4)
    assert estimate([SIZE], GIVEN, dora) - estimate([SIZE], GIVEN, LOAD) == 4096 * 5120 * 40 * (177 - 66)
    weights = (SIZE.block_weights + SIZE.other_weights) * 2
    assert estimate([SIZE], GIVEN, wide) - estimate([SIZE], GIVEN, LOAD) == weights + 4096 * 5120 * (
        40 * (108 - 66) + 48 - 30
    )


WHOLE = (SIZE.block_weights + SIZE.other_weights) * 2


@pytest.mark.parametrize(
    ("options", "experts", "frozen_experts", "expected"),
    [
        ({}, 1, 0, 0),
        ({"offload_inactive_dit": True}, 2, 0, 2 * WHOLE),
        # An expert that only draws takes turns with the one that is trained.
        ({}, 1, 1, 2 * WHOLE),
        # Half of the blocks, and the model that passes through on its way to the device.
        ({"blocks_to_swap": 20, "gradient_checkpointing": True}, 1, 0, SIZE.block_weights * 2 // 2 + WHOLE),
        ({"fsdp": True}, 1, 0, WHOLE),
    ],
)
def test_models_take_the_cpu_memory_of_what_rests_there(options, experts, frozen_experts, expected):
    assert resting_bytes([SIZE] * experts, [SIZE] * frozen_experts, MemoryOptions(**options), LOAD) == expected


def test_without_a_gpu_models_train_in_cpu_memory():
    load = replace(LOAD, weight_bytes=4, on_gpu=False)
    taken = resting_bytes([SIZE] * 2, [], MemoryOptions(offload_inactive_dit=True), load)
    assert taken == estimate([SIZE] * 2, GIVEN, load)
    assert taken > 2 * 2 * WHOLE
