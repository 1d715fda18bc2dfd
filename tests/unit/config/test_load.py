"""config/: one model; every problem is told at once, with the nearest valid name."""

from pathlib import Path

import pytest

from blissmask.config.load import load_config
from blissmask.config.model import Config
from blissmask.config.sections.mask_loss_section import MaskLossSection
from blissmask.errors import UsageError


def write(tmp_path, text):
    path = tmp_path / "person.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path, flags=None):
    with pytest.raises(UsageError) as refusal:
        load_config(path, flags or {})
    return refusal.value.problems[0]


def test_a_configuration_that_is_not_there_names_what_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "`blissmask --starter person > blissmask.toml` writes one" in problems_of(Path("me.toml")).fix
    Path("blissmask.toml").touch()
    assert problems_of(Path("me.toml")).fix.endswith("; `blissmask.toml` is there, and is read without `--config`")


def test_a_configuration_knows_its_file_for_hints(tmp_path):
    path = write(tmp_path, "")
    assert load_config(path, {}).read_from == path
    assert load_config(None, {}).read_from is None


def test_who_names_a_configuration_of_another_trainer_is_not_told_that_none_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "has no `blissmask.toml`" not in problems_of(Path("me.yaml")).fix


def test_a_caption_of_unknown_placeholders_is_refused(tmp_path):
    (tmp_path / "c.toml").write_text('[general]\ncaption = "a photo of {tigger}"')
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "c.toml", {})
    [line] = caught.value.problems[0].where
    assert "must be a caption that names no placeholders but {class_word}, {trigger}" in line
    assert "{tigger}" in line


@pytest.mark.parametrize("caption", ["a photo of {red|blue} coat", 'a photo of {"a": "b"}', "{red coat}"])
def test_a_choice_json_and_several_words_in_the_braces_of_a_caption_are_no_placeholders(caption):
    assert Config.model_validate({"general": {"caption": caption}}).general.caption == caption


def test_all_problems_of_file_and_flags_are_told_at_once(tmp_path):
    path = write(
        tmp_path,
        """
        [[datasets]]
        image_directory = "photos"
        mask_dir = "masks"
        [[datasets]]
        image_directory = "more"
        resolution = "1024"
        """,
    )
    problem = problems_of(path, {"mask_loss": {"mask_min_weight": "1.0"}})
    assert problem.what == "3 problems in person.toml and the flags"
    assert problem.where == (
        "[[datasets]] 1: unknown key `mask_dir`, did you mean `mask_directory`?",
        '[[datasets]] 2: `resolution` must be two whole numbers, [width, height], or one for a square, got "1024"',
        "--mask_min_weight must be in range [0, 1), got 1.0",
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mask_gamma", "0", "--mask_gamma must be > 0"),
        ("mask_gamma", "nan", "--mask_gamma must be > 0"),
        ("mask_min_weight", "1", "--mask_min_weight must be in range [0, 1)"),
        ("mask_min_weight", "-0.1", "--mask_min_weight must be in range [0, 1)"),
        ("mask_loss_scale", "0", "--mask_loss_scale must be > 0"),
    ],
)
def test_mask_loss_ranges_are_refused_in_the_words_of_the_guide(field, value, message):
    assert problems_of(None, {"mask_loss": {field: value}}).where[0].startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trian]\nseed = 1", "unknown table or key `trian`, did you mean `[train]`?"),
        ("[cache]\nlearning_rate = 1", "[cache]: `learning_rate` is a key of `[optimizer]`"),
        ('[train]\nseed = "1"', '[train]: `seed` must be a whole number, got "1"'),
        ("[mask_loss]\nuse_mask_loss = 1", "[mask_loss]: `use_mask_loss` must be true or false, got 1"),
        (
            '[mask_loss]\nmask_mean = "bach"',
            '[mask_loss]: `mask_mean` must be one of batch, sample, global, got "bach"',
        ),
        ("datasets = 3", "`datasets` must be a list of tables, `[[datasets]]`"),
        ("train = 3", "`train` must be a table, `[train]`"),
        ("[[datasets]]\ntarget_frames = [1, 'a']", "[[datasets]] 1: `target_frames` must be a list of whole numbers"),
        ("[[datasets]]\ntarget_frames = [0, 17]", "[[datasets]] 1: `target_frames` must be >= 1, got 0"),
        (
            "[[datasets]]\ntarget_frames = []",
            "[[datasets]] 1: `target_frames` must be a list of at least one whole number, got []",
        ),
        ("[[datasets]]\nfp_1f_clean_indices = [-1]", "[[datasets]] 1: `fp_1f_clean_indices` must be >= 0, got -1"),
        (
            "[[datasets]]\nresolution = [32, 100000]",
            "[[datasets]] 1: `resolution` must be at most 8192 pixels a side and 16.8 million in all, got [32, 100000]",
        ),
        (
            "[[datasets]]\ncontrol_resolution = 5000",
            "[[datasets]] 1: `control_resolution` must be at most 8192 pixels a side and 16.8 million in all, got 5000",
        ),
        ("[[datasets]]\nsource_fps = inf", "[[datasets]] 1: `source_fps` must be > 0 and finite, got Infinity"),
        ("[timesteps]\nlogit_mean = nan", "[timesteps]: `logit_mean` must be a finite number, got NaN"),
        ("[lora]\nlokr_factor = 0", "[lora]: `lokr_factor` must be -1 or >= 1, got 0"),
    ],
)
def test_wrong_values_are_named_with_what_would_be_right(tmp_path, text, message):
    assert problems_of(write(tmp_path, text)).where[0].startswith(message)


