"""What makes no sense is told in the plan with its files and shown in the sheet, and remembered by the cache."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blissmask.media.glance import read_glance
from blissmask.media.mask_picture import read_mask_picture
from blissmask.tasks.cache.photo_look import Look
from blissmask.tasks.remarks.remark import shorts_by_media
from tests.builders.cache import PHOTO_WH, build, captions, plan
from tests.builders.families import NAMES, TINY, family_of
from tests.builders.pictures import half_mask, random_rgb, save, tier_mask, write_video

PHOTOS = Path(__file__).parents[3] / "photos"


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate("ab"):
        save(tmp_path / "photos" / f"{name}.png", random_rgb(PHOTO_WH, seed=number))
    captions(tmp_path, ["a", "b"])
    return tmp_path


def told(folder, **settings):
    """Return sentence -> places of the warnings of a plan, with the short texts about each photo under its name."""
    found = plan(folder, **settings)
    return {problem.what: problem.where for problem in found.warnings} | {
        path.name: shorts for path, shorts in shorts_by_media(found.remarks).items()
    }


def test_usual_photos_and_masks_are_not_remarked_on(photos):
    save(photos / "masks" / "a.png", tier_mask(PHOTO_WH))
    save(photos / "masks" / "b.png", half_mask(PHOTO_WH))
    found = plan(photos, mask_directory=photos / "masks", resolution=[96, 64])
    assert found.warnings == []
    assert found.remarks == []


def test_white_masks_are_told(photos):
    for name in "ab":
        save(photos / "masks" / f"{name}.png", np.full(PHOTO_WH[::-1], 255, np.uint8))
    found = told(photos, mask_directory=photos / "masks", require_mask=True)
    assert found["2 mask files white everywhere, so nothing is masked"] == tuple(
        str(photos / "masks" / f"{name}.png") for name in "ab"
    )
    assert found["a.png"] == ("mask white everywhere",)


MATTE = np.dstack([np.full((*PHOTO_WH[::-1], 3), 255, np.uint8), half_mask(PHOTO_WH)])
CLASSES = (tier_mask(PHOTO_WH) // 64).astype(np.uint8)
DOUBTFUL = {
    "matte": (MATTE, "its alpha channel is not used, and the rest is white everywhere"),
    "classes": (CLASSES, "its brightest value is 3 of 255, as if its values were class numbers"),
    "ones": (half_mask(PHOTO_WH) // 255, "its brightest value is 1 of 255, as if its values were class numbers"),
    "one grey": (
        np.full(PHOTO_WH[::-1], 128, np.uint8),
        "it is 128 of 255 everywhere, so nothing is masked",
    ),
    "one deep grey": (
        np.full(PHOTO_WH[::-1], 32768, np.uint16),
        "it is 32768 of 65535 everywhere, so nothing is masked",
    ),
    "deep": (
        tier_mask(PHOTO_WH).astype(np.uint16),
        "its brightest value is 255 of 65535, as if a file of 16 bits held values of 8",
    ),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_masks_whose_values_make_no_sense_are_told_in_the_plan_and_once(photos, kind):
    pixels, doubt = DOUBTFUL[kind]
    path = save(photos / "masks" / "a.png", pixels)
    assert read_mask_picture(path).doubt == doubt
    save(photos / "masks" / "b.png", tier_mask(PHOTO_WH))
    found = told(photos, mask_directory=photos / "masks")
    assert found["1 mask perhaps not what was meant"] == (f"{path}: {doubt}",)
    assert f"mask: {doubt}" in found["a.png"]
    summary = build(photos, mask_directory=photos / "masks")
    assert [problem.what for problem in summary.warnings].count("1 mask perhaps not what was meant") == 1


@pytest.mark.parametrize(
    ("alpha_HW", "doubt"),
    [
        (
            half_mask(PHOTO_WH) // 255,
            "its alpha channel's brightest value is 1 of 255, as if its values were class numbers",
        ),
        (np.full(PHOTO_WH[::-1], 128, np.uint8), "its alpha channel is 128 of 255 everywhere, so nothing is masked"),
    ],
)
def test_alpha_whose_values_make_no_sense_is_told_with_a_hint_of_its_own(photos, alpha_HW, doubt):
    path = save(photos / "photos" / "a.png", np.dstack([random_rgb(PHOTO_WH), alpha_HW]))
    found = plan(photos, alpha_mask=True)
    (problem,) = (problem for problem in found.warnings if "perhaps" in problem.what)
    assert (problem.what, problem.where) == ("1 alpha channel perhaps no mask", (f"{path}: {doubt}",))
    assert "`blissmask to-alpha`" in str(problem.fix)
    assert f"mask: {doubt}" in shorts_by_media(found.remarks)[path]


def test_frames_of_a_mask_are_doubted_by_the_first(tmp_path):
    from blissmask.tasks.cache.reading.mask_weights import look_at_mask
    from tests.builders.cache import frame_names, moving_frames, on_videos, video_folder

    video_folder(tmp_path, "clip")
    for name in frame_names(len(moving_frames())):
        save(tmp_path / "masks" / "clip" / name, np.ones((48, 64), np.uint8))
    found = plan(tmp_path, **on_videos(tmp_path, mask_directory=tmp_path / "masks"))
    assert "class numbers" in look_at_mask(found.entries[0]).doubt
    assert any("perhaps not what was meant" in problem.what for problem in found.warnings)


@pytest.mark.parametrize(
    ("name", "value", "doubt"),
    [
        ("clip.avi", 1, "class numbers"),
        ("clip.mp4", 1, "black everywhere"),
        ("clip.mp4", 255, "white everywhere"),
        ("clip.mp4", 200, None),
    ],
)
@pytest.mark.parametrize("resolution", [[64, 48], [48, 48]], ids=["one window", "a choice of windows"])
def test_the_values_of_mask_videos_are_looked_at(tmp_path, name, value, doubt, resolution):
    from tests.builders.cache import moving_frames, on_videos, video_folder

    video_folder(tmp_path, "clip")
    masks = [np.full((48, 64, 3), value, np.uint8) for _ in moving_frames()]
    write_video(tmp_path / "masks" / name, masks)
    found = plan(tmp_path, **on_videos(tmp_path, mask_directory=tmp_path / "masks", resolution=resolution))
    told_of = [place for problem in found.warnings if "not what was meant" in problem.what for place in problem.where]
    assert len(told_of) == (doubt is not None)
    assert all(doubt in place for place in told_of)


def test_enlarged_photos_and_thumbnails_are_told(photos):
    save(photos / "photos" / "b.png", random_rgb((480, 320), seed=5))
    found = told(photos, resolution=[256, 160])
    (what,) = [text for text in found if "enlarged more than twice" in text]
    assert found[what] == (f"{photos / 'photos' / 'a.png'}: 96x64 to 256x160",)
    assert found["a.png"] == ("enlarged 2.7 times",)
    kept = told(photos, resolution=[256, 160], enable_bucket=True, bucket_no_upscale=True)
    assert kept["a.png"] == ("thumbnail?",)


def animation(path, count=4):
    frames = [Image.fromarray(random_rgb(PHOTO_WH, seed=10 + number)) for number in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=60)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif"])
def test_animations_are_told_as_what_is_trained_of_them(photos, suffix):
    (photos / "photos" / "a.png").unlink()
    animation(photos / "photos" / f"a{suffix}")
    found = told(photos)
    assert found["1 animation of which the first frame alone is trained"] == (
        f"{photos / 'photos' / f'a{suffix}'}: 4 frames",
    )
    assert found[f"a{suffix}"] == ("first of 4 frames",)


def test_cut_outs_are_told_where_no_mask_says_what_is_trained(photos):
    rgba = np.dstack([random_rgb(PHOTO_WH), half_mask(PHOTO_WH)])
    save(photos / "photos" / "a.png", rgba)
    found = told(photos)
    assert found["1 photo partly transparent, and the colour that is hidden there is trained"] == (
        f"{photos / 'photos' / 'a.png'}: 50% transparent",
    )
    assert "a.png" not in told(photos, alpha_mask=True)
    rgba[..., 3] = 255
    save(photos / "photos" / "a.png", rgba)
    assert "a.png" not in told(photos)


def test_the_same_photo_is_told_across_formats_and_data_sets_and_after_it_was_cached(photos):
    large = Image.open(PHOTOS / "chelsea.png").convert("RGB")
    large.save(photos / "photos" / "a.png")
    large.resize((200, 133)).save(photos / "photos" / "b.jpg", quality=70)
    (photos / "photos" / "b.png").unlink()
    (what,) = [text for text in told(photos) if "seen already" in text]
    expected = (f"{photos / 'photos' / 'b.jpg'}: as {photos / 'photos' / 'a.png'}",)
    assert told(photos)[what] == expected
    build(photos)
    assert told(photos)[what] == expected
    assert told(photos)["b.jpg"] == ("as a.png",)


def test_a_photo_on_its_side_is_told_unless_exif_turns_it(photos):
    portrait = Image.open(PHOTOS / "astronaut.png").convert("RGB").resize((256, 256))
    upright = np.asarray(portrait)
    save(photos / "photos" / "a.png", np.ascontiguousarray(np.rot90(upright)))
    save(photos / "photos" / "b.png", upright)
    found = told(photos)
    assert found["1 photo lying sideways, going by a face, and EXIF does not say so"] == (
        str(photos / "photos" / "a.png"),
    )
    assert "on its side?" in found["a.png"]
    assert "on its side?" not in found.get("b.png", ())
    # 6: to be turned clockwise by a quarter.
    save(photos / "photos" / "a.png", np.ascontiguousarray(np.rot90(upright)), orientation=6)
    assert "on its side?" not in told(photos).get("a.png", ())


def test_json_and_several_lines_are_told_until_the_style_is_named(photos):
    (photos / "photos" / "a.txt").write_text('{"caption": "kyla"}')
    (photos / "photos" / "b.txt").write_text("kyla smiles\nkyla laughs")
    found = told(photos)
    assert found["1 caption in JSON, which is encoded with its braces and quotes"] == (
        str(photos / "photos" / "a.txt"),
    )
    assert found["1 caption of several lines, read as one text"] == (str(photos / "photos" / "b.txt"),)
    assert "b.png" not in told(photos, caption_style="text")
    assert plan(photos, caption_style="lines").texts[1].caption in ("kyla smiles", "kyla laughs")


@pytest.mark.parametrize("name", [name for name in NAMES if family_of(name).load_caption_reader(TINY)])
def test_words_that_a_family_does_not_read_are_told(photos, name):
    captions(photos, ["a"], "a woman in a garden, " * 400 + "kyla")
    found = told(photos, arch=name, resolution=64)
    (what,) = [text for text in found if "longer than the text encoder reads" in text]
    limit = family_of(name).load_caption_reader(TINY).most
    assert found[what][0].startswith(f"{photos / 'photos' / 'a.txt'}: {limit} of ")
    assert found[what][0].endswith("... kyla`")
    assert found["a.png"] == (f"caption cut after {limit} tokens",)


def test_captions_of_another_folder_are_read(photos):
    captions(photos, ["b"], "beside the photo")
    (photos / "words").mkdir()
    for name in "ab":
        (photos / "words" / f"{name}.txt").write_text(f"{name} from the folder")
    found = plan(photos, caption_directory=photos / "words")
    assert [text.caption for text in found.texts] == ["a from the folder", "b from the folder"]


def test_what_was_looked_at_is_remembered_and_not_looked_at_again(photos, monkeypatch):
    build(photos)
    monkeypatch.setattr("blissmask.tasks.cache.remarks.look_at_photos.read_glance", None)
    looks = [entry.look for entry in plan(photos).entries]
    assert all(Look.parse(str(look)) == look for look in looks)
    assert looks[0].likeness is not None
    build(photos, mask_directory=None, alpha_mask=True)
    assert [entry.look for entry in plan(photos).entries] == looks


def test_a_glance_is_small_upright_and_tells_what_is_hidden(tmp_path):
    path = save(tmp_path / "a.png", np.dstack([random_rgb((600, 400)), half_mask((600, 400))]), orientation=6)
    glance = read_glance(path, 256)
    assert glance.rgb_hw3.shape == (256, 171, 3)
    assert glance.hidden_share == 0.5
    assert glance.was_turned
    assert glance.frame_count == 1


def test_captions_without_the_trigger_are_told_where_there_is_one(photos):
    captions(photos, ["a"], "ohwx in a garden")
    captions(photos, ["b"], "a woman in a garden")
    assert plan(photos, trigger="Ohwx").remarks[0].place == str(photos / "photos" / "b.txt")
    assert plan(photos).remarks == []


def test_names_in_braces_that_stand_for_nothing_are_told_with_those_that_do(photos):
    captions(photos, ["a"], "{trigger} beside {tim}, {a|b}")
    captions(photos, ["b"], "{trigger} in a garden")
    [remark] = plan(photos, trigger="ohwx", class_word="woman").remarks
    assert remark.place == f"{photos / 'photos' / 'a.txt'}: {{tim}}; there are {{class_word}}, {{trigger}}"


@pytest.mark.parametrize(
    ("caption", "told_words"),
    [
        ("ohwx, long blonde hair, in a garden", "blonde hair"),
        ("a Blue-Eyed ohwx", "Blue-Eyed"),
        ("ohwx in a long blue dress, brown eyeshadow, by a green house", None),
    ],
)
def test_looks_in_captions_are_told_where_there_is_a_trigger(photos, caption, told_words):
    captions(photos, ["a"], caption)
    captions(photos, ["b"], "ohwx")
    shorts = [remark.short for remark in plan(photos, trigger="ohwx").remarks]
    assert shorts == ([f"caption says `{told_words}`"] if told_words else [])
