"""Promises 1 and 17 of `--retouch`: killed while it saves, it leaves whole files; its folder has one writer; a signal ends it in order."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import zlib
from pathlib import Path

import pytest

from blissmask.media.mask_picture import read_grey
from tests.builders.pictures import mask_folder, photo_folder, tier_mask
from tests.faults.forks import Forks, Running
from tests.faults.injected import Fault
from tests.faults.scenes import leftovers

SIZE_WH = (48, 32)
ARGUMENTS = ("masks", "--retouch", "--input", "photos", "--output", "masks")
BUSY = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photo_folder(tmp_path / "photos", ["a.jpg"], size_wh=SIZE_WH)
    mask_folder(tmp_path / "masks", ["a.png"], size_wh=SIZE_WH)
    return tmp_path


def address_of(running: Running) -> tuple[int, str]:
    """Wait until the page is served; return its port and path."""
    said = re.compile(r"http://127\.0\.0\.1:(\d+)(/\S+?/)")
    running.wait_until((running.folder / f"{running.name}.err").exists)
    running.wait_until(lambda: said.search(running.said()) is not None)
    found = said.search(running.said())
    return int(found[1]), found[2]


def paint_face_everywhere(port: int, path: str) -> int:
    """Do what the page does: open the item and paint all of it; return the status."""
    face_everywhere = zlib.compress(bytes([1]) * (SIZE_WH[0] * SIZE_WH[1]))
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", f"{path}items/0/pictures?large")
        version = json.loads(connection.getresponse().read())["version"]
        headers = {"origin": f"http://127.0.0.1:{port}", "content-type": "application/octet-stream"}
        query = f"base={version}&expected={version}"
        connection.request("POST", f"{path}items/0/mask?{query}", face_everywhere, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


# Names in the folder of masks: of the lock's holder, of the copy that is kept, of the mask.
@pytest.mark.parametrize("rename", [2, 3])
def test_a_kill_while_saving_leaves_the_mask_whole(folder: Path, forks: Forks, rename: int) -> None:
    before = (folder / "masks" / "a.png").read_bytes()
    running = forks.start(folder, *ARGUMENTS, fault=Fault("rename", rename, below="masks"))
    with pytest.raises((http.client.HTTPException, OSError)):
        paint_face_everywhere(*address_of(running))
    assert running.wait().code == -signal.SIGKILL
    assert (folder / "masks" / "a.png").read_bytes() == before
    again = forks.start(folder, *ARGUMENTS, name="again")
    assert paint_face_everywhere(*address_of(again)) == 200
    again.signal(signal.SIGINT)
    ended = again.wait()
    assert ended.code == 0, ended.err
    assert "Retouched 1 mask" in ended.out + ended.err
    assert (read_grey(folder / "masks" / "a.png") == 255).all()
    assert (read_grey(folder / "masks" / "a.png.bak") == tier_mask(SIZE_WH)).all()
    assert leftovers(folder / "masks") == []


def test_the_folder_is_locked_while_the_page_is_open(folder: Path, forks: Forks) -> None:
    running = forks.start(folder, *ARGUMENTS, name="first")
    address_of(running)
    refused = forks.run(folder, *ARGUMENTS)
    assert refused.code == BUSY
    assert "`blissmask masks`" in refused.err
    running.signal(signal.SIGTERM)
    assert running.wait().code == 0
