"""cli/next_step.py: what comes next, made from what the user has."""

import pytest

from blissmask.cli.next_step import next_step
from blissmask.config.model import Config
from blissmask.errors import Hint, Problem
from blissmask.tasks.run.plan import Failure, Summary

DATASET = {"image_directory": "photos", "mask_directory": "masks"}


def after(command, *, details=None, datasets=(DATASET,), failures=(), items=3, **tables):
    config = Config.model_validate({"datasets": list(datasets), **tables})
    return str(next_step(config, [Summary(command, items=items, details=details or {}, failures=list(failures))]))


def test_masks_of_single_people_are_trained_and_what_is_missing_is_prepared():
    assert after("masks") == "`blissmask train --prepare` encodes what is missing in the cache, and trains"


def test_masks_of_several_people_ask_for_the_subject():
    said = after("masks", details={"several_people": ["a", "b"]}, masks={"sheet": "sheet.png"})
    assert (
        said == "look at `sheet.png`; then `blissmask instance` finds your subject where 2 photos show several people"
    )


def test_masks_without_a_configuration_name_the_folders_or_the_starter():
    typed = {"masks": {"input": "my photos", "output": "m"}}
    said = after("masks", datasets=(), **typed)
    assert "`blissmask --starter person --photos 'my photos' > blissmask.toml`" in said
    typed_alike = {"masks": {"input": "photos", "output": "m"}}
    assert "`blissmask --starter person --photos photos > blissmask.toml`" in after("masks", datasets=(), **typed_alike)
    said = after("masks", datasets=(), details={"several_people": ["a"]}, **typed)
    assert "`blissmask instance --input 'my photos' --output subject --reference PHOTO`" in said


def test_subject_masks_are_applied_after_a_look_at_uncertain_ones():
    told = {"instance": {"output": "subject", "review": "review"}, "apply": {"weighted_masks": "masks"}}
    said = after("instance", details={"verdicts": {"uncertain": 1}}, **told)
    assert said == "look at `review`; then `blissmask apply` sets everybody else to weight 0"
    assert after("instance", details={"verdicts": {"uncertain": 0}}, **told).startswith("`blissmask apply`")


def test_an_uncertain_photo_of_any_subject_asks_for_a_look():
    config = Config.model_validate({"instance": {"output": "subject", "review": "review"}})
    runs = [Summary("instance", items=3, details={"verdicts": {"uncertain": count}}) for count in (1, 0)]
    assert str(next_step(config, runs)).startswith("look at `review`; then ")


def test_masks_of_the_subject_must_be_those_of_the_data_set():
    assert 'set `mask_directory = "final"`' in after("apply", apply={"output": "final"})
    cut_out = {"to_alpha": {"mask_directory": "final"}, "apply": {"output": "final"}}
    assert after("apply", **cut_out) == "`blissmask to-alpha` puts the masks into the photos"
    assert after("apply", apply={"output": "masks"}) == "`blissmask cache` encodes photos, masks and captions"


def test_cutouts_must_be_the_photos_of_the_data_set():
    told = {"to_alpha": {"output_directory": "rgba"}}
    assert "`alpha_mask = true`" in after("to-alpha", **told)
    reads = {"image_directory": "rgba", "alpha_mask": True}
    assert after("to-alpha", datasets=[reads], **told).startswith("`blissmask cache`")


def test_a_cache_with_masks_is_trained_with_them():
    masked = {"mask_sources": {"file": 3, "alpha": 0, "full": 0}}
    assert "--mask-preset person-prior" in after("cache", details=masked)
    assert "--mask-preset" not in after("cache", details=masked, mask_loss={"mask_preset": "face"})
    assert "--mask-preset" not in after("cache", details={"mask_sources": {"full": 3}})


def test_half_a_cache_names_the_other_half():
    assert "`blissmask cache --text-only --no-latents-only`" in after("cache", cache={"latents_only": True})
    assert "`blissmask cache --latents-only --no-text-only`" in after("cache", cache={"text_only": True})


def test_a_hint_takes_back_what_was_typed():
    hint = Hint("`{command}` encodes the rest", "cache", "--text-only --no-latents-only")
    typed = {"--latents-only": "--latents-only", "--device": "--device cpu"}
    assert hint.text(typed=typed) == "`blissmask cache --text-only --no-latents-only --device cpu` encodes the rest"


