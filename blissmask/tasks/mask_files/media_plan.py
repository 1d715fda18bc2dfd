"""Plan the mask of one photo or video, for the commands that make masks from media."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from blissmask.config.sections.mask_sections import MediaChoice
from blissmask.dataset.discover import find_media, unread_warning
from blissmask.dataset.item import MediaFile, MediaKind
from blissmask.dataset.item_keys import VIDEO_SUFFIXES
from blissmask.errors import InputError, Problem
from blissmask.media.image import read_header
from blissmask.media.video import read_info, refuse_cut_off
from blissmask.plurals import counted
from blissmask.storage.seen import states_of
from blissmask.tasks.mask_files.clips import decide_clip
from blissmask.tasks.mask_files.output_notes import decide, make_note
from blissmask.tasks.run.plan import Action, PlannedItem
from blissmask.tasks.run.wording import pixels_text


@dataclass(frozen=True, slots=True)
class Making:
    """How a command makes masks, as far as planning needs it.

    Attributes:
        command: the subcommand.
        settings: JSON values on which the pixels depend.
        licences: what the weights may be used for, as notes record it; does not decide freshness.
        video_every: for videos, which frames are looked at; part of their settings.
        frames: whether a video becomes a folder of frames, else one mask.
        force: write whatever is there.
        video_settings: what else decides the pixels of videos, and of them only.
        own_settings: what else decides the pixels of single files.
    """

    command: str
    settings: Mapping[str, object]
    licences: Sequence[Mapping[str, object]]
    video_every: int
    frames: bool
    force: bool
    video_settings: Mapping[str, object] = field(default_factory=dict)
    own_settings: Mapping[Path, Mapping[str, object]] = field(default_factory=dict)

    def settings_for(self, source: Path) -> dict[str, object]:
        """Return the settings of one photo or video.

        The colour profile is one of them where colours are converted; other photos keep the settings without it.

        Raises:
            MediaError: the photo cannot be read.
        """
        if is_video(source):
            return {**self.settings, "video_every": self.video_every, **self.video_settings}
        settings = {**self.settings, **self.own_settings.get(source, {})}
        profile = read_header(source).profile
        return {**settings, "profile": profile} if profile else settings

    def with_own(self, source: Path, settings: Mapping[str, object]) -> Making:
        """Return how masks are made when ``settings`` are those of one file alone."""
        return replace(self, own_settings={**self.own_settings, source: settings})

    def note_for(self, source: Path) -> dict[str, object]:
        """Return the note of the mask of one photo or video. Raises MediaError when it cannot be read."""
        return make_note(self.command, (source,), self.settings_for(source), licences=self.licences)

    def is_clip(self, source: Path) -> bool:
        """Return whether ``source`` becomes a folder of frames."""
        return self.frames and is_video(source)


@dataclass(frozen=True, slots=True)
class PlannedMedia:
    """What is decided about a photo or video.

    Attributes:
        item: the decision.
        size_wh: upright size; None where it could not be read.
    """

    item: PlannedItem
    size_wh: tuple[int, int] | None = None


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_for_masks(folder: Path, choice: MediaChoice, *, frames: bool) -> tuple[list[MediaFile], list[Problem]]:
    """Return the photos and videos of a folder that get masks, and a warning of files that are not read.

    Args:
        folder: where they are.
        choice: which kinds are taken.
        frames: whether a video becomes a folder of masks, whose name no mask of a photo has. Live Photos, of which
            photo and video have one name, can then be taken whole.

    Raises:
        InputError: the folder cannot be read or holds nothing of the kinds, or two files would share a mask.
    """
    images, videos = choice != "videos", choice != "photos"
    found = find_media(folder, images=images, videos=videos, shared="one mask", live_photos=frames)
    return found, unread_warning(folder, found, images=images, videos=videos)


def keys_of(media: Sequence[MediaFile]) -> list[str]:
    """Return what each photo or video is called in a plan: its stem, or its whole name where two have one stem."""
    counts = Counter(file.key for file in media)
    return [file.path.name if counts[file.key] > 1 else file.stem for file in media]


def plan_media(media: MediaFile, folder: Path, key: str, making: Making) -> PlannedMedia:
    """Decide about the mask of one photo or video; one that cannot be read fails with the reason.

    Args:
        media: the photo or video.
        folder: where its mask goes.
        key: the item's key in the plan.
        making: how masks are made.
    """
    clip = making.is_clip(media.path)
    output = folder / (media.stem if clip else f"{media.stem}.png")
    states = states_of((media.path,), output)
    try:
        settings = making.settings_for(media.path)
        size_wh, text = _describe(media)
        if clip:
            action, reason = decide_clip(output, making.command, media.path, settings, force=making.force)
        else:
            action, reason = decide(output, making.command, (media.path,), settings, force=making.force)
        if action is Action.WRITE and media.kind is MediaKind.VIDEO:
            refuse_cut_off(media.path)
    except InputError as error:
        failing = PlannedItem(key, Action.FAIL, inputs=(media.path,), output=output).failing(error.as_one())
        return PlannedMedia(failing)
    if action is Action.WRITE:
        reason = f"{text}, {reason}" if reason else text
    states = states if action is Action.WRITE else b""
    pixels = math.prod(size_wh)
    return PlannedMedia(PlannedItem(key, action, reason, (media.path,), output, pixels=pixels, states=states), size_wh)


def _describe(media: MediaFile) -> tuple[tuple[int, int], str]:
    """Return the size of a photo or of a video's frames, and what it is in a few words."""
    if media.kind is MediaKind.IMAGE:
        header = read_header(media.path)
        profile = f", colours from {header.profile}" if header.profile else ""
        return header.size_wh, pixels_text(header.size_wh) + profile
    info = read_info(media.path)
    return info.size_wh, f"{pixels_text(info.size_wh)}, {counted(info.frame_count, 'frame')}"
