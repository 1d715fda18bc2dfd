"""[saving], [combine], [previews], [ranking] and [logging]: what a training writes. None of it changes the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from blissmask.config.fields.kinds import DtypeName, FilePath, Int, Number, Rank, Switch, Text
from blissmask.config.fields.option import Section, option

_SAVING = "Saving"
_COMBINING = "Combining LoRA files"
_PREVIEWS = "Previews"
_RANKING = "Ranking"
_LOGGING = "Logging"


class SavingSection(Section):
    """[saving]: LoRA files, training states and their metadata."""

    output_dir: FilePath = option(Path("out"), "Folder for the LoRA", panel=_SAVING, first=True, lasting=False)
    output_name: Text = option(
        "lora", "Name of the LoRA file, without suffix", panel=_SAVING, first=True, lasting=False
    )
    save_every_n_steps: Int | None = option(
        None, "Also save every so many steps", panel=_SAVING, first=True, lasting=False, ge=1
    )
    save_every_n_epochs: Int | None = option(None, "Also save every so many epochs", panel=_SAVING, lasting=False, ge=1)
    save_precision: DtypeName = option(
        "float32", "Precision of LoRA files; training is always float32", panel=_SAVING, lasting=False
    )
    lora_format: Literal["native", "kohya", "diffusers"] = option(
        "native",
        "How LoRA files spell their layers: native for ComfyUI, kohya for musubi-tuner, diffusers for diffusers",
        panel=_SAVING,
        lasting=False,
    )
    convert_lora: FilePath | None = option(
        None,
        "Write this LoRA file, of any trainer, in `lora_format`, and stop; no model is loaded",
        panel=_SAVING,
        lasting=False,
        metavar="FILE",
    )
    keep_last: Int = option(
        2, "Training states to keep for resuming; LoRA files are all kept", panel=_SAVING, lasting=False, ge=2
    )
    rescue_dir: FilePath | None = option(
        None,
        "Second place for the training state when it cannot be saved in the output folder",
        panel=_SAVING,
        lasting=False,
        metavar="FOLDER",
        default_text="the system's folder for temporary files",
    )
    resume: Switch = option(
        True, "Continue from the newest whole training state of this output name", panel=_SAVING, lasting=False
    )
    metadata: Switch = option(
        True, "Write settings and facts of the training into LoRA files", panel=_SAVING, lasting=False
    )
    training_comment: Text | None = option(None, "Comment for the metadata of the LoRA", panel=_SAVING, lasting=False)
    metadata_title: Text | None = option(
        None, "Title for the metadata", panel=_SAVING, lasting=False, default_text="the name of the file"
    )
    metadata_author: Text | None = option(None, "Author for the metadata", panel=_SAVING, lasting=False)
    metadata_description: Text | None = option(None, "Description for the metadata", panel=_SAVING, lasting=False)
    metadata_license: Text | None = option(None, "Licence for the metadata", panel=_SAVING, lasting=False)
    metadata_tags: Text | None = option(
        None, "Tags for the metadata, separated by commas", panel=_SAVING, lasting=False
    )


class CombineSection(Section):
    """[combine]: averages, sums and lower ranks of LoRA files, with `convert_lora`."""

    average: list[FilePath] = option(
        [],
        "With --convert-lora: write the mean of that file and this one, of the same training; may be repeated",
        panel=_COMBINING,
        lasting=False,
        metavar="FILE",
    )
    merge: list[FilePath] = option(
        [],
        "With --convert-lora: write the sum of that file and this one, of any rank; may be repeated",
        panel=_COMBINING,
        lasting=False,
        metavar="FILE",
    )
    strength: list[Number] = option(
        [],
        "Share of each of these files in the mean, or its factor in the sum; the file of --convert-lora is the first. "
        "May be repeated",
        panel=_COMBINING,
        lasting=False,
        default_text="1",
    )
    rank: Rank | None = option(
        None,
        "With --convert-lora: lower the rank of its layers to this, as close as can be; --network-dim is the rank of "
        "a training",
        panel=_COMBINING,
        lasting=False,
        ge=1,
    )


class PreviewsSection(Section):
    """[previews]: pictures and clips drawn while training."""

    sample_prompts: FilePath | None = option(
        None,
        "File of prompts to draw while training, one a line (.txt), or .toml or .json; options as in musubi-tuner",
        panel=_PREVIEWS,
        first=True,
        lasting=False,
    )
    prompts: list[Text] = option(
        [],
        "Prompts to draw, each as a line of such a file, here instead; `{trigger}` is filled in; may be repeated",
        panel=_PREVIEWS,
        lasting=False,
    )
    sample_every_n_steps: Int | None = option(
        None, "Draw them every so many steps", panel=_PREVIEWS, first=True, lasting=False, ge=1
    )
    sample_every_n_epochs: Int | None = option(
        None, "Draw them every so many epochs", panel=_PREVIEWS, lasting=False, ge=1
    )
    preview_dit: FilePath | None = option(
        None,
        "Denoiser file to draw them with under the trained LoRA, such as the distilled model that it is for",
        panel=_PREVIEWS,
        lasting=False,
    )
    sample_at_first: Switch = option(False, "Draw them before the first step too", panel=_PREVIEWS, lasting=False)
    likeness: Literal["auto", "photos", "off"] = option(
        "auto",
        "Measure how alike the faces in previews and the subject are: by references where there are any, by the photos "
        "of the data sets, or not",
        panel=_PREVIEWS,
        lasting=False,
    )
    likeness_reference: list[FilePath] = option(
        [],
        "Photo of the subject to measure them by, or a folder of them; better one that is not trained. May be repeated",
        panel=_PREVIEWS,
        lasting=False,
        default_text="`references` of [[subjects]], or `reference` of [instance]",
    )
    likeness_trigger: Text | None = option(
        None,
        "Text of the prompts that ask for the subject; in the others every face should be somebody else's",
        panel=_PREVIEWS,
        lasting=False,
        default_text="the `trigger` of the data sets; without one all ask for the subject; [[subjects]] have their own",
    )


class RankingSection(Section):
    """[ranking]: which saved LoRA is the best."""

    rank_loras: Switch = option(
        False,
        "Draw the prompts with every saved LoRA of this training, rank them by likeness, then stop",
        panel=_RANKING,
        lasting=False,
    )
    rank_items: Switch = option(
        False,
        "Look at the loss of every item with the last LoRA and without, name those that are unlike the others, then "
        "stop",
        panel=_RANKING,
        lasting=False,
    )
    rank_file: list[FilePath] = option(
        [],
        "With --rank-loras: rank this file, not those of the training; may be repeated. With --rank-items: look with "
        "this one",
        panel=_RANKING,
        lasting=False,
        metavar="FILE",
    )


class LoggingSection(Section):
    """[logging]: where the numbers of the steps go."""

    log_with: Literal["tensorboard", "wandb", "all", "none"] | None = option(
        None,
        "Where the numbers of the steps go besides NAME-log.jsonl; wandb stays on disk unless WANDB_MODE=online",
        panel=_LOGGING,
        lasting=False,
        default_text="tensorboard when it is installed",
    )
    logging_dir: FilePath | None = option(
        None,
        "Folder for TensorBoard and wandb",
        panel=_LOGGING,
        lasting=False,
        default_text="logs in the output folder",
    )
    log_tracker_name: Text = option("blissmask", "Project in wandb", panel=_LOGGING, lasting=False)
    wandb_run_name: Text | None = option(
        None, "Name of the run in wandb", panel=_LOGGING, lasting=False, default_text="the output name"
    )
