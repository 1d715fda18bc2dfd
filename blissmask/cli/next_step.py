"""What comes next: the last line of a command that did all of its work, made from what the user has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.config.config_file import DEFAULT_NAME
from blissmask.config.model import Config
from blissmask.errors import Hint
from blissmask.plurals import counted, verb

if TYPE_CHECKING:
    from blissmask.tasks.run.plan import Summary


def next_step(config: Config, summaries: Sequence[Summary]) -> str | Hint:
    """Return what to do after a command; empty where nothing follows, such as after one that only explained.

    Args:
        config: of the command.
        summaries: of its runs; the last one decides, and where there are several subjects, those before it count, too.
    """
    summary = summaries[-1]
    if summary.items == 0 or summary.exit_code != 0:
        return ""
    following = {
        "masks": _after_masks,
        "apply": _after_apply,
        "to-alpha": _after_to_alpha,
        "cache": _after_cache,
        "train": _after_train,
    }
    if summary.command == "instance":
        return _after_instance(config, [each.details for each in summaries])
    return following[summary.command](config, summary.details)


def _after_masks(config: Config, details: dict[str, Any]) -> str | Hint:
    looked = f"look at `{config.masks.sheet}`; then " if config.masks.sheet else ""
    several = len(details.get("several_people", ()))
    if several or config.instance.reference or config.subjects:
        folders = ""
        if config.instance.input is None and config.masks.input is not None:
            folders = f"--input {_typed(config.masks.input)} --output subject"
            if not config.subjects:
                folders += " --reference PHOTO"
        photos = f"{counted(several, 'photo')} {verb(several, 'shows', 'show')}"
        why = f"finds your subject where {photos} several people" if several else "finds your subject"
        return Hint(f"{looked}`{{command}}` {why}", "instance", folders)
    if not config.datasets:
        return looked + _configure(config.masks.input)
    # With --prepare, as the heads of the starters have it.
    return Hint(f"{looked}`{{command}}` encodes what is missing in the cache, and trains", "train", "--prepare")


def _after_instance(config: Config, subjects: Sequence[dict[str, Any]]) -> Hint:
    """Return what follows; ``subjects`` are the details of each subject's run."""
    uncertain = any(details.get("verdicts", {}).get("uncertain") for details in subjects)
    uncertain = uncertain and config.instance.review is not None
    looked = f"look at `{config.instance.review}`; then " if uncertain else ""
    folders = ""
    if config.apply.weighted_masks is None:
        subject = _typed(config.instance.output or Path("subject"))
        folders = f"--weighted-masks masks --instance-masks {subject} --output subject_masks"
    return Hint(f"{looked}`{{command}}` sets everybody else to weight 0", "apply", folders)


def _after_apply(config: Config, details: dict[str, Any]) -> str | Hint:
    del details
    if not config.datasets:
        return _configure(config.instance.input)
    output = config.apply.output
    if output is not None and config.to_alpha.mask_directory == output:
        return Hint("`{command}` puts the masks into the photos", "to-alpha")
    if output is not None and not any(config.is_filled_by_apply(dataset.mask_directory) for dataset in config.datasets):
        setting = f'set `mask_directory = "{output}"` under [[datasets]]'
        return Hint(f"{setting}; then `{{command}}` encodes photos, masks and captions", "cache")
    return Hint("`{command}` encodes photos, masks and captions", "cache")


def _after_to_alpha(config: Config, details: dict[str, Any]) -> str | Hint:
    del details
    output = config.to_alpha.output_directory
    if any(dataset.alpha_mask and dataset.image_directory == output for dataset in config.datasets):
        return Hint("`{command}` encodes photos, masks and captions", "cache")
    if not config.datasets:
        return f"`blissmask --starter alpha > {DEFAULT_NAME}` writes a configuration that trains on them"
    setting = f'set `image_directory = "{output}"` and `alpha_mask = true` under [[datasets]]'
    return Hint(f"{setting}; then `{{command}}` encodes them", "cache")


