"""The parts beside the steps: tests that need a card, encoding, a network of `masks`, and one process with the card's own exchange."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import transformers

from tests.benchmarks.backend_overlap import make_photos, measured
from tests.builders import backend_models
from tests.builders.families import PLAIN, TINY, family_of
from tests.gpu.figures import Figure, Place
from tests.gpu.true_sizes import true_sizes

TESTS = (
    "tests/integration/train/memory/test_on_gpu.py",
    "tests/integration/train/memory/test_no_waiting.py",
    "tests/integration/backends/test_contract.py",
)
NEEDS_A_CARD = "gpu or cuda or come_and_go"


def tests_on_the_card(where: Place) -> Iterator[Figure]:
    """Run the tests that are skipped without a GPU; a rehearsal only collects them."""
    what = "tests that need a card"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, "-k", NEEDS_A_CARD]
    try:
        done = subprocess.run(
            [*command, *(["--collect-only"] if where.rehearses else [])],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=where.seconds_left,
        )
    except subprocess.TimeoutExpired:
        yield Figure(what, "not done within the part's time", {}, failed=True)
        return
    lines = done.stdout.strip().splitlines()
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            yield Figure(what, line, {}, failed=True)
    yield Figure(what, lines[-1] if lines else done.stderr[-200:], {}, failed=done.returncode != 0)


def encoding(where: Place) -> Iterator[Figure]:
    """Encode photos one by one with a VAE of the released size, as `cache` does."""
    side, rounds = (32, 2) if where.rehearses else (1024, 20)
    family, dtype = family_of(PLAIN), torch.float32 if where.rehearses else torch.bfloat16
    # The class's own defaults are the released model.
    size = contextlib.nullcontext() if where.rehearses else true_sizes({}, where.device)
    with size:
        encoder = family.load_latent_encoder(TINY, device=where.device, dtype=dtype)
    pixels = torch.rand(1, 3, 1, side, side, device=where.device) * 2 - 1
    with torch.no_grad():
        encoder.encode(pixels)
        _finish(where.device)
        started = time.perf_counter()
        for _ in range(rounds):
            encoder.encode(pixels)
        _finish(where.device)
    rate = rounds / (time.perf_counter() - started)
    yield Figure(f"VAE, photos of {side} px, one at a time", f"{rate:.1f} a second", {"photos_per_second": rate})


def masks(where: Place) -> Iterator[Figure]:
    """Make masks with a network of the user's; the GPU should be what all waits for."""
    transformers.utils.logging.disable_progress_bar()
    photos, size_wh = (3, (64, 64)) if where.rehearses else (48, (1536, 2048))
    make_photos(where.folder / "photos", photos, size_wh)
    model = (backend_models.segformer_folder if where.rehearses else backend_models.large_segformer_folder)(
        where.folder
    )
    for jobs in (1,) if where.rehearses else (1, 4):
        one = measured(where.folder, "huggingface", model, jobs=jobs)
        rate = one.photos / one.seconds
        result = f"{rate:.1f} photos a second, the network waits {100 * one.waiting:.0f} %"
        values = {"photos_per_second": rate, "waiting_share": one.waiting}
        yield Figure(f"masks --backend huggingface, {jobs} job(s)", result, values)


def one_process(where: Place) -> Iterator[Figure]:
    """Sum a gradient of 100 MB over one process: the exchange that torchrun starts works here."""
    backend = "gloo" if where.rehearses else "nccl"
    numbers = torch.ones(1000 if where.rehearses else 25_000_000, device=where.device)
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        dist.all_reduce(numbers)
        _finish(where.device)
        started = time.perf_counter()
        dist.all_reduce(numbers)
        _finish(where.device)
        seconds = time.perf_counter() - started
        right = bool((numbers == 1).all())
    finally:
        dist.destroy_process_group()
    what = f"{backend}, one process, {numbers.nbytes / 1e6:.0f} MB"
    yield Figure(what, f"{seconds * 1000:.2f} ms", {"seconds": seconds}, failed=not right)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
