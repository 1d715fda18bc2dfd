"""`cache` makes the same entries of the same weights, whether they come from a diffusers folder, from single files, or as fp8_scaled."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from blissmask.cachefile.read import read_tensors
from blissmask.config.model import Config
from blissmask.errors import ModelError
from blissmask.families.family import FamilyForTask
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import Action, RunContext
from tests.builders.cache import PHOTO_WH, captions, config
from tests.builders.pictures import photo_folder
from tests.builders.tiny_pipelines import tiny_pipeline

WEIGHTS = {"vae": "vae/diffusion_pytorch_model.safetensors", "text_encoder": "text_encoder/model.safetensors"}
SECOND = {"text_encoder_2": "text_encoder_2/model.safetensors"}
# byT5, the second encoder of HunyuanVideo 1.5, needs no tokenizer files. Wan 2.2 5B is not here: single files get the statistics of its
# released latents, which the miniature lacks.
SINGLE_FILES = {
    "wan21": {**WEIGHTS, "tokenizer": "tokenizer"},
    "qwen-image": {**WEIGHTS, "tokenizer": "tokenizer"},
    "hunyuan-video": {**WEIGHTS, **SECOND, "tokenizer": "tokenizer", "tokenizer_2": "tokenizer_2"},
    "hunyuan-video-15": {**WEIGHTS, **SECOND, "tokenizer": "tokenizer"},
}


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
@pytest.mark.parametrize("name", SINGLE_FILES)
def test_folders_and_single_files_give_what_the_same_model_in_memory_gives(photo, name):
    tiny_pipeline(name).save_pretrained(photo / "model")
    expected = cached(photo, name, model="tiny")
    single = {field: photo / "model" / place for field, place in SINGLE_FILES[name].items()}
    for files in ({"model": str(photo / "model")}, single):
        made = cached(photo, name, **files)
        assert made.keys() == expected.keys()
        for key, tensor in expected.items():
            # CLIP is read at its end mark, which is token 49407 in every CLIP of a single file and token 1 in the miniature.
            if files is not single or "clipL" not in key:
                torch.testing.assert_close(made[key], tensor, rtol=1e-2, atol=1e-3, msg=key)


@pytest.mark.slow
def test_an_fp8_scaled_text_encoder_differs_by_its_rounding_only(photo):
    tiny_pipeline("wan21").save_pretrained(photo / "model")
    files = {field: photo / "model" / place for field, place in SINGLE_FILES["wan21"].items()}
    exact = cached(photo, "wan21", **files)
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
    rounded = cached(photo, "wan21", **{**files, "text_encoder": photo / "umt5_fp8_scaled.safetensors"})
    [text] = [key for key in exact if "_te.safetensors" in key]
    difference = (rounded.pop(text).float() - exact.pop(text).float()).abs()
    assert 0 < difference.mean() < 0.1
    assert all(torch.equal(rounded[key], exact[key]) for key in exact)


def test_names_of_weights_are_found_without_loading_them(photo, monkeypatch):
    tiny_pipeline("wan21").save_pretrained(photo / "model")
    files = {field: photo / "model" / place for field, place in SINGLE_FILES["wan21"].items()}
    cached(photo, "wan21", **files)
    for method in ("load_latent_encoder", "load_text_encoder"):
        monkeypatch.setattr(FamilyForTask, method, lambda *_, **__: pytest.fail("loaded"))
    settings = config(photo, resolution=[64, 64], cache_directory=next(photo.glob("cache *"))).model_dump()
    settings["model"] = {"arch": "wan21", "device": "cpu", **files}
    run_cache(plan_cache(Config.model_validate(settings)), RunContext())


def test_all_model_files_that_are_missing_are_told_and_a_dry_run_goes_on_without_them(photo):
    settings = config(photo, arch="wan21", resolution=[64, 64]).model_dump()
    settings["model"] = {
        "arch": "wan21",
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


def test_a_model_folder_that_is_missing_is_told_once(photo):
    settings = config(photo, arch="wan21", resolution=[64, 64]).model_dump()
    settings["model"] = {"arch": "wan21", "model": "nowhere"}
    with pytest.raises(ModelError) as caught:
        plan_cache(Config.model_validate(settings))
    assert len(caught.value.problems) == 1
