"""[general] and [[datasets]]: what musubi-tuner and blissful-tuner users already have, plus masks.

The keys and their meaning follow ``[general]`` and ``[[datasets]]`` of musubi-tuner; the five bucket and caption keys
of sd-scripts that the guide's examples use are accepted with the meaning sd-scripts gives them. A value is looked up in
the dataset, then in [general], then the default.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo

from blissmask.config.fields.kinds import BatchSize, Count, FilePath, Index, Int, Number, Suffix, Switch, Text
from blissmask.config.fields.option import Section, option

_SIZE = "Size and buckets"
_CAPTION = "Captions"
_DATA = "Dataset"
_VIDEO = "Video"

MAX_REPEATS = 10_000
"""An epoch holds a number for each time that an item is shown: 10,000,000,000 took all memory before the first step."""
MAX_ORDERS = 64
"""Orders of a caption; each is a file of up to 13 MB (512 rows of FLUX.2 dev in bfloat16) for every item."""
MAX_SIDE, MAX_AREA = 8192, 4096 * 4096
"""Largest training size, pixels: sixteen times the area of 1024x1024, for which the families were made.

Beyond it a VAE needs more memory than any machine has, and [32, 100000] would enlarge each photo to gigabytes first.
"""


def _read_size(value: Any) -> Any:
    """Read one whole number as a square; everything else must be two whole numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value, value)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = (value[0], value[0])
    two = isinstance(value, (list, tuple)) and len(value) == 2
    if not two or not all(type(side) is int and side > 0 for side in value):
        raise ValueError("must be two whole numbers, [width, height], or one for a square")
    if max(value) > MAX_SIDE or value[0] * value[1] > MAX_AREA:
        raise ValueError(f"must be at most {MAX_SIDE} pixels a side and {MAX_AREA / 1e6:.1f} million in all")
    return tuple(value)


Size = Annotated[tuple[int, int], BeforeValidator(_read_size)]
"""(width, height) in pixels."""


CaptionStyle = Literal["text", "lines", "json"]
Crop = Literal["subject", "centre"]
ZoomKind = Literal["subject", "face"]

PLACEHOLDERS = frozenset({"trigger", "class_word"})
CAPTION_OF_PHOTO = "caption"
"""In the template of a zoom: the caption of its photo."""
PLACEHOLDER = re.compile(r"\{([^{}\n]*)\}")
"""A name in braces, as templates of captions hold; names of subjects may have spaces."""
_WORD = re.compile(r"\w*")
"""What in braces is meant as a name even where nobody has it: JSON and ``{a|b}``, a choice elsewhere, are not."""


def _refuse_unknown_placeholders(text: str, known: Collection[str], info: ValidationInfo) -> str:
    names = [*sorted(known), *((info.context or {}).get(SUBJECTS, ()))]
    unknown = [f"{{{name}}}" for name in PLACEHOLDER.findall(text) if name not in names and _WORD.fullmatch(name)]
    if unknown:
        listed = ", ".join(f"{{{name}}}" for name in names)
        raise ValueError(
            f"must be a caption that names no placeholders but {listed}, and this names {', '.join(unknown)}"
        )
    return text


def _template(text: str, info: ValidationInfo) -> str:
    return _refuse_unknown_placeholders(text, PLACEHOLDERS, info)


def _zoom_template(text: str, info: ValidationInfo) -> str:
    return _refuse_unknown_placeholders(text, PLACEHOLDERS | {CAPTION_OF_PHOTO}, info)


SUBJECTS = "subjects"
"""What the context of a validation calls the names of [[subjects]]: in captions they stand for their triggers."""
Template = Annotated[Text, AfterValidator(_template)]
"""A caption with placeholders: ``{trigger}``, ``{class_word}``, and ``{NAME}`` for the trigger of a subject."""
ZoomTemplate = Annotated[Text, AfterValidator(_zoom_template)]
"""A caption made from that of the photo, ``{caption}``, with the same placeholders."""