def _after_cache(config: Config, details: dict[str, Any]) -> Hint:
    if config.cache.latents_only:
        # Where the configuration says so, the opposite must be said.
        missing = "--text-only --no-latents-only"
        return Hint("`{command}` encodes the captions, which are still missing", "cache", missing)
    if config.cache.text_only:
        missing = "--latents-only --no-text-only"
        return Hint("`{command}` encodes the photos and masks, if they are not in the cache yet", "cache", missing)
    masks = details.get("mask_sources", {})
    if (masks.get("file") or masks.get("alpha")) and not config.mask_loss.use_mask_loss:
        return Hint("`{command}` trains, weighted by the masks", "train", "--mask-preset person-prior")
    return Hint("`{command}` trains the LoRA", "train")


def _after_train(config: Config, details: dict[str, Any]) -> str:
    if "steps" not in details:
        # Of files that were converted or ranked.
        return ""
    averages = details.get("averages", ())
    files = [file for file in details.get("files", ()) if file not in averages]
    if config.model.is_tiny:
        fits = verb(len(files), "fits", "fit")
        return (
            f"{' and '.join(files)} {fits} no real model: this was a trial in miniature, with random weights; "
            "fill in [model] and run again without `--model tiny`"
        )
    if config.lora.network_type != "lora" and "ComfyUI" in details.get("read_in_part_by", ()):
        spelled = "" if config.saving.lora_format == "native" else " --lora-format native"
        return f"`blissmask train --convert-lora {files[0]} --rank N{spelled}` makes a LoRA that ComfyUI uses whole"
    if config.saving.lora_format != "native":
        return "`blissmask train --convert-lora FILE --lora-format native` spells a file for ComfyUI"
    words = _words_of_prompts(config)
    prompt = f", and write {words} in the prompt" if words else ""
    # The scale of training is in the file, so that 1 is what training saw.
    lines = [f"{_loaded(files, details.get('experts', ()))} at strength 1{prompt}"]
    checkpoints = details.get("checkpoints", ())
    if checkpoints:
        them = checkpoints[0] if len(checkpoints) == 1 else f"the {len(checkpoints)} earlier ones, {checkpoints[0]} ..."
        lines.append(f"compare it with {them}: the earliest that has the likeness has learned the least besides")
        if options := _ranking_options(config, rankable=details.get("rankable", False)):
            lines.append(f"the same command with `{options}` draws the prompts with each of them, and ranks them")
    return "\n".join(lines)


def _ranking_options(config: Config, *, rankable: bool) -> str:
    """Return what to add to the command of a training to rank its LoRA; empty where they cannot be ranked.

    Args:
        config: of the training.
        rankable: whether it has photos of the subject, or items that are held out, to rank them by.
    """
    section = config.previews
    if not (section.sample_prompts or section.prompts):
        return ""
    if rankable:
        return "--rank-loras"
    # Elsewhere the option is refused.
    return "--rank-loras --likeness-reference PHOTO" if section.likeness == "auto" else ""


def _words_of_prompts(config: Config) -> str:
    """Return the triggers, of several subjects with their names: `` `ohwx` for kyla, `sks` for tom ``."""
    trained = {name for dataset in config.datasets for name in dataset.subject}
    subjects = [subject for subject in config.subjects if subject.name in trained]
    if len(subjects) > 1:
        return ", ".join(f"`{subject.trigger}` for {subject.name}" for subject in subjects)
    word = next((dataset.trigger for dataset in config.datasets if dataset.trigger), None)
    return f"`{word}`" if word else ""


def _loaded(files: Sequence[str], experts: Sequence[str]) -> str:
    """Return which files go where in ComfyUI; ``experts`` are the model's that are trained, if it has several."""
    where = "to ComfyUI's `models/loras`"
    if len(files) == len(experts) and len(files) > 1:
        nodes = " and ".join(
            f"{Path(file).name} on the {expert}-noise model" for file, expert in zip(files, experts, strict=True)
        )
        return f"copy {' and '.join(files)} {where}; load {nodes}"
    names = [expert for expert in experts if expert]
    node = "the model"
    if names:
        node = f"the {names[0]}-noise model" if len(names) == 1 else "both models"
    return f"copy {files[0]} {where}; load it on {node}"


def _configure(photos: Path | None) -> str:
    """Return how to get a configuration; it names the folder of the photos, to which the steps are fitted."""
    named = "" if photos is None else f" --photos {_typed(photos)}"
    return (
        f"`blissmask --starter person{named} > {DEFAULT_NAME}` writes the configuration that `cache` and `train` "
        "ask for; `group` instead of `person` has the settings for group photos"
    )


def _typed(path: Path) -> str:
    return shlex.quote(str(path))
