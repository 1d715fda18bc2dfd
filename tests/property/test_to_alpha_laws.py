"""`to-alpha` keeps every RGB value of every photo, and its alpha is the mask."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blissmask.config.model import Config
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.to_alpha.plan import plan as plan_to_alpha
from blissmask.tasks.to_alpha.run import run as run_to_alpha
from tests.builders.pictures import save, turned


@settings(deadline=None, max_examples=60)
@given(
    size_wh=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
    suffix=st.sampled_from([".png", ".bmp", ".webp"]),
    orientation=st.integers(1, 8),
    old_alpha=st.booleans(),
)
def test_colours_stay_and_alpha_is_the_mask(
    size_wh: tuple[int, int], seed: int, suffix: str, orientation: int, *, old_alpha: bool
) -> None:
    width, height = size_wh
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 4 if old_alpha and suffix == ".png" else 3), dtype=np.uint8)
    grey = random.integers(0, 256, (height, width), dtype=np.uint8)
    turn = 1 if suffix == ".bmp" else orientation
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
        save(
            folder / "photos" / f"a{suffix}",
            turned(pixels, turn),
            **({"orientation": turn} if turn > 1 else {}),
            **options,
        )
        save(folder / "masks" / "a.png", grey)
        section = {
            "image_directory": folder / "photos",
            "mask_directory": folder / "masks",
            "output_directory": folder / "rgba",
        }
        summary = run_to_alpha(plan_to_alpha(Config.model_validate({"to_alpha": section})), RunContext())
        assert summary.written == 1
        with Image.open(folder / "rgba" / "a.png") as image:
            written = np.asarray(image)
    assert (written[..., :3] == pixels[..., :3]).all()
    assert (written[..., 3] == grey).all()
