"""Of models that the user brings, no other size or kind is proposed for one that is missing."""

from pathlib import Path

import pytest

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.errors import ModelError
from blissmask.networks.caption_model import check_caption_folder
from blissmask.networks.weights_path import model_file


@pytest.mark.parametrize(("named", "is_meant"), [("Qwen-2b", True), ("qwen-7b", False)])
def test_a_folder_of_a_caption_model(tmp_path: Path, named: str, is_meant: bool) -> None:
    (tmp_path / "qwen-2b").mkdir()
    with pytest.raises(ModelError) as caught:
        check_caption_folder(tmp_path / named)
    assert ("did you mean" in caught.value.problems[0].fix) == is_meant


@pytest.mark.parametrize(("named", "is_meant"), [("yolo26_l-seg.onnx", True), ("yolo26n-seg.onnx", False)])
def test_a_file_of_a_backend(tmp_path: Path, named: str, is_meant: bool) -> None:
    (tmp_path / "yolo26l-seg.onnx").touch()
    options = MasksSection(model=str(tmp_path / named))
    with pytest.raises(ModelError) as caught:
        model_file(options, backend="yolo", suffixes=(".onnx",), wanted="an exported network")
    assert ("did you mean" in caught.value.problems[0].fix) == is_meant
