"""What is the same for all items of a data set while it is cached: the family, the sizes, the mask rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blissmask.config.dataset import DatasetSection
from blissmask.config.model import Config, complete
from blissmask.dataset.buckets import Buckets, make_buckets
from blissmask.dataset.collect import cache_folder, media_kind
from blissmask.dataset.discover import holds_mask_labels
from blissmask.dataset.item import MediaKind
from blissmask.errors import BlissmaskError, ModelError, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles, model_files
from blissmask.families.protocol import OneFrame
from blissmask.families.registry import load_family
from blissmask.masks.tiers import TierTable
from blissmask.storage.content import without_links

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
        missing: what of the weights is not here; only a plan that nothing is done with may lack them.
    """

    family: FamilyForTask
    files: ModelFiles
    vae: str
    text_encoder: str
    vae_dtype: str
    device: str
    missing: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one data set is cached.

    Attributes:
        number: its position in the configuration, from 1.
        section: its keys, defaults filled in.
        kind: pictures or videos.
        folder: where its cache stands.
        model: the family and its weights.
        buckets: training sizes.
        tiers: the values that masks were made with.
        empty_mask: what becomes of masks that are zero everywhere.
        one_frame: time indices of one-frame items; None for ordinary ones.
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


def choose_model(config: Config) -> Model:
    """Return the family and weights that the configuration names.

    Raises:
        UsageError: no family, an unknown one, a task it lacks, or weights that are not named.
        ModelError: weights files are missing; all of them are named. With ``--dry-run`` they are told in
            :attr:`Model.missing` instead.
    """
    section = config.model
    if section.arch is None:
        raise UsageError(
            "`--arch` is missing", fix="name the model family, e.g. `--arch wan22`, or set `arch` under [model]"
        )
    family = load_family(section.arch).for_task(section.task or "")
    files = model_files(section)
    errors: list[BlissmaskError] = []
    wanted = {"vae": not config.cache.text_only, "text_encoder": not config.cache.latents_only}
    readers = {"vae": family.latent_identity, "text_encoder": family.text_identity}
    found = {part: _identity(readers[part], files, errors) if wanted[part] else "" for part in wanted}
    # A model folder that is not here lacks both parts, and is told once.
    problems = tuple(dict.fromkeys(problem for error in errors for problem in error.problems))
    if errors and not config.run.dry_run:
        raise type(errors[0]).several(problems)
    return Model(
        family, files, **found, vae_dtype=section.vae_dtype or "float32", device=section.device, missing=problems
    )


def _identity(read: Callable[[ModelFiles], str], files: ModelFiles, errors: list[BlissmaskError]) -> str:
    """Return the identity of a part; what keeps it from being read goes into ``errors``."""
    try:
        return read(files)
    except (UsageError, ModelError) as error:
        errors.append(error)
        return ""


def make_recipes(config: Config, model: Model) -> list[Recipe]:
    """Return how each data set is cached.

    Raises:
        UsageError: there is none, or keys contradict each other or the family; lists all problems.
    """
    if not config.datasets:
        raise UsageError(
            "there is no data set", fix="add `[[datasets]]` with `image_directory` to the configuration file"
        )
    if config.cache.latents_only and config.cache.text_only:
        raise UsageError("`--latents-only` and `--text-only` leave nothing to do", fix="give one of them, or none")
    recipes: list[Recipe] = []
    problems: list[Problem] = []
    for number, section in enumerate(config.datasets, 1):
        try:
            recipes.append(_make_recipe(config, model, complete(section, config.general), number))
        except UsageError as error:
            problems.extend(error.problems)
    problems += _shared_folders(recipes)
    if problems:
        raise UsageError.several(problems)
    return recipes


def _make_recipe(config: Config, model: Model, section: DatasetSection, number: int) -> Recipe:
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
    media_folder = section.image_directory or section.video_directory
    same = (
        section.mask_directory and media_folder and without_links(section.mask_directory) == without_links(media_folder)
    )
    if same and media_folder and not holds_mask_labels(media_folder):
        fix = "each would be its own mask; name the folder that `blissmask masks` wrote"
        raise UsageError(
            f"[[datasets]] {number}: `mask_directory` is the folder of the photos or videos",
            where=[media_folder],
            fix=fix,
        )
    return Recipe(
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
    )


def _one_frame(config: Config, model: Model, section: DatasetSection, number: int) -> OneFrame | None:
    """Return the time indices when the data set is for one-frame training; naming ``fp_1f_clean_indices`` asks for it too."""
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


def _shared_folders(recipes: list[Recipe]) -> list[Problem]:
    numbers: dict[Path, list[Recipe]] = {}
    for recipe in recipes:
        numbers.setdefault(without_links(recipe.folder), []).append(recipe)
    return [
        Problem(
            f"datasets {' and '.join(str(recipe.number) for recipe in sharing)} have one `cache_directory`",
            (str(folder),),
            "give each its own; entries of one would be taken for the other's",
        )
        for folder, sharing in numbers.items()
        if len(sharing) > 1
    ]
