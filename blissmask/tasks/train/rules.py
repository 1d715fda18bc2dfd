"""What training does, from what the configuration asks for: the only place that translates sections into values."""

from __future__ import annotations

from collections.abc import Sequence

from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.config.sections.lora_section import LoraSection
from blissmask.config.sections.mask_loss_section import MaskLossSection
from blissmask.config.sections.memory_section import MemorySection
from blissmask.config.sections.optimizer_section import OptimizerSection
from blissmask.config.sections.timesteps_section import TimestepsSection
from blissmask.errors import UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.protocol import Expert
from blissmask.masks.tiers import TierTable, WeightTier
from blissmask.plurals import counted
from blissmask.training.lora.base_weights import BaseLora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.memory.options import MemoryOptions
from blissmask.training.optim.optimizer import OptimizerOptions
from blissmask.training.optim.schedule import ScheduleOptions
from blissmask.training.record.saving import Outputs, output_names
from blissmask.training.step.step_rule import StepRule
from blissmask.training.timesteps import NoiseOptions
from blissmask.training.weighting.prior import PriorRule, TriggerFreeRule
from blissmask.training.weighting.rule import WeightRule

FULL_NOISE = 1000
"""The configuration counts noise levels to this, as musubi-tuner does; training counts them to 1."""


def weight_rule(section: MaskLossSection, tiers: TierTable) -> WeightRule | None:
    """Return how weights are shaped, or None when the mask loss is off.

    Args:
        section: the options.
        tiers: the values that most masks were made with; see :meth:`WeightRule.for_masks_of` for the others.
    """
    if not section.use_mask_loss:
        return None
    return WeightRule(
        gamma=section.mask_gamma,
        min_weight=section.mask_min_weight,
        transform=section.mask_transform,
        own_weights=_own_weights(section),
        tiers=tiers,
        feather=section.mask_feather,
    )


def _own_weights(section: MaskLossSection) -> dict[WeightTier, float]:
    """Return the weights that the user gives instead of the cached ones."""
    given: dict[WeightTier, float | None] = {
        WeightTier.FACE: section.face_weight,
        WeightTier.BODY: section.body_weight,
        WeightTier.HAIR: section.hair_weight,
        WeightTier.BACKGROUND: section.background_weight,
    }
    return {tier: weight for tier, weight in given.items() if weight is not None}


def run_names(config: Config, family: FamilyForTask, trained: Sequence[Expert]) -> Outputs:
    """Return the names of the files of a run that trains ``trained`` of a family; errors as :func:`output_names`."""
    return output_names(
        config.saving.output_dir,
        config.saving.output_name,
        all_experts=len(family.experts),
        trained=[expert.name for expert in trained],
        shared=config.train.shared_lora and len(trained) > 1,
        averaged=config.optimizer.ema_decay is not None,
    )


def base_loras(section: LoraSection) -> list[BaseLora]:
    """Return the LoRA files that are fused into the base model.

    Raises:
        UsageError: there are more multipliers than files.
    """
    files, multipliers = section.base_weights, section.base_weights_multiplier
    if len(multipliers) > len(files):
        numbers, named = counted(len(multipliers), "number"), counted(len(files), "file")
        raise UsageError(
            f"`base_weights_multiplier` has {numbers}, and `base_weights` {named}",
            fix="give each file its multiplier, in the same order",
        )
    given = dict(enumerate(multipliers))
    return [BaseLora(path, given.get(number, 1.0)) for number, path in enumerate(files)]


def prior_rule(section: MaskLossSection) -> PriorRule | None:
    """Return the prior term, or None when it is off."""
    if not section.use_mask_loss or not section.prior_preservation_weight:
        return None
    return PriorRule(
        weight=section.prior_preservation_weight,
        min_level=section.prior_min_timestep / FULL_NOISE,
        decay=section.prior_decay,
        mask_threshold=section.prior_mask_threshold if section.prior_mask == "threshold" else None,
        decay_start=section.prior_decay_start / FULL_NOISE,
        warmup_steps=section.prior_warmup_steps,
        share=_prior_share(section),
    )


def _prior_share(section: MaskLossSection) -> float:
    """Return the share of the steps that hold what is outside: all in which the base model predicts anyway."""
    return max(section.prior_share, section.trigger_free_share if section.trigger_free_weight else 0.0)


def trigger_free_rule(section: MaskLossSection) -> TriggerFreeRule | None:
    """Return how captions without the trigger are held to the base model, or None when they are not."""
    if not section.trigger_free_weight:
        return None
    return TriggerFreeRule(
        weight=section.trigger_free_weight,
        min_level=section.trigger_free_min_timestep / FULL_NOISE,
        share=section.trigger_free_share,
    )


