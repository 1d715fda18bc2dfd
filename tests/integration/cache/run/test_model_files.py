"""`cache` makes the same entries of the same weights, whether they come from a diffusers folder, from single files, or as fp8_scaled."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from blissmask.cachefile.read_file import read_tensors
from blissmask.config.model import Config
from blissmask.errors import ModelError
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import Action, RunContext
from tests.builders.cache import PHOTO_WH, captions, config
from tests.builders.families import NAMES, PLAIN, TINY, family_of
from tests.builders.pictures import photo_folder
from tests.builders.single_files import FP32
from tests.builders.tiny_pipelines import PIPELINES, tiny_pipeline


def single_files(name, model):
    """Return the single file of every encoder, and the folder of every tokenizer, of a model folder in diffusers layout."""
    task = family_of(name).task
    weights = {part.field: next((model / part.folder).glob("*.safetensors")) for part in task.encoders}
    return weights | {part.field: model / part.folder for part in task.text if isinstance(part, Tokenizer)}


def lacks_released_statistics(name, vae_file):
    """Return whether single files of the VAE get statistics of released latents that the miniature lacks."""
    vae = family_of(name).task.latents[0]
    from_file = vae.load(ModelFiles(vae=vae_file), **FP32)
    return from_file.config.get("latents_mean") != vae.load(TINY, **FP32).config.get("latents_mean")


def cached(folder, name, **files):
    """Cache one photo and its caption; return all tensors by file and key."""
    settings = config(
        folder, arch=name, resolution=[64, 64], cache_directory=folder / f"cache {len(list(folder.iterdir()))}"
    ).model_dump()
    settings["model"] = {"arch": name, "device": "cpu", **files}
    validated = Config.model_validate(settings)
    summary = run_cache(plan_cache(validated), RunContext())
    assert summary.failures == []
    found = sorted(validated.datasets[0].cache_directory.glob("*.safetensors"))
    return {f"{path.name} {key}": tensor for path in found for key, tensor in read_tensors(path).items()}


@pytest.fixture
def photo(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a"], 'a photo of kyla with a "sign"')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINES)
def test_folders_and_single_files_give_what_the_same_model_in_memory_gives(photo, name):
    tiny_pipeline(name).save_pretrained(photo / "model")
    expected = cached(photo, name, model="tiny")
    single = single_files(name, photo / "model")
    # CLIP is read at its end mark, which is token 49407 in every CLIP of a single file and token 1 in the miniature.
    differing = ("clipL", " latents_") if lacks_released_statistics(name, single["vae"]) else ("clipL",)
    for files, without in (({"model": str(photo / "model")}, ()), (single, differing)):
        made = cached(photo, name, **files)
        assert made.keys() == expected.keys()
        for key, tensor in expected.items():
            if not any(content in key for content in without):
                torch.testing.assert_close(made[key], tensor, rtol=1e-2, atol=1e-3, msg=key)


@pytest.mark.slow
def test_an_fp8_scaled_text_encoder_differs_by_its_rounding_only(photo):
    tiny_pipeline(PLAIN).save_pretrained(photo / "model")
    files = single_files(PLAIN, photo / "model")
    exact = cached(photo, PLAIN, **files)
    stored = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    for key, value in load_file(files["text_encoder"]).items():
        stored[key] = value
        if value.ndim == 2 and ".layer." in key and "relative_attention_bias" not in key:
            scale = value.abs().max() / 448
            stored[key], stored[key.removesuffix("weight") + "scale_weight"] = (
                (value / scale).to(torch.float8_e4m3fn),
                scale,
            )
    save_file(stored, photo / "umt5_fp8_scaled.safetensors")
    rounded = cached(photo, PLAIN, **{**files, "text_encoder": photo / "umt5_fp8_scaled.safetensors"})
    [text] = [key for key in exact if "_te.safetensors" in key]
    difference = (rounded.pop(text).float() - exact.pop(text).float()).abs()
    assert 0 < difference.mean() < 0.1
    assert all(torch.equal(rounded[key], exact[key]) for key in exact)


def test_names_of_weights_are_found_without_loading_them(photo, monkeypatch):
    tiny_pipeline(PLAIN).save_pretrained(photo / "model")
    files = single_files(PLAIN, photo / "model")
    cached(photo, PLAIN, **files)
    for method in ("load_latent_encoder", "load_text_encoder"):
        monkeypatch.setattr(FamilyForTask, method, lambda *_, **__: pytest.fail("loaded"))
    settings = config(photo, resolution=[64, 64], cache_directory=next(photo.glob("cache *"))).model_dump()
    settings["model"] = {"arch": PLAIN, "device": "cpu", **files}
    run_cache(plan_cache(Config.model_validate(settings)), RunContext())


def test_all_model_files_that_are_missing_are_told_and_a_dry_run_goes_on_without_them(photo):
    settings = config(photo, arch=PLAIN, resolution=[64, 64]).model_dump()
    settings["model"] = {
        "arch": PLAIN,
        "vae": photo / "gone.safetensors",
        "text_encoder": photo / "gone_too.safetensors",
    }
    with pytest.raises(ModelError) as caught:
        plan_cache(Config.model_validate(settings))
    assert [problem.where for problem in caught.value.problems] == [
        (str(photo / "gone.safetensors"),),
        (str(photo / "gone_too.safetensors"),),
    ]
    plan = plan_cache(Config.model_validate({**settings, "run": {"dry_run": True}}))
    assert len(plan.having(Action.WRITE)) == 1
    [warning] = [warning for warning in plan.warnings if "not here yet" in warning.what]
    assert len(warning.where) == 2


@pytest.mark.parametrize("dry_run", [False, True])
def test_files_of_other_models_are_told_in_the_plan_together(photo, dry_run):
    other = photo / "other.safetensors"
    save_file({"a.weight": torch.zeros(2, 2)}, other)
    settings = config(photo, arch=PLAIN, resolution=[64, 64]).model_dump()
    settings |= {"model": {"arch": PLAIN, "vae": other, "text_encoder": other}, "run": {"dry_run": dry_run}}
    with pytest.raises(ModelError) as caught:
        plan_cache(Config.model_validate(settings))
    assert [problem.where for problem in caught.value.problems] == [(str(other),)] * 2
    save_file({"a.weight": torch.zeros(2, 2, dtype=torch.int8)}, other)
    settings["model"]["vae"] = photo / "gone.safetensors"
    with pytest.raises(ModelError, match="an int8 file"):
        plan_cache(Config.model_validate(settings))


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_of_every_family_needs_no_model(photo, name):
    settings = config(photo, arch=name, resolution=[64, 64]).model_dump()
    settings |= {"model": {"arch": name}, "run": {"dry_run": True}}
    if family_of(name).task.control_range[0]:
        settings["datasets"][0]["control_directory"] = photo / "photos"
    plan = plan_cache(Config.model_validate(settings))
    assert len(plan.having(Action.WRITE)) == 1
    assert [warning for warning in plan.warnings if "the model is not here yet" in warning.what]


def test_a_model_folder_that_is_missing_is_told_once(photo):
    settings = config(photo, arch=PLAIN, resolution=[64, 64]).model_dump()
    settings["model"] = {"arch": PLAIN, "model": "nowhere"}
    with pytest.raises(ModelError) as caught:
        plan_cache(Config.model_validate(settings))
    assert len(caught.value.problems) == 1
