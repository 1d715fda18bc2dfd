"""What `train` says at the start: the banner, and what a user should know of masks and settings."""

from blissmask.events import Announced
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.training import run, train_config, write_entry

BANNER = """\
============================================================
MASK-WEIGHTED LOSS TRAINING ENABLED
============================================================
  mask_loss_scale: 1.0
  mask_min_weight: 0.05
  mask_gamma: 0.7
------------------------------------------------------------
IMPORTANT: Masks must be baked into latent cache!
If you see 'batch has no mask_weights' errors, re-run
the cache script with mask_directory in your dataset config.
============================================================
 (the cache script is `blissmask cache`; `mask_loss_scale` has no effect)
 tier         value   weight   loss weight   share of weight
 face           255    1.000         1.000             46.3%
 body           128    0.502         0.636             29.5%
 hair            80    0.314         0.472             21.9%
 background       0    0.000         0.050              2.3%
 4 cache entries, all with mask weights; mean loss weight 0.540"""


def test_banner_is_the_guides_word_for_word_with_the_tiers_as_trained(cache, tmp_path):
    _, recorder = run(train_config(cache, tmp_path / "out", use_mask_loss=True, mask_gamma=0.7, mask_min_weight=0.05))
    (announced,) = recorder.of(Announced)
    assert "\n".join(announced.lines) == BANNER


def test_without_mask_loss_there_is_no_banner_and_ignored_masks_are_named(cache, tmp_path):
    config = train_config(cache, tmp_path / "out")
    assert "4 of 4 cache entries have masks that this training ignores" in [
        p.what for p in plan_training(config).warnings
    ]
    assert run(config)[1].of(Announced) == []


def test_a_mixed_set_counts_and_names_what_has_no_mask(cache, tmp_path):
    bare = write_entry(cache, "bare", seed=9)
    plan = plan_training(train_config(cache, tmp_path / "out", use_mask_loss=True))
    (warning,) = [p for p in plan.warnings if "full weight" in p.what]
    assert warning.what == "1 of 5 cache entries has no mask and counts as full weight"
    assert str(bare) in warning.where


def test_floor_zero_without_prior_is_said_to_be_unconstrained_with_two_remedies(cache, tmp_path):
    (problem,) = plan_training(train_config(cache, tmp_path / "out", use_mask_loss=True)).warnings
    assert "unconstrained outside the mask" in problem.what
    assert "--prior-preservation-weight" in problem.fix
    assert "--mask-min-weight" in problem.fix
    floored = train_config(cache, tmp_path / "out", use_mask_loss=True, mask_min_weight=0.05)
    assert plan_training(floored).warnings == []


def test_a_mask_loss_scale_warns_that_it_has_no_effect(cache, tmp_path):
    plan = plan_training(
        train_config(cache, tmp_path / "out", use_mask_loss=True, mask_min_weight=0.05, mask_loss_scale=2.0)
    )
    assert "--mask_loss_scale has no effect" in plan.warnings[0].what
