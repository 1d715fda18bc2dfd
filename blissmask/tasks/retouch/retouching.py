"""Plan and run the retouching of masks: what every command with `--retouch` shares."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blissmask.errors import InputError, MissingPackageError, Problem, UsageError
from blissmask.events import Noted, Warned
from blissmask.media.image import read_size
from blissmask.media.sheets.card import SheetText
from blissmask.plurals import counted
from blissmask.processes import this_process
from blissmask.tasks.mask_files.media_plan import is_video
from blissmask.tasks.retouch.desk import Desk, Kind, RetouchItem
from blissmask.tasks.run.plan import Action, PlannedItem, RunContext, Summary, places_of

if TYPE_CHECKING:
    # The packages of the server are optional.
    from blissmask.tasks.retouch.server import PeopleFinder

_SECONDS_BETWEEN_LOOKS = 0.2
"""Between two looks whether a signal asked to stop: not felt after Ctrl-C, and no work."""


def refuse_unfit(*, explain: bool, quiet: bool) -> None:
    """Refuse to start where no page can be served, or where several processes would serve one.

    Args:
        explain: whether `--explain` is given, which writes nothing.
        quiet: whether `--quiet` is given, which would keep the page's address to itself.

    Raises:
        MissingPackageError: the packages of the server are missing.
        UsageError: a launcher started several processes, or an option is given that does not go with it.
    """
    if explain:
        raise UsageError("`--explain` and `--retouch` are two things", fix="give one of them")
    if quiet:
        raise UsageError("`--quiet` would hide the address of the page that `--retouch` serves", fix="leave it out")
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        packages = " and ".join(f"`{name}`" for name in missing)
        raise MissingPackageError(f"`--retouch` needs {packages}", fix="pip install 'blissmask[retouch]'")
    if this_process().count > 1:
        raise UsageError("`--retouch` is for one person and one process", fix="start it without a launcher")


def plan_retouch(photo: Path, mask: Path, key: str) -> PlannedItem:
    """Plan one item: nothing is written before somebody paints. One that cannot be read fails with the reason."""
    try:
        read_size(photo)
    except InputError as error:
        return PlannedItem(key, Action.FAIL, inputs=(photo,), output=mask).failing(error.as_one())
    reason = "to be shown" if mask.is_file() else "to be shown, there is no mask yet"
    return PlannedItem(key, Action.SKIP, reason, (photo,), mask)


def page_title(what: str, photos: int, *, videos: int) -> str:
    """Return what stands above the page, e.g. "Weighted masks, 8 items": videos are missing there, and it says so."""
    title = f"{what}, {counted(photos, 'item')}"
    return f"{title}; masks of {counted(videos, 'video')} are not shown" if videos else title


def videos_warning(media: Sequence[Path]) -> list[Problem]:
    """Warn of videos among photos, which are not shown; an empty list when there are none."""
    videos = [path for path in media if is_video(path)]
    if not videos:
        return []
    return [Problem(f"{counted(len(videos), 'video')} not shown: masks of photos are retouched", places_of(videos))]


def retouch(
    items: Sequence[PlannedItem],
    kind: Kind,
    text: SheetText,
    context: RunContext,
    *,
    command: str,
    training_area: int,
    people: Callable[[Desk], PeopleFinder] | None = None,
) -> Summary:
    """Serve the page until it says that it is finished, or a signal asks to stop.

    Args:
        items: what :func:`plan_retouch` planned.
        kind: what is painted.
        text: what stands above the page.
        context: where the address is written to, and the signal to stop.
        command: the subcommand.
        training_area: pixels of a training picture, for the latent grid.
        people: makes the finder of people, where one of them can be chosen.

    Raises:
        MachineError: no port can be opened.
    """
    from blissmask.tasks.retouch.server import serving

    shown = [item for item in items if item.action is not Action.FAIL]
    retouched = [RetouchItem(item.key, item.inputs[0], item.target, read_size(item.inputs[0])) for item in shown]
    finished = threading.Event()
    with tempfile.TemporaryDirectory(prefix="blissmask-retouch-") as folder:
        desk = Desk(retouched, kind, Path(folder), training_area=training_area)
        finder = None if people is None else people(desk)
        with serving(desk, text, finder, finished.set) as served:
            context.reporter.emit(Noted(f"open {served.address} in a browser"))
            context.reporter.emit(Noted("all is saved at once; `Finish` there, or Ctrl-C here, ends the command"))
            if _has_screen():
                webbrowser.open_new_tab(served.for_browser)
            told = False
            while not finished.wait(_SECONDS_BETWEEN_LOOKS) and not context.stop_signal():
                if served.visit.was_shut and not told:
                    told = True
                    context.reporter.emit(Warned(_shut(served.address)))
        masks, captions = len(desk.retouched), len(desk.captioned)
    return Summary(
        command,
        items=len(items),
        written=masks,
        skipped=len(shown) - masks,
        headline=f"Retouched {counted(masks, 'mask')} and {counted(captions, 'caption')}",
        details={"retouched": [desk.items[number].key for number in desk.retouched]},
    )


def _shut(address: str) -> Problem:
    """Return what to tell where the address of the browser was visited twice, which shut both visitors out."""
    what = "the address that the browser was started with was visited a second time, so its page was shut"
    fix = f"open {address}; if that was not you, another account of this machine looked for it"
    return Problem(what, fix=fix)


def _has_screen() -> bool:
    """Return whether somebody sits before this machine, who sees a browser that is opened."""
    if not sys.stderr.isatty():
        return False
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