def test_flag_wins_over_file_and_file_over_default(tmp_path):
    path = write(tmp_path, "[mask_loss]\nmask_gamma = 0.5\nmask_min_weight = 0.1\n")
    config = load_config(path, {"mask_loss": {"mask_gamma": "0.7"}})
    assert config.mask_loss.mask_gamma == 0.7
    assert config.mask_loss.mask_min_weight == 0.1
    assert config.mask_loss.mask_mean == "batch"


def test_dataset_takes_what_it_leaves_open_from_general_then_from_the_defaults(tmp_path):
    path = write(tmp_path, '[general]\nresolution = 512\n[[datasets]]\nimage_directory = "a"\nbatch_size = 2\n')
    config = load_config(path, {})
    dataset = config.datasets[0]
    assert (dataset.resolution, dataset.batch_size, dataset.num_repeats) == ((512, 512), 2, 1)


def test_what_is_wrong_in_general_is_named_once_however_many_datasets_inherit_it(tmp_path):
    path = write(tmp_path, "[general]\nbatch_size = 0\n[[datasets]]\n[[datasets]]\nnum_repeats = 0\n")
    assert problems_of(path).where == (
        "[general]: `batch_size` must be >= 1, got 0",
        "[[datasets]] 2: `num_repeats` must be in range [1, 10000], got 0",
    )


def test_repeats_that_would_fill_the_memory_are_refused(tmp_path):
    path = write(tmp_path, "[[datasets]]\nnum_repeats = 10000000000\n")
    assert problems_of(path).where == ("[[datasets]] 1: `num_repeats` must be in range [1, 10000], got 10000000000",)


def test_null_in_json_leaves_a_key_of_a_dataset_open(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"general": {"batch_size": 4}, "datasets": [{"batch_size": null, "resolution": null}]}')
    dataset = load_config(path, {}).datasets[0]
    assert (dataset.batch_size, dataset.resolution) == (4, (960, 544))


def test_general_flag_wins_over_the_dataset_table(tmp_path):
    path = write(tmp_path, '[[datasets]]\nimage_directory = "a"\nresolution = [64, 32]\n')
    config = load_config(path, {"general": {"resolution": ["128"]}})
    assert config.datasets[0].resolution == (128, 128)


def test_dataset_flags_alone_make_a_dataset():
    config = load_config(None, {"datasets": {"image_directory": "photos", "alpha_mask": True}})
    assert config.datasets[0].image_directory == Path("photos")
    assert config.datasets[0].alpha_mask


def test_dataset_flag_with_two_datasets_is_refused(tmp_path):
    path = write(tmp_path, '[[datasets]]\nimage_directory = "a"\n[[datasets]]\nimage_directory = "b"\n')
    assert "is for one dataset" in problems_of(path, {"datasets": {"mask_directory": "m"}}).what


def test_backslash_path_is_explained(tmp_path):
    problem = problems_of(write(tmp_path, '[[datasets]]\nimage_directory = "C:\\Users\\kyla"\n'))
    assert "cannot be parsed" in problem.what
    assert "single quotes" in problem.fix


def test_missing_file_is_a_usage_error(tmp_path):
    assert "cannot read the configuration" in problems_of(tmp_path / "none.toml").what


MUSUBI = """
[general]
resolution = [960, 544]
caption_extension = ".txt"
batch_size = 1
enable_bucket = true
bucket_no_upscale = false

[[datasets]]
image_directory = "/path/to/image_dir"
cache_directory = "/path/to/cache_directory"
num_repeats = 1
multiple_target = false

[[datasets]]
video_directory = "/path/to/video_dir"
cache_directory = "/path/to/cache_directory2"
target_frames = [1, 25, 45]
frame_extraction = "head"
source_fps = 30

[[datasets]]
image_jsonl_file = "/path/to/metadata.jsonl"
cache_directory = "/path/to/cache_directory3"
fp_latent_window_size = 9
fp_1f_clean_indices = [0]
fp_1f_target_index = 9
fp_1f_no_post = false
qwen_image_edit_no_resize_control = true
"""

