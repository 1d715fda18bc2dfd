"""Which captions name the subject, and the class word in the place of its trigger."""

import pytest

from blissmask.dataset.captions.caption_words import holds_trigger, without_trigger


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("a photo of Kyla", True),
        ("KYLA's garden", True),
        ("kyla, smiling", True),
        # A name inside another word is another name.
        ("kylaria in a garden", False),
        ("a photo of a woman", False),
        ("一张Kyla的照片", True),
    ],
)
def test_a_caption_names_the_subject_where_the_trigger_is_a_word(caption, named):
    assert holds_trigger(caption, "Kyla") is named
    assert (without_trigger(caption, {"Kyla": "woman"}) is not None) is named


def test_the_class_word_takes_the_place_of_the_trigger_however_it_is_written():
    assert without_trigger("Kyla woman, and KYLA again", {"kyla": "woman"}) == "woman, and woman again"


def test_each_trigger_has_the_class_word_of_its_subject():
    words = {"ohwx": "woman", "sks": "man"}
    assert without_trigger("ohwx woman and sks", words) == "woman and man"
    assert without_trigger("sks alone", words) == "man alone"
    assert without_trigger("a woman", words) is None
