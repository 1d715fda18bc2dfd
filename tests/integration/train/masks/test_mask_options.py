"""The corners of the mask loss, through `train`."""

import itertools

import pytest
import tomli
import torch

from blissmask.config.model import Config
from blissmask.config.sections.mask_loss_section import PRESET_FIELDS, PRESETS, MaskLossSection
from blissmask.errors import CacheError
from blissmask.events import Announced, Measured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train_like import train_like
from blissmask.tasks.train_like.train_like import RECIPES
from tests.builders.training import (
    ALL_LAYERS,
    problems_of,
    run,
    tensors_of,
    train_config,
    weights_of,
    write_entry,
)


def measured(recorder, name):
    return [event.values[name] for event in recorder.of(Measured)]


HELD_IN_HALF = {"prior_preservation_weight": 1.0, "prior_share": 0.5}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("person", {"mask_gamma": 0.7, "mask_min_weight": 0.05}),
        ("face", {"mask_gamma": 1.5, "mask_min_weight": 0.0}),
        ("style", {"mask_gamma": 0.5, "mask_min_weight": 0.1}),
        ("person-prior", {"mask_min_weight": 0.0, "mask_mean": "sample", **HELD_IN_HALF}),
        ("face-prior", {"mask_min_weight": 0.0, "mask_mean": "sample", "hair_weight": 0.0, **HELD_IN_HALF}),
    ],
)
def test_a_preset_sets_what_it_is_documented_to_set(preset, expected):
    section = MaskLossSection(mask_preset=preset)
    assert section.use_mask_loss
    assert {name: getattr(section, name) for name in expected} == expected


def test_what_the_user_gives_wins_over_the_preset():
    section = MaskLossSection(mask_preset="person", mask_gamma=1.0)
    assert (section.mask_gamma, section.mask_min_weight) == (1.0, 0.05)


def test_prior_preset_trains_a_teacher_and_warns_of_nothing(cache, tmp_path):
    config = train_config(cache, tmp_path / "out", mask_preset="person-prior", max_train_steps=4)
    planned = plan_training(config)
    assert (planned.warnings, planned.details["prior_share"]) == ([], 0.5)
    _, recorder = run(config)
    assert measured(recorder, "prior/items") == [1, 1, 0, 1]
    # B is zero at first, so the LoRA and its teacher agree; after a step they do not. A step without has no number.
    losses = [event.values.get("prior/loss") for event in recorder.of(Measured)]
    assert (losses[0], losses[2]) == (0.0, None)
    assert losses[3] > 0.0
    held = recorder.of(Announced)[0].lines[-1]
    assert held.endswith("held to the base model in 50% of the steps, on average as strongly as the rest is learned")


def test_prior_keeps_the_outside_nearer_to_the_base_model(cache, tmp_path):
    """Drift outside the mask after some steps, with and without the prior: same seed, data and noise."""
    drifts = {}
    for strength in (1e-9, 3.0):
        _, recorder = run(
            train_config(
                cache,
                tmp_path / str(strength),
                use_mask_loss=True,
                prior_preservation_weight=strength,
                max_train_steps=20,
                network_dim=4,
                **ALL_LAYERS,
            )
        )
        drifts[strength] = sum(measured(recorder, "prior/loss")[-8:]) / strength
    # Of four seeds 0.05 to 0.08 of it.
    assert drifts[3.0] < 0.5 * drifts[1e-9]


def test_face_preset_with_prior_holds_the_background_only(cache, tmp_path):
    """Body and hair weigh nothing in training but are not outside: by the cached mask they are part of the subject."""
    _, recorder = run(train_config(cache, tmp_path / "out", mask_preset="face-prior", max_train_steps=2))
    shares = [
        line.split()[-1]
        for line in recorder.of(Announced)[0].lines
        if line.startswith((" face", " body", " hair", " background"))
    ]
    assert shares == ["100.0%", "0.0%", "0.0%", "0.0%"]
    assert measured(recorder, "mask/weight") == pytest.approx([0.25, 0.25])


def test_pixel_transform_equals_latent_where_cells_are_of_one_tier(cache, tmp_path):
    options = {"use_mask_loss": True, "mask_gamma": 0.5, "max_train_steps": 3}
    _, latent = run(train_config(cache, tmp_path / "latent", **options))
    _, pixel = run(train_config(cache, tmp_path / "pixel", mask_transform="pixel", **options))
    assert measured(pixel, "loss") == pytest.approx(measured(latent, "loss"), rel=1e-5)


