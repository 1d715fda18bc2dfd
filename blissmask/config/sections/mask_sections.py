"""Sections of the commands that make, combine and carry on masks, and [[subjects]]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator

from blissmask.config.fields.kinds import BatchSize, Feather, FilePath, Int, Number, Suffix, Switch, Text
from blissmask.config.fields.option import Section, option
from blissmask.config.sections import network
from blissmask.masks.tiers import TierTable

_TIER = "Tiers"

VideoMasks: TypeAlias = Literal["frames", "static"]
MediaChoice: TypeAlias = Literal["all", "photos", "videos"]
_MEDIA = option(
    "all",
    "Which files of the folder are taken; of Live Photos, `all` takes photo and video",
    panel="Input",
)


def _video_masks(*, panel: str) -> Any:
    return option(
        "frames",
        "For videos, a folder with one mask per frame, or one mask for the whole clip; the other form is replaced",
        panel=panel,
    )


def _video_every(*, panel: str) -> Any:
    return option(
        1, "For videos, look at every Nth frame; the frames between repeat its mask", panel=panel, metavar="N", ge=1
    )


class MasksSection(Section):
    """[masks]: make weighted masks from photos and videos."""

    input: FilePath | None = option(
        None,
        "Folder of photos or videos; without it, every dataset of the config",
        panel="Input",
        first=True,
        short="-i",
    )
    output: FilePath | None = option(None, "Folder for the masks", panel="Output", first=True, short="-o")
    media: MediaChoice = _MEDIA
    backend: Text = option(
        "embedded", "Network that tells face, hair, body and background apart", panel="Masks", first=True
    )
    face: Int = option(255, "Mask value of faces", panel=_TIER, first=True, ge=0, le=255)
    body: Int = option(128, "Mask value of bodies and clothes", panel=_TIER, first=True, ge=0, le=255)
    hair: Int = option(80, "Mask value of hair", panel=_TIER, first=True, ge=0, le=255)
    background: Int = option(0, "Mask value of everything else", panel=_TIER, first=True, ge=0, le=255)
    map: list[Text] = option(
        [],
        "Give a class of the backend another tier, e.g. `others=background`; may be repeated",
        panel=_TIER,
        first=True,
        metavar="CLASS=TIER",
    )
    grow: Int = option(
        0,
        "Move the outline of people outwards by this many pixels; negative shrinks",
        panel="Masks",
        first=True,
        metavar="PX",
    )
    feather: Feather = option(
        0.0,
        "Soften outlines over this many pixels; makes values between the tiers",
        panel="Masks",
        first=True,
        metavar="PX",
        ge=0,
    )
    min_area: Number = option(
        0.0002, "Drop connected parts smaller than this share of the photo", panel="Masks", ge=0, lt=1
    )
    video_masks: VideoMasks = _video_masks(panel="Masks")
    video_every: Int = _video_every(panel="Masks")
    sheet: FilePath | None = option(None, "Contact sheet to write, `.png` or `.html`", panel="Output", first=True)
    retouch: Switch = option(
        False, "Mend the masks by hand, on a page that opens in the browser", panel="Output", first=True
    )
    explain: Switch = option(
        False, "Print which class gets which tier and the licence of the weights, then stop", panel="Masks", first=True
    )
    commercial_only: Switch = option(False, "Refuse weights whose licence forbids commercial use", panel="Masks")
    model: Text | None = network.MODEL
    download: Switch = network.DOWNLOAD
    device: Text = network.DEVICE
    precision: network.Precision = network.PRECISION
    batch_size: BatchSize = network.BATCH_SIZE

    @property
    def tiers(self) -> TierTable:
        """Return the value of each tier."""
        return TierTable(face=self.face, body=self.body, hair=self.hair, background=self.background)


class InstanceSection(Section):
    """[instance]: find one person in photos and videos."""

    input: FilePath | None = option(None, "Folder of photos or videos", panel="Input", first=True, short="-i")
    output: FilePath | None = option(None, "Folder for the subject masks", panel="Output", first=True, short="-o")
    media: MediaChoice = _MEDIA
    reference: list[FilePath] = option(
        [], "Photo of the subject, or a folder of them; may be repeated", panel="Input", first=True, short="-r"
    )
    negatives: list[FilePath] = option(
        [], "Photos of people it must never be; may be repeated", panel="Input", first=True
    )
    backend: Text = option("embedded", "Network that outlines people", panel="Subject", first=True)
    identity: Text = option("embedded", "Network that recognises the face", panel="Subject")
    face_distance: Number | None = option(
        None,
        "Largest distance to a reference at which a face is the subject's; smaller is stricter",
        panel="Subject",
        default_text="the identity's own",
        gt=0,
    )
    face_margin: Number | None = option(
        None,
        "How much nearer than the runner-up a face must be where its distance alone does not decide",
        panel="Subject",
        default_text="the identity's own",
        ge=0,
    )
    on_missing: Literal["empty", "skip", "error", "largest"] = option(
        "empty",
        "When the subject is not found: an all-zero mask, no file, an error, or the largest person",
        panel="Subject",
        first=True,
    )
    video_masks: VideoMasks = _video_masks(panel="Subject")
    video_every: Int = _video_every(panel="Subject")
    review: FilePath | None = option(
        None, "Folder for copies of uncertain photos with their scores", panel="Output", first=True
    )
    sheet: FilePath | None = option(None, "Contact sheet to write, `.png` or `.html`", panel="Output", first=True)
    retouch: Switch = option(
        False,
        "Say by a click who the subject is, and mend the masks, on a page that opens in the browser",
        panel="Output",
        first=True,
    )
    explain: Switch = option(
        False,
        "Print from which distance a face is whose, and the licence of the weights, then stop",
        panel="Subject",
        first=True,
    )
    commercial_only: Switch = option(False, "Refuse weights whose licence forbids commercial use", panel="Subject")
    model: Text | None = network.MODEL
    download: Switch = network.DOWNLOAD
    device: Text = network.DEVICE
    precision: network.Precision = network.PRECISION
    batch_size: BatchSize = network.BATCH_SIZE
    identity_model: FilePath | None = option(
        None, "Folder of the identity's networks; the embedded one brings its own", panel="Network", metavar="FOLDER"
    )


def _folder_name(text: str) -> str:
    if not text or Path(text).name != text or text.startswith("."):
        raise ValueError("must be a name that a folder can have, since the subject's masks are in one")
    return text


class SubjectSection(Section):
    """[[subjects]]: one of several people that a LoRA learns."""

    name: Annotated[Text, AfterValidator(_folder_name)] = option(
        ...,
        "What the subject is called here, and the folder of its masks; {NAME} in captions and prompts is its trigger",
        panel="Subjects",
    )
    trigger: Text = option(..., "Word that stands for the subject in captions", panel="Subjects")
    class_word: Text | None = option(
        None, "What the subject is, in a word that the base model knows, such as `woman`", panel="Subjects"
    )
    references: list[FilePath] = option(
        ..., "Photos of the subject, or folders of them", panel="Subjects", min_length=1
    )


class ApplySection(Section):
    """[apply]: set everybody but the subject to weight 0."""

    weighted_masks: FilePath | None = option(None, "Folder of weighted masks", panel="Input")
    instance_masks: FilePath | None = option(None, "Folder of subject masks", panel="Input")
    output: FilePath | None = option(None, "Folder for the subject-only masks", panel="Output", short="-o")
    sheet: FilePath | None = option(None, "Contact sheet to write, `.png` or `.html`", panel="Output")
    input: FilePath | None = option(
        None,
        "Folder of the photos and videos, which the contact sheet shows the masks over",
        panel="Output",
        default_text="`input` of [instance] or [masks]",
        short="-i",
    )
    missing: Literal["error", "zero", "copy", "skip"] = option(
        "error",
        "When a subject mask is missing: stop, write an all-zero mask, "
        "copy the weighted mask (keeps bystanders), or write nothing",
        panel="Masks",
    )
    grow: Int = option(
        0, "Move the subject's outline outwards by this many pixels; negative shrinks", panel="Masks", metavar="PX"
    )


class ToAlphaSection(Section):
    """[to_alpha]: put masks into the alpha channel of the photos."""

    image_directory: FilePath | None = option(None, "Folder of photos", panel="Input")
    mask_directory: FilePath | None = option(None, "Folder of masks", panel="Input")
    output_directory: FilePath | None = option(None, "Folder for the RGBA photos", panel="Output", short="-o")
    caption_directory: FilePath | None = option(None, "Folder of captions to copy beside the photos", panel="Input")
    caption_extension: Suffix = option(".txt", "Suffix of caption files", panel="Input")
    skip_existing: Switch = option(False, "Skip any photo whose output exists, without comparing", panel="Running")
