"""What previews need and do is known before a model is loaded: sizes, files, experts; what cannot be drawn is refused."""

import dataclasses

import pytest

from blissmask.errors import BlissmaskError, UsageError
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.families import NAMES, PLAIN, TWO_EXPERTS, family_of
from tests.builders.pictures import random_rgb, save
from tests.builders.tiny_pipelines import tiny_pipeline
from tests.builders.training import problems_of, train_config, write_entry

DISTILLED = next(family for family in map(family_of, NAMES) if family.preview_pipeline().guidance_scale is not None)
EDIT = next(family for family in map(family_of, NAMES) if family.task.text_sees_controls)


def plan(cache, prompt="a cat", *, suffix="txt", **options):
    path = cache.parent / f"prompts.{suffix}"
    path.write_text(f"{prompt}\n", encoding="utf-8")
    return plan_training(
        train_config(cache, cache.parent / "out", **{"sample_prompts": path, "sample_every_n_steps": 1, **options})
    )


def preview_of(*args, **options):
    (preview,) = plan(*args, **options).previews.previews
    return preview


def refusal(*args, **options):
    with pytest.raises(BlissmaskError) as caught:
        plan(*args, **options)
    return problems_of(caught.value)


def wan_folder(tmp_path, *, without=()):
    """Save a tiny model folder in diffusers layout, and leave parts out."""
    folder = tmp_path / "model"
    tiny_pipeline(TWO_EXPERTS).save_pretrained(folder)
    for part in without:
        (folder / part).rename(tmp_path / part)
    return folder


def test_a_miniature_draws_in_few_steps_unless_the_prompt_says_otherwise(cache, tmp_path):
    assert preview_of(cache).settings.steps == 4
    assert preview_of(cache, "a cat --s 7").settings.steps == 7
    assert preview_of(cache, model=str(wan_folder(tmp_path))).settings.steps == 20


def test_nothing_is_planned_without_prompts(cache, tmp_path):
    assert plan_training(train_config(cache, tmp_path / "out")).previews is None


def test_an_open_prompt_is_completed_by_data_set_and_family(tmp_path):
    cache = tmp_path / "cache"
    for number, shape in enumerate([(16, 3, 4, 6), (16, 3, 4, 6), (16, 1, 8, 8)]):
        write_entry(cache, f"kyla{number}", shape=shape)
    preview = preview_of(cache, seed=11)
    assert (preview.settings.size_wh, preview.settings.frame_count) == ((48, 32), 9)
    assert (preview.settings.steps, preview.settings.cfg_scale, preview.settings.shift, preview.settings.seed) == (
        4,
        5.0,
        5.0,
        11,
    )
    assert (preview.prompt, preview.negative_prompt, preview.settings.guidance_scale, preview.pictures) == (
        "a cat",
        "",
        None,
        (),
    )


def test_what_a_prompt_says_is_taken(cache):
    preview = preview_of(cache, "a cat --w 64 --h 48 --f 9 --d 3 --s 8 --l 2.5 --fs 4 --n dark")
    assert (preview.prompt, preview.negative_prompt, preview.pictures) == ("a cat", "dark", ())
    assert dataclasses.asdict(preview.settings) == {
        "size_wh": (64, 48),
        "frame_count": 9,
        "steps": 8,
        "cfg_scale": 2.5,
        "guidance_scale": None,
        "shift": 4.0,
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("txt", "a cat --w 64 --s 3"),
        ("toml", '[prompt]\nwidth = 64\n[[prompt.subset]]\nprompt = "a cat"\nsample_steps = 3'),
        ("json", '[{"prompt": "a cat", "width": 64, "sample_steps": 3}]'),
    ],
)
def test_files_of_every_kind_are_drawn(cache, suffix, content):
    preview = preview_of(cache, content, suffix=suffix)
    assert (preview.prompt, preview.settings.size_wh, preview.settings.steps) == ("a cat", (64, 32), 3)


@pytest.mark.parametrize(
    ("written", "cfg_scale", "negative"),
    [
        ("--g 2", 2.0, ""),
        ("--g 2 --l 3", 3.0, ""),
        ("--l 1", 1.0, None),
        ("--l 0", 1.0, None),
        ("--l 2 --n dark", 2.0, "dark"),
    ],
)
def test_guidance_is_free_of_a_classifier_where_no_model_is_told_it(cache, written, cfg_scale, negative):
    preview = preview_of(cache, f"a cat {written}")
    assert (preview.settings.cfg_scale, preview.negative_prompt, preview.settings.guidance_scale) == (
        cfg_scale,
        negative,
        None,
    )


