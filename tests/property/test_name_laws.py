"""No collision is silent: files become items with keys of their own, or an error that names them all."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from blissmask.dataset.discover import find_media
from blissmask.dataset.item_keys import item_key
from blissmask.errors import InputError

STEMS = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda stem: not stem.startswith(".")
)
LIKELY_TWINS = st.sampled_from(
    ["a", "A", "ä", "a\u0308", "Ä", "ß", "ss", "SS", "ſs", "ﬁ", "fi", "I", "i", "\u0130", "a.b", "A.B"]
)
NAMES = st.builds(str.__add__, st.one_of(LIKELY_TWINS, STEMS), st.sampled_from([".png", ".PNG", ".jpg", ".webp"]))


@settings(deadline=None, max_examples=150)
@given(names=st.sets(NAMES, min_size=1, max_size=8))
def test_files_in_are_keys_out_or_an_error_that_names_all_twins(names: set[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            (Path(place) / name).touch()
        present = sorted(path.name for path in Path(place).iterdir())
        twins = {name for name in present for other in present if name != other and item_key(name) == item_key(other)}
        told: set[str] = set()
        try:
            found = find_media(Path(place))
        except InputError as error:
            told = {Path(path).name for path in error.problems[0].where}
        else:
            assert sorted(item.path.name for item in found) == present
            assert len({item.key for item in found}) == len(present)
        assert told == twins


@given(stem=STEMS)
def test_both_ways_to_write_an_accent_are_one_key(stem: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, stem) for form in ("NFC", "NFD"))
    assert item_key(f"{composed}.png") == item_key(f"{decomposed}.png")


@given(stem=STEMS)
def test_a_key_is_its_own_key(stem: str) -> None:
    key = item_key(f"{stem}.png")
    assert item_key(f"{key}.png") == key


@given(stem=st.text("abcxyzäöüéñжяλσ-_. 0123", min_size=1, max_size=12).filter(lambda stem: not stem.startswith(".")))
def test_upper_and_lower_case_are_one_key(stem: str) -> None:
    assert item_key(f"{stem.upper()}.png") == item_key(f"{stem.lower()}.png")
