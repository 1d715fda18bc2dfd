"""networks/preprocessing.py and parsing/semantic.py: photos for a network, and its scores at the photo's size."""

import json

import numpy as np
import pytest
import torch

from blissmask.errors import ModelError
from blissmask.networks.model_folder import read_config
from blissmask.networks.preprocessing import Preprocessing, prepare, prepared_size_wh, read_preprocessing
from blissmask.parsing import semantic
from blissmask.parsing.sapiens import PREPROCESSING as SAPIENS_PREPROCESSING
from tests.builders.pictures import random_rgb


def folder_with(tmp_path, **settings):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_sapiens_sees_768_by_1024_with_its_own_mean():
    prepared = prepare(np.full((10, 30, 3), (123, 116, 103), np.uint8), SAPIENS_PREPROCESSING)
    assert prepared.pixels_3hw.shape == (3, 1024, 768)
    assert prepared.pixels_3hw[:, 5, 5] == pytest.approx([-0.5 / 58.5, -0.5 / 57.0, -0.5 / 57.5])


@pytest.mark.parametrize(
    ("size", "expected_wh"),
    [
        (64, (64, 64)),
        ({"height": 64, "width": 48}, (48, 64)),
        ({"shortest_edge": 60}, (90, 60)),
        ({"shortest_edge": 60, "longest_edge": 75}, (75, 50)),
        ({"longest_edge": 45}, (45, 30)),
    ],
)
def test_sizes_are_read_in_every_spelling(tmp_path, size, expected_wh):
    preprocessing = read_preprocessing(folder_with(tmp_path, size=size))
    assert prepared_size_wh((300, 200), preprocessing) == expected_wh


def test_sides_are_multiples_of_the_divisor_and_never_nothing(tmp_path):
    preprocessing = read_preprocessing(
        folder_with(tmp_path, size={"shortest_edge": 50, "longest_edge": 100}, size_divisor=32)
    )
    assert prepared_size_wh((4000, 1), preprocessing) == (128, 32)


def test_blue_comes_first_where_the_model_wants_it(tmp_path):
    preprocessing = read_preprocessing(
        folder_with(tmp_path, size=2, do_flip_channel_order=True, do_normalize=False, do_rescale=False)
    )
    prepared = prepare(np.full((2, 2, 3), (1, 2, 3), np.uint8), preprocessing)
    assert prepared.pixels_3hw[:, 0, 0].tolist() == [3, 2, 1]


def test_padding_goes_right_and_below_and_is_remembered():
    preprocessing = Preprocessing(shortest=8, longest=8, pad_wh=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
    prepared = prepare(np.full((20, 40, 3), 255, np.uint8), preprocessing)
    assert prepared.content == (0.5, 1.0)
    assert prepared.pixels_3hw[:, :4].min() == 1
    assert prepared.pixels_3hw[:, 4:].max() == 0


def test_settings_inside_a_processor_file_are_found(tmp_path):
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_processor": {"size": 32, "image_mean": 0.5, "image_std": 0.5}})
    )
    preprocessing = read_preprocessing(tmp_path)
    assert preprocessing.size_wh == (32, 32)
    assert preprocessing.mean == (0.5,) * 3


def test_folder_without_settings_is_refused_unless_the_family_knows_them(tmp_path):
    with pytest.raises(ModelError, match=r"holds no `preprocessor_config\.json`"):
        read_preprocessing(tmp_path)
    assert read_preprocessing(tmp_path, default=SAPIENS_PREPROCESSING) is SAPIENS_PREPROCESSING


def test_damaged_settings_are_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be understood"):
        read_preprocessing(folder_with(tmp_path, size={"depth": 3}))


@pytest.mark.parametrize("size_wh", [(1, 1), (7, 5), (50, 33), (3, 200)])
def test_best_class_is_that_of_scores_interpolated_by_torch(monkeypatch, size_wh):
    monkeypatch.setattr(semantic, "STRIP_PIXELS", 100)
    scores = torch.randn(5, 9, 12, generator=torch.Generator().manual_seed(0))
    reference = torch.nn.functional.interpolate(
        scores[None], (size_wh[1], size_wh[0]), mode="bilinear", align_corners=False
    )[0]
    margin = reference.topk(2, dim=0).values
    sure = ((margin[0] - margin[1]) > 1e-4).numpy()
    labels = semantic.best_class(scores, size_wh)
    assert sure.mean() > 0.9
    assert (labels == reference.argmax(dim=0).numpy())[sure].all()


def test_preparing_twice_gives_the_same_pixels():
    rgb = random_rgb((33, 21))
    assert (
        prepare(rgb, Preprocessing(size_wh=(16, 24))).pixels_3hw
        == prepare(rgb, Preprocessing(size_wh=(16, 24))).pixels_3hw
    ).all()


ODD = [None, True, 0, -1, 10**400, float("nan"), "", "a", [], [0, 0, 0], ["a"], {}, {"height": 0, "width": 8}, {"a": 1}]
ODD += [{"height": 8}, {"shortest_edge": None, "longest_edge": None}, {"longest_edge": "x"}, 99]
SETTINGS = ["size", "image_mean", "image_std", "resample", "rescale_factor", "size_divisor", "image_processor"]


@pytest.mark.parametrize("odd", ODD, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", SETTINGS)
def test_odd_settings_prepare_a_photo_or_are_refused_by_their_file(tmp_path, name, odd):
    folder = folder_with(tmp_path, **{"size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, name: odd})
    try:
        prepare(random_rgb((8, 8)), read_preprocessing(folder))
    except ModelError as error:
        assert error.problems[0].where == (str(folder / "preprocessor_config.json"),)  # noqa: PT017


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"[" * 100_000, b'{"architectures": 3}', b'{"id2label": [1]}', b'{"id2label": {"a": "b"}}'],
)
def test_a_configuration_that_is_none_is_refused_by_its_file(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_config(tmp_path)
    assert caught.value.problems[0].where == (str(tmp_path / "config.json"),)