@pytest.mark.parametrize(
    ("written", "guidance_scale", "cfg_scale"),
    [("", None, None), ("--g 2", 2.0, None), ("--g 0", 0.0, None), ("--l 3", None, 3.0)],
)
def test_guidance_is_an_input_of_a_distilled_model(tmp_path, written, guidance_scale, cfg_scale):
    shape, facts = (DISTILLED.latent.channels, 1, 4, 4), {"architecture": DISTILLED.metadata_name}
    write_entry(tmp_path / "cache", "kyla", shape=shape, arch=DISTILLED.cache_suffix, **facts)
    settings = preview_of(tmp_path / "cache", f"a cat {written}", arch=DISTILLED.name).settings
    defaults = DISTILLED.preview_pipeline()
    assert settings.guidance_scale == (defaults.guidance_scale if guidance_scale is None else guidance_scale)
    assert settings.cfg_scale == (cfg_scale or defaults.cfg_scale)


def test_sizes_off_the_grid_are_rounded_down_and_said(cache):
    made = plan(cache, "a cat --w 70 --h 47 --f 8")
    (preview,) = made.previews.previews
    assert (preview.settings.size_wh, preview.settings.frame_count) == ((64, 32), 5)
    (warning,) = [warning for warning in made.warnings if "previews" in warning.what]
    assert warning.where == (
        "prompts.txt, line 1: `--w` 70 becomes 64, a multiple of 16",
        "prompts.txt, line 1: `--h` 47 becomes 32, a multiple of 16",
        "prompts.txt, line 1: `--f` 8 becomes 5; frames come as 4k+1",
    )


def test_a_negative_prompt_without_guidance_is_said(cache):
    made = plan(cache, "a cat --n dark --l 1")
    assert any("`--n` has no effect" in line for warning in made.warnings for line in warning.where)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (
            "a cat --w 8",
            {},
            f"prompts.txt, line 1: `--w` is 8, and `{PLAIN}` draws from 16 pixels on",
        ),
        ("a cat --i a.png", {}, f"prompts.txt, line 1: `--i` is not for `{PLAIN}` with this task"),
        (
            "a cat --ci a.png",
            {},
            f"prompts.txt, line 1: `--ci` is not for `{PLAIN}` with this task",
        ),
        ("a cat", {"task": "i2v"}, "prompts.txt, line 1: 0 pictures given, and this task takes 1 picture"),
        (
            "a cat --ci a.png",
            {"task": "i2v"},
            f"`--ci` is not for `{PLAIN}` with this task; it takes `--i`",
        ),
        ("a cat --i missing.png", {"task": "i2v"}, "prompts.txt, line 1: the picture cannot be read"),
        ("a cat --width 8", {}, "did you mean `--w`?"),
        ("a cat", {"suffix": "csv"}, ".txt, .toml and .json"),
    ],
)
def test_what_cannot_be_drawn_is_refused(cache, prompt, options, message):
    assert message in refusal(cache, prompt, **options)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a cat --f 5 --ci {picture}", f"`--f` is 5, and `{EDIT.name}` draws pictures only"),
        ("a cat --i {picture}", f"`--i` is not for `{EDIT.name}` with this task; it takes `--ci`"),
        ("a cat", "0 pictures given, and this task takes 1 to 8 pictures"),
        ("a cat --ci {text}", "not a PNG, JPEG, WebP, BMP or AVIF picture"),
    ],
)
def test_what_an_edit_model_cannot_draw_is_refused(tmp_path, prompt, message):
    write_entry(tmp_path / "cache", "kyla", arch=EDIT.cache_suffix, architecture=EDIT.metadata_name)
    picture = save(tmp_path / "a.png", random_rgb())
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    prompt = prompt.format(picture=picture, text=tmp_path / "text.png")
    assert message in refusal(tmp_path / "cache", prompt, arch=EDIT.name)


def test_every_bad_prompt_is_named_at_once(cache):
    assert refusal(cache, "a --w 8\nb --h 8").count("draws from 16 pixels on") == 2


def test_prompts_without_a_time_and_a_time_without_prompts_are_refused(cache, tmp_path):
    assert "nothing says when to draw" in refusal(cache, sample_every_n_steps=None)
    with pytest.raises(UsageError, match="`sample_every_n_steps` needs prompts"):
        plan_training(train_config(cache, tmp_path / "out", sample_every_n_steps=1))


