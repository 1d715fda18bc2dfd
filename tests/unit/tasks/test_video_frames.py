"""What the clips of a video share: control videos that end early, one reading of each fingerprint."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from blissmask.cachefile import fingerprint
from blissmask.dataset.geometry import cover
from blissmask.errors import MediaError
from blissmask.tasks.cache.reading import video_frames
from blissmask.tasks.cache.reading.video_frames import ControlClip, with_shared_videos
from tests.builders.cache import plan
from tests.builders.pictures import save, write_video


@pytest.fixture
def controls(tmp_path):
    """Return a folder of four grey frames: 0, 50, 100, 150."""
    for number in range(4):
        save(tmp_path / "controls" / f"{number}.png", np.full((48, 64, 3), 50 * number, np.uint8))
    return tmp_path / "controls"


def greys(frames_FHW3):
    return frames_FHW3[:, 0, 0, 0].tolist()


def test_a_control_video_that_ends_early_repeats_its_last_frame(controls):
    clips = [[0, 2], [2, 3, 4, 5], [7, 8]]
    control = ControlClip(controls, cover((64, 48), (64, 48)), clips)
    assert [greys(control.read(clip)) for clip in clips] == [[0, 100], [100, 150, 150, 150], [150, 150]]


def test_a_control_video_that_cannot_be_read_fails_when_a_clip_asks(tmp_path):
    control = ControlClip(tmp_path / "gone.mp4", cover((64, 48), (64, 48)), [[0]])
    with pytest.raises(MediaError, match="no such file"):
        control.read([0])


def test_a_control_video_is_opened_once_however_many_threads_ask(controls, monkeypatch):
    opened = []
    whole = video_frames.measure
    monkeypatch.setattr(video_frames, "measure", lambda path: opened.append(path) or whole(path))
    clips = [[number % 4] for number in range(8)]
    control = ControlClip(controls, cover((64, 48), (64, 48)), clips)
    with ThreadPoolExecutor(4) as pool:
        assert [greys(frames) for frames in pool.map(control.read, clips)] == [
            [50 * (number % 4)] for number in range(8)
        ]
    assert len(opened) == 1


def test_clips_come_in_the_order_of_their_last_frames_and_share_one_fingerprint(tmp_path, monkeypatch):
    write_video(tmp_path / "videos" / "clip.avi", [np.zeros((48, 64, 3), np.uint8)] * 12)
    (tmp_path / "videos" / "clip.txt").write_text("a clip", encoding="utf-8")
    entries = plan(
        tmp_path, video_directory=tmp_path / "videos", target_frames=[1, 5], frame_extraction="chunk"
    ).entries
    jobs = list(with_shared_videos(entries))
    last = [job.entry.frame_indices[-1] for job in jobs]
    assert last == sorted(last)
    assert len(jobs) == len(entries) == 14
    taken = []
    monkeypatch.setattr(fingerprint, "take", lambda paths: taken.append(paths) or "print")
    assert {job.video.media_print for job in jobs} == {"print"}
    assert len(taken) == 1
