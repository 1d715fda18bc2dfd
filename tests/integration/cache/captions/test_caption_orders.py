"""Captions in other orders and no caption at all: further text files, which other trainers do not look at."""

import pytest

from blissmask.cachefile.metadata import CAPTION
from blissmask.cachefile.read_file import read_metadata
from blissmask.tasks.run.plan import Action
from tests.builders.cache import PHOTO_WH, ModelCounter, build, captions, plan, times
from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import photo_folder

WRITTEN = "ohwx woman, red coat, bridge, night"


@pytest.fixture
def photos(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a"], WRITTEN)
    captions(tmp_path, ["b"], "a woman")
    return tmp_path


def texts(folder, stem):
    """Return the captions of an item by what the names of their files end in."""
    start = f"{stem}_{CACHE_SUFFIX}_"
    return {
        path.stem.removeprefix(start): read_metadata(path)[CAPTION] for path in (folder / "cache").glob(f"{start}*")
    }


def test_the_written_caption_stays_where_every_trainer_reads_it_and_others_stand_beside_it(photos):
    summary = build(photos, shuffle_caption=True, keep_tokens=1, caption_orders=3, caption_dropout_rate=0.1)
    found = texts(photos, "a")
    assert (found["te"], found["empty"], sorted(found)) == (WRITTEN, "", ["empty", "te", "te1", "te2"])
    assert len({WRITTEN, found["te1"], found["te2"]}) == 3
    assert {found[order].partition(", ")[0] for order in ("te1", "te2")} == {"ohwx woman"}
    assert summary.details["texts"] == {"captions": 2, "captions in other orders": 2, "no caption, for dropout": 2}
    assert ("captions in other orders", "2") in summary.tables[-1].rows
    assert sorted(texts(photos, "b")) == ["empty", "te"], "one order is cached once"
    assert any("1 item whose caption has one order only" in problem.what for problem in summary.warnings)


def test_options_of_shuffling_without_it_are_told(photos):
    def told(**options):
        return [problem.what for problem in plan(photos, **options).warnings if "shuffle_caption" in problem.what]

    assert told(keep_tokens=1) == ["`keep_tokens` changes nothing without `shuffle_caption`"]
    assert told(keep_tokens=0) == told(keep_tokens=1, shuffle_caption=True) == []


def test_changing_the_setting_encodes_text_alone_and_removes_what_nobody_needs(photos, monkeypatch):
    build(photos, shuffle_caption=True, caption_orders=3)
    before = times(photos)
    loaded = ModelCounter(monkeypatch).loaded
    build(photos, shuffle_caption=True, caption_orders=2, caption_dropout_rate=0.2)
    after = times(photos)
    assert loaded == ["load_text_encoder"]
    assert before.keys() - after.keys() == {f"a_{CACHE_SUFFIX}_te2.safetensors"}
    assert after.keys() - before.keys() == {f"{stem}_{CACHE_SUFFIX}_empty.safetensors" for stem in "ab"}
    assert all(before[name] == time for name, time in after.items() if name in before)
    again = plan(photos, shuffle_caption=True, caption_orders=2, caption_dropout_rate=0.5)
    assert {item.action for item in again.items} == {Action.SKIP}


def test_a_caption_that_changed_changes_all_of_its_orders(photos):
    build(photos, shuffle_caption=True)
    captions(photos, ["a"], f"{WRITTEN}, rain")
    changed = plan(photos, shuffle_caption=True)
    assert {text.item.media.stem for text in (*changed.texts, *changed.other_texts) if text.reason} == {"a"}
    assert all(text.reason for text in changed.other_texts if text.item.media.stem == "a")
    kept = plan(photos, shuffle_caption=True, keep_tokens=2)
    assert [text.reason for text in kept.texts if text.item.media.stem == "b"] == [""]


def test_each_order_has_the_class_word_where_that_is_asked_for(photos):
    from blissmask.tasks.cache.plan import plan as plan_cache
    from tests.builders.cache import config

    asked = config(photos, trigger="ohwx", class_word="woman", shuffle_caption=True, caption_orders=2)
    held = asked.mask_loss.model_copy(update={"trigger_free_weight": 1.0})
    found = plan_cache(asked.model_copy(update={"mask_loss": held})).other_texts
    names = [text.name for text in found if text.item.media.stem == "a"]
    assert names == [f"a_{CACHE_SUFFIX}_{kind}.safetensors" for kind in ("te1", "class", "class1")]
    order, _, class_order = (text.caption for text in found[:3])
    assert class_order == order.replace("ohwx woman", "woman")