GUIDE = [
    """
    [[datasets]]
    image_directory = "/path/to/images/subject"
    mask_directory = "/path/to/images/weighted_masks"  # Weighted masks here!
    cache_directory = "/path/to/cache"
    caption_extension = ".txt"
    resolution = [1024, 1024]
    """,
    """
    [general]
    shuffle_caption = true
    keep_tokens = 1

    [[datasets]]
    image_directory = "/path/to/images"
    mask_directory = "/path/to/weighted_masks"
    cache_directory = "/path/to/cache"
    caption_extension = ".txt"
    resolution = [1024, 1024]
    enable_bucket = true
    min_bucket_reso = 512
    max_bucket_reso = 1536
    bucket_reso_steps = 64
    batch_size = 1
    """,
    """
    [[datasets]]
    image_directory = "/path/to/rgba_images"
    cache_directory = "/path/to/cache_alpha"
    alpha_mask = true
    mask_directory = "/path/to/masks"
    require_mask = false
    resolution = [1024, 1024]
    caption_extension = ".txt"
    """,
]


@pytest.mark.parametrize("text", [MUSUBI, *GUIDE])
def test_configurations_of_the_guide_and_of_musubi_tuner_load(tmp_path, text):
    config = load_config(write(tmp_path, text), {})
    assert config.datasets
    assert config.datasets[0].cache_directory is not None


def test_old_dataset_key_and_its_new_name_together_are_refused(tmp_path):
    path = write(tmp_path, "[[datasets]]\nno_resize_control = true\nflux_kontext_no_resize_control = true\n")
    assert "are the same setting" in problems_of(path).where[0]


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ('[datasets]\nimage_directory = "a"', {"general": {"batch_size": "2"}}, "`datasets` must be a list of tables"),
        (
            '[datasets]\nimage_directory = "a"',
            {"datasets": {"mask_directory": "m"}},
            "`datasets` must be a list of tables",
        ),
        ("datasets = [3]", {"datasets": {"mask_directory": "m"}}, "[[datasets]] 1: "),
        ('cache = "folder"', {"cache": {"latents_only": True}}, "`cache` must be a table, `[cache]`"),
    ],
)
def test_a_table_of_the_wrong_kind_is_named_with_flags_too(tmp_path, text, flags, message):
    assert problems_of(write(tmp_path, text), flags).where[0].startswith(message)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/kyla")
    config = load_config(
        write(tmp_path, '[saving]\noutput_dir = "~/loras"\n'), {"instance": {"reference": ["~/kyla.jpg"]}}
    )
    assert config.saving.output_dir == Path("/home/kyla/loras")
    assert config.instance.reference == [Path("/home/kyla/kyla.jpg")]


@pytest.mark.parametrize(
    ("typed", "task"),
    [("t2v-A14B", "t2v"), ("i2v-14B", "i2v"), ("t2v-1.3B", "t2v"), ("t2v", "t2v"), ("flf2v-14B", "flf2v-14B")],
)
def test_tasks_of_musubi_tuner_hold_the_size_of_the_model(typed, task):
    assert load_config(None, {"model": {"task": typed}}).model.task == task


def test_keys_in_a_wrong_table_are_all_sent_to_the_one_that_has_them(tmp_path):
    path = write(tmp_path, "network_dim = 8\n[train]\nseed = 1\noutput_dir = 'out'\nsample_prompt = 'a.txt'\n")
    problem = problems_of(path)
    assert set(problem.where) == {
        "`network_dim` is a key of `[lora]`",
        "[train]: `output_dir` is a key of `[saving]`",
        "[train]: unknown key `sample_prompt`, did you mean `sample_prompts` of `[previews]`?",
    }
    assert problem.what == f"3 problems in {path.name}"
    assert problem.fix == "move each key under the table that has it"


def test_a_key_in_a_wrong_table_is_mended_by_moving_it(tmp_path):
    assert problems_of(write(tmp_path, "[train]\nblocks_to_swap = 4\n")).fix == "move `blocks_to_swap` under `[memory]`"


def test_a_configuration_of_another_format_says_so(tmp_path):
    path = tmp_path / "ai.yaml"
    path.write_text("job: extension", encoding="utf-8")
    assert "this is YAML" in problems_of(path).what


