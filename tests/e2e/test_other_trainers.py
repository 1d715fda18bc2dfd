"""Whatever a musubi-tuner user types is an option here, or says what to use instead; the guide shows the same."""

import re
from pathlib import Path

import pytest

from blissmask.cli.app import build_app
from blissmask.cli.commands import COMMANDS
from blissmask.cli.usage import as_usage_error
from blissmask.config.load import load_config
from blissmask.config.model import section_type
from blissmask.config.other_trainers import INSTEAD, SAME_MEANING, advice_for
from blissmask.config.sections.saving_section import PreviewsSection
from blissmask.errors import UsageError

PAGE = (Path(__file__).parents[2] / "examples" / "from-other-trainers.md").read_text(encoding="utf-8")

# Every option of musubi-tuner's parsers for training and caching that these families have, by group, then what blissful-tuner and its mask fork add.
THEIRS = """
    config_file dataset_config
    dit vae vae_dtype dit_dtype task t5 fp8_t5 clip vae_cache_cpu one_frame dit_high_noise timestep_boundary offload_inactive_dit
    force_v2_1_time_embedding text_encoder fp8_vl model_version num_layers remove_first_image_from_target
    sdpa flash_attn flash3 xformers sage_attn split_attn
    compile compile_backend compile_mode compile_dynamic compile_fullgraph compile_cache_size_limit cuda_allow_tf32 cuda_cudnn_benchmark
    dynamo_backend dynamo_mode dynamo_fullgraph dynamo_dynamic
    max_train_steps max_train_epochs gradient_accumulation_steps seed max_data_loader_n_workers persistent_data_loader_workers
    mixed_precision save_precision
    gradient_checkpointing gradient_checkpointing_cpu_offload fp8_base fp8_scaled blocks_to_swap use_pinned_memory_for_block_swap
    block_swap_h2d_only block_swap_ring_size img_in_txt_in_offloading disable_numpy_memmap
    optimizer_type optimizer_args learning_rate max_grad_norm
    lr_scheduler lr_warmup_steps lr_decay_steps lr_scheduler_num_cycles lr_scheduler_power lr_scheduler_timescale
    lr_scheduler_min_lr_ratio lr_scheduler_type lr_scheduler_args
    timestep_sampling discrete_flow_shift sigmoid_scale weighting_scheme logit_mean logit_std mode_scale min_timestep max_timestep
    preserve_distribution_shape num_timestep_buckets show_timesteps guidance_scale
    network_module network_dim network_alpha network_dropout network_args network_weights dim_from_weights base_weights
    base_weights_multiplier scale_weight_norms
    output_dir output_name save_every_n_epochs save_every_n_steps save_last_n_epochs save_last_n_steps save_last_n_epochs_state
    save_last_n_steps_state save_state save_state_on_train_end resume no_metadata training_comment metadata_title metadata_author
    metadata_description metadata_license metadata_tags metadata_reso metadata_arch
    sample_every_n_steps sample_every_n_epochs sample_at_first sample_prompts
    logging_dir log_with log_prefix log_tracker_name wandb_run_name log_tracker_config wandb_api_key log_config
    huggingface_repo_id huggingface_repo_type huggingface_path_in_repo huggingface_token huggingface_repo_visibility
    save_state_to_huggingface resume_from_huggingface async_upload ddp_timeout ddp_gradient_as_bucket_view ddp_static_graph

    device batch_size num_workers skip_existing keep_cache debug_mode console_width console_back console_num_images
    disable_cudnn_backend i2v edit edit_plus vae_chunk_size vae_tiling vae_spatial_tile_sample_min_size text_encoder1 text_encoder2
    text_encoder_dtype fp8_llm byt5 image_encoder

    rope_func mixed_precision_transformer simple_modulation lower_precision_attention fp16_accumulation optimized_compile compile_args
    disable_blockwise_quant allow_linear_for_compile multires_noise_iterations multires_noise_discount noise_offset
    noise_offset_random_strength adaptive_noise_scale image_flow_shift

    use_mask_loss mask_gamma mask_min_weight mask_loss_scale normalize_per_sample mask_blur_kernel_size mask_blur_radius
    mask_area_scale_beta prior_preservation_weight prior_mask_threshold prior_preservation_timestep_threshold prior_teacher_mode
    prior_teacher_eval prior_decay_schedule prior_decay_timestep_start prior_decay_warmup_ratio cache_mask_gamma cache_mask_min_weight masked_loss
"""

SECTIONS = {section for command in COMMANDS for section in command.sections} | {"run"}
OURS = {"config", "dataset_config", *(name for section in SECTIONS for name in section_type(section).model_fields)}
NOT_HERE = [name for names, _ in INSTEAD for name in names]


def is_here(name):
    return SAME_MEANING.get(name, name) in OURS or name.removeprefix("no_") in OURS


@pytest.mark.parametrize("name", THEIRS.split())
def test_each_of_their_options_is_here_or_says_what_to_use(name):
    assert is_here(name) != bool(advice_for(name))


