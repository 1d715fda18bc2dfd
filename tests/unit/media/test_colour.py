"""Colours come out in sRGB whatever a file says they are, and unchanged when they are sRGB already."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from blissmask.media.boxes import coded_colours
from blissmask.media.colour import matrix_profile
from blissmask.media.deep_colour import deep_conversion
from blissmask.media.image import read_header, read_image, read_stored
from tests.builders.pictures import random_rgb, save

D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
SHOWN = (230, 60, 50)
"""A red that all spaces here can show."""


def wide(primaries_xy=P3, gamma=0.0, name="wide"):
    return matrix_profile(name, primaries_xy=primaries_xy, white_xy=D65, gamma=gamma)


def in_space(profile, shown=SHOWN, mode="RGB"):
    """Return the values that look like ``shown`` in the space of ``profile``, computed by LittleCMS alone."""
    picture = Image.new("RGB", (8, 8), shown)
    to = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), to, renderingIntent=1, outputMode=mode)


def with_chunks(path, image, *chunks):
    """Write a PNG with chunks of our own behind its header; of 16 bits from an array, by OpenCV."""
    if isinstance(image, np.ndarray):
        kind = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[-1] if image.ndim == 3 else 2]
        cv2.imwrite(str(path), image if kind is None else cv2.cvtColor(image, kind))
    else:
        image.save(path)
    whole, header_end = path.read_bytes(), 8 + 25
    extra = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(whole[:header_end] + extra + whole[header_end:])
    return path


def assert_looks_like(path, shown, *, tolerance=2):
    assert np.abs(read_image(path).rgb_HW3[4, 4].astype(int) - shown).max() <= tolerance


@pytest.mark.parametrize(("primaries", "gamma"), [(P3, 0.0), (ADOBE, 563 / 256), (SRGB, 1.8), (SRGB, 1.0)])
@pytest.mark.parametrize("suffix", ["png", "webp", "avif", "jpg"])
def test_a_profile_is_honoured(tmp_path, primaries, gamma, suffix):
    profile = wide(primaries, gamma)
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}, "avif": {"quality": 100}}
    path = tmp_path / f"a.{suffix}"
    in_space(profile).save(path, icc_profile=profile, **lossless.get(suffix, {}))
    assert_looks_like(path, SHOWN, tolerance=4)
    assert read_header(path).profile == "wide"


def test_profiles_agree_with_littlecms_about_every_colour(tmp_path):
    profile, rgb = wide(), random_rgb((64, 64))
    save(tmp_path / "a.png", rgb, icc_profile=profile)
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(Image.fromarray(rgb), source, srgb, renderingIntent=1, outputMode="RGB")
    assert np.abs(read_image(tmp_path / "a.png").rgb_HW3.astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        wide(SRGB, 0.0),
        b"\0" * 16 + b"RGB " + b"\0" * 108,
        b"short",
        b"\0" * 16 + b"GRAY" + b"\0" * 108,
        b"\0" * 16 + b"CMYK" + b"\0" * 108,
    ],
    ids=["sRGB", "our sRGB", "damaged", "cut off", "of grey", "of CMYK"],
)
def test_values_stay_to_the_bit_where_a_profile_changes_nothing_or_does_not_fit(tmp_path, profile):
    path = save(tmp_path / "a.png", random_rgb(), icc_profile=profile)
    assert (read_image(path).rgb_HW3 == random_rgb()).all()
    assert read_header(path).profile == ""


def test_stored_values_are_those_of_the_file_and_read_rightly_again(tmp_path):
    profile = wide()
    in_space(profile).save(tmp_path / "a.png", icc_profile=profile)
    stored = read_stored(tmp_path / "a.png")
    assert (np.asarray(stored.image) == np.asarray(in_space(profile))).all()
    stored.image.save(tmp_path / "b.png", icc_profile=stored.icc_profile)
    assert_looks_like(tmp_path / "b.png", SHOWN)


def test_colours_under_alpha_are_converted_and_alpha_is_not(tmp_path):
    profile = wide()
    picture = in_space(profile)
    picture.putalpha(90)
    picture.save(tmp_path / "a.png", icc_profile=profile)
    assert_looks_like(tmp_path / "a.png", SHOWN)
    assert (read_image(tmp_path / "a.png").alpha_HW == 90).all()


def test_a_palette_is_converted_by_its_colours(tmp_path):
    profile = wide()
    in_space(profile).quantize(4).save(tmp_path / "a.png", icc_profile=profile)
    assert_looks_like(tmp_path / "a.png", SHOWN)


@pytest.mark.parametrize("values", [np.full((8, 8), 55, np.uint8), np.full((8, 8), 55 * 257, np.uint16)])
def test_grey_with_a_profile_of_grey_is_converted(tmp_path, values):
    save(tmp_path / "a.png", values, icc_profile=grey_profile(1.0))
    assert_looks_like(tmp_path / "a.png", (128,) * 3, tolerance=3)
    assert read_header(tmp_path / "a.png").profile
    assert read_stored(tmp_path / "a.png").icc_profile == b""


def grey_profile(gamma, curve=b""):
    """Return an ICC profile for grey values with a gamma or a curve, made from the parts of one for colours."""
    fixed = struct.Struct(">i").pack
    curve = curve or b"para" + bytes(4) + struct.pack(">HH", 0, 0) + fixed(round(gamma * 65536))
    white = b"XYZ " + bytes(4) + b"".join(fixed(round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
    tags, table, contents = [(b"wtpt", white), (b"kTRC", curve)], struct.pack(">I", 2), b""
    for tag, content in tags:
        table += tag + struct.pack(">II", 156 + len(contents), len(content))
        contents += content
    whole = bytearray(wide()[:128] + table + contents)
    whole[:4], whole[16:20] = struct.pack(">I", len(whole)), b"GRAY"
    return bytes(whole)


def cmyk_profile(lab_of_red):
    """Return a profile of ink whose magenta and yellow together look like a colour in CIELAB of 8 bits, all else like paper."""
    corners = [(255, 128, 128)] * 16
    corners[0b0110] = lab_of_red
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += b"".join(struct.pack(">i", 65536 * (row == column)) for row in range(3) for column in range(3))
    table += bytes(range(256)) * 4 + bytes(value for corner in corners for value in corner) + bytes(range(256)) * 3
    white = wide()[wide().index(b"XYZ \0\0\0\0") :][:20]
    tags, offset, entries = ((b"wtpt", white), (b"A2B0", table)), 128 + 4 + 24, b""
    for tag, content in tags:
        entries += tag + struct.pack(">II", offset, len(content))
        offset += len(content)
    header = bytearray(wide()[:128])
    header[:4], header[8:12], header[12:24] = struct.pack(">I", offset), b"\x02\x40\0\0", b"prtrCMYKLab "
    return bytes(header) + struct.pack(">I", 2) + entries + white + table


def test_a_cmyk_profile_decides_what_ink_looks_like(tmp_path):
    lab = (140, 188, 108)
    expected = ImageCms.profileToProfile(
        Image.frombytes("LAB", (1, 1), bytes([lab[0], lab[1] ^ 128, lab[2] ^ 128])),
        ImageCms.createProfile("LAB"),
        ImageCms.createProfile("sRGB"),
        renderingIntent=1,
        outputMode="RGB",
    ).getpixel((0, 0))
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    ink.save(tmp_path / "a.jpg", quality=100, subsampling=0, icc_profile=cmyk_profile(lab))
    assert_looks_like(tmp_path / "a.jpg", expected, tolerance=4)
    assert read_stored(tmp_path / "a.jpg").icc_profile == b""


def test_gamma_and_chromaticities_of_a_png_count_without_a_profile(tmp_path):
    values = (312700, 329000, *(round(value * 1e5) for pair in P3 for value in pair))
    chromaticities = struct.pack(">8I", 31270, 32900, *values[2:])
    path = with_chunks(
        tmp_path / "a.png", in_space(wide()), (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", chromaticities)
    )
    assert_looks_like(path, SHOWN)


def test_the_gamma_of_linear_light_counts(tmp_path):
    path = with_chunks(tmp_path / "a.png", Image.new("RGB", (8, 8), (55,) * 3), (b"gAMA", struct.pack(">I", 100_000)))
    assert_looks_like(path, (128,) * 3, tolerance=3)
    assert read_header(path).profile == "gamma 1.00"


def as_srgb(light):
    """Return the values of sRGB, not rounded, of light (source: IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255


def shadows(channels):
    """Return light of 16 bits from 0 to what is 60 of 255 in sRGB, and the values of sRGB that it is."""
    light = np.linspace(0, 0.05, 130 * 90).reshape(130, 90)
    values = np.rint(light * 65535).astype(np.uint16)
    if channels:
        values = np.stack([values, values, values, np.full_like(values, 30000)][:channels], axis=-1)
    return values, as_srgb(light)


LINEAR = (b"gAMA", struct.pack(">I", 100_000))


@pytest.mark.parametrize("channels", [0, 3, 4], ids=["grey", "RGB", "RGBA"])
def test_shadows_of_16_bits_are_converted_before_they_are_rounded(tmp_path, channels):
    values, shown = shadows(channels)
    picture = read_image(with_chunks(tmp_path / "a.png", values, LINEAR))
    assert np.abs(picture.rgb_HW3 - shown[..., np.newaxis]).max() < 0.6
    assert channels != 4 or (picture.alpha_HW == 30000 >> 8).all()


def test_stored_values_of_16_bits_with_a_profile_are_those_that_are_read(tmp_path):
    path = with_chunks(tmp_path / "a.png", shadows(3)[0], LINEAR)
    stored = read_stored(path)
    assert stored.icc_profile == b""
    assert (np.asarray(stored.image) == read_image(path).rgb_HW3).all()


def test_16_bits_without_a_conversion_are_cut_to_their_upper_8(tmp_path):
    values = shadows(3)[0]
    assert (read_image(with_chunks(tmp_path / "a.png", values)).rgb_HW3 == values >> 8).all()


@pytest.mark.parametrize(("primaries", "gamma"), [(P3, 0.0), (ADOBE, 563 / 256), (SRGB, 1.8)])
def test_16_bits_look_as_littlecms_says_of_8(tmp_path, primaries, gamma):
    profile, rgb = wide(primaries, gamma), random_rgb((64, 64))
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(Image.fromarray(rgb), source, srgb, renderingIntent=1, outputMode="RGB")
    converted = deep_conversion(profile).to_srgb(rgb.astype(np.uint16) * 257)
    assert np.abs(converted.astype(int) - np.asarray(expected)).max() <= 1


SQUARED = tuple(round(65535 * (step / 255) ** 2) for step in range(256))


@pytest.mark.parametrize(
    ("entries", "gamma"), [((), 1.0), ((461,), 461 / 256), (SQUARED, 2.0)], ids=["none", "gamma", "samples"]
)
def test_a_sampled_curve_of_16_bits_is_followed(entries, gamma):
    profile = grey_profile(1.0, b"curv" + bytes(4) + struct.pack(f">I{len(entries)}H", len(entries), *entries))
    values = np.arange(0, 65536, 257, dtype=np.uint16)[np.newaxis]
    converted = deep_conversion(profile).to_srgb(values)
    assert np.abs(converted - as_srgb((values / 65535) ** gamma)[..., np.newaxis]).max() < 0.6


@pytest.mark.parametrize("profile", [b"", b"short", b"\0" * 16 + b"RGB " + b"\xff" * 200, wide()[:300]])
def test_what_is_no_matter_of_curves_has_no_conversion_of_16_bits(profile):
    assert deep_conversion(profile) is None


@pytest.mark.parametrize(("curve", "name"), [(13, "Display P3"), (16, "")], ids=["P3", "PQ"])
def test_coded_colours_of_an_avif_count(tmp_path, curve, name):
    path = tmp_path / "a.avif"
    # Without its profile, which Pillow would write.
    Image.fromarray(np.asarray(in_space(wide()))).save(path, quality=100)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"nclx\0\x01\0\x0d", b"nclx\0\x0c\0" + bytes([curve]), 1))
    assert read_header(path).profile == name
    if name:
        assert_looks_like(path, SHOWN, tolerance=4)


