"""The tier values that the loss is shaped by are those the masks were made with, which every cache entry says itself."""

import pytest
import torch

from blissmask.events import Announced, Measured
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.training import run, stripes, train_config, write_entry

USUAL = (255, 128, 80, 0)
LIGHT_HAIR = (255, 128, 160, 0)


def write_tiered(folder, stem, values, *, seed=0, says_so=True):
    """Write an item of four stripes, one per tier, whose mask was made with ``values``."""
    shares = stripes(1, 4, 4)
    weights = torch.einsum("rfhw,r->fhw", shares, torch.tensor(values) / 255).unsqueeze(0)
    metadata = {"blissmask.tiers": ",".join(map(str, values))} if says_so else {}
    return write_entry(folder, stem, weights=weights, regions=shares, seed=seed, **metadata)


def banner_of(config):
    return run(config)[1].of(Announced)[0].lines


def row(lines, tier):
    """Return value, weight, loss weight and share of a tier in the banner."""
    return next(line for line in lines if line.startswith(f" {tier}")).split()[1:]


def weighted_means(config):
    return [event.values["mask/weight"] for event in run(config)[1].of(Measured)]


def warnings_of(config):
    return [problem for problem in plan_training(config).warnings if "unconstrained" not in problem.what]


def test_the_cache_says_the_tier_values_without_any_in_the_configuration(tmp_path):
    write_tiered(tmp_path / "cache", "kyla", LIGHT_HAIR)
    config = train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True)
    assert warnings_of(config) == []
    assert row(banner_of(config), "hair")[:3] == ["160", "0.627", "0.627"]


@pytest.mark.parametrize("options", [{"mask_transform": "pixel"}, {"face_weight": 1.0}])
def test_regions_that_no_option_names_keep_the_weight_they_were_cached_with(tmp_path, options):
    write_tiered(tmp_path / "cache", "kyla", LIGHT_HAIR)
    config = train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, **options)
    assert weighted_means(config) == pytest.approx([(255 + 128 + 160) / 255 / 4] * 2)


def test_entries_with_different_values_are_each_trained_with_their_own_and_it_is_said(tmp_path):
    write_tiered(tmp_path / "cache", "a", USUAL)
    write_tiered(tmp_path / "cache", "b", USUAL, seed=1)
    write_tiered(tmp_path / "cache", "c", LIGHT_HAIR, seed=2)
    config = train_config(
        tmp_path / "cache", tmp_path / "out", use_mask_loss=True, mask_transform="pixel", max_train_epochs=1
    )
    (warning,) = warnings_of(config)
    assert "different tier values; each entry is trained with its own" in warning.what
    assert warning.where == (
        "2 cache entries: face 255, body 128, hair 80, background 0",
        "1 cache entry: face 255, body 128, hair 160, background 0",
    )
    assert sorted(weighted_means(config)) == pytest.approx([463 / 1020, 463 / 1020, 543 / 1020])


def test_values_that_an_option_replaces_everywhere_do_not_differ(tmp_path):
    write_tiered(tmp_path / "cache", "a", USUAL)
    write_tiered(tmp_path / "cache", "b", LIGHT_HAIR, seed=1)
    config = train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, hair_weight=0.5)
    assert warnings_of(config) == []
    assert weighted_means(config) == pytest.approx([(1 + 128 / 255 + 0.5) / 4] * 2)


def test_the_banner_shows_the_commonest_values_and_counts_the_others(tmp_path):
    write_tiered(tmp_path / "cache", "a", USUAL)
    write_tiered(tmp_path / "cache", "b", LIGHT_HAIR, seed=1)
    write_tiered(tmp_path / "cache", "c", LIGHT_HAIR, seed=2)
    lines = banner_of(train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True))
    assert row(lines, "hair")[0] == "160"
    assert " entries whose masks have other tier values, each trained with its own: 1" in lines


def test_a_value_changed_in_masks_after_caching_is_named_with_the_option_that_trains_it(tmp_path):
    write_tiered(tmp_path / "cache", "kyla", USUAL)
    config = train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, hair=128)
    (warning,) = warnings_of(config)
    assert "[masks] says `hair = 128`" in warning.what
    assert "--hair-weight 0.502" in warning.fix
    assert row(banner_of(config), "hair")[0] == "80"


def test_a_cache_of_another_tool_is_shown_with_the_values_of_the_configuration(tmp_path):
    write_tiered(tmp_path / "cache", "kyla", LIGHT_HAIR, says_so=False)
    config = train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, hair=160)
    assert warnings_of(config) == []
    assert row(banner_of(config), "hair")[0] == "160"


def test_a_weight_for_one_of_two_tiers_with_one_value_is_said_to_do_nothing(tmp_path):
    write_tiered(tmp_path / "cache", "kyla", (255, 128, 128, 0))
    config = train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, hair_weight=0.9)
    (warning,) = warnings_of(config)
    assert warning.what == "`--hair-weight` has no effect on 1 cache entry: body and hair have one mask value there"
    alike = train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, hair_weight=0.9, body_weight=0.9)
    assert warnings_of(alike) == []


def test_nothing_is_said_of_tier_values_when_masks_are_not_used(tmp_path):
    write_tiered(tmp_path / "cache", "a", USUAL)
    write_tiered(tmp_path / "cache", "b", LIGHT_HAIR, seed=1)
    (warning,) = plan_training(train_config(tmp_path / "cache", tmp_path / "out")).warnings
    assert "masks that this training ignores" in warning.what
