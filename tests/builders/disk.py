"""The disk that tests write to: nobody cuts its power, so nothing that is written has to be waited for."""

from __future__ import annotations

import os


def wait_for_no_disk() -> None:
    """Let ``os.fsync`` return at once in this process, and in forks of it.

    What a run has written is seen by all others, also after it was killed; a disk takes milliseconds for each sync, and a
    training in miniature syncs some twenty times. Which files are synced, and what happens when that fails, is seen as ever.
    """

    def sync(descriptor: int) -> None:
        # What is no descriptor is refused as ever.
        os.fstat(descriptor)

    os.fsync = sync
