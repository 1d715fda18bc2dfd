"""Masks lie where the photo shows the people: networks that classify by colour, on photos of many shapes and turns.

Every test draws a photo, lets a network read the colours back from its picture, and measures the distance between the
mask and the drawn shapes.
H, W: rows and columns of the photo; h, w: of what the network sees.
"""

import cv2
import numpy as np
import pytest
import torch

from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.media.mask_picture import read_grey
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.preprocessing import Preprocessing
from blissmask.networks.sam3_prompts import Found
from blissmask.parsing.sam3 import DEFAULT_TIERS, Sam3Parts
from blissmask.parsing.sapiens import PREPROCESSING as SAPIENS_PREPROCESSING
from blissmask.parsing.semantic import SemanticParts
from blissmask.people.instances import InstanceMask, InstancePeople
from tests.builders import backend_models as models
from tests.builders.pictures import save, turned

SIZES_WH = [(300, 200), (200, 300), (333, 101), (97, 401)]
PREPROCESSING = {
    "stretched": SAPIENS_PREPROCESSING,
    "shape kept": Preprocessing(shortest=240, longest=640),
    "whole multiples": Preprocessing(shortest=250, longest=600, divisor=32),
    "padded": Preprocessing(shortest=640, longest=640, pad_wh=(640, 640)),
    "blue first": Preprocessing(size_wh=(256, 256), bgr=True),
}
TIERS = {"background": WeightTier.BACKGROUND, "face": WeightTier.FACE, "hair": WeightTier.HAIR, "body": WeightTier.BODY}
OWN_WEIGHTS = Licence("CC0-1.0", commercial=True)
STRIDE = 4
"""Rows and columns of a picture for one row or column of a network's scores."""


def painted(size_wh):
    """Return a photo and its labels_HW: face, hair and body as a red, a green and a blue ellipse, all lopsided."""
    width, height = size_wh
    labels = np.zeros((height, width), np.uint8)
    for label, (x, y, across, down) in enumerate(
        [(0.3, 0.25, 0.2, 0.15), (0.75, 0.4, 0.15, 0.3), (0.4, 0.75, 0.3, 0.17)], start=1
    ):
        rows, columns = (np.arange(height) + 0.5) / height - y, (np.arange(width) + 0.5) / width - x
        labels[np.hypot(rows[:, None] / down, columns[None] / across) < 1] = label
    return (np.eye(4, dtype=np.uint8)[labels][..., 1:] * 255), labels