def _held_rule(section: MaskLossSection, *, has_prior_sets: bool) -> PriorRule | None:
    """Return how items are held: by the prior term, or where it is off, those of `prior` sets with a weight of 1."""
    if not has_prior_sets:
        return prior_rule(section)
    weight = section.prior_preservation_weight or 1.0
    return prior_rule(section.model_copy(update={"use_mask_loss": True, "prior_preservation_weight": weight}))


def step_rule(config: Config, *, has_prior_sets: bool = False) -> StepRule:
    """Return what each optimiser step does.

    Args:
        config: the options.
        has_prior_sets: whether there are items that are only held to the base model.
    """
    mask = config.mask_loss
    masked = mask.use_mask_loss
    return StepRule(
        seed=config.train.seed,
        mean=mask.mask_mean if masked else "batch",
        area_beta=mask.mask_area_beta if masked else 0.0,
        unmasked_probability=mask.unmasked_probability if masked else 0.0,
        prior=_held_rule(mask, has_prior_sets=has_prior_sets),
        trigger_free=trigger_free_rule(mask),
        loss_type=config.train.loss_type,
        huber_delta=config.train.huber_delta,
        weighting=config.timesteps.weighting_scheme,
        strata=config.timesteps.num_timestep_buckets or 0,
        max_grad_norm=config.optimizer.max_grad_norm,
        max_weight_norm=config.lora.scale_weight_norms or 0.0,
        subjects=tuple(subject.name for subject in config.subjects),
    )


def caption_rule(datasets: Sequence[DatasetSection]) -> str:
    """Return with which texts items are shown, in one line; empty where it is always their caption as it is written."""
    rules = [_caption_rule_of(section) for section in datasets]
    if len(set(rules)) == 1:
        return rules[0]
    return "; ".join(f"dataset {number}: {rule or 'as written'}" for number, rule in enumerate(rules, 1))


def _caption_rule_of(section: DatasetSection) -> str:
    parts = []
    if section.shuffle_caption:
        parts.append(f"one of {section.caption_orders} orders of the tags{_kept(section.keep_tokens)}")
    if section.caption_dropout_rate:
        parts.append(f"none in {100 * section.caption_dropout_rate:g}% of the times")
    return ", ".join(parts)


def _kept(tags: int) -> str:
    if not tags:
        return ""
    return " after the first tag" if tags == 1 else f" after the first {tags} tags"


def noise_options(section: TimestepsSection, *, default_shift: float) -> NoiseOptions:
    """Return how noise levels are drawn.

    Args:
        section: sampling, shift and range.
        default_shift: the family's, when the user gives none.

    Raises:
        UsageError: the range is empty.
    """
    low = section.min_timestep or 0
    high = FULL_NOISE if section.max_timestep is None else section.max_timestep
    if low > high:
        raise UsageError(f"`min_timestep` is {low}, above `max_timestep`, {high}")
    return NoiseOptions(
        sampling=section.timestep_sampling,
        shift=section.discrete_flow_shift or default_shift,
        sigmoid_scale=section.sigmoid_scale,
        logit_mean=section.logit_mean,
        logit_std=section.logit_std,
        low=low / FULL_NOISE,
        high=high / FULL_NOISE,
        keep_shape=section.preserve_distribution_shape,
    )


def lora_shape(section: LoraSection) -> LoraShape:
    """Return the LoRA that the configuration asks for."""
    return LoraShape(
        rank=section.network_dim,
        alpha=section.network_alpha or float(section.network_dim),
        dropout=section.network_dropout,
        rank_stabilised=section.use_rslora,
        dora=section.use_dora,
        include=tuple(section.include_patterns),
        exclude=tuple(section.exclude_patterns),
        kind=section.network_type,
        factor=section.lokr_factor,
    )


def optimizer_options(section: OptimizerSection) -> OptimizerOptions:
    """Return the optimiser that the configuration asks for."""
    return OptimizerOptions(
        name=section.optimizer_type,
        arguments=section.optimizer_args,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        loraplus_lr_ratio=section.loraplus_lr_ratio,
    )


def rate_schedule(section: OptimizerSection) -> ScheduleOptions:
    """Return how the learning rate changes."""
    return ScheduleOptions(
        name=section.lr_scheduler,
        warmup_steps=section.lr_warmup_steps,
        decay_steps=section.lr_decay_steps,
        cycles=section.lr_scheduler_num_cycles,
        power=section.lr_scheduler_power,
        min_lr_ratio=section.lr_scheduler_min_lr_ratio,
        arguments=section.lr_scheduler_args,
    )


def memory_options(section: MemorySection) -> MemoryOptions:
    """Return what makes the training smaller, as it is given."""
    return MemoryOptions(
        gradient_checkpointing=section.gradient_checkpointing,
        offload_inactive_dit=section.offload_inactive_dit,
        int8_base=section.int8_base,
        fp8_base=section.fp8_base,
        nf4_base=section.nf4_base,
        blocks_to_swap=section.blocks_to_swap,
        fsdp=section.fsdp,
        compile_backend=section.compile_backend if section.compile else None,
    )
