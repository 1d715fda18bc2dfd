"""Every number of the configuration is bounded: what makes no sense is refused by name, before it fills the memory."""

import typing

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from blissmask.config.fields.kinds import MOST_MICRO_BATCHES, Number
from blissmask.config.model import Config
from blissmask.config.sections.optimizer_section import OptimizerSection
from blissmask.config.sections.train_section import TrainSection

ANY_OF_64_BITS = {
    # Seeds are names, not amounts: programs draw them from all 64 bits.
    "seed",
}


def numbers(model, where=""):
    """Yield name, field and kind of each number in a model and in the models within."""
    for name, field in model.model_fields.items():
        kinds = set(leaves(field.annotation))
        for kind in kinds:
            if issubclass(kind, BaseModel):
                yield from numbers(kind, f"{name}.")
        for kind in kinds & {int, float}:
            yield pytest.param(field, kind, id=f"{where}{name}")


def leaves(annotation):
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        arguments = arguments[:1]
    if isinstance(annotation, type) and not arguments:
        yield annotation
    for argument in arguments:
        yield from leaves(argument)


def refuses(field: FieldInfo, number):
    """Return whether a field takes a number neither alone nor in a list or a pair."""
    checked = TypeAdapter(typing.Annotated[field.annotation, field])
    for value in (number, [number], (number, number)):
        try:
            checked.validate_python(value)
        except ValidationError:
            continue
        return False
    return True


@pytest.mark.parametrize(("field", "kind"), numbers(Config))
def test_a_number_beyond_all_sense_is_refused(request, field, kind):
    # A whole number may stand for a number with decimals, too.
    huge = 2**63 - 1 if kind is int else 1e300
    named = request.node.callspec.id.rpartition(".")[2]
    assert refuses(field, -huge)
    assert refuses(field, huge) is (named not in ANY_OF_64_BITS)


def test_a_bound_is_told_with_its_sign():
    for number, told in ((2e6, "of at most 1,000,000"), (-2e6, "between -1,000,000 and 1,000,000")):
        with pytest.raises(ValidationError, match=f"must be a number {told}"):
            TypeAdapter(Number).validate_python(number)


def test_the_micro_batches_of_a_step_are_all_in_memory_and_bounded():
    assert TrainSection(gradient_accumulation_steps=MOST_MICRO_BATCHES).gradient_accumulation_steps == 4096
    with pytest.raises(ValidationError, match="must be a number of at most 4,096"):
        TrainSection(gradient_accumulation_steps=MOST_MICRO_BATCHES + 1)


def test_a_norm_that_clips_nothing_is_taken():
    assert OptimizerSection(max_grad_norm=1e9).max_grad_norm == 1e9


def test_the_numbers_of_the_model_are_found():
    found = {parameter.id for parameter in numbers(Config)}
    assert {"train.seed", "mask_loss.mask_gamma", "datasets.target_frames", "combine.strength"} <= found