@pytest.mark.parametrize("change", [(b"colr", b"free"), (b"\0\0\0\x13colr", b"\0\0\0\0colr"), (b"meta", b"free")])
def test_an_avif_whose_boxes_say_nothing_is_taken_as_it_is(tmp_path, change):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.avif")
    whole = (tmp_path / "a.avif").read_bytes()
    assert coded_colours(io.BytesIO(whole)) == (1, 13)
    assert coded_colours(io.BytesIO(whole.replace(*change))) is None
    for length in range(0, 300, 7):
        coded_colours(io.BytesIO(whole[:length]))


def test_ink_with_a_profile_for_rgb_is_stored_as_it_is_read(tmp_path):
    ink = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 4), dtype=np.uint8), "CMYK")
    ink.save(tmp_path / "a.jpg", quality=100, icc_profile=wide())
    stored = read_stored(tmp_path / "a.jpg")
    assert stored.icc_profile == b""
    assert (np.asarray(stored.image) == read_image(tmp_path / "a.jpg").rgb_HW3).all()


@pytest.mark.parametrize(
    "chunks",
    [[(b"gAMA", struct.pack(">I", 45455))], [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))]],
    ids=["gamma of sRGB", "sRGB says more"],
)
def test_a_gamma_that_says_srgb_changes_nothing(tmp_path, chunks):
    path = with_chunks(tmp_path / "a.png", Image.fromarray(random_rgb()), *chunks)
    assert (read_image(path).rgb_HW3 == random_rgb()).all()


def test_coded_primaries_of_a_png_count_before_its_profile(tmp_path):
    path = with_chunks(tmp_path / "a.png", in_space(wide()), (b"cICP", bytes([12, 13, 0, 1])), (b"sRGB", b"\0"))
    assert_looks_like(path, SHOWN)
    assert read_header(path).profile == "Display P3"


@pytest.mark.parametrize("index", ["R03", "R98"])
def test_cameras_that_say_adobe_rgb_in_exif_alone_are_believed(tmp_path, index):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: index}
    in_space(wide(ADOBE, 563 / 256)).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif)
    assert read_header(tmp_path / "a.jpg").profile == ("Adobe RGB (1998)" if index == "R03" else "")


def test_the_name_of_a_profile_is_one_short_line(tmp_path):
    profile = wide(name="a\nb\t" + "c" * 200)
    path = save(tmp_path / "a.png", random_rgb(), icc_profile=profile)
    assert read_header(path).profile == "a b " + "c" * 56
