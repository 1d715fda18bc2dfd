"""Peak memory of the commands on one large photo, and of each further worker.

    python -m tests.benchmarks.memory              # 48 megapixels
    python -m tests.benchmarks.memory --side 1200  # a small one, to see that it runs

Every command runs in a process of its own, with one and with two workers on four copies of a photo; a photo of 64
pixels shows what libraries and networks take by themselves. The kernel counts: ``ru_maxrss``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.builders.families import PLAIN

PHOTO = Path(__file__).parents[1] / "photos" / "astronaut.png"
COPIES = 4


def commands(folder: Path) -> dict[str, str]:
    """Return each command by its name; they run one after the other, since each reads what the one before wrote."""
    cache = f"cache --resolution 512 --arch {PLAIN} --model tiny --cache-directory {folder}/cache"
    return {
        "masks": f"masks --input {folder}/photos --output {folder}/masks",
        "instance": f"instance --input {folder}/photos --output {folder}/subject --reference {PHOTO}",
        "apply": f"apply --weighted-masks {folder}/masks --instance-masks {folder}/subject --output {folder}/final",
        "to-alpha": f"to-alpha --image-directory {folder}/photos --mask-directory {folder}/final -o {folder}/rgba",
        "cache": f"{cache} --image-directory {folder}/photos --mask-directory {folder}/final",
        "cache of RGBA": f"{cache}-rgba --image-directory {folder}/rgba --alpha-mask",
    }


def peaks(folder: Path, width: int, height: int, *, jobs: int) -> dict[str, int]:
    """Return the peak memory of each command, bytes."""
    photo = Image.open(PHOTO).convert("RGB").resize((width, height))
    (folder / "photos").mkdir(parents=True)
    for number in range(COPIES):
        photo.save(folder / "photos" / f"{number}.jpg", quality=92)
        (folder / "photos" / f"{number}.txt").write_text("an astronaut", encoding="utf-8")
    return {name: _peak(f"{command} --jobs {jobs} --no-progress --quiet") for name, command in commands(folder).items()}


def _peak(command: str) -> int:
    process = subprocess.Popen([sys.executable, "-m", "blissmask", *command.split()])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"`{command}` failed")
    return int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Print a table in MB (10^6 bytes)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=8000, help="longer side of the photo; the other is three quarters")
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small = peaks(folder / "small", 64, 64, jobs=1)
        one = peaks(folder / "one", side * 3 // 4, side, jobs=1)
        two = peaks(folder / "two", side * 3 // 4, side, jobs=2)
    print(f"{'MB':>14} {'64 pixels':>10} {'1 worker':>10} {'2 workers':>10} {'a worker':>10}")
    for name in small:
        values = (small[name], one[name], two[name], two[name] - one[name])
        print(f"{name:>14}" + "".join(f"{value / 1e6:>11.0f}" for value in values))


if __name__ == "__main__":
    main()
