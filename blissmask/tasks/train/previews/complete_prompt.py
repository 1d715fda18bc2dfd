"""Complete a prompt by what the family and the data set say, and tell what is drawn otherwise than it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.cachefile.entry import CacheHeader
from blissmask.errors import UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.previews.pipeline import PreviewPipeline
from blissmask.families.previews.prompt import PreviewSettings
from blissmask.media.image import read_header
from blissmask.plurals import counted
from blissmask.tasks.train.previews.prompt_file import PreviewPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPreview:
    """A prompt with everything filled in that it left open.

    Attributes:
        place: file and line of the prompt, for messages.
        prompt: what to draw.
        negative_prompt: None without classifier-free guidance.
        pictures: files of the first frame or of the control pictures.
        settings: of the sampling.
    """

    place: str
    prompt: str
    negative_prompt: str | None
    pictures: tuple[Path, ...]
    settings: PreviewSettings


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, and the number of frames."""

    width: int
    height: int
    frame_count: int


def usual_size(family: FamilyForTask, headers: Sequence[CacheHeader]) -> Size:
    """Return the size that most of the data set has."""
    shapes: Counter[tuple[int, ...]] = Counter()
    for header in headers:
        frames, rows, columns = header.latent_shape[1:]
        # The latent frames of a one-frame item are pictures of their own.
        shapes[1 if "f_indices" in header.contents else frames, rows, columns] += 1
    frames, rows, columns = shapes.most_common(1)[0][0]
    latent = family.latent
    return Size(
        width=columns * latent.spatial_stride,
        height=rows * latent.spatial_stride,
        frame_count=(frames - 1) * latent.temporal_stride + 1,
    )


def complete(
    prompt: PreviewPrompt,
    asked: Size,
    family: FamilyForTask,
    pipeline: PreviewPipeline,
    *,
    default_steps: int,
    default_seed: int,
) -> PlannedPreview:
    """Fill in what the prompt leaves open, and round its size to what the family can draw.

    Raises:
        UsageError: the family cannot draw this size, or takes other pictures.
        MediaError: a picture cannot be read.
    """
    size_wh = (_on_grid("w", asked.width, family), _on_grid("h", asked.height, family))
    cfg_scale = _cfg_scale(prompt, pipeline)
    settings = PreviewSettings(
        size_wh=size_wh,
        frame_count=_whole_latent_frames(asked.frame_count, family),
        steps=prompt.sample_steps or default_steps,
        cfg_scale=cfg_scale,
        guidance_scale=_guidance_scale(prompt, pipeline),
        shift=prompt.discrete_flow_shift or pipeline.shift,
        seed=default_seed if prompt.seed is None else prompt.seed,
    )
    return PlannedPreview(
        place=prompt.place,
        prompt=prompt.prompt,
        negative_prompt=(prompt.negative_prompt or "") if cfg_scale > 1 else None,
        pictures=_pictures(prompt, family, pipeline),
        settings=settings,
    )


def changes_of(
    prompt: PreviewPrompt, asked: Size, settings: PreviewSettings, family: FamilyForTask, pipeline: PreviewPipeline
) -> list[str]:
    """Return what is drawn otherwise than it is written, one line each."""
    width, height = settings.size_wh
    grid, stride = family.latent.grid_multiple, family.latent.temporal_stride
    lines = []
    if width != asked.width:
        lines.append(f"`--w` {asked.width} becomes {width}, a multiple of {grid}")
    if height != asked.height:
        lines.append(f"`--h` {asked.height} becomes {height}, a multiple of {grid}")
    if not pipeline.takes_negatives and (prompt.negative_prompt or (prompt.cfg_scale or 1) > 1):
        lines.append(f"`--n` and `--l` have no effect: the guidance of `{family.name}` is `--g`")
    elif settings.cfg_scale <= 1 and prompt.negative_prompt:
        lines.append("`--n` has no effect without `--l` above 1")
    if settings.frame_count != asked.frame_count:
        lines.append(f"`--f` {asked.frame_count} becomes {settings.frame_count}; frames come as {stride}k+1")
    return [f"{prompt.place}: {line}" for line in lines]


def _on_grid(letter: str, side: int, family: FamilyForTask) -> int:
    """Return ``side`` rounded down to the family's grid; raises UsageError when nothing is left."""
    grid = family.latent.grid_multiple
    if side < grid:
        raise UsageError(f"`--{letter}` is {side}, and `{family.name}` draws from {grid} pixels on")
    return side // grid * grid


def _whole_latent_frames(frame_count: int, family: FamilyForTask) -> int:
    """Return ``frame_count`` rounded down to whole latent frames; raises UsageError for a clip of a picture model."""
    if not family.task.takes_videos and frame_count > 1:
        raise UsageError(f"`--f` is {frame_count}, and `{family.name}` draws pictures only")
    stride = family.latent.temporal_stride
    return (frame_count - 1) // stride * stride + 1


def _cfg_scale(prompt: PreviewPrompt, pipeline: PreviewPipeline) -> float:
    """Return the scale of classifier-free guidance, at least 1, which turns it off."""
    scale = prompt.cfg_scale
    if scale is None and pipeline.guidance_scale is None:
        scale = prompt.guidance_scale
    return max(pipeline.cfg_scale if scale is None else scale, 1.0)


def _guidance_scale(prompt: PreviewPrompt, pipeline: PreviewPipeline) -> float | None:
    """Return the embedded guidance of a distilled model; None for other models."""
    if pipeline.guidance_scale is None:
        return None
    return pipeline.guidance_scale if prompt.guidance_scale is None else prompt.guidance_scale


def _pictures(prompt: PreviewPrompt, family: FamilyForTask, pipeline: PreviewPipeline) -> tuple[Path, ...]:
    """Return the files of the pictures that the family needs.

    Raises:
        UsageError: there are too few or too many, or they are given by the wrong option.
        MediaError: one cannot be read.
    """
    given = {"--i": (prompt.image_path,) if prompt.image_path else (), "--ci": prompt.control_image_path}
    fewest, most = pipeline.pictures
    wanted = _picture_option(family, most)
    for option, paths in given.items():
        if paths and option != wanted:
            instead = f"; it takes `{wanted}`" if wanted else ""
            raise UsageError(f"`{option}` is not for `{family.name}` with this task{instead}")
    pictures = given.get(wanted, ())
    if not fewest <= len(pictures) <= most:
        need = f"{fewest} to {most} pictures" if most > fewest else counted(fewest, "picture")
        raise UsageError(
            f"{counted(len(pictures), 'picture')} given, and this task takes {need}", fix=f"name them with `{wanted}`"
        )
    for path in pictures:
        read_header(path)
    return pictures


def _picture_option(family: FamilyForTask, most: int) -> str:
    """Return the option of a prompt that names the family's pictures; empty when it takes none."""
    if most == 0:
        return ""
    return "--ci" if family.task.control_range[1] else "--i"