def test_pixel_transform_is_exact_where_a_cell_holds_two_tiers(tmp_path):
    shares = torch.zeros(4, 1, 4, 4)
    shares[0], shares[3] = 0.25, 0.75
    write_entry(tmp_path / "cache", "edge", weights=weights_of(shares), regions=shares)
    for transform, expected in (("latent", 0.25**2), ("pixel", 0.25)):
        _, recorder = run(
            train_config(
                tmp_path / "cache",
                tmp_path / transform,
                use_mask_loss=True,
                mask_gamma=2.0,
                mask_transform=transform,
                max_train_steps=1,
            )
        )
        assert measured(recorder, "mask/weight") == pytest.approx([expected])


def test_region_weights_need_region_shares_and_say_which_entries_lack_them(tmp_path):
    path = write_entry(tmp_path / "cache", "soft", weights=torch.rand(1, 1, 4, 4))
    with pytest.raises(CacheError, match="share of face") as caught:
        plan_training(train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, hair_weight=0.6))
    assert str(path) in problems_of(caught.value)


def test_an_item_that_had_no_mask_stays_at_full_weight_whatever_faces_weigh(tmp_path):
    shares = torch.zeros(4, 1, 4, 4)
    shares[0] = 1.0
    write_entry(
        tmp_path / "cache", "full", weights=weights_of(shares), regions=shares, **{"blissmask.mask_source": "full"}
    )
    _, recorder = run(
        train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, face_weight=0.3, max_train_steps=1)
    )
    assert measured(recorder, "mask/weight") == [1.0]


@pytest.mark.parametrize(
    ("tier", "cached"), [("face", 1.0), ("body", 128 / 255), ("hair", 80 / 255), ("background", 0.0)]
)
def test_the_weight_of_a_region_replaces_the_cached_one(cache, tmp_path, tier, cached):
    """Every cell of the set is of one tier, a quarter of them of each."""
    _, recorder = run(
        train_config(cache, tmp_path / "out", use_mask_loss=True, max_train_steps=1, **{f"{tier}_weight": 0.6})
    )
    assert measured(recorder, "mask/weight") == pytest.approx([(1.0 + 128 / 255 + 80 / 255 - cached + 0.6) / 4])


def test_each_mean_trains_another_lora_on_masks_of_unlike_size(tmp_path):
    """One step of a pair and a single item, so that items, micro-batches and cells are all counted differently."""
    for number, weight in enumerate((1.0, 0.5, 0.02)):
        write_entry(tmp_path / "cache", f"kyla{number}", weights=torch.full((1, 1, 4, 4), weight), seed=number)
    pairs = [{"cache_directory": tmp_path / "cache", "batch_size": 2}]
    # SGD, since the first step of AdamW goes by the sign of the gradient alone.
    options = {
        "use_mask_loss": True,
        "max_train_steps": 1,
        "gradient_accumulation_steps": 2,
        "optimizer_type": "SGD",
        "datasets": pairs,
    }
    trained = []
    for mean in ("batch", "sample", "global"):
        run(train_config(tmp_path / "cache", tmp_path / mean, mask_mean=mean, **options))
        trained.append(
            tensors_of(tmp_path / mean / "kyla.safetensors")["diffusion_model.blocks.0.self_attn.q.lora_B.weight"]
        )
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(trained, 2))


def test_a_mask_loss_scale_changes_no_weight(cache, tmp_path):
    plain, scaled = (tmp_path / str(scale) / "kyla.safetensors" for scale in (1.0, 2.0))
    for scale, file in ((1.0, plain), (2.0, scaled)):
        run(train_config(cache, file.parent, use_mask_loss=True, mask_loss_scale=scale))
    expected, found = tensors_of(plain), tensors_of(scaled)
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_feather_lets_weight_flow_over_the_edge(cache, tmp_path):
    _, hard = run(train_config(cache, tmp_path / "hard", use_mask_loss=True, max_train_steps=1))
    _, soft = run(train_config(cache, tmp_path / "soft", use_mask_loss=True, mask_feather=1.0, max_train_steps=1))

    def background(recorder):
        return next(
            float(line.split()[-1].rstrip("%"))
            for line in recorder.of(Announced)[0].lines
            if line.startswith(" background")
        )

    assert background(hard) == 0.0
    assert background(soft) > 5.0


def test_unmasked_steps_weigh_everything(cache, tmp_path):
    _, recorder = run(
        train_config(cache, tmp_path / "out", use_mask_loss=True, unmasked_probability=0.5, max_train_steps=12)
    )
    masked = ["mask/weight" in event.values for event in recorder.of(Measured)]
    assert set(masked) == {True, False}