def test_what_is_not_here_is_an_option_of_theirs_and_named_once():
    assert sorted(NOT_HERE) == sorted(set(NOT_HERE) & set(THEIRS.split()))


@pytest.fixture(scope="module")
def app():
    return build_app()


@pytest.mark.parametrize("name", NOT_HERE)
def test_typing_it_is_an_error_that_names_what_to_use(app, name):
    with pytest.raises(Exception) as caught:
        app(["train", f"--{name}", "value"], prog_name="blissmask", standalone_mode=False)
    problem = as_usage_error(caught.value).problems[0]
    assert problem.what == f"`--{name.replace('_', '-')}` is an option of other trainers"
    assert problem.fix == advice_for(name)


@pytest.mark.parametrize(("names", "instead"), INSTEAD, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_what_is_named_instead_exists(names, instead):
    flags = re.findall(r"--([a-z0-9-]+)", instead)
    assert flags or instead.startswith(("leave it out: ", "nothing: ", "the log", "`wandb login`", "`hf upload`"))
    assert {flag.replace("-", "_") for flag in flags} <= OURS


def test_the_readme_shows_all_of_them_and_no_other():
    rows = [f"| {', '.join(f'`--{name}`' for name in names)} | {instead} |" for names, instead in INSTEAD]
    table = PAGE.partition("<details><summary>The table</summary>")[2].partition("\n\n|")[2].partition("\n\n")[0]
    assert ("|" + table).splitlines()[2:] == rows


@pytest.mark.parametrize(("theirs", "ours"), SAME_MEANING.items())
def test_what_has_another_name_here_is_taken_under_both(app, theirs, ours, monkeypatch):
    taken = {}
    command = "train" if ours in PreviewsSection.model_fields else "cache"
    monkeypatch.setattr(
        "blissmask.cli.subcommand.execute", lambda command, config, flags, spelled: taken.update(flags) or 0
    )
    for name in (theirs, ours):
        app([command, f"--{name}", "3"], prog_name="blissmask", standalone_mode=False)
        assert [values for values in taken.values() if values.get(ours) == "3"]
        taken.clear()


def test_a_key_of_theirs_in_the_configuration_is_refused_with_what_to_use(tmp_path):
    (tmp_path / "a.toml").write_text("[train]\nflash_attn = true\n")
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "a.toml", {})
    assert "unknown key `flash_attn`, an option of other trainers: leave it out" in caught.value.problems[0].where[0]


@pytest.mark.parametrize("typed", [["a=1", "b=(2,3)"], ["a=1", "--optimizer_args", "b=(2,3)"]])
def test_several_arguments_may_follow_one_flag(app, typed, monkeypatch):
    taken = {}
    monkeypatch.setattr(
        "blissmask.cli.subcommand.execute", lambda command, config, flags, spelled: taken.update(flags) or 0
    )
    app(["train", "--optimizer_args", *typed, "--seed", "7"], prog_name="blissmask", standalone_mode=False)
    assert taken == {"optimizer": {"optimizer_args": ["a=1", "b=(2,3)"]}, "train": {"seed": "7"}}


def test_a_stray_word_after_an_argument_is_still_refused(app):
    with pytest.raises(Exception) as caught:
        app(["train", "--optimizer_args", "a=1", "photos"], prog_name="blissmask", standalone_mode=False)
    assert "photos" in as_usage_error(caught.value).problems[0].what


def test_a_state_after_resume_is_refused_with_how_resuming_works_here(app):
    with pytest.raises(Exception) as caught:
        app(["train", "--resume", "out/kyla-step00000500-state"], prog_name="blissmask", standalone_mode=False)
    assert as_usage_error(caught.value).problems[0].fix.startswith("`--resume` takes no folder")


def test_every_unknown_flag_of_a_command_line_is_told_at_once(app):
    typed = ["train", "--mixed_precision", "bf16", "--lr=1e-4", "--seed", "7", "--network_module", "x", "--inptu", "a"]
    with pytest.raises(Exception) as caught:
        app(typed, prog_name="blissmask", standalone_mode=False)
    told = [problem.what for problem in as_usage_error(caught.value, typed).problems]
    assert told == [
        "`--mixed_precision` is an option of other trainers",
        "unknown flag `--lr`, did you mean `--learning-rate`?",
        "`--network_module` is an option of other trainers",
        "unknown flag `--inptu`",
    ]


@pytest.mark.parametrize(
    ("stray", "told"),
    [
        ("true", "a switch takes no value"),
        ("person.toml", "did you mean `--config person.toml`?"),
        ("photos", "follows a flag"),
    ],
)
def test_a_stray_word_says_how_to_type_it(app, stray, told):
    with pytest.raises(Exception) as caught:
        app(["train", "--use_mask_loss", stray], prog_name="blissmask", standalone_mode=False)
    assert told in as_usage_error(caught.value).problems[0].fix
