"""LoKr and LoHa of a fused layer as a whole: what can be done with them, and what is said where nothing can."""

from pathlib import Path

import pytest

from blissmask.errors import ModelError
from blissmask.training.lora.convert import convert_lora, in_parts, refuse_inconvertible
from tests.builders.whole_layers import APART, DIFFUSERS, FUSED, KOHYA, NATIVE, REFUSED, whole

PATH = Path("kyla.safetensors")


@pytest.mark.parametrize("names", [FUSED, APART])
@pytest.mark.parametrize("layer", [NATIVE, KOHYA, DIFFUSERS])
def test_a_whole_layer_in_parts_is_refused_in_every_spelling(layer, names):
    with pytest.raises(ModelError, match=REFUSED):
        in_parts(whole(layer), names, PATH)


def test_a_whole_layer_is_spelled_another_way_where_files_keep_it_whole():
    converted = convert_lora(whole(KOHYA), "native", FUSED, PATH)
    assert converted.keys() == whole(NATIVE).keys()


@pytest.mark.parametrize(("layer", "wanted", "names"), [(KOHYA, "native", APART), (DIFFUSERS, "native", FUSED)])
def test_a_conversion_that_would_take_it_apart_is_refused_beforehand(layer, wanted, names):
    with pytest.raises(ModelError, match=REFUSED):
        refuse_inconvertible(whole(layer), wanted, names, PATH)
