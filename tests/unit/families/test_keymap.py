"""Names of layers in two repositories."""

from blissmask.families.files.keymap import KeyMap


def test_keymap_is_a_bijection_that_keeps_numbers_and_suffixes():
    keymap = KeyMap(
        [("blocks.{}.norm3", "blocks.{}.norm2"), ("blocks.{}.norm2", "blocks.{}.norm3"), ("head", "proj_out")]
    )
    assert keymap.to_diffusers("blocks.12.norm3.weight") == "blocks.12.norm2.weight"
    assert keymap.to_original("blocks.12.norm2.weight") == "blocks.12.norm3.weight"
    assert keymap.to_diffusers("header.weight") == "header.weight"
