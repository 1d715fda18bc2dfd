"""Names of items: short, and never the same for two."""

from pathlib import Path

from blissmask.cachefile.entry import CacheHeader, SharedHeader
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.train.data.training_data import item_names

SHARED = SharedHeader((16, 1, 4, 4), {}, ())


def header(path, stem):
    return CacheHeader(ShortPath.of(Path(path)), stem, "arch", SHARED, ())


def test_a_name_is_as_long_as_it_must_be():
    headers = [
        header("/cache/kyla/alone_0064x0064_arch.safetensors", "alone"),
        header("/cache/kyla/both_0064x0064_arch.safetensors", "both"),
        header("/cache/tom/both_0064x0064_arch.safetensors", "both"),
        header("/cache/tom/clip_0064x0064_arch.safetensors", "clip"),
        header("/cache/tom/clip_0128x0064_arch.safetensors", "clip"),
        header("/a/x/same_0064x0064_arch.safetensors", "same"),
        header("/b/x/same_0064x0064_arch.safetensors", "same"),
    ]
    assert item_names(headers) == [
        "alone",
        "kyla/both",
        "tom/both",
        "tom/clip_0064x0064_arch",
        "tom/clip_0128x0064_arch",
        "/a/x/same_0064x0064_arch.safetensors",
        "/b/x/same_0064x0064_arch.safetensors",
    ]
