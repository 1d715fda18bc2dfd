"""``--guidance-scale``: what a model that was distilled for guidance is shown while it trains."""

import pytest

from blissmask.errors import UsageError
from blissmask.events import Measured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.cached_families import write_cache
from tests.builders.families import NAMES, PLAIN, family_of
from tests.builders.recorder import Recorder
from tests.builders.training import problems_of, train_config, write_masked_set

DISTILLED = [family for family in map(family_of, NAMES) if family.task.guidance_scale is not None]


def first_loss(cache, output, **options):
    recorder = Recorder()
    plan = plan_training(train_config(cache, output, arch=None, max_train_steps=1, **options))
    train_lora.run(plan, RunContext(recorder))
    return recorder.of(Measured)[0].values["loss"]


@pytest.mark.parametrize("family", DISTILLED, ids=lambda family: family.name)
def test_a_distilled_model_sees_the_scale_and_its_own_where_none_is_given(tmp_path, family):
    cache = write_cache(tmp_path / "cache", family)
    left_out, own, other = (
        first_loss(cache, tmp_path / str(scale), guidance_scale=scale)
        for scale in (None, family.task.guidance_scale, 6.0)
    )
    assert left_out == own
    assert left_out != other


def test_a_model_without_such_an_input_is_refused(tmp_path):
    cache = write_masked_set(tmp_path / "cache")
    with pytest.raises(UsageError) as caught:
        plan_training(train_config(cache, tmp_path / "out", guidance_scale=4.0))
    assert f"and `{PLAIN}` is none" in problems_of(caught.value)


@pytest.mark.parametrize("family", DISTILLED, ids=lambda family: family.name)
def test_previews_of_a_distilled_model_have_a_scale_of_their_own(family):
    assert family.preview_pipeline().guidance_scale is not None
