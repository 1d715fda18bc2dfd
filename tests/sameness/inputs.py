"""The pictures, masks, clips and captions that scenes are played on: drawn here, the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.sameness.tasks import Task


def draw_photo(path: Path, seed: int, size_wh: tuple[int, int] = (128, 96)) -> None:
    """Write a smooth picture with a little noise; ``seed`` decides its colours."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(seed, size_wh)).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def photo(seed: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Return rgb_HW3 of a smooth picture with a little noise."""
    width, height = size_wh
    noise = np.random.default_rng(seed).integers(0, 64, (height, width, 3))
    rows, columns = np.mgrid[0:height, 0:width]
    slopes = np.stack([rows * (2 + seed % 3), columns * (1 + seed % 5), (rows + columns) * 2], axis=2)
    return ((slopes + noise) % 256).astype(np.uint8)


def draw_mask(path: Path, size_wh: tuple[int, int] = (128, 96), *, share: float = 0.5) -> None:
    """Write a lopsided mask with the four tiers; ``share`` of the width is not background."""
    from PIL import Image

    width, height = size_wh
    grey, left = np.zeros((height, width), np.uint8), round(width * share)
    grey[: height // 4, :left] = 80
    grey[height // 4 : height // 2, : left - 5] = 255
    grey[height // 2 :, :left] = 128
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)


def draw_clip(path: Path, frames: int, size_wh: tuple[int, int] = (128, 96)) -> None:
    """Write a lossless clip of drawn pictures."""
    _write_clip(path, [photo(number, size_wh) for number in range(frames)])


def film(path: Path, still: Path, frames: int, size_wh: tuple[int, int] = (128, 96)) -> None:
    """Write a lossless clip that shows a photo all the time."""
    from PIL import Image

    with Image.open(still) as picture:
        bgr_HW3 = np.asarray(picture.convert("RGB").resize(size_wh, Image.Resampling.BOX))[..., ::-1]
    _write_clip(path, [np.ascontiguousarray(bgr_HW3)] * frames)


def _write_clip(path: Path, bgr_FHW3: Sequence[np.ndarray]) -> None:
    import cv2

    size_wh = (bgr_FHW3[0].shape[1], bgr_FHW3[0].shape[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 16.0, size_wh)
    assert writer.isOpened()
    for bgr_HW3 in bgr_FHW3:
        writer.write(bgr_HW3)
    writer.release()


def write(path: str, text: str) -> None:
    """Write a small text file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


CAPTIONS = {"a": "a photo of kyla", "b": 'kyla, smiling; says "hello" to the crowd', "c": "a garden, kyla, trees"}


def lay_out(task: Task) -> None:
    """Write photos, masks, controls and a clip: ``a`` and ``b`` have a mask, ``c`` has none."""
    for seed, (stem, caption) in enumerate(CAPTIONS.items()):
        draw_photo(Path(f"photos/{stem}.{'jpg' if stem == 'b' else 'png'}"), seed)
        write(f"photos/{stem}.txt", caption)
        for number in range(task.controls[0]):
            draw_photo(Path(f"controls/{stem}_{number}.png"), 10 + seed + number, (96 + 16 * seed, 96))
    if task.controls[1] > task.controls[0] > 0:
        draw_photo(Path(f"controls/b_{task.controls[0]}.png"), 30, (160, 96))
    draw_mask(Path("masks/a.png"))
    draw_mask(Path("masks/b.png"), share=0.3)
    if task.clip_frames:
        draw_clip(Path("clips/walk.avi"), task.clip_frames + 2)
        write("clips/walk.txt", "kyla walks")
        for number in range(task.clip_frames + 2):
            draw_mask(Path(f"clip_masks/walk/{number:06}.png"), share=0.2 + number * 0.1)
