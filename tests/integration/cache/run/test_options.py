"""Options of `cache`: which captions are read, the precision that pictures are encoded in, and what a failing item costs."""

import pytest
import torch

from blissmask.config.model import Config
from blissmask.errors import InputError
from blissmask.families.family import FamilyForTask
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import RunContext
from tests.builders.cache import PHOTO_WH, captions, config, plan
from tests.builders.pictures import photo_folder


@pytest.fixture
def photos(tmp_path):
    """Return a folder with two photos, each with a caption of either suffix."""
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a", "b"], "from a .txt file")
    for name in ("a", "b"):
        (tmp_path / "photos" / f"{name}.caption").write_text("from a .caption file")
    return tmp_path


def with_option(sections, name, **options):
    return sections.model_copy(update={name: getattr(sections, name).model_copy(update=options)})


def captions_of(planned):
    return {text.caption for text in planned.texts}


@pytest.mark.parametrize("suffix", [".txt", ".caption"])
def test_captions_are_read_from_the_files_of_the_suffix_that_is_given(photos, suffix):
    assert captions_of(plan(photos, caption_extension=suffix)) == {f"from a {suffix} file"}


def test_captions_are_text_files_when_no_suffix_is_given(photos):
    assert captions_of(plan(photos)) == {"from a .txt file"}


def test_the_suffix_of_the_general_section_holds_for_every_data_set(photos):
    given = config(photos).model_dump(exclude_unset=True)
    sections = Config.model_validate({**given, "general": {"caption_extension": ".caption"}})
    assert captions_of(plan_cache(sections)) == {"from a .caption file"}


@pytest.mark.parametrize("name", [None, "float32", "bfloat16", "float16"])
def test_the_vae_has_the_precision_that_is_given(photos, monkeypatch, name):
    seen = set()
    load = FamilyForTask.load_latent_encoder

    def watch(family, files, *, device, dtype):
        seen.add(dtype)
        return load(family, files, device=device, dtype=dtype)

    monkeypatch.setattr(FamilyForTask, "load_latent_encoder", watch)
    sections = with_option(config(photos, cache={"latents_only": True}), "model", vae_dtype=name)
    run_cache(plan_cache(sections), RunContext())
    assert seen == {getattr(torch, name or "float32")}


def refuse(*arguments, **options):
    raise InputError("broken")


@pytest.fixture(params=["load_latent_encoder", "load_text_encoder"])
def refusing(request, monkeypatch):
    """Let an encoder of the family refuse everything."""
    load = getattr(FamilyForTask, request.param)

    def load_refusing(*arguments, **options):
        encoder = load(*arguments, **options)
        encoder.encode = encoder.encode_item = refuse
        return encoder

    monkeypatch.setattr(FamilyForTask, request.param, load_refusing)


@pytest.mark.usefixtures("refusing")
def test_what_cannot_be_encoded_ends_the_run_when_asked_to(photos):
    with pytest.raises(InputError, match="broken"):
        run_cache(plan(photos), RunContext(fail_fast=True))


@pytest.mark.usefixtures("refusing")
def test_what_cannot_be_encoded_costs_its_items_otherwise(photos):
    failures = run_cache(plan(photos), RunContext()).failures
    assert [failure.problem.what for failure in failures] == ["broken"] * 2