class GeneralSection(Section):
    """[general]: what every dataset inherits."""

    resolution: Size | None = option(
        None, "Training size, WIDTH HEIGHT or one number for a square", panel=_SIZE, first=True, default_text="960 544"
    )
    caption_extension: Suffix | None = option(
        None, "Suffix of caption files", panel=_CAPTION, first=True, default_text=".txt"
    )
    caption_style: CaptionStyle | None = option(
        None,
        "What a caption file holds: one text, a caption in each line of which one is drawn, or JSON; in a list of "
        "captions, paragraphs are one text",
        panel=_CAPTION,
        default_text="text",
    )
    caption: Template | None = option(
        None,
        "Caption of photos and videos without a caption file, e.g. `a photo of {trigger}`",
        panel=_CAPTION,
        first=True,
        default_text="a missing caption is an error",
    )
    trigger: Text | None = option(
        None, "Word that stands for the subject; captions may hold it as {trigger}", panel=_CAPTION, first=True
    )
    class_word: Text | None = option(
        None,
        "What the subject is, in a word that the base model knows, such as `woman`; {class_word} in captions",
        panel=_CAPTION,
    )
    batch_size: BatchSize | None = option(None, "Items per training batch", panel=_DATA, default_text="1", ge=1)
    num_repeats: Int | None = option(
        None, "How often an epoch shows each item", panel=_DATA, default_text="1", ge=1, le=MAX_REPEATS
    )
    crop: Crop | None = option(
        None,
        "What the crop to the training size keeps: what the mask shows, heads first, or the middle",
        panel=_SIZE,
        default_text="subject",
    )
    zoom: list[ZoomKind] | None = option(
        None,
        "Further items from large photos, cut to the subject, to the face, or both; needs masks",
        panel=_SIZE,
        default_text="none",
    )
    zoom_subject_caption: ZoomTemplate | None = option(
        None,
        "Caption of a zoom to the subject; may hold {caption}, {trigger}, {class_word}",
        panel=_CAPTION,
        default_text="{caption}",
    )
    zoom_face_caption: ZoomTemplate | None = option(
        None,
        "Caption of a zoom to the face, likewise",
        panel=_CAPTION,
        default_text="close-up of the face, {caption}",
    )
    enable_bucket: Switch | None = option(
        None, "Group pictures by aspect ratio instead of cropping all to one size", panel=_SIZE, first=True
    )
    bucket_no_upscale: Switch | None = option(
        None, "Never enlarge a picture; crop it to a multiple of the grid", panel=_SIZE
    )
    min_bucket_reso: Int | None = option(None, "Shortest bucket side (sd-scripts)", panel=_SIZE, ge=1, le=MAX_SIDE)
    max_bucket_reso: Int | None = option(None, "Longest bucket side (sd-scripts)", panel=_SIZE, ge=1, le=MAX_SIDE)
    bucket_reso_steps: Int | None = option(
        None, "Bucket sides are multiples of this (sd-scripts)", panel=_SIZE, ge=1, le=MAX_SIDE
    )
    shuffle_caption: Switch | None = option(
        None, "Show the comma-separated tags of each caption in another order each time", panel=_CAPTION
    )
    keep_tokens: Int | None = option(
        None, "How many tags at the front are never shuffled (sd-scripts)", panel=_CAPTION, ge=0
    )
    caption_orders: Int | None = option(
        None,
        "With `shuffle_caption`, how many orders of each caption are cached at most, the written one among them; each "
        "step draws one",
        panel=_CAPTION,
        default_text="4",
        ge=2,
        le=MAX_ORDERS,
    )
    caption_dropout_rate: Number | None = option(
        None,
        "Share of the times an item is shown that it is shown without its caption",
        panel=_CAPTION,
        default_text="0",
        ge=0,
        lt=1,
    )
    _triggers: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _class_words: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def triggers(self) -> Mapping[str, str]:
        """Return name -> trigger of each of [[subjects]], also of those that are not this data set's own."""
        return self._triggers

    @property
    def class_words(self) -> Mapping[str, str]:
        """Return name -> class word of each of [[subjects]] that has one of its own."""
        return self._class_words

    def know_subjects(self, triggers: Mapping[str, str], class_words: Mapping[str, str]) -> None:
        """Take the triggers and class words of [[subjects]]; ``Config`` calls it, once."""
        self._triggers, self._class_words = triggers, class_words


DEFAULT_RESOLUTION = (960, 544)
"""(width, height) of a dataset when neither it nor [general] says; musubi-tuner's default."""


