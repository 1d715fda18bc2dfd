"""LoKr of a fused layer as a whole: what a combination of files with it says in the plan."""

from pathlib import Path

import pytest

from blissmask.errors import ModelError, UsageError
from blissmask.tasks.convert_lora.combination import Combination, check_files
from tests.builders.whole_layers import APART, FUSED, KOHYA, NATIVE, REFUSED, whole

PATHS = (Path("kyla.safetensors"), Path("kyla-2.safetensors"))


def check(combination, layers, wanted, names=APART):
    check_files(combination, [whole(layer) for layer in layers], [False] * len(layers), wanted, names)


def test_a_lower_rank_of_a_whole_layer_is_refused_in_the_plan():
    with pytest.raises(ModelError, match=REFUSED):
        check(Combination(None, PATHS[:1], (1.0,), rank=4), [NATIVE], "native", FUSED)


@pytest.mark.parametrize(("layers", "wanted"), [((NATIVE, KOHYA), "native"), ((NATIVE, NATIVE), "kohya")])
def test_an_average_with_another_spelling_in_it_is_refused_in_the_plan(layers, wanted):
    with pytest.raises(ModelError, match=REFUSED):
        check(Combination("average", PATHS, (1.0, 1.0), rank=None), layers, wanted)


def test_an_average_that_nothing_spells_anew_is_not_refused_and_diffusers_of_it_is():
    average = Combination("average", PATHS, (1.0, 1.0), rank=None)
    check(average, (NATIVE, NATIVE), "native")
    with pytest.raises(UsageError, match="no spelling for LoKr and LoHa"):
        check(average, (NATIVE, NATIVE), "diffusers")