def test_missing_model_files_are_named_with_their_flags(cache, tmp_path):
    text = refusal(cache, model=None, text_encoder=tmp_path / "gone.safetensors")
    assert "previews need model files that are not given\nvae: `--vae`" in text
    assert f"1 model file is not there\ntext_encoder, for previews: {tmp_path / 'gone.safetensors'}" in text
    text = refusal(cache, f"a cat --i {save(tmp_path / 'a.png', random_rgb())}", model=None, task="i2v")
    assert all(flag in text for flag in ("`--vae`", "`--text-encoder`", "`--image-encoder`"))


def test_a_plan_fetches_nothing(cache, monkeypatch):
    monkeypatch.setattr(
        "blissmask.families.files.model_files.hub_folder", lambda *args, **options: pytest.fail("fetched")
    )
    made = plan(cache, arch=TWO_EXPERTS, model="somebody/a-model", download=True)
    assert [expert.name for expert in made.previews.frozen_experts] == ["high"]


def test_a_hub_model_that_is_not_here_and_may_not_be_fetched_is_refused(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert "`--download`" in refusal(cache, model="somebody/a-model")


def test_the_expert_that_is_not_trained_draws_too_where_its_file_is_there(cache, tmp_path):
    folder = wan_folder(tmp_path)
    made = plan(cache, arch=TWO_EXPERTS, model=str(folder))
    assert [expert.name for expert in made.previews.frozen_experts] == ["high"]
    assert [
        expert.name
        for expert in plan(cache, arch=TWO_EXPERTS, model=str(folder), expert="high").previews.frozen_experts
    ] == ["low"]
    assert plan(cache, arch=TWO_EXPERTS, model=str(folder), expert="both").previews.frozen_experts == ()


def test_an_expert_alone_is_said_with_the_flag_of_the_other(cache, tmp_path):
    folder = wan_folder(tmp_path, without=["transformer"])
    made = plan(cache, arch=TWO_EXPERTS, model=str(folder))
    assert made.previews.frozen_experts == ()
    (warning,) = [warning for warning in made.warnings if "expert alone" in warning.what]
    assert "drawn with the low-noise expert alone" in warning.what
    assert "`--dit-high-noise`" in warning.fix


def test_the_plan_says_how_many_previews_and_when(cache):
    options = {"sample_at_first": True, "sample_every_n_steps": 500, "sample_every_n_epochs": 2}
    assert (
        "previews",
        "2 prompts before the first step and every 500 steps and every 2 epochs and after the last step",
    ) in plan(cache, "a\nb", **options).tables[0].rows
    assert ("previews", "1 prompt every 2 steps") in plan(cache, sample_every_n_steps=2).tables[0].rows


def test_previews_are_no_setting_of_the_training(cache):
    assert not any(name.startswith("sample_") for name in plan(cache).settings)


def test_prompts_of_the_configuration_have_the_trigger_filled_in(cache):
    listed = {"sample_prompts": None, "prompts": ["a photo of {trigger} --s 3", "a {class_word}"]}
    config = train_config(cache, cache.parent / "out", sample_every_n_steps=1, **listed)
    with pytest.raises(UsageError, match=r"\[previews\] prompt 1: \{trigger\} stands in it, and `trigger` is blank"):
        plan_training(config)
    (section,) = config.datasets
    named = section.model_copy(update={"trigger": "ohwx", "class_word": "woman"})
    previews = plan_training(config.model_copy(update={"datasets": (named,)})).previews.previews
    assert [preview.prompt for preview in previews] == ["a photo of ohwx", "a woman"]
    assert previews[0].settings.steps == 3
    assert [preview.prompt for preview in plan(cache, prompts=listed["prompts"]).previews.previews] == ["a cat"]


def test_prompts_name_subjects_and_nobody_else(cache):
    def planned(prompt):
        listed = {"sample_prompts": None, "prompts": [prompt]}
        datasets = [{"cache_directory": cache, "trigger": "ohwx"}]
        config = train_config(cache, cache.parent / "out", sample_every_n_steps=1, datasets=datasets, **listed)
        config.datasets[0].know_subjects({"kyla": "ohwx", "tom may": "sks", "ben": ""}, {})
        return plan_training(config).previews.previews[0].prompt

    assert planned("{kyla} and {tom may}, {a|b}") == "ohwx and sks, {a|b}"
    with pytest.raises(UsageError) as caught:
        planned("{kyla} and {tim}")
    [problem] = caught.value.problems
    assert problem.what == "[previews] prompt 1: {tim} stands in it, and is the name of nothing"
    assert problem.fix == "these are filled in: {kyla}, {tom may}, {ben}, {class_word}, {trigger}"
    with pytest.raises(UsageError, match="`ben` is blank") as caught:
        planned("{ben} at the sea")
    assert caught.value.problems[0].fix == "set `trigger` of `ben` in [[subjects]]"
