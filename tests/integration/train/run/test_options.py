"""Every option of `train` has the effect it is documented to have; those with a test file of their own are tested there."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from blissmask.config.load import load_config
from blissmask.config.model import Config
from blissmask.config.sections.mask_loss_section import MaskLossSection
from blissmask.config.sections.model_section import ModelSection
from blissmask.config.sections.optimizer_section import OptimizerSection
from blissmask.config.sections.timesteps_section import TimestepsSection
from blissmask.errors import UsageError
from blissmask.events import Measured
from blissmask.families.files.model_files import ModelFiles, model_files
from blissmask.masks.tiers import TierTable
from blissmask.processes import ALONE
from blissmask.tasks.train.checks import check_options
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.rules import (
    noise_options,
    optimizer_options,
    prior_rule,
    rate_schedule,
    step_rule,
    weight_rule,
)
from blissmask.training.optim.optimizer import build_optimizer
from blissmask.training.optim.schedule import build_scheduler
from blissmask.training.timesteps import training_noise
from tests.builders.training import run, tensors_of, train_config


def measured(recorder, name):
    return [event.values[name] for event in recorder.of(Measured)]


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


# Noise levels


def level_at(uniform, *, default_shift=3.0, grid_hw=(64, 64), **fields):
    options = noise_options(TimestepsSection(**fields), default_shift=default_shift)
    noise = training_noise(options)(grid_hw)
    return float(noise.quantile(torch.tensor([uniform], dtype=torch.float64)))


def test_the_shift_is_the_familys_unless_it_is_given():
    assert level_at(0.5) == pytest.approx(0.75)
    assert level_at(0.5, discrete_flow_shift=1.0) == pytest.approx(0.5)
    assert level_at(0.5, discrete_flow_shift=7.0) == pytest.approx(0.875)


@pytest.mark.parametrize(
    ("sampling", "size_wh", "shift"),
    [
        ("flux_shift", (1024, 1024), 3.15819),
        ("flux_shift", (1328, 1328), 5.06712),
        ("flux_shift", (960, 544), 2.22995),
        ("qwen_shift", (1024, 1024), 2.00080),
        ("qwen_shift", (1328, 1328), 2.30326),
        ("qwen_shift", (960, 544), 1.80384),
        ("krea2_shift", (1024, 1024), 2.47502),
    ],
)
def test_the_shift_of_a_resolution_is_the_golden_figure(sampling, size_wh, shift):
    """Half of the draws are below ``shift / (1 + shift)``."""
    median = level_at(0.5, timestep_sampling=sampling, grid_hw=(size_wh[1] // 8, size_wh[0] // 8))
    assert median == pytest.approx(shift / (1 + shift), abs=1e-5)


@pytest.mark.parametrize("sampling", ["sigmoid", "shift", "flux_shift", "qwen_shift"])
def test_sigmoid_scale_widens_the_distribution(sampling):
    median, narrow, wide = (
        level_at(q, timestep_sampling=sampling, sigmoid_scale=scale)
        for q, scale in ((0.5, 1.0), (0.9, 0.5), (0.9, 2.0))
    )
    assert median < narrow < wide


def test_logsnr_has_the_mean_and_the_deviation_that_are_given():
    assert level_at(0.5, timestep_sampling="logsnr", logit_mean=-2.0) == pytest.approx(
        float(torch.sigmoid(torch.tensor(1.0))), abs=1e-6
    )
    spread = [level_at(0.9, timestep_sampling="logsnr", logit_std=std) - 0.5 for std in (0.5, 2.0)]
    assert 0 < spread[0] < spread[1]


def test_a_range_is_squeezed_into_or_cut_out():
    fields = {"timestep_sampling": "sigmoid", "min_timestep": 500, "max_timestep": 1000}
    assert level_at(0.5, **fields) == pytest.approx(0.75)
    assert level_at(0.5, **fields, preserve_distribution_shape=True) == pytest.approx(
        level_at(0.75, timestep_sampling="sigmoid"), abs=1e-6
    )


def test_strata_spread_the_levels_of_consecutive_steps(cache, tmp_path):
    options = {"timestep_sampling": "uniform", "num_timestep_buckets": 4, "max_train_steps": 4}
    levels = measured(run(train_config(cache, tmp_path / "out", **options))[1], "timestep")
    assert sorted(int(level * 4) for level in levels) == [0, 1, 2, 3]


# Optimiser and schedule


def rates(count, **fields):
    section = OptimizerSection(learning_rate=1.0, **fields)
    parameters = [("x.lora_A.weight", torch.nn.Parameter(torch.ones(1)))]
    optimizer = build_optimizer(parameters, optimizer_options(section))
    scheduler = build_scheduler(optimizer, rate_schedule(section), steps=count)
    seen = []
    for _ in range(count):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


def test_cycles_restart_the_learning_rate():
    seen = rates(8, lr_scheduler="cosine_with_restarts", lr_scheduler_num_cycles=2)
    assert [step for step, rate in enumerate(seen) if rate == 1.0] == [0, 4]


def test_the_lowest_rate_is_the_ratio_that_is_given():
    assert rates(50, lr_scheduler="cosine_with_min_lr", lr_scheduler_min_lr_ratio=0.2)[-1] == pytest.approx(
        0.2, abs=0.01
    )


def test_decay_steps_say_how_long_the_rate_falls():
    seen = rates(10, lr_scheduler="warmup_stable_decay", lr_warmup_steps="2", lr_decay_steps="40%")
    assert [rate == 1.0 for rate in seen] == [False, False, True, True, True, True, True, False, False, False]


def test_scheduler_arguments_reach_the_scheduler():
    slow, fast = (
        rates(10, lr_scheduler="inverse_sqrt", lr_scheduler_args=[f"timescale={scale}"]) for scale in (100, 1)
    )
    assert slow[-1] > fast[-1]


def test_warm_up_and_clipping_reach_the_steps(cache, tmp_path):
    _, recorder = run(
        train_config(cache, tmp_path / "out", lr_warmup_steps="50%", max_train_steps=4, learning_rate=1e-3)
    )
    assert measured(recorder, "lr") == pytest.approx([0.0, 0.0005, 0.001, 0.001])
    assert step_rule(Config(optimizer=OptimizerSection(max_grad_norm=0.25))).max_grad_norm == 0.25


# The LoRA


def test_patterns_add_and_remove_layers_by_their_original_names(cache, tmp_path):
    run(
        train_config(
            cache,
            tmp_path / "out",
            include_patterns=[r"head\.head"],
            exclude_patterns=[r".*\.ffn\..*", r".*cross_attn.*"],
        )
    )
    layers = {
        key.rsplit(".lora_", 1)[0] for key in tensors_of(tmp_path / "out" / "kyla.safetensors") if ".lora_" in key
    }
    assert layers == {
        "diffusion_model.head.head",
        *(f"diffusion_model.blocks.{block}.self_attn.{part}" for block in range(2) for part in "qkvo"),
    }


def test_the_factor_sets_the_size_of_lokrs_first_matrix(cache, tmp_path):
    for factor in (4, 8):
        run(train_config(cache, tmp_path / str(factor), network_type="lokr", lokr_factor=factor))
        first = tensors_of(tmp_path / str(factor) / "kyla.safetensors")["diffusion_model.blocks.0.self_attn.q.lokr_w1"]
        assert first.shape == (factor, factor)


def test_rank_stabilised_scale_is_written_as_alpha(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", use_rslora=True, network_dim=4, network_alpha=4.0))
    assert tensors_of(tmp_path / "out" / "kyla.safetensors")["diffusion_model.blocks.0.self_attn.q.alpha"] == 8.0


def test_weight_norms_stay_below_the_limit_and_are_logged(cache, tmp_path):
    options = {"max_train_steps": 6, "network_alpha": 1.0, "learning_rate": 0.05}
    _, free = run(train_config(cache, tmp_path / "free", **options, scale_weight_norms=1e6))
    _, held = run(train_config(cache, tmp_path / "held", **options, scale_weight_norms=0.05))
    tensors = tensors_of(tmp_path / "held" / "kyla.safetensors")
    norms = [
        0.5 * (tensors[key.replace("lora_A", "lora_B")] @ tensors[key]).norm() for key in tensors if "lora_A" in key
    ]
    assert max(norms) <= 0.05 * (1 + 1e-5)
    assert measured(free, "norm/limited")[-1] == 0
    assert measured(free, "norm/max")[-1] > 0.05
    assert measured(held, "norm/limited")[-1] > 0
    assert measured(held, "norm/max")[-1] == pytest.approx(0.05)


def test_weight_norms_and_a_schedule_free_optimiser_exclude_each_other(cache, tmp_path):
    config = train_config(cache, tmp_path / "out", scale_weight_norms=1.0, optimizer_type="schedulefree")
    with pytest.raises(UsageError, match="scale_weight_norms"):
        check_options(config, ALONE)


# Files


def test_files_are_saved_every_so_many_epochs(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", max_train_epochs=3, save_every_n_epochs=1))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == [
        "kyla-step00000004.safetensors",
        "kyla-step00000008.safetensors",
        "kyla.safetensors",
    ]


def test_metadata_says_what_the_user_says_of_the_lora(cache, tmp_path):
    told = {"title": "Kyla", "author": "me", "description": "a face", "license": "CC0", "tags": "face, kyla"}
    run(
        train_config(
            cache,
            tmp_path / "out",
            training_comment="first",
            **{f"metadata_{name}": text for name, text in told.items()},
        )
    )
    metadata = metadata_of(tmp_path / "out" / "kyla.safetensors")
    assert {name: metadata[f"modelspec.{name}"] for name in told} == told
    assert metadata["ss_training_comment"] == "first"


def test_without_a_title_each_file_has_its_own_name(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", save_every_n_steps=1))
    titles = [
        metadata_of(tmp_path / "out" / f"{name}.safetensors")["modelspec.title"]
        for name in ("kyla", "kyla-step00000001")
    ]
    assert titles == ["kyla", "kyla-step00000001"]


def test_no_metadata_leaves_what_loaders_need(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", metadata=False, training_comment="secret", metadata_author="me"))
    assert metadata_of(tmp_path / "out" / "kyla.safetensors").keys() == {
        "ss_base_model_version",
        "ss_network_module",
        "ss_network_dim",
        "ss_network_alpha",
        "sshs_model_hash",
    }


def test_precision_of_the_file_is_the_one_that_is_asked_for_in_either_spelling(cache, tmp_path):
    for precision in ("fp16", "float16"):
        config = load_config(None, {"saving": {"save_precision": precision}})
        assert config.saving.save_precision == "float16"
    run(train_config(cache, tmp_path / "out", save_precision="fp16"))
    matrices = [value for value in tensors_of(tmp_path / "out" / "kyla.safetensors").values() if value.ndim]
    assert {matrix.dtype for matrix in matrices} == {torch.float16}


@pytest.mark.parametrize(("short", "full"), [("bf16", "bfloat16"), ("fp32", "float32"), ("float", "float32")])
def test_short_names_of_precisions_are_taken(short, full):
    config = load_config(None, {"memory": {"dit_dtype": short}, "model": {"vae_dtype": short}})
    assert (config.memory.dit_dtype, config.model.vae_dtype) == (full, full)


def test_sdpa_is_taken_and_changes_nothing(cache, tmp_path):
    plain, _ = (
        run(train_config(cache, tmp_path / name, sdpa=sdpa)) for name, sdpa in (("plain", False), ("sdpa", True))
    )
    first, second = (tensors_of(tmp_path / name / "kyla.safetensors") for name in ("plain", "sdpa"))
    assert plain[0].written == 1
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_log_or_title_is_no_other_setting_when_a_run_goes_on(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", log_with="none"))
    config = train_config(
        cache, tmp_path / "out", max_train_steps=3, metadata_title="x", logging_dir=tmp_path, sdpa=True, metadata=False
    )
    assert not [problem for problem in plan_training(config).warnings if "other settings" in problem.what]


# Mask loss


def test_region_weights_stand_in_the_rule_beside_the_cached_ones():
    section = MaskLossSection(use_mask_loss=True, body_weight=0.4, background_weight=0.02)
    rule = weight_rule(section, TierTable())
    assert rule.tier_weights == pytest.approx((1.0, 0.4, 80 / 255, 0.02))


def test_prior_options_reach_the_rule():
    section = MaskLossSection(
        use_mask_loss=True, prior_preservation_weight=2.0, prior_min_timestep=250, prior_decay="linear"
    )
    strengths = prior_rule(section).strengths(torch.tensor([0.2, 0.5, 1.0]))
    assert strengths.tolist() == pytest.approx([0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({}, 1.0),
        ({"prior_share": 0.25}, 0.25),
        ({"prior_share": 0.25, "trigger_free_share": 0.5}, 0.25),
        ({"prior_share": 0.25, "trigger_free_share": 0.5, "trigger_free_weight": 1.0}, 0.5),
        ({"prior_share": 0.75, "trigger_free_share": 0.5, "trigger_free_weight": 1.0}, 0.75),
    ],
)
def test_the_prior_holds_in_its_share_of_the_steps_and_wherever_the_base_model_predicts_anyway(options, share):
    section = MaskLossSection(use_mask_loss=True, prior_preservation_weight=1.0, **options)
    assert prior_rule(section).share == share


def test_the_threshold_says_which_cells_the_prior_holds(cache, tmp_path):
    """Of four stripes (1, 0.5, 0.31, 0) the usual threshold holds one, a higher one two: more cells, another prior loss."""
    options = {"use_mask_loss": True, "prior_preservation_weight": 1.0, "max_train_steps": 3, "mask_mean": "sample"}
    low = run(train_config(cache, tmp_path / "low", **options))[1]
    high = run(train_config(cache, tmp_path / "high", **options, prior_mask_threshold=0.4))[1]
    assert measured(low, "prior/loss")[1:] != measured(high, "prior/loss")[1:]


def test_area_beta_multiplies_an_items_loss_by_its_mean_weight_to_this_power(cache, tmp_path):
    options = {"use_mask_loss": True, "mask_mean": "sample", "max_train_steps": 1}
    plain, calmed = (
        run(train_config(cache, tmp_path / str(beta), **options, mask_area_beta=beta))[1] for beta in (0.0, 0.5)
    )
    mean_weight = measured(plain, "mask/weight")[0]
    assert measured(calmed, "loss")[0] == pytest.approx(measured(plain, "loss")[0] * mean_weight**0.5, rel=1e-5)


def test_noise_weighting_multiplies_the_loss_by_its_level(cache, tmp_path):
    options = {"min_timestep": 500, "max_timestep": 500, "max_train_steps": 1}
    plain, weighted = (
        run(train_config(cache, tmp_path / name, **options, weighting_scheme=name))[1]
        for name in ("none", "sigma_sqrt")
    )
    assert measured(weighted, "loss")[0] == pytest.approx(measured(plain, "loss")[0] * 0.5**-2, rel=1e-5)


# Model files


def test_every_model_file_reaches_the_family():
    named = [
        "vae",
        "text_encoder",
        "tokenizer",
        "text_encoder_2",
        "tokenizer_2",
        "dit",
        "dit_high_noise",
        "image_encoder",
    ]
    files = model_files(
        ModelSection(model="folder", download=True, **{name: Path(f"{name}.safetensors") for name in named})
    )
    assert {name: str(getattr(files, name)) for name in named} == {name: f"{name}.safetensors" for name in named}
    assert (files.model, files.download) == ("folder", True)


def test_the_miniature_stands_for_all_files_that_are_named_as_well():
    assert model_files(
        ModelSection(model="tiny", dit=Path("dit.safetensors"), vae=Path("vae.safetensors"))
    ) == ModelFiles(model="tiny")


def test_files_beside_the_miniature_are_told_in_one_line_by_the_plan(cache, tmp_path):
    config = train_config(cache, tmp_path / "out", vae=Path("vae.safetensors"), text_encoder=Path("t5.safetensors"))
    [warning] = [each for each in plan_training(config).warnings if "miniatures" in each.what]
    assert warning.what.endswith("stand for the files of [model], which are not read: `vae`, `text_encoder`")
    assert warning.where == ()
