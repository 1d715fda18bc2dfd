"""A scene: command lines in a folder, and the fingerprints of what they print and leave behind."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TextIO

from tests.sameness.described import describe, digest, masked

MOMENT_NS = 1_700_000_000_000_000_000
"""Modification time of every input: caches and masks record it."""


@dataclass
class Scene:
    """Runs commands in the working folder and fingerprints what they print and write.

    Attributes:
        name: first part of every fingerprint's name.
        details: folder for the text of what was hashed; None for no such text.
        prints: name -> hash.
        ended: name of a command -> its exit code, where that was not 0.
    """

    name: str
    details: Path | None
    prints: dict[str, str] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    _seen: dict[Path, str] = field(default_factory=dict)

    def run(self, name: str, line: str) -> None:
        """Run ``blissmask LINE`` in this process; fingerprint both streams, and files that are new or changed."""
        code, out, err = _call_main(shlex.split(line))
        if code:
            self.ended[name] = code
        self._add(f"{name}/out", f"$ blissmask {line}\nexit code {code}\n{masked(out)}")
        if err:
            self._add(f"{name}/err", masked(err))
        self._files(name)

    def plan_and_run(self, name: str, line: str) -> None:
        """Run with ``--dry-run`` as text and as JSON, then in earnest, then as JSON what a second run would do."""
        self.run(f"{name}/plan", f"{line} --dry-run --verbose")
        self.run(f"{name}/plan-json", f"{line} --dry-run --json")
        self.run(name, line)
        self.run(f"{name}/again-json", f"{line} --json")

    def settle(self) -> None:
        """Take every file that is there as an input: give it the same time on every run, and no fingerprint."""
        for path in _files_below(Path()):
            os.utime(path, ns=(MOMENT_NS, MOMENT_NS))
            self._seen[path] = digest(path.read_bytes())

    def _files(self, name: str) -> None:
        for path in _files_below(Path()):
            content = digest(path.read_bytes())
            if self._seen.get(path) == content:
                continue
            self._seen[path] = content
            described, blob = describe(path)
            shown = re.sub(r"events\.out\.tfevents.*", "events.out.tfevents", path.as_posix())
            self._add(f"{name}/{shown}", described, blob)
        self.settle()

    def _add(self, name: str, text: str, blob: bytes = b"") -> None:
        """Keep the hash of ``text`` and ``blob``; only the text goes into the details."""
        name = f"{self.name}/{name}"
        assert name not in self.prints, name
        self.prints[name] = digest(text.encode(errors="surrogateescape") + b"\0" + blob)
        if self.details is not None:
            path = self.details / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _call_main(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Call the command line with both streams in files: libraries in C print, too. Return exit code and both texts."""
    from blissmask.cli.app import main

    sys.argv = ["blissmask", *arguments]
    code = 0
    with _into_file(sys.stdout) as out, _into_file(sys.stderr) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        texts = [_text_of(file) for file in (out, err)]
    return code, texts[0], texts[1]


@contextmanager
def _into_file(stream: TextIO) -> Iterator[IO[bytes]]:
    """Let a stream of this process write into a file for a while."""
    stream.flush()
    descriptor = stream.fileno()
    kept = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield file
        finally:
            stream.flush()
            os.dup2(kept, descriptor)
            os.close(kept)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="surrogateescape")


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".blissmask.lock"))
