"""The one validated configuration. A section is a table of the TOML file; a field is a key and a flag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from blissmask.config.fields.option import Section
from blissmask.config.sections.dataset_section import CAPTION_OF_PHOTO, PLACEHOLDERS, DatasetSection, GeneralSection
from blissmask.config.sections.lora_section import LoraSection
from blissmask.config.sections.mask_loss_section import MaskLossSection
from blissmask.config.sections.mask_sections import (
    ApplySection,
    InstanceSection,
    MasksSection,
    SubjectSection,
    ToAlphaSection,
)
from blissmask.config.sections.memory_section import MemorySection
from blissmask.config.sections.model_section import CacheSection, ModelSection
from blissmask.config.sections.optimizer_section import OptimizerSection
from blissmask.config.sections.run_section import RunSection
from blissmask.config.sections.saving_section import (
    CombineSection,
    LoggingSection,
    PreviewsSection,
    RankingSection,
    SavingSection,
)
from blissmask.config.sections.timesteps_section import TimestepsSection
from blissmask.config.sections.train_section import TrainSection

LISTS = ("datasets", "subjects")
"""Sections of which there may be several tables."""
_GENERAL_FIELDS = frozenset(GeneralSection.model_fields)


class Config(Section):
    """Everything a user can say, for all six commands."""

    general: GeneralSection = Field(default_factory=GeneralSection)
    subjects: tuple[SubjectSection, ...] = ()
    datasets: tuple[DatasetSection, ...] = ()
    model: ModelSection = Field(default_factory=ModelSection)
    masks: MasksSection = Field(default_factory=MasksSection)
    instance: InstanceSection = Field(default_factory=InstanceSection)
    apply: ApplySection = Field(default_factory=ApplySection)
    to_alpha: ToAlphaSection = Field(default_factory=ToAlphaSection)
    cache: CacheSection = Field(default_factory=CacheSection)
    mask_loss: MaskLossSection = Field(default_factory=MaskLossSection)
    train: TrainSection = Field(default_factory=TrainSection)
    memory: MemorySection = Field(default_factory=MemorySection)
    lora: LoraSection = Field(default_factory=LoraSection)
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection)
    timesteps: TimestepsSection = Field(default_factory=TimestepsSection)
    saving: SavingSection = Field(default_factory=SavingSection)
    combine: CombineSection = Field(default_factory=CombineSection)
    previews: PreviewsSection = Field(default_factory=PreviewsSection)
    ranking: RankingSection = Field(default_factory=RankingSection)
    logging: LoggingSection = Field(default_factory=LoggingSection)
    run: RunSection = Field(default_factory=RunSection)
    _read_from: Path | None = PrivateAttr(default=None)

    @property
    def read_from(self) -> Path | None:
        """Return the configuration file that was read; None where all was typed."""
        return self._read_from

    def know_file(self, path: Path | None) -> None:
        """Take the configuration file that was read; ``load_config`` calls it, once."""
        self._read_from = path

    @field_validator("datasets", mode="before")
    @classmethod
    def _inherit_from_general(cls, datasets: Any, validated: ValidationInfo) -> Any:
        """Give each dataset what [general] says and the dataset leaves open.

        A dataset is complete from here on, so that nobody has to look in two places.
        """
        # There is none when [general] itself is wrong, which is reported on its own.
        general = validated.data.get("general")
        if not isinstance(general, GeneralSection) or not isinstance(datasets, (list, tuple)):
            return datasets
        inherited = general.model_dump(exclude_none=True)
        subjects = {subject.name: subject for subject in validated.data.get("subjects") or ()}
        return [_completed(dataset, {**inherited, **_words_of(dataset, subjects)}) for dataset in datasets]

    @field_validator("subjects")
    @classmethod
    def _refuse_equal_subjects(cls, subjects: tuple[SubjectSection, ...]) -> tuple[SubjectSection, ...]:
        for key in ("name", "trigger"):
            values = [getattr(subject, key) for subject in subjects]
            if len(set(values)) < len(values):
                raise ValueError(f"two tables have the same `{key}`")
        taken = [subject.name for subject in subjects if subject.name in {*PLACEHOLDERS, CAPTION_OF_PHOTO}]
        if taken:
            raise ValueError(f"`{taken[0]}` cannot be a `name`: in captions {{{taken[0]}}} stands for something else")
        return subjects

    @field_validator("datasets")
    @classmethod
    def _know_subjects(
        cls, datasets: tuple[DatasetSection, ...], validated: ValidationInfo
    ) -> tuple[DatasetSection, ...]:
        # There are none where [[subjects]] itself is wrong, which is reported on its own.
        if "subjects" not in validated.data:
            return datasets
        names = [subject.name for subject in validated.data["subjects"]]
        unknown = [name for dataset in datasets for name in dataset.subject if name not in names]
        if unknown:
            known = f"those are {', '.join(names)}" if names else "there are none"
            raise ValueError(f'`subject = "{unknown[0]}"` names none of the [[subjects]]; {known}')
        for dataset in datasets:
            _refuse_shared_masks(dataset)
        triggers = {subject.name: subject.trigger for subject in validated.data["subjects"]}
        words = {subject.name: subject.class_word for subject in validated.data["subjects"] if subject.class_word}
        for dataset in datasets:
            dataset.know_subjects(triggers, words)
        return datasets

    def is_filled_by_apply(self, folder: Path | None) -> bool:
        """Return whether `apply` fills a folder of masks: its output, or that of one of several subjects."""
        output = self.apply.output
        return output is not None and folder is not None and output in (folder, folder.parent)


def _refuse_shared_masks(dataset: DatasetSection) -> None:
    """Refuse a data set of several subjects that is to have masks which are nobody's in particular."""
    if len(set(dataset.subject)) < len(dataset.subject):
        raise ValueError("`subject` names one of the [[subjects]] twice")
    shared = {"alpha_mask = true": dataset.alpha_mask, "default_mask": dataset.default_mask is not None}
    for key in (key for key, is_set in shared.items() if is_set and dataset.several):
        raise ValueError(
            f"`{key}` does not go with several subjects: each has its own masks, in a folder of its name in "
            "`mask_directory`"
        )


def _words_of(dataset: Any, subjects: Mapping[str, SubjectSection]) -> dict[str, Any]:
    """Return trigger and class word of the subject that a dataset shows; they win over those of [general].

    Where it shows several, captions name each: ``{kyla}``.
    """
    name = dataset.get("subject") if isinstance(dataset, dict) else None
    if isinstance(name, list) and len(name) == 1:
        (name,) = name
    subject = subjects.get(name) if isinstance(name, str) else None
    if subject is None:
        return {}
    words = {"trigger": subject.trigger, "class_word": subject.class_word}
    return {key: word for key, word in words.items() if word is not None}


def _completed(dataset: Any, inherited: Mapping[str, Any]) -> Any:
    # What is no table is left for the validation to name.
    if not isinstance(dataset, dict):
        return dataset
    # JSON can say null where TOML leaves a key out.
    given = {name: value for name, value in dataset.items() if value is not None or name not in _GENERAL_FIELDS}
    return {**inherited, **given}


def table_name(section: str) -> str:
    """Return how a section's table is written in the file, for messages."""
    return f"`[[{section}]]`" if section in LISTS else f"`[{section}]`"


def section_type(name: str) -> type[Section]:
    """Return the class of a section; ``datasets`` and ``subjects`` are those of one table."""
    if name == "datasets":
        return DatasetSection
    if name == "subjects":
        return SubjectSection
    annotation = Config.model_fields[name].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, Section)
    return annotation
