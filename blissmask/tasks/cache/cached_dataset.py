"""The model and the data sets of a run of `cache`: what is the same for all items of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blissmask.config.config_file import how_to_start
from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.buckets import Buckets, make_buckets
from blissmask.dataset.captions.caption_words import blanks, class_words, how_to_fill, words_for, zoom_template
from blissmask.dataset.collect import cache_folder, media_kind
from blissmask.dataset.discover import holds_mask_labels
from blissmask.dataset.item import MediaKind
from blissmask.errors import BlissmaskError, ChangedError, ModelError, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles, model_files
from blissmask.families.files.part import Part
from blissmask.families.protocol import OneFrame
from blissmask.families.registry import load_family
from blissmask.masks.tiers import TierTable
from blissmask.storage.content import shared_places, without_links

TEXT_DTYPE = "bfloat16"
"""Text encoders run in the precision their weights are published in, on every device, so that caches agree."""


@dataclass(frozen=True, slots=True)
class Model:
    """The family and its weights.

    Attributes:
        family: the family, for its task.
        files: where the weights come from.
        vae, text_encoder: identities, empty for what is not needed.
        vae_dtype: precision of the VAE.
        device: as written in the configuration.
        missing: problems of weights that are not here. A dry run reports them; a run refuses to start.
    """

    family: FamilyForTask
    files: ModelFiles
    vae: str
    text_encoder: str
    vae_dtype: str
    device: str
    missing: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class CachedDataset:
    """How one data set is cached.

    Attributes:
        number: its position in the configuration, from 1.
        section: its keys, defaults filled in.
        kind: pictures or videos.
        folder: where its cache is.
        model: the family and its weights.
        buckets: training sizes.
        tiers: the values that masks were made with.
        empty_mask: what happens to masks that are zero everywhere.
        one_frame: time indices of one-frame items; None for ordinary ones.
        class_words: each trigger and its class word where captions are encoded with the class word, too; see
            ``TriggerFreeRule``.
    """

    number: int
    section: DatasetSection
    kind: MediaKind
    folder: Path
    model: Model
    buckets: Buckets
    tiers: TierTable
    empty_mask: Literal["warn", "error", "full"]
    one_frame: OneFrame | None
    class_words: Mapping[str, str] | None = None

    @property
    def family(self) -> FamilyForTask:
        """Return the family, for its task."""
        return self.model.family


def choose_model(config: Config) -> Model:
    """Return the family and weights that the configuration names.

    Raises:
        UsageError: no family, an unknown one, a task it lacks, or weights that are not named.
        ModelError: weights files are missing; all of them are named. With ``--dry-run`` they are in
            :attr:`Model.missing` instead.
    """
    section = config.model
    if section.arch is None:
        raise UsageError(
            "`--arch` is missing",
            fix="name the model family with `--arch NAME`, or set `arch` under [model]; "
            f"{how_to_start(config.read_from)}",
        )
    family = load_family(section.arch).for_task(section.task or "")
    files = model_files(section)
    errors: list[BlissmaskError] = []
    vae = "" if config.cache.text_only else _identity(family.latent_identity, files, errors)
    text_encoder = "" if config.cache.latents_only else _identity(family.text_identity, files, errors)
    # A model folder that is not here lacks both parts, and is named once.
    problems = tuple(dict.fromkeys(problem for error in errors for problem in error.problems))
    if errors and not config.run.dry_run:
        raise type(errors[0]).several(problems)
    if errors:
        # A file that is here is known to be wrong by now, whatever else is missing.
        of_cache = {"latents": not config.cache.text_only, "texts": not config.cache.latents_only}
        _refuse_wrong_parts(_parts(family, **of_cache), files)
    return Model(
        family=family,
        files=files,
        vae=vae,
        text_encoder=text_encoder,
        vae_dtype=section.vae_dtype or "float32",
        device=section.device,
        missing=problems,
    )


def refuse_wrong_files(model: Model, *, latents: bool, texts: bool) -> None:
    """Check by their headers that the files are of this model, before the first of them works for hours.

    Args:
        model: a dry run goes on without files that are not here.
        latents, texts: which of them are encoded now.

    Raises:
        ModelError: a file is damaged, or another model's; names all of them.
        MachineError: a file cannot be read.
    """
    _refuse_wrong_parts(_parts(model.family, latents=latents, texts=texts), model.files)


def _parts(family: FamilyForTask, *, latents: bool, texts: bool) -> list[Part]:
    parts = list(family.task.latents) if latents else []
    if texts:
        parts += [part for part in family.task.text if isinstance(part, Part)]
    return parts


def _refuse_wrong_parts(parts: Iterable[Part], files: ModelFiles) -> None:
    problems: list[Problem] = []
    for part in parts:
        if not part.is_here(files):
            continue
        try:
            part.check(files)
        except ModelError as error:
            problems += error.problems
    if problems:
        raise ModelError.several(problems)


def refuse_other_model(planned: str, loaded: str) -> None:
    """Refuse weights that changed between the plan and their loading: entries would name the earlier ones.

    Args:
        planned, loaded: identities of the weights, taken by the plan and after they were loaded.

    Raises:
        ChangedError: they differ.
    """
    if planned != loaded:
        raise ChangedError(
            "the model files changed since the run was planned", fix="run the same command again when they are complete"
        )


def _identity(read: Callable[[ModelFiles], str], files: ModelFiles, errors: list[BlissmaskError]) -> str:
    """Return the identity of a part; the error that keeps it from being read goes into ``errors``."""
    try:
        return read(files)
    except (UsageError, ModelError) as error:
        errors.append(error)
        return ""


def choose_datasets(config: Config, model: Model) -> list[CachedDataset]:
    """Return how each data set is cached.

    Raises:
        UsageError: there is none, or keys contradict each other or the family; lists all problems.
    """
    if not config.datasets:
        raise UsageError(
            "there is no data set",
            fix="add `[[datasets]]` with `image_directory` to the configuration file; "
            f"{how_to_start(config.read_from)}",
        )
    if config.cache.latents_only and config.cache.text_only:
        raise UsageError("`--latents-only` and `--text-only` leave nothing to do", fix="give one of them, or none")
    datasets: list[CachedDataset] = []
    problems: list[Problem] = []
    for number, section in enumerate(config.datasets, 1):
        try:
            datasets.append(_make_dataset(config, model, section, number))
        except UsageError as error:
            problems.extend(error.problems)
    problems += _shared_folders(datasets)
    if problems:
        raise UsageError.several(problems)
    return datasets


def _make_dataset(config: Config, model: Model, section: DatasetSection, number: int) -> CachedDataset:
    if section.multiple_target:
        raise UsageError(
            f"[[datasets]] {number}: `multiple_target` is for layered models, and there is none among the families"
        )
    kind = media_kind(section, number)
    if kind is MediaKind.VIDEO and not model.family.task.takes_videos:
        raise UsageError(
            f"[[datasets]] {number}: `{model.family.name}` learns from pictures, not from videos",
            fix="give it `image_directory`",
        )
    _refuse_photos_as_masks(section, number)
    _refuse_empty_placeholders(section, number)
    return CachedDataset(
        number=number,
        section=section,
        kind=kind,
        folder=cache_folder(section, number),
        model=model,
        buckets=make_buckets(
            section, grid_multiple=model.family.latent.grid_multiple, always_bucket=kind is MediaKind.VIDEO
        ),
        tiers=config.masks.tiers,
        empty_mask=config.cache.empty_mask,
        one_frame=_one_frame(config, model, section, number),
        class_words=_class_words(config, section, number),
    )


def _class_words(config: Config, section: DatasetSection, number: int) -> Mapping[str, str] | None:
    # Items that are only held to the base model are held as they are described.
    if section.prior or not config.mask_loss.trigger_free_weight:
        return None
    return class_words(section, number)


def _refuse_photos_as_masks(section: DatasetSection, number: int) -> None:
    media, masks = section.image_directory or section.video_directory, section.mask_directory
    if media is None or masks is None or without_links(media) != without_links(masks):
        return
    # OneTrainer writes masks beside the photos, as NAME-masklabel.png.
    if not holds_mask_labels(media):
        raise UsageError(
            f"[[datasets]] {number}: `mask_directory` is the folder of the photos or videos",
            where=[media],
            fix="each would be its own mask; name the folder that `blissmask masks` wrote",
        )


def _refuse_empty_placeholders(section: DatasetSection, number: int) -> None:
    """Refuse a template whose trigger or class word nobody gave."""
    for kind in section.zoom:
        for name in blanks(zoom_template(section, kind), words_for(section)):
            raise UsageError(
                f"[[datasets]] {number}: `zoom_{kind}_caption` holds {{{name}}}, and there is no `{name}`",
                fix=f"{how_to_fill(name)}, or leave {{{name}}} out",
            )


def _one_frame(config: Config, model: Model, section: DatasetSection, number: int) -> OneFrame | None:
    """Return the time indices of one-frame training; None where neither the flag nor ``fp_1f_clean_indices`` is set."""
    indices, target = section.fp_1f_clean_indices, section.fp_1f_target_index
    if not config.cache.one_frame and indices is None:
        return None
    place = f"[[datasets]] {number}"
    if not indices or target is None:
        raise UsageError(
            f"{place}: one-frame training needs `fp_1f_clean_indices` and `fp_1f_target_index`", fix="e.g. [0] and 1"
        )
    if not model.family.task.one_frame:
        tasks = ", ".join(f"`--task {name}`" for name, task in model.family.tasks.items() if task.one_frame)
        raise UsageError(
            f"{place}: `{model.family.name}` has no one-frame training for task `{model.family.task_name}`",
            fix=f"use {tasks}" if tasks else "",
        )
    if len({*indices, target}) != len(indices) + 1:
        raise UsageError(f"{place}: `fp_1f_clean_indices` and `fp_1f_target_index` name a time index twice")
    return OneFrame(tuple(indices), target)


def _shared_folders(datasets: list[CachedDataset]) -> list[Problem]:
    problems = []
    for folder, positions in shared_places([dataset.folder for dataset in datasets]).items():
        numbers = " and ".join(str(datasets[position].number) for position in positions)
        fix = "give each its own; entries of one would be taken for the other's"
        problems.append(Problem(f"datasets {numbers} have one `cache_directory`", (str(folder),), fix))
    return problems
