"""Videos go in and come out frame by frame, or as an error that names the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import MachineError, MediaError
from blissmask.media.video import read_frames, read_info, write_mp4
from tests.builders.pictures import random_rgb, write_video
from tests.builders.videos import cut_off, long_sound, trimmed, with_damaged_frames

FRAMES = [random_rgb((64, 48), seed=seed) for seed in range(9)]


def test_info_is_what_was_written(tmp_path: Path) -> None:
    info = read_info(write_video(tmp_path / "a.mp4", FRAMES, fps=24.0))
    assert (info.size_wh, info.frame_count, info.fps) == ((64, 48), 9, 24.0)


def test_lossless_frames_come_back_exactly_and_in_order(tmp_path: Path) -> None:
    frames = list(read_frames(write_video(tmp_path / "a.avi", FRAMES)))
    assert len(frames) == 9
    assert all((frame == written).all() for frame, written in zip(frames, FRAMES, strict=True))


def test_only_the_frames_wanted_come_back(tmp_path: Path) -> None:
    frames = list(read_frames(write_video(tmp_path / "a.avi", FRAMES), [7, 2]))
    assert [
        int(np.abs(frame.astype(int) - FRAMES[number]).max()) for frame, number in zip(frames, (2, 7), strict=True)
    ] == [0, 0]


def test_no_frames_wanted_reads_none(tmp_path: Path) -> None:
    assert list(read_frames(write_video(tmp_path / "a.avi", FRAMES), [])) == []


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_a_video_that_is_cut_off_is_known_before_a_frame_is_decoded(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MediaError, match=r"the video is cut off: \d+ bytes of its end are missing"):
        read_info(cut_off(write_video(tmp_path / f"a{suffix}", FRAMES)))


def test_frames_of_a_video_that_is_cut_off_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="the video is cut off"):
        next(read_frames(cut_off(write_video(tmp_path / "a.avi", FRAMES)), [0]))


def test_a_trimmed_film_is_read_to_its_end(tmp_path: Path) -> None:
    path = trimmed(tmp_path / "a.mp4", 48, first=12, kept=28)
    assert len(list(read_frames(path))) == 28


def test_frames_of_a_trimmed_film_are_counted(tmp_path: Path) -> None:
    info = read_info(trimmed(tmp_path / "a.mp4", 48, first=12, kept=28), count=True)
    assert (info.frame_count, info.stated_count) == (28, 48)


def test_frames_under_longer_sound_are_counted_and_read(tmp_path: Path) -> None:
    path = long_sound(tmp_path / "a.webm", 48, share=0.07)
    info = read_info(path, count=True)
    assert (info.frame_count, info.stated_count) == (48, 51)
    assert len(list(read_frames(path))) == 48


def test_without_counting_a_frame_count_is_what_the_container_states(tmp_path: Path) -> None:
    assert read_info(trimmed(tmp_path / "a.mp4", 48, first=12, kept=28)).frame_count == 48


def test_damaged_frames_before_good_ones_are_counted(tmp_path: Path) -> None:
    assert read_info(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12), count=True).frame_count == 12


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="frame 4 of the video is damaged"):
        list(read_frames(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12)))


def test_frames_before_a_damaged_one_are_read(tmp_path: Path) -> None:
    assert len(list(read_frames(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12), range(4)))) == 4


def test_frames_after_a_damaged_one_are_not_read_since_their_numbers_are_not_sure(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="frame 4 of the video is damaged"):
        list(read_frames(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12), [9]))


def test_damage_up_to_the_end_looks_like_the_end(tmp_path: Path) -> None:
    info = read_info(with_damaged_frames(tmp_path / "a.avi", range(8, 12), 12), count=True)
    assert (info.frame_count, info.stated_count) == (8, 12)


def test_a_video_of_damaged_frames_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame of the video can be decoded"):
        read_info(with_damaged_frames(tmp_path / "a.avi", range(12), 12), count=True)


def test_frame_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="breaks off at frame 9"):
        list(read_frames(write_video(tmp_path / "a.avi", FRAMES), [20]))


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_what_is_no_video_is_an_error(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError, match="not a video"):
        read_info(tmp_path / "a.mp4")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["😀.avi", "-x.avi", "concat:a.avi", "two\nlines.avi", "100%03d.avi"])
def test_any_file_name_is_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.avi", FRAMES).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read_info(Path(name)).frame_count == 9


def moving_square(count: int) -> np.ndarray:
    frames_FHW3 = np.full((count, 48, 64, 3), (20, 60, 200), dtype=np.uint8)
    for number in range(count):
        frames_FHW3[number, 8:40, number * 4 : number * 4 + 24] = (240, 30, 40)
    return frames_FHW3


@pytest.mark.parametrize("codecs", [("vp09", "mp4v"), ("none", "mp4v")])
def test_mp4_holds_the_frames_in_order_and_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codecs: tuple[str, ...]
) -> None:
    monkeypatch.setattr("blissmask.media.video._CODECS", codecs)
    frames_FHW3 = moving_square(9)
    write_mp4(tmp_path / "deep" / "a.mp4", frames_FHW3, fps=24.0)
    info = read_info(tmp_path / "deep" / "a.mp4")
    assert (info.size_wh, info.frame_count, info.fps) == ((64, 48), 9, 24.0)
    for written, read in zip(frames_FHW3, read_frames(tmp_path / "deep" / "a.mp4"), strict=True):
        assert np.abs(written.astype(int) - read).mean() < 12
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.mp4"]


def test_mp4_without_an_encoder_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blissmask.media.video._CODECS", ("none",))
    with pytest.raises(MachineError, match="no encoder"):
        write_mp4(tmp_path / "a.mp4", moving_square(2), fps=24.0)
    assert list(tmp_path.iterdir()) == []