@pytest.mark.parametrize(
    "extra",
    [
        {"loss_type": "huber", "huber_delta": 0.5},
        {"mask_mean": "sample", "mask_area_beta": 0.5},
        {"weighting_scheme": "cosmap", "timestep_sampling": "qwen_shift"},
        {"timestep_sampling": "logsnr", "num_timestep_buckets": 4},
        {
            "timestep_sampling": "flux_shift",
            "min_timestep": 200,
            "max_timestep": 900,
            "preserve_distribution_shape": True,
        },
        {"prior_preservation_weight": 1.0, "prior_decay": "cosine", "prior_min_timestep": 300},
        {"network_dropout": 0.2, "use_rslora": True, "network_alpha": 3.0},
        {"use_dora": True},
        {"gradient_checkpointing": True},
        {"dit_dtype": "bfloat16"},
        {"fp8_base": True},
        {"fp8_base": True, "dit_dtype": "bfloat16", "gradient_checkpointing": True},
        {"optimizer_type": "adafactor"},
        {"optimizer_type": "torch.optim.Adam", "optimizer_args": ["betas=(0.8,0.9)"], "loraplus_lr_ratio": 4.0},
        {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1, "lr_warmup_steps": "50%"},
        {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 1, "lr_decay_steps": 0.5},
        {"max_train_epochs": 1, "save_every_n_epochs": 1},
        {"save_precision": "bfloat16"},
        {"exclude_patterns": [r".*ffn.*"]},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_every_option_trains_to_finite_weights_that_moved(cache, tmp_path, extra):
    run(train_config(cache, tmp_path / "out", **{"use_mask_loss": True, "max_train_steps": 4, **extra}))
    tensors = tensors_of(tmp_path / "out" / "kyla.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values())
    assert any(value.abs().max() > 0 for key, value in tensors.items() if key.endswith("lora_B.weight"))
    if "exclude_patterns" in extra:
        assert not any("ffn" in key for key in tensors)


def losses_of(cache, output, **options):
    _, recorder = run(train_config(cache, output, use_mask_loss=True, max_train_steps=3, **options))
    return measured(recorder, "loss"), measured(recorder, "mask/weight")


def test_the_sd_scripts_recipe_is_the_plain_mean_of_loss_times_mask(cache, tmp_path):
    ours, _ = losses_of(cache, tmp_path / "plain", **recipe_options("sd-scripts"))
    weighted, mean_weights = losses_of(cache, tmp_path / "weighted", learning_rate=1e-12)
    assert ours[0] == pytest.approx(weighted[0] * mean_weights[0], rel=1e-6)


def recipe_options(trainer):
    return {name: value for name, value in RECIPES[trainer].settings.items() if name != "use_mask_loss"}


def test_the_onetrainer_recipe_weighs_the_background_at_a_tenth(cache, tmp_path):
    _, mean_weights = losses_of(cache, tmp_path / "out", **recipe_options("onetrainer"))
    assert mean_weights[0] == pytest.approx((1 + 128 / 255 + 80 / 255 + 0.1) / 4)


def test_the_ai_toolkit_recipe_maps_masks_to_a_range_and_divides_by_their_mean(cache, tmp_path):
    (ours, *_), (mean_weight, *_) = losses_of(cache, tmp_path / "out", **recipe_options("ai-toolkit"))
    (region_losses,) = [
        event.values
        for event in run(train_config(cache, tmp_path / "one", use_mask_loss=True, max_train_steps=1))[1].of(Measured)
    ]
    raw = {"face": 1.0, "body": 128 / 255, "hair": 80 / 255, "background": 0.0}
    mapped = {tier: 0.1 + 0.9 * weight for tier, weight in raw.items()}
    mean_mask = sum(mapped.values()) / 4
    assert mean_weight == pytest.approx(mean_mask)
    assert ours == pytest.approx(
        sum(region_losses[f"loss/{tier}"] * mapped[tier] for tier in raw) / 4 / mean_mask, rel=1e-5
    )


@pytest.mark.parametrize("trainer", RECIPES)
def test_recipes_are_shown_without_a_data_set_and_nothing_is_trained(trainer):
    plan = train_like.plan(Config(mask_loss=MaskLossSection(like=trainer)))
    summary = train_like.run(plan, RunContext())
    assert summary.tables[0].title.startswith(trainer)
    typed = "\n".join(f"{name} = {value}" for name, value in summary.tables[0].rows)
    assert MaskLossSection(**tomli.loads(typed)) == MaskLossSection(**RECIPES[trainer].settings)
    assert summary.written == 0


def test_the_fields_that_presets_decide_about_are_those_they_set():
    assert {"use_mask_loss", *(name for preset in PRESETS.values() for name in preset)} == PRESET_FIELDS
