"""Qwen3 from single files, in the names of ComfyUI and of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from blissmask.families.encoders import qwen3
from tests.builders.single_files import assert_transformer_rebuilt_from_shapes, state_of, stored_shapes

FULL_SIZES = {
    "4b": {"hidden_size": 2560, "intermediate_size": 9728, "tie_word_embeddings": True},
    "8b": {"hidden_size": 4096, "intermediate_size": 12288},
}


@pytest.mark.parametrize("sizes", FULL_SIZES.values(), ids=FULL_SIZES)
def test_full_sizes_are_read_from_shapes(sizes):
    same = {"vocab_size": 151936, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8}
    constants = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "max_position_embeddings": 40960}
    assert_transformer_rebuilt_from_shapes("Qwen3Model", {**sizes, **same, **constants}, qwen3.config_of)


def test_the_miniature_has_the_configuration_that_its_own_file_tells():
    model, _ = state_of(qwen3.tiny)
    for key, value in qwen3.config_of(stored_shapes(model), Path("file")).items():
        assert getattr(model.config, key) == value, key


@pytest.mark.parametrize("prefix", ["", "model."])
def test_names_lose_the_prefix_of_a_language_model(prefix):
    model, _ = state_of(qwen3.tiny)
    stored = {f"{prefix}{name}": tensor for name, tensor in stored_shapes(model).items()}
    assert qwen3.in_transformers_names(stored).keys() == model.state_dict().keys()
