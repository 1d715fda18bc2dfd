"""Names are split as `Path` splits them, for less."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from blissmask.dataset.item_keys import split_name


@given(st.text(st.sampled_from("ab.é ~"), min_size=1).filter(lambda name: name not in (".", "..")))
def test_names_are_split_like_paths(name):
    assert split_name(name) == (Path(name).stem, Path(name).suffix)