def _one_or_several(value: Any) -> Any:
    """Read one name as a list of it; JSON can say null where TOML leaves a key out."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


Names = Annotated[list[Text], BeforeValidator(_one_or_several)]
"""One name, or a list of names."""


class DatasetSection(GeneralSection):
    """[[datasets]]: one folder or list of pictures or videos.

    The options of [general] are inherited: ``Config`` fills in what [general] says and the dataset leaves open. Those
    that have a default stand here once more, with a type that is never None. The defaults are musubi-tuner's.
    """

    resolution: Size = DEFAULT_RESOLUTION
    batch_size: BatchSize = Field(default=1, ge=1)
    num_repeats: Count = Field(default=1, le=MAX_REPEATS)
    crop: Crop = "subject"
    zoom: list[ZoomKind] = Field(default=[])
    zoom_subject_caption: ZoomTemplate = "{caption}"
    zoom_face_caption: ZoomTemplate = "close-up of the face, {caption}"
    enable_bucket: Switch = False
    bucket_no_upscale: Switch = False
    shuffle_caption: Switch = False
    keep_tokens: Index = 0
    caption_orders: Int = Field(default=4, ge=2, le=MAX_ORDERS)
    caption_dropout_rate: Number = Field(default=0.0, ge=0, lt=1)
    image_directory: FilePath | None = option(None, "Folder of photos", panel=_DATA, first=True)
    image_jsonl_file: FilePath | None = option(None, "JSON lines with `image_path` and `caption`", panel=_DATA)
    video_directory: FilePath | None = option(None, "Folder of videos", panel=_DATA, first=True)
    video_jsonl_file: FilePath | None = option(None, "JSON lines with `video_path` and `caption`", panel=_DATA)
    cache_directory: FilePath | None = option(
        None, "Folder of the cache", panel=_DATA, first=True, default_text="the folder of photos or videos"
    )
    caption_directory: FilePath | None = option(
        None, "Folder of caption files", panel=_CAPTION, default_text="the folder of photos or videos"
    )
    mask_directory: FilePath | None = option(None, "Folder of weighted masks, matched by name", panel=_DATA, first=True)
    default_mask: FilePath | None = option(
        None, "Mask of all items that have none of their own, a picture or a video", panel=_DATA
    )
    invert_mask: Switch = option(False, "Take masks and alpha the other way round: learn what is dark", panel=_DATA)
    alpha_mask: Switch = option(
        False, "Take the mask from the alpha channel where a picture has one", panel=_DATA, first=True
    )
    require_mask: Switch = option(False, "Refuse to train on items without a mask", panel=_DATA, first=True)
    subject: Names = option(
        [],
        "Which of the [[subjects]] it shows; gives it that trigger and class word. Several have a folder of masks each "
        "in `mask_directory`",
        panel=_DATA,
    )
    prior: Switch = option(
        False,
        "Hold these items to the base model and learn nothing from them: photos of other people, for regularisation",
        panel=_DATA,
    )
    control_directory: FilePath | None = option(None, "Folder of control pictures", panel=_DATA)
    multiple_target: Switch = option(
        False, "Read `NAME_0.png`, `NAME_1.png` ... as layers of `NAME.png`", panel=_DATA, hidden=True
    )
    no_resize_control: Switch = option(False, "Only crop control pictures to a multiple of the grid", panel=_DATA)
    control_resolution: Size | None = option(None, "Size of control pictures", panel=_DATA)
    fp_latent_window_size: Int = option(9, "Accepted for FramePack data sets; no effect", panel=_VIDEO, hidden=True)
    fp_1f_clean_indices: list[Index] | None = option(
        None, "Time indices of the control pictures in one-frame training", panel=_DATA
    )
    fp_1f_target_index: Int | None = option(
        None, "Time index of the target picture in one-frame training", panel=_DATA, ge=0
    )
    fp_1f_no_post: Switch = option(False, "Accepted for FramePack data sets; no effect", panel=_VIDEO, hidden=True)
    target_frames: list[Count] = option(
        [1], "Frame counts of the clips cut from each video, rounded to 4k+1", panel=_VIDEO, first=True, min_length=1
    )
    frame_extraction: Literal["head", "chunk", "slide", "uniform", "full"] = option(
        "head", "How clips are cut from a video", panel=_VIDEO
    )
    frame_stride: Int = option(1, "Frames between the starts of two clips (slide)", panel=_VIDEO, ge=1)
    frame_sample: Int = option(1, "Clips per video (uniform)", panel=_VIDEO, ge=1)
    max_frames: Int = option(129, "Longest clip (full)", panel=_VIDEO, ge=1)
    source_fps: Number | None = option(
        None, "Frames per second of the videos; they are brought to the model's rate", panel=_VIDEO, gt=0
    )

    @property
    def several(self) -> tuple[str, ...]:
        """Return the subjects of which each has a folder of masks, in order; none where it shows one subject at most.

        The mask of an item is the pixelwise maximum of theirs.
        """
        return tuple(self.subject) if len(self.subject) > 1 else ()

    @property
    def own_triggers(self) -> tuple[str, ...]:
        """Return the triggers that its captions may hold, one of each subject that it shows."""
        if self.several:
            return tuple(self.triggers[name] for name in self.several)
        return (self.trigger,) if self.trigger else ()
