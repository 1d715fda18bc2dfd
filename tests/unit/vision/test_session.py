"""The networks' files: checked, named, and refused with a way out."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from blissmask.errors import MissingPackageError, ModelError
from blissmask.give_back import give_back
from blissmask.vision import session

LARGE = 6000 * 8000
"""Pixels of a photo whose memory is given back."""


def test_every_weights_file_has_its_recorded_sha256():
    files = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in session.WEIGHTS_FOLDER.glob("*.onnx")}
    assert files == session.WEIGHTS_SHA256


def test_notice_names_every_weights_file_with_its_sha256():
    notice = (session.WEIGHTS_FOLDER / "NOTICE.md").read_text(encoding="utf-8")
    for name, sha256 in session.WEIGHTS_SHA256.items():
        assert f"`{name}.onnx`" in notice
        assert sha256 in notice


def test_damaged_weights_are_refused_with_the_way_to_mend_them(tmp_path):
    damaged = tmp_path / "face_landmark.onnx"
    damaged.write_bytes(b"not a network")
    with pytest.raises(ModelError, match="`face_landmark` is damaged") as caught:
        session.check_weights(damaged, session.WEIGHTS_SHA256["face_landmark"])
    assert "pip install --force-reinstall" in caught.value.problems[0].fix
    assert caught.value.problems[0].where == (str(damaged),)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(ModelError, match="`pose_detection` is missing"):
        session.check_weights(tmp_path / "pose_detection.onnx", "0" * 64)


def test_missing_onnxruntime_names_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError) as caught:
        session.load_session(tmp_path / "any.onnx")
    assert "pip install onnxruntime" in caught.value.problems[0].fix


@pytest.mark.parametrize("refusal", [None, RuntimeError("An allocator for this device has already been registered")])
def test_the_store_is_shared_where_onnxruntime_registers_it(monkeypatch, refusal):
    class Refusing:
        OrtMemoryInfo, OrtArenaCfg = onnxruntime.OrtMemoryInfo, onnxruntime.OrtArenaCfg
        OrtAllocatorType, OrtMemType = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
        SessionOptions = onnxruntime.SessionOptions

        def create_and_register_allocator(self, info, config):
            if refusal is not None:
                raise refusal

        def InferenceSession(self, path, options, providers):  # noqa: N802 - its name in onnxruntime
            return options

    monkeypatch.setattr(session, "_runtime", Refusing)
    monkeypatch.setattr(session, "_share_memory", session._share_memory.__wrapped__)
    options = session.load_session(session.WEIGHTS_FOLDER / "face_landmark.onnx")
    if refusal is None:
        assert options.get_session_config_entry("session.use_env_allocators") == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.use_env_allocators")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from /proc")
def test_what_networks_took_is_given_back():
    def resident():
        give_back(LARGE)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    session.give_back_store(LARGE)
    before = resident()
    session.run("selfie_multiclass_256x256", np.zeros((1, 256, 256, 3), np.float32))
    taken = resident() - before
    session.give_back_store(LARGE)
    # The network's weights stay.
    assert resident() - before < taken - 10e6


def test_nothing_is_given_back_where_the_store_is_not_shared(monkeypatch):
    monkeypatch.setattr(session, "_share_memory", lambda runtime: False)
    monkeypatch.setattr(session, "_session", lambda name: pytest.fail("a network ran"))
    session.give_back_store(LARGE)


def test_nothing_is_given_back_after_a_small_photo(monkeypatch):
    monkeypatch.setattr(session, "_runtime", lambda: pytest.fail("onnxruntime was asked"))
    session.give_back_store(512 * 768)


def test_weights_identity_changes_with_any_network():
    assert session.weights_identity("dlib_face") != session.weights_identity("dlib_face", "face_landmark")
    assert session.weights_identity("dlib_face") == session.weights_identity("dlib_face")