def test_a_lora_says_where_it_goes_and_what_to_write_and_compare():
    details = {
        "steps": 1600,
        "files": ["out/k-low.safetensors", "out/k-low-ema.safetensors"],
        "averages": ["out/k-low-ema.safetensors"],
        "experts": ["low"],
        "checkpoints": ["out/k-low-step00000400.safetensors", "out/k-low-step00000800.safetensors"],
    }
    assert after("train", details=details, datasets=[DATASET | {"trigger": "ohwx"}]).splitlines() == [
        "copy out/k-low.safetensors to ComfyUI's `models/loras`; load it on the low-noise model at strength 1, and write `ohwx` in the prompt",
        "compare it with the 2 earlier ones, out/k-low-step00000400.safetensors ...: the earliest that has the likeness has learned the least besides",
    ]


def test_a_lora_of_a_trial_goes_nowhere():
    details = {"steps": 10, "files": ["out/k-low.safetensors"], "experts": ["low"]}
    for lora_format in ("native", "kohya"):
        said = after("train", details=details, model={"model": "tiny"}, saving={"lora_format": lora_format})
        assert said == (
            "out/k-low.safetensors fits no real model: this was a trial in miniature, with random weights; "
            "fill in [model] and run again without `--model tiny`"
        )


def test_a_lora_of_several_names_the_trigger_of_each():
    people = {"kyla": "ohwx", "tom": "sks"}
    subjects = [{"name": name, "trigger": word, "references": ["x.jpg"]} for name, word in people.items()]
    datasets = [DATASET | {"subject": name, "mask_directory": f"masks/{name}"} for name in people]
    said = after("train", details={"steps": 9, "files": ["k.safetensors"]}, datasets=datasets, subjects=subjects)
    assert said.endswith("and write `ohwx` for kyla, `sks` for tom in the prompt")


def test_checkpoints_and_prompts_can_be_ranked():
    details = {"steps": 9, "files": ["k.safetensors"], "checkpoints": ["k-step00000004.safetensors"]}
    previews = {"prompts": ["a woman"]}
    assert "`--rank-loras` draws" in after("train", details=details | {"rankable": True}, previews=previews)
    assert "`--rank-loras --likeness-reference PHOTO` draws" in after("train", details=details, previews=previews)
    assert "--rank-loras" not in after("train", details=details, previews=previews | {"likeness": "off"})
    assert "--rank-loras" not in after("train", details=details)
    assert after("train", details={"ranking": []}) == ""


@pytest.mark.parametrize(
    ("files", "experts", "where"),
    [
        (["k.safetensors"], [], "load it on the model at"),
        (["k.safetensors"], ["high", "low"], "load it on both models at"),
        (
            ["h.safetensors", "l.safetensors"],
            ["high", "low"],
            "h.safetensors on the high-noise model and l.safetensors on the low",
        ),
    ],
)
def test_files_of_experts_go_on_their_models(files, experts, where):
    assert where in after("train", details={"steps": 9, "files": files, "experts": experts})


def test_a_file_that_comfyui_does_not_read_whole_says_how_to_respell_it():
    assert "--convert-lora" in after(
        "train", details={"steps": 9, "files": ["k.safetensors"]}, saving={"lora_format": "kohya"}
    )


def test_a_lokr_that_comfyui_would_use_a_part_of_is_made_a_lora_first():
    details = {"steps": 9, "files": ["k.safetensors"], "read_in_part_by": ["ComfyUI"]}
    said = after("train", details=details, lora={"network_type": "lokr"})
    assert said.startswith("`blissmask train --convert-lora k.safetensors --rank N` makes a LoRA that ComfyUI")
    kohya = {"lora_format": "kohya"}
    assert "--rank N --lora-format native" in after(
        "train", details=details, lora={"network_type": "loha"}, saving=kohya
    )


def test_nothing_follows_failures_and_explanations():
    failure = Failure("a", Problem("broken"))
    assert after("masks", failures=[failure]) == after("masks", items=0) == after("train") == ""