def colours_of(pixels_B3hw, preprocessing):
    """Undo a preprocessing and shrink to a network's own resolution: red, green and blue, 0..1."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    colours = torch.from_numpy((pixels_B3hw * std + mean) / (preprocessing.scale * 255))
    height, width = colours.shape[2:]
    small = torch.nn.functional.interpolate(colours, (height // STRIDE, width // STRIDE), mode="area")
    return small.flip(1) if preprocessing.bgr else small


def assert_in_place(mask_HW, expected_HW):
    """Fail when a centre is off by a pixel, or an area by more than a fiftieth and an outline of one pixel in width."""
    assert mask_HW.shape == expected_HW.shape
    centres = [np.mean(np.nonzero(mask), axis=1) for mask in (mask_HW, expected_HW)]
    assert np.abs(centres[0] - centres[1]).max() < 0.5, f"off by {centres[0] - centres[1]} pixels"
    wrong = mask_HW ^ expected_HW
    outline = cv2.morphologyEx(expected_HW.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert (wrong & ~outline).sum() <= 0.02 * expected_HW.sum()


@pytest.mark.parametrize("preprocessing", PREPROCESSING.values(), ids=PREPROCESSING)
def test_classes_lie_where_they_are_painted_in_a_batch_of_many_shapes(preprocessing):
    def network(pixels_B3hw):
        colours = colours_of(pixels_B3hw, preprocessing)
        return list(torch.cat([torch.full_like(colours[:, :1], 0.5), colours], dim=1))

    parts = SemanticParts(
        BatchedNetwork(lambda: network, batch_size=4),
        preprocessing,
        tiers=TIERS,
        licence=OWN_WEIGHTS,
        identity="colours",
    )
    photos = [painted(size_wh) for size_wh in SIZES_WH]
    for parsed, (_, labels) in zip(parts.parse([rgb for rgb, _ in photos]), photos, strict=True):
        for label in (1, 2, 3):
            assert_in_place(parsed.labels_HW == label, labels == label)


def test_things_that_sam3_finds_lie_where_they_are_painted():
    preprocessing = Preprocessing(size_wh=(336, 336), mean=(0.5,) * 3, std=(0.5,) * 3)

    def network(pixels_B3hw):
        colours_B3hw = colours_of(pixels_B3hw, preprocessing).numpy()
        return [[[Found(0.9, colour_hw)] for colour_hw in (blue, green, red)] for red, green, blue in colours_B3hw]

    parts = Sam3Parts(
        BatchedNetwork(lambda: network, batch_size=4), preprocessing, tiers=DEFAULT_TIERS, identity="colours"
    )
    photos = [painted(size_wh) for size_wh in SIZES_WH]
    for parsed, (_, labels) in zip(parts.parse([rgb for rgb, _ in photos]), photos, strict=True):
        for name, label in (("person", 3), ("hair", 2), ("face", 1)):
            assert_in_place(parsed.labels_HW == parts.classes.index(name), labels == label)


@pytest.mark.parametrize("size_wh", SIZES_WH)
def test_people_lie_where_they_are_painted(size_wh):
    preprocessing = Preprocessing(size_wh=(432, 432))

    def network(pixels_B3hw):
        return [
            [InstanceMask(0.9, colour_hw) for colour_hw in colours]
            for colours in colours_of(pixels_B3hw, preprocessing).numpy()
        ]

    backend = InstancePeople(
        BatchedNetwork(lambda: network, batch_size=1), preprocessing, licence=OWN_WEIGHTS, identity="colours"
    )
    rgb, labels = painted(size_wh)
    found = backend.people(rgb)
    expected = sorted((labels == label for label in (1, 2, 3)), key=lambda mask: -int(mask.sum()))
    assert len(found) == 3
    for person, mask in zip(found, expected, strict=True):
        assert_in_place(person.mask_HW, mask)
        rows, columns = np.nonzero(mask)
        assert (
            np.abs(np.subtract(person.box_xyxy, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))).max()
            <= 2
        )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_turned_photos_lie_as_the_photo_is_seen(orientation, command, tmp_path):
    for number, size_wh in enumerate([(300, 200), (200, 300)]):
        save(tmp_path / "photos" / f"{number}.png", turned(painted(size_wh)[0], orientation), orientation=orientation)
    model = models.sapiens_file(tmp_path, colours=("Face_Neck", "Hair", "Torso"))
    arguments = [
        "--backend",
        "sapiens",
        "--model",
        model,
        "--device",
        "cpu",
        "--quiet",
        "--batch-size",
        "2",
        "--jobs",
        "2",
    ]
    assert command("masks", "--input", "photos", "--output", "masks", *arguments) == 0
    for number, size_wh in enumerate([(300, 200), (200, 300)]):
        mask = read_grey(tmp_path / "masks" / f"{number}.png")
        for value, label in ((255, 1), (80, 2), (128, 3)):
            assert_in_place(mask == value, painted(size_wh)[1] == label)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_person_in_a_turned_photo_lies_as_the_photo_is_seen(orientation, command, tmp_path):
    # A ground of one colour would be bars.
    rgb = np.random.default_rng(0).integers(0, 60, (160, 96, 3), dtype=np.uint8)
    rgb[40:130, 10:40] = 255
    save(tmp_path / "photos" / "a.png", turned(rgb, orientation), orientation=orientation)
    arguments = ["--backend", "yolo", "--model", models.yolo_export(tmp_path), "--on-missing", "largest", "--quiet"]
    assert command("instance", "--input", "photos", "--output", "out", *arguments) == 0
    rows, columns = np.nonzero(read_grey(tmp_path / "out" / "a.png"))
    # A pixel of the export's masks is ten of this photo.
    assert (rows.min(), rows.max() + 1) == pytest.approx((40, 130), abs=3)
    assert (columns.min(), columns.max() + 1) == pytest.approx((10, 40), abs=3)
