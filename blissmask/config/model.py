"""The one validated configuration. A section is a table of the TOML file; a field is a key and a flag."""

from __future__ import annotations

from blissmask.config.dataset import DatasetSection, GeneralSection
from blissmask.config.fields import Section
from blissmask.config.lora_section import LoraSection
from blissmask.config.mask_loss_section import MaskLossSection
from blissmask.config.masks import ApplySection, InstanceSection, MasksSection, ToAlphaSection
from blissmask.config.memory_section import MemorySection
from blissmask.config.model_section import CacheSection, ModelSection
from blissmask.config.optimizer_section import OptimizerSection
from blissmask.config.run import RunSection
from blissmask.config.saving_section import LoggingSection, PreviewsSection, SavingSection
from blissmask.config.timesteps_section import TimestepsSection
from blissmask.config.train_section import TrainSection


class Config(Section):
    """Everything a user can say, for all six commands."""

    general: GeneralSection = GeneralSection()
    datasets: tuple[DatasetSection, ...] = ()
    model: ModelSection = ModelSection()
    masks: MasksSection = MasksSection()
    instance: InstanceSection = InstanceSection()
    apply: ApplySection = ApplySection()
    to_alpha: ToAlphaSection = ToAlphaSection()
    cache: CacheSection = CacheSection()
    mask_loss: MaskLossSection = MaskLossSection()
    train: TrainSection = TrainSection()
    memory: MemorySection = MemorySection()
    lora: LoraSection = LoraSection()
    optimizer: OptimizerSection = OptimizerSection()
    timesteps: TimestepsSection = TimestepsSection()
    saving: SavingSection = SavingSection()
    previews: PreviewsSection = PreviewsSection()
    logging: LoggingSection = LoggingSection()
    run: RunSection = RunSection()


def section_type(name: str) -> type[Section]:
    """Return the class of a section; ``datasets`` is the class of one dataset."""
    if name == "datasets":
        return DatasetSection
    annotation = Config.model_fields[name].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, Section)
    return annotation


_DEFAULTS = {
    "resolution": (960, 544),
    "batch_size": 1,
    "num_repeats": 1,
    "enable_bucket": False,
    "bucket_no_upscale": False,
    "shuffle_caption": False,
    "keep_tokens": 0,
}
"""What holds when neither the dataset nor [general] says; musubi-tuner's defaults."""


def complete(dataset: DatasetSection, general: GeneralSection) -> DatasetSection:
    """Return ``dataset`` with what it leaves open taken from ``general``, then from the defaults."""
    filled = {}
    for name in GeneralSection.model_fields:
        own, inherited = getattr(dataset, name), getattr(general, name)
        filled[name] = own if own is not None else inherited if inherited is not None else _DEFAULTS.get(name)
    return dataset.model_copy(update=filled)
