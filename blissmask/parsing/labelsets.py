"""The classes of known human parsers and the tier of each, as data.

Classes are looked up by name, since their numbers differ between versions; they stand in the order of the numbers.
Sources: the data sets' papers and the label tables published with the models named below. Hats, scarves and jewellery
count as body, like clothes; glasses, brows, ears, mouth and beard count as face.
"""

from __future__ import annotations

from collections.abc import Mapping

from blissmask.masks.tiers import WeightTier

_CODES = {"F": WeightTier.FACE, "B": WeightTier.BODY, "H": WeightTier.HAIR, "-": WeightTier.BACKGROUND}


def _table(text: str) -> dict[str, WeightTier]:
    """Read ``tier code: names`` lines in the order of the class numbers."""
    table = {}
    for line in text.strip().splitlines():
        code, _, names = line.strip().partition(" ")
        table.update(dict.fromkeys((name.strip() for name in names.split(",")), _CODES[code]))
    return table


SAPIENS = _table("""
    - Background
    B Apparel
    F Face_Neck
    H Hair
    B Left_Foot, Left_Hand, Left_Lower_Arm, Left_Lower_Leg, Left_Shoe, Left_Sock, Left_Upper_Arm, Left_Upper_Leg
    B Lower_Clothing
    B Right_Foot, Right_Hand, Right_Lower_Arm, Right_Lower_Leg, Right_Shoe, Right_Sock, Right_Upper_Arm, Right_Upper_Leg
    B Torso, Upper_Clothing
    F Lower_Lip, Upper_Lip, Lower_Teeth, Upper_Teeth, Tongue
""")
"""Sapiens v1, 28 classes of the Goliath set. The neck is part of ``Face_Neck``."""


def _with_eyeglass(table: Mapping[str, WeightTier]) -> dict[str, WeightTier]:
    """Insert ``Eyeglass`` as class 2."""
    classes = list(table.items())
    classes.insert(2, ("Eyeglass", WeightTier.FACE))
    return dict(classes)


SAPIENS2 = _with_eyeglass(SAPIENS)
"""Sapiens2, 29 classes: ``Eyeglass`` is new at 2, so every later number is one more than in v1."""

ATR = _table("""
    - Background
    B Hat
    H Hair
    F Sunglasses
    B Upper-clothes, Skirt, Pants, Dress, Belt, Left-shoe, Right-shoe
    F Face
    B Left-leg, Right-leg, Left-arm, Right-arm, Bag, Scarf
""")
"""ATR, 18 classes: SCHP and the SegFormer clothes parsers."""

LIP = _table("""
    - Background
    B Hat
    H Hair
    B Glove
    F Sunglasses
    B Upper-clothes, Dress, Coat, Socks, Pants, Jumpsuits, Scarf, Skirt
    F Face
    B Left-arm, Right-arm, Left-leg, Right-leg, Left-shoe, Right-shoe
""")
"""LIP, 20 classes."""

CIHP = _table("""
    - Background
    B Hat
    H Hair
    B Glove
    F Sunglasses
    B Upper-clothes, Dress, Coat, Socks, Pants, Torso-skin, Scarf, Skirt
    F Face
    B Left-arm, Right-arm, Left-leg, Right-leg, Left-shoe, Right-shoe
""")
"""CIHP, 20 classes: as LIP, with the skin of the torso in place of jumpsuits."""

PASCAL = _table("""
    - Background
    F Head
    B Torso, Upper Arms, Lower Arms, Upper Legs, Lower Legs
""")
"""Pascal-Person-Part, 7 classes. ``Head`` holds the hair too, so the hair is weighted as face."""

CELEBAMASK = _table("""
    - background
    F skin, nose, eye_g, l_eye, r_eye, l_brow, r_brow, l_ear, r_ear, mouth, u_lip, l_lip
    H hair
    B hat, ear_r, neck_l, neck, cloth
""")
"""CelebAMask-HQ, 19 classes. ``eye_g`` are glasses, ``ear_r`` earrings and ``neck_l`` a necklace."""

FASHN = _table("""
    - background
    F face
    H hair
    B top, dress, skirt, pants, belt, bag, hat, scarf
    F glasses
    B arms, hands, legs, feet, torso, jewelry
""")
"""FASHN human parser, 18 classes."""

FACE_SYNTHETICS = _table("""
    - Background
    F Skin, Nose, Right_eye, Left_eye, Right_brow, Left_brow, Right_ear, Left_ear, Mouth_interior, Top_lip, Bottom_lip
    B Neck
    H Hair
    F Beard
    B Clothing
    F Glasses
    B Headwear, Facewear
""")
"""FaceSynthetics, 19 classes."""

LABEL_SETS: Mapping[str, Mapping[str, WeightTier]] = {
    "Goliath (Sapiens)": SAPIENS,
    "Goliath (Sapiens2)": SAPIENS2,
    "ATR": ATR,
    "LIP": LIP,
    "CIHP": CIHP,
    "Pascal-Person-Part": PASCAL,
    "CelebAMask-HQ": CELEBAMASK,
    "FASHN": FASHN,
    "FaceSynthetics": FACE_SYNTHETICS,
}
"""Every known set by its name. No two sets give one name different tiers, which a test checks."""


def plain(name: str) -> str:
    """Return a class name without case, spaces, ``_`` and ``-``, in which spellings differ."""
    return "".join(character for character in name.casefold() if character not in " _-")


def known_tiers() -> dict[str, WeightTier]:
    """Return the tier of every class name of every known set, by :func:`plain` name."""
    return {plain(name): tier for table in LABEL_SETS.values() for name, tier in table.items()}
