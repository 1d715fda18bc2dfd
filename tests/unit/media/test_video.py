"""Videos go in and come out frame by frame, or as an error that names the frame."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from blissmask.errors import MachineError, MediaError
from blissmask.media.video import read_frames, read_info, read_times, refuse_cut_off
from blissmask.media.video_writer import write_mp4
from tests.builders.pictures import corner_rgb, random_rgb, write_video
from tests.builders.videos import (
    cut_off,
    grey_video,
    long_sound,
    trimmed,
    turned_video,
    uneven_video,
    with_damaged_frames,
)

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
def test_a_video_that_is_cut_off_is_known_without_decoding_it(tmp_path: Path, suffix: str) -> None:
    path = grey_video(tmp_path / f"a{suffix}", 24)
    refuse_cut_off(path)
    with pytest.raises(MediaError, match="the video is cut off: it"):
        refuse_cut_off(cut_off(path))


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_a_video_that_is_cut_off_is_no_shorter_one(tmp_path: Path, suffix: str) -> None:
    path = cut_off(grey_video(tmp_path / f"a{suffix}", 24))
    with pytest.raises(MediaError, match="the video is cut off: it"):
        read_info(path, count=True)
    with pytest.raises(MediaError, match="the video is cut off: it"):
        list(read_frames(path))


def test_frames_that_the_index_places_beyond_the_end_are_missed_at_once(tmp_path: Path) -> None:
    path = uneven_video(tmp_path / "a.mp4", [number / 24 for number in range(48)], options={"movflags": "faststart"})
    assert read_info(path).frame_count == 48
    with pytest.raises(MediaError, match=r"cut off: \d+ bytes of its end are missing"):
        read_info(cut_off(path, share=0.8))


def test_a_flash_video_states_its_end(tmp_path: Path) -> None:
    path = uneven_video(tmp_path / "a.flv", [number / 24 for number in range(48)], codec="flv")
    refuse_cut_off(path)
    assert read_info(path, count=True).frame_count == 48
    # At the beginning of a frame, or the frame itself is seen to be cut.
    with av.open(str(path)) as video:
        starts = [packet.pos for packet in video.demux() if packet.size]
    cut_off(path, share=starts[40] / path.stat().st_size)
    with pytest.raises(MediaError, match=r"cut off: it ends after 1\.\d of 2\.0 seconds"):
        refuse_cut_off(path)


def test_a_matroska_recording_that_states_no_end_is_whole(tmp_path: Path) -> None:
    with (
        av.open(str(tmp_path / "live.mkv"), "w", options={"live": "1"}) as live,
        av.open(str(grey_video(tmp_path / "a.mkv", 24))) as source,
    ):
        stream = live.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                live.mux(packet)
    cut_off(tmp_path / "live.mkv", share=0.8)
    refuse_cut_off(tmp_path / "live.mkv")


def test_a_recording_whose_frames_stand_for_long_is_whole(tmp_path: Path) -> None:
    path = uneven_video(tmp_path / "a.mkv", [0, 0.1, 2.0, 2.1, 4.0])
    data = bytearray(path.read_bytes())
    duration = data.index(b"\x44\x89\x88") + 3
    struct.pack_into(">d", data, duration, struct.unpack_from(">d", data, duration)[0] + 1900)
    path.write_bytes(data)
    refuse_cut_off(path)


def test_a_trimmed_film_is_read_to_its_end(tmp_path: Path) -> None:
    path = trimmed(tmp_path / "a.mp4", 48, first=12, kept=28)
    assert len(list(read_frames(path))) == 28
    refuse_cut_off(path)


def test_frames_of_a_trimmed_film_are_counted(tmp_path: Path) -> None:
    assert read_info(trimmed(tmp_path / "a.mp4", 48, first=12, kept=28), count=True).frame_count == 28


def test_frames_under_longer_sound_are_counted_and_read(tmp_path: Path) -> None:
    path = long_sound(tmp_path / "a.webm", 48, share=0.5)
    assert read_info(path, count=True).frame_count == 48
    assert len(list(read_frames(path))) == 48
    refuse_cut_off(path)


def test_without_counting_a_frame_count_is_what_the_container_states(tmp_path: Path) -> None:
    assert read_info(trimmed(tmp_path / "a.mp4", 48, first=12, kept=28)).frame_count == 48
    assert read_info(grey_video(tmp_path / "a.mkv", 48)).frame_count == 48


UNEVEN = [0.0, 0.016, 0.032, 0.048, 0.064, 0.5, 1.0, 1.5]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_of_uneven_frames_are_known_to_the_millisecond(tmp_path: Path, suffix: str) -> None:
    path = uneven_video(tmp_path / f"a{suffix}", UNEVEN)
    info = read_info(path, count=True)
    assert info.times == pytest.approx(UNEVEN, abs=1e-3)
    assert read_times(path, info.frame_count) == pytest.approx(UNEVEN, abs=1e-3)


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
def test_an_even_rate_says_the_times(tmp_path: Path, suffix: str) -> None:
    assert read_info(grey_video(tmp_path / f"a{suffix}", 48, fps=29.97), count=True).times == ()


def test_frames_that_a_phone_times_a_little_late_are_even(tmp_path: Path) -> None:
    late = [number / 30 + (0.006 if number % 3 else 0) for number in range(30)]
    assert read_info(uneven_video(tmp_path / "a.mp4", late), count=True).times == ()


@pytest.mark.parametrize(("degrees", "size_wh"), [(90, (48, 64)), (180, (64, 48)), (270, (48, 64))])
def test_frames_come_upright(tmp_path: Path, degrees: int, size_wh: tuple[int, int]) -> None:
    stored = corner_rgb((64, 48))
    path = turned_video(tmp_path / "a.mp4", [stored] * 3, degrees)
    [frame] = read_frames(path, [1])
    assert read_info(path).size_wh == size_wh
    assert np.abs(frame.astype(int) - np.rot90(stored, -degrees // 90)).mean() < 12


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_mirrored_frames_come_as_players_show_them(tmp_path: Path, degrees: int) -> None:
    stored = corner_rgb((64, 48))
    path = turned_video(tmp_path / "a.mp4", [stored] * 3, degrees, is_mirrored=True)
    [frame] = read_frames(path, [1])
    assert np.abs(frame.astype(int) - np.rot90(stored[::-1], -degrees // 90)).mean() < 12


@pytest.mark.parametrize(
    ("size_wh", "stated", "red_of_green"),
    [((64, 48), None, 0.813), ((64, 48), 1, 0.533), ((1280, 16), None, 0.533), ((1280, 16), 5, 0.813)],
)
def test_colours_follow_the_matrix_that_is_stated_or_that_players_take(
    tmp_path: Path, size_wh: tuple[int, int], stated: int | None, red_of_green: float
) -> None:
    """Grey with a chroma of +32 towards red: green is lower by that times a factor of BT.601 or BT.709."""
    frame = av.VideoFrame(*size_wh, "yuv420p")
    for plane, value in zip(frame.planes, (126, 128, 160), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        if stated is not None:
            stream.codec_context.colorspace = frame.colorspace = stated
        for number in range(3):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    [rgb, *_] = read_frames(tmp_path / "a.mkv")
    assert rgb[8, 8, 1] == pytest.approx((126 - 16) * 255 / 219 - 32 * red_of_green, abs=2)


def test_damaged_frames_before_good_ones_are_counted(tmp_path: Path) -> None:
    info = read_info(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12), count=True)
    assert (info.frame_count, info.damaged) == (12, (4, 5, 6))


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="frame 4 of the video is damaged"):
        list(read_frames(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12)))


def test_frames_before_a_damaged_one_are_read(tmp_path: Path) -> None:
    assert len(list(read_frames(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12), range(4)))) == 4


def test_frames_after_a_damaged_one_are_not_read_since_their_numbers_are_not_sure(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="frame 4 of the video is damaged"):
        list(read_frames(with_damaged_frames(tmp_path / "a.avi", range(4, 7), 12), [9]))


def test_damage_up_to_the_end_looks_like_the_end(tmp_path: Path) -> None:
    path = with_damaged_frames(tmp_path / "a.avi", range(8, 12), 12)
    info = read_info(path, count=True)
    assert (info.frame_count, info.damaged) == (8, (8, 9, 10, 11))
    assert len(list(read_frames(path))) == 8
    with pytest.raises(MediaError, match="frame 8 of the video is damaged"):
        list(read_frames(path, [9]))


def test_a_video_of_damaged_frames_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame of the video can be decoded"):
        read_info(with_damaged_frames(tmp_path / "a.avi", range(12), 12), count=True)


def test_frame_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="breaks off at frame 9"):
        list(read_frames(write_video(tmp_path / "a.avi", FRAMES), [20]))


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "the file is empty"), (b"<html>", "a web page, not a video"), (b"hello", "not a video that can be read")],
)
def test_what_is_no_video_is_an_error(
    tmp_path: Path, content: bytes, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=what):
        read_info(tmp_path / "a.mp4")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["😀.avi", "-x.avi", "concat:a.avi", "two\nlines.avi", "100%03d.avi", "caf\udce9.avi"])
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
    monkeypatch.setattr("blissmask.media.video_writer._CODECS", codecs)
    frames_FHW3 = moving_square(9)
    write_mp4(tmp_path / "deep" / "a.mp4", frames_FHW3, fps=24.0)
    info = read_info(tmp_path / "deep" / "a.mp4")
    assert (info.size_wh, info.frame_count, info.fps) == ((64, 48), 9, 24.0)
    for written, read in zip(frames_FHW3, read_frames(tmp_path / "deep" / "a.mp4"), strict=True):
        assert np.abs(written.astype(int) - read).mean() < 12
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.mp4"]


def test_mp4_without_an_encoder_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blissmask.media.video_writer._CODECS", ("none",))
    with pytest.raises(MachineError, match="no encoder"):
        write_mp4(tmp_path / "a.mp4", moving_square(2), fps=24.0)
    assert list(tmp_path.iterdir()) == []
