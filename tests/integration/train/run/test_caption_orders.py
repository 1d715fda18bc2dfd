"""Training with captions in other orders and without: what it needs, prints and remembers, and that it resumes exactly."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from blissmask.cachefile.file_names import EMPTY, WRITTEN, TextKind, text_name
from blissmask.cachefile.read_file import read_metadata
from blissmask.cachefile.write import write_text
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.errors import CacheError, ChangedError, StoppedError
from blissmask.events import Announced
from blissmask.tasks.train.data.read_items import open_store
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.rules import caption_rule
from tests.builders.families import CACHE_SUFFIX
from tests.builders.training import run, seeded, tensors_of, train_config, write_masked_set

ORDERS = {"shuffle_caption": True, "keep_tokens": 1, "caption_orders": 2, "caption_dropout_rate": 0.3}
RULE = "one of 2 orders of the tags after the first tag, none in 30% of the times"


@pytest.fixture
def cache(tmp_path):
    """Return a cache of three items: a caption with one order only, and two with one more; and no caption of each."""
    folder = write_masked_set(tmp_path / "cache", count=3)
    for number in range(3):
        stem = f"kyla{number:03d}"
        caption = f"ohwx {number}, red, blue" if number else stem
        ours = {"architecture": CACHE_SUFFIX, "caption1": caption}
        texts = {WRITTEN: ours, EMPTY: {**ours, "caption1": ""}}
        if number:
            order = {
                "caption1": f"ohwx {number}, blue, red",
                "blissmask.order_of": caption,
                "blissmask.keep_tokens": "1",
            }
            texts[TextKind(1)] = {**ours, **order}
        for kind, metadata in texts.items():
            rows = {"t5": seeded(3, 32, seed=10 * number + 3 * kind.is_empty + kind.order).bfloat16()}
            write_text(folder / text_name(stem, CACHE_SUFFIX, kind), rows, variable_length={"t5"}, metadata=metadata)
    return folder


def config(cache, output, *, zoom_face_caption="close-up of the face, {caption}", **fields):
    data = {"cache_directory": cache, "zoom_face_caption": zoom_face_caption, **ORDERS}
    return train_config(cache, output, datasets=[data], **fields)


def test_a_stop_and_further_steps_give_the_bytes_of_a_run_without_one(cache, tmp_path):
    run(config(cache, tmp_path / "whole", max_train_steps=6))
    with pytest.raises(StoppedError):
        run(config(cache, tmp_path / "parts", max_train_steps=6), stop_after=3)
    run(config(cache, tmp_path / "parts", max_train_steps=6))
    logs = [(tmp_path / folder / "kyla-log.jsonl").read_bytes() for folder in ("whole", "parts")]
    assert logs[0] == logs[1]
    run(train_config(cache, tmp_path / "plain", max_train_steps=6))
    assert (tmp_path / "plain" / "kyla-log.jsonl").read_bytes() != logs[0]


def test_plan_screen_and_file_say_with_which_texts_items_are_shown(cache, tmp_path):
    chosen = config(cache, tmp_path / "out", max_train_steps=1)
    assert ("captions", RULE) in plan_training(chosen).tables[0].rows
    _, recorder = run(chosen)
    assert f" captions: {RULE}" in [line for event in recorder.of(Announced) for line in event.lines]
    assert tensors_of(tmp_path / "out" / "kyla.safetensors")
    said = read_metadata(tmp_path / "out" / "kyla.safetensors")
    assert {name: said[f"ss_{name}"] for name in ORDERS} == {name: str(value) for name, value in ORDERS.items()}
    plain = plan_training(train_config(cache, tmp_path / "out", max_train_steps=2))
    assert [where for problem in plain.warnings for where in problem.where if "captions" in where] == [
        f"`captions` was {RULE}, is as written"
    ]


def test_a_small_rate_is_not_told_as_none():
    assert caption_rule([DatasetSection(caption_dropout_rate=0.004)]) == "none in 0.4% of the times"


def test_texts_that_are_not_cached_are_named_before_training(cache, tmp_path):
    (cache / f"kyla001_{CACHE_SUFFIX}_te1.safetensors").unlink()
    (cache / f"kyla002_{CACHE_SUFFIX}_empty.safetensors").unlink()
    with pytest.raises(CacheError) as caught:
        plan_training(config(cache, tmp_path / "out"))
    named = {problem.what.partition(" needs")[0]: problem.where for problem in caught.value.problems}
    assert {what: [place.rpartition("/")[2] for place in where] for what, where in named.items()} == {
        "`shuffle_caption`": [f"kyla001_{CACHE_SUFFIX}_te1.safetensors"],
        "`caption_dropout_rate`": [f"kyla002_{CACHE_SUFFIX}_empty.safetensors"],
    }


def test_an_item_is_shown_in_as_many_orders_as_its_tags_have(cache, tmp_path):
    store = open_store(plan_training(config(cache, tmp_path / "out")))
    assert [len(store.item(position).others.orders) for position in range(3)] == [0, 1, 1]


@pytest.mark.parametrize(("photo", "needed"), [("kyla000", []), ("kyla001", ["te1"])])
def test_a_zoom_has_the_orders_of_the_caption_of_its_photo(cache, tmp_path, photo, needed):
    (latents,) = cache.glob(f"{photo}_*x*.safetensors")
    zoom = {**read_metadata(latents), "blissmask.zoom": "face"}
    save_file(load_file(latents), cache / latents.name.replace(photo, f"{photo}-face"), metadata=zoom)
    latents.unlink()
    # More tags than the photo's caption has.
    written = f"a close-up, of the face, {read_metadata(cache / text_name(photo, CACHE_SUFFIX))['caption1']}"
    for kind, caption in ((WRITTEN, written), (EMPTY, "")):
        rows = {"t5": seeded(3, 32, seed=1).bfloat16()}
        path = cache / text_name(f"{photo}-face", CACHE_SUFFIX, kind)
        metadata = {"architecture": CACHE_SUFFIX, "caption1": caption}
        write_text(path, rows, variable_length={"t5"}, metadata=metadata)
    zoomed = config(cache, tmp_path / "out", zoom_face_caption="a close-up, of the face, {caption}")
    missing = []
    try:
        plan_training(zoomed)
    except CacheError as error:
        missing = [place.rpartition("/")[2] for problem in error.problems for place in problem.where]
    assert missing == [f"{photo}-face_{CACHE_SUFFIX}_{kind}.safetensors" for kind in needed]
    # Without a place for the caption the template is all of the text, in one order.
    plan_training(config(cache, tmp_path / "out", zoom_face_caption="a close-up, of a face"))


def test_orders_of_a_caption_that_changed_are_stale(cache, tmp_path):
    other = config(cache, tmp_path / "out")
    section = other.datasets[0].model_copy(update={"keep_tokens": 0})
    with pytest.raises(CacheError, match="captions in other orders, and these are missing in the cache, or stale"):
        plan_training(other.model_copy(update={"datasets": (section,)}))


@pytest.mark.parametrize("kind", ["te1", "empty"])
def test_a_text_that_was_written_anew_since_the_plan_is_refused(cache, tmp_path, kind):
    store = open_store(plan_training(config(cache, tmp_path / "out")))
    changed = cache / f"kyla001_{CACHE_SUFFIX}_{kind}.safetensors"
    shutil.copy(cache / f"kyla002_{CACHE_SUFFIX}_te.safetensors", changed)
    with pytest.raises(ChangedError, match="the cached text changed since the run was planned") as caught:
        store.item(1)
    assert caught.value.problems[0].where == (str(changed),)