def test_a_preset_on_the_command_line_takes_the_place_of_what_the_file_says_of_it(tmp_path):
    path = write(tmp_path, "[mask_loss]\nmask_gamma = 0.7\nmask_min_weight = 0.05\nmask_feather = 1.0\n")
    typed = load_config(path, {"mask_loss": {"mask_preset": "person-prior", "hair_weight": "0.5"}}).mask_loss
    assert typed == MaskLossSection(mask_preset="person-prior", hair_weight=0.5, mask_feather=1.0)
    in_file = load_config(write(tmp_path, "[mask_loss]\nmask_preset = 'face'\nmask_gamma = 0.7\n"), {}).mask_loss
    assert in_file.mask_gamma == 0.7


@pytest.mark.parametrize("slip", ["[dataset]", "[[dataset]]"])
def test_the_table_of_data_sets_is_spelled_as_it_is_written(tmp_path, slip):
    assert problems_of(write(tmp_path, slip)).where == ("unknown table or key `dataset`, did you mean `[[datasets]]`?",)


@pytest.mark.parametrize("typed", [r"photos\train", r"out\new", r"my\final"])
def test_a_windows_path_that_became_a_control_character_says_how_to_write_it(tmp_path, typed):
    [where] = problems_of(write(tmp_path, f'[[datasets]]\nimage_directory = "{typed}"')).where
    meant = typed.replace(chr(92), "/")
    assert f"in double quotes a backslash starts an escape: write `{meant}`, or use single quotes" in where


def test_a_folder_whose_name_has_a_tab_is_taken(tmp_path):
    (tmp_path / "a\tb").mkdir()
    [dataset] = load_config(write(tmp_path, f'[[datasets]]\nimage_directory = "{tmp_path}/a\\tb"'), {}).datasets
    assert dataset.image_directory == tmp_path / "a\tb"


def test_a_flag_and_its_value_are_quoted_as_they_were_typed():
    with pytest.raises(UsageError) as refusal:
        load_config(None, {"mask_loss": {"mask_gamma": "abc"}}, {("mask_loss", "mask_gamma"): "--mask-gamma"})
    assert refusal.value.problems[0].where == ("--mask-gamma must be a number, got abc",)


def test_a_flag_for_one_data_set_is_quoted_as_it_was_typed(tmp_path):
    path = write(tmp_path, "[[datasets]]\n[[datasets]]")
    with pytest.raises(UsageError, match="--mask-directory is for one dataset"):
        load_config(path, {"datasets": {"mask_directory": "m"}}, {("datasets", "mask_directory"): "--mask-directory"})


def test_a_value_that_is_too_long_is_cut(tmp_path):
    [where] = problems_of(write(tmp_path, f'[train]\nseed = "{"9" * 9000}"')).where
    assert len(where) < 300


@pytest.mark.parametrize("value", ["0x" + "f" * 5000, str(2**63)])
def test_a_number_of_more_than_64_bits_is_refused(tmp_path, value):
    [where] = problems_of(write(tmp_path, f"[train]\nseed = {value}")).where
    assert where.startswith("[train]: `seed` must be a whole number of at most 18 digits")


def test_a_path_without_a_letter_is_refused_and_not_taken_for_the_working_folder(tmp_path):
    path = write(tmp_path, '[instance]\ninput = ""\n[to_alpha]\nmask_directory = ""')
    flags = {"previews": {"likeness_reference": ["a.jpg", ""]}, "instance": {"output": ""}, "masks": {"grow": ""}}
    problem = problems_of(path, flags)
    assert problem.where == (
        "--grow must be a whole number, and is empty",
        "[instance]: `input` must be a path, and is empty",
        "--output must be a path, and is empty",
        "[to_alpha]: `mask_directory` must be a path, and is empty",
        "--likeness_reference must be a path, and is empty",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[instance]\nreference = "a.jpg"',
            '[instance]: `reference` must be a list of paths, got "a.jpg": write `reference = ["a.jpg"]`',
        ),
        (
            "[combine]\nstrength = 0.5",
            "[combine]: `strength` must be a list of numbers, got 0.5: write `strength = [0.5]`",
        ),
        (
            '[general]\nzoom = "face"',
            '[general]: `zoom` must be a list of any of subject, face, got "face": write `zoom = ["face"]`',
        ),
        ("[combine]\naverage = {}", "[combine]: `average` must be a list of paths, got {}"),
    ],
)
def test_one_value_in_the_place_of_a_list_is_shown_as_a_list(tmp_path, text, told):
    assert problems_of(write(tmp_path, text)).where == (told,)


def test_a_decimal_comma_is_answered_with_the_point(tmp_path):
    assert problems_of(None, {"mask_loss": {"mask_gamma": "0,7"}}).where == (
        "--mask_gamma must be a number, got 0,7, did you mean `0.7`?",
    )
