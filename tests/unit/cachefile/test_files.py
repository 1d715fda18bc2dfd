"""Cache files written and read back, ours and those of other tools; hostile ones are refused."""

import errno
import json
import os
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from blissmask.cachefile.file_names import LatentName, latent_name, text_name
from blissmask.cachefile.metadata import latent_metadata, text_metadata
from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import is_sound, read_metadata, read_tensors
from blissmask.cachefile.read_headers import list_headers, read_header
from blissmask.cachefile.tensor_keys import FrameAxis
from blissmask.cachefile.write import save_tensors, write_latents, write_text
from blissmask.errors import CacheError, MachineError
from blissmask.tasks.cache.planning.cache_folder import CacheFolder

LATENTS_Cfhw = torch.arange(16 * 2 * 4 * 6, dtype=torch.float32).reshape(16, 2, 4, 6)
WEIGHTS_1fhw = torch.linspace(0, 1, 2 * 4 * 6).reshape(1, 2, 4, 6)
NAME = latent_name("kyla", (48, 32), "wan")


def write_entry(folder, *, stem="kyla", weights=WEIGHTS_1fhw, regions=None):
    name = LatentName(stem, (48, 32), None)
    path = folder / latent_name(stem, (48, 32), "wan")
    write_latents(
        path,
        {"latents": LATENTS_Cfhw},
        weights_1fhw=weights,
        regions_4fhw=regions,
        metadata=latent_metadata("wan", name),
    )
    write_text(
        folder / text_name(stem, "wan"),
        {"t5": torch.ones(3, 8, dtype=torch.bfloat16)},
        variable_length={"t5"},
        metadata=text_metadata("wan", "a photo"),
    )
    return path


def load_foreign(folder, tensors):
    """Write latents with extra tensors as another tool would, and load the entry."""
    save_tensors(folder / NAME, {"latents_2x4x6_bfloat16": LATENTS_Cfhw.bfloat16(), **tensors}, {"architecture": "wan"})
    save_tensors(folder / text_name("kyla", "wan"), {"varlen_t5_bfloat16": torch.ones(3, 8)}, {"architecture": "wan"})
    return load_entry(read_header(folder / NAME, "wan"))


@pytest.mark.parametrize("scale", [255.0, -1.0])
def test_a_mask_that_holds_no_weights_is_refused(tmp_path, scale):
    with pytest.raises(CacheError, match="weights lie between 0 and 1"):
        load_foreign(tmp_path, {"mask_weights_2x4x6_float32": WEIGHTS_1fhw * scale})


@pytest.mark.parametrize("value", [-(2**-7), 1 + 2**-7])
def test_weights_that_another_tool_rounded_to_bfloat16_are_read(tmp_path, value):
    weights = torch.full_like(WEIGHTS_1fhw, value).bfloat16()
    assert float(load_foreign(tmp_path, {"mask_weights_2x4x6_bfloat16": weights}).weights_1fhw.max()) == value


NO_ROOM = "unable to mmap 57154088440 bytes: Cannot allocate memory (12)\nframe #0"


@pytest.mark.parametrize("ask", [read_tensors, is_sound, lambda path: load_entry(read_header(path, "wan"))])
def test_a_file_that_does_not_fit_into_memory_is_the_machines_fault_and_not_damaged(tmp_path, monkeypatch, ask):
    path = write_entry(tmp_path)

    def refuse(name, framework):
        if framework == "pt":
            raise RuntimeError(NO_ROOM)
        return safe_open(name, framework=framework)

    monkeypatch.setattr("blissmask.cachefile.read_file.safe_open", refuse)
    with pytest.raises(MachineError, match=r"does not fit into memory: .* \(12\)$") as caught:
        ask(path)
    assert caught.value.problems[0].where == (str(path),)
    assert "more memory or swap" in caught.value.problems[0].fix


def ask_the_cache_folder(path):
    return CacheFolder(path.parent, "wan").metadata(path.name)


def verify(path):
    return CacheFolder(path.parent, "wan", verify=True).metadata(path.name)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("ask", [read_metadata, read_tensors, is_sound, ask_the_cache_folder, verify])
def test_a_file_that_the_drive_or_the_rights_keep_back_is_told_and_not_damaged(tmp_path, monkeypatch, ask, number):
    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    def missing(name, framework):
        # What safetensors says of every file that it cannot open.
        raise FileNotFoundError(f"No such file or directory: {name}")

    path = write_entry(tmp_path)
    monkeypatch.setattr("blissmask.cachefile.read_file.open_ordinary", refuse)
    monkeypatch.setattr("blissmask.cachefile.read_file.safe_open", missing)
    with pytest.raises(MachineError, match=f"^the file cannot be read: {os.strerror(number)}$") as caught:
        ask(path)
    assert caught.value.problems[0].where == (str(path),)


def test_a_drive_that_fails_below_an_open_file_is_told_and_kills_nothing(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    path = write_entry(tmp_path)
    monkeypatch.setattr("blissmask.cachefile.read_file.open_ordinary", refuse)
    with pytest.raises(MachineError, match="Input/output error"):
        is_sound(path)


@pytest.mark.parametrize("ask", [read_metadata, is_sound, ask_the_cache_folder])
def test_a_link_to_a_drive_that_is_gone_is_told_and_not_damaged(tmp_path, ask):
    path = write_entry(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "drive" / path.name)
    with pytest.raises(MachineError, match="a link that leads nowhere") as caught:
        ask(path)
    assert caught.value.problems[0].where == (str(path),)


def test_what_is_no_file_counts_as_damaged(tmp_path):
    path = write_entry(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert ask_the_cache_folder(path) == {}
    assert not is_sound(path)


class NoRoom:
    """An open file whose tensors do not fit into memory."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def keys(self):
        return ["latents"]

    def get_tensor(self, key):
        raise RuntimeError(f"[enforce fail] DefaultCPUAllocator: can't allocate memory for {key}")


def test_a_tensor_that_does_not_fit_into_memory_is_the_machines_fault_too(tmp_path, monkeypatch):
    path = write_entry(tmp_path)
    monkeypatch.setattr("blissmask.cachefile.read_file.safe_open", lambda name, framework: NoRoom())
    with pytest.raises(MachineError, match="does not fit into memory"):
        read_tensors(path)


def test_a_bug_while_a_file_is_open_is_not_called_a_lack_of_memory(tmp_path, monkeypatch):
    def broken(key):
        raise RuntimeError("cannot allocate a content to this key")

    path = write_entry(tmp_path)
    monkeypatch.setattr("blissmask.cachefile.read_headers.parse_key", broken)
    with pytest.raises(RuntimeError, match="cannot allocate a content"):
        read_header(path, "wan")


def test_names_that_are_no_utf8_are_written_and_read(tmp_path):
    """The reader of safetensors takes no such name; a folder, or a photo's own, may be one."""
    write_entry(tmp_path / os.fsdecode(b"caf\xe9"), stem=os.fsdecode(b"kyl\xe4"))
    [header] = list_headers(tmp_path / os.fsdecode(b"caf\xe9"), "wan")
    assert torch.equal(load_entry(header).latents_Cfhw, LATENTS_Cfhw)


def test_what_is_written_is_read_back(tmp_path):
    write_entry(tmp_path)
    [header] = list_headers(tmp_path, "wan")
    assert torch.equal(load_entry(header).latents_Cfhw, LATENTS_Cfhw)


def test_mask_weights_are_read_back_exactly(tmp_path):
    write_entry(tmp_path)
    [header] = list_headers(tmp_path, "wan")
    assert torch.equal(load_entry(header).weights_1fhw, WEIGHTS_1fhw)


def test_text_rows_of_several_layers_are_read_back(tmp_path):
    """Families that tap several layers of their text encoder cache (L, T, D)."""
    path, rows_LTD = write_entry(tmp_path), torch.rand(3, 12, 8).bfloat16()
    contents = {"vl_embed": rows_LTD}
    write_text(tmp_path / text_name("kyla", "wan"), contents, variable_length={"vl_embed"}, metadata={})
    entry = load_entry(read_header(path, "wan"))
    assert torch.equal(entry.conditioning["vl_embed"], rows_LTD)


def test_a_header_tells_the_shape_without_reading_tensors(tmp_path):
    write_entry(tmp_path)
    [header] = list_headers(tmp_path, "wan")
    assert (header.stem, header.latent_shape, header.has_weights) == ("kyla", (16, 2, 4, 6), True)


def test_the_keys_are_those_of_the_format(tmp_path):
    header = read_header(write_entry(tmp_path, regions=torch.full((4, 2, 4, 6), 0.25)), "wan")
    keys = sorted(key for key, _ in header.contents.values())
    assert keys == ["latents_2x4x6_float32", "mask_regions_2x4x6_float16", "mask_weights_2x4x6_float32"]


def test_latents_and_caption_come_together(tmp_path):
    write_entry(tmp_path)
    [header] = list_headers(tmp_path, "wan")
    assert load_entry(header).conditioning["t5"].shape == (3, 8)


def test_an_entry_without_mask_has_none(tmp_path):
    write_entry(tmp_path, weights=None)
    [header] = list_headers(tmp_path, "wan")
    assert load_entry(header).weights_1fhw is None


def test_headers_are_sorted_by_name(tmp_path):
    for stem in ("b", "a", "c"):
        write_entry(tmp_path, stem=stem)
    assert [header.stem for header in list_headers(tmp_path, "wan")] == ["a", "b", "c"]


def test_files_of_other_families_are_not_listed(tmp_path):
    write_entry(tmp_path)
    assert list_headers(tmp_path, "qi") == []


@pytest.mark.parametrize(
    "key",
    [
        "mask_weights_2x4x6_float32",
        "mask_weights_2x4x6_float16",
        "mask_weights_float32",
        "latents_mask_weights_2x4x6_float32",
        "mask_weights_mask",
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_spelling_of_mask_weights_is_read(tmp_path, key, dtype):
    assert torch.allclose(load_foreign(tmp_path, {key: WEIGHTS_1fhw.to(dtype)}).weights_1fhw, WEIGHTS_1fhw, atol=4e-3)


def test_mask_weights_become_float32(tmp_path):
    assert load_foreign(tmp_path, {"mask_weights_float16": WEIGHTS_1fhw.half()}).weights_1fhw.dtype == torch.float32


def test_mask_weights_of_three_dimensions_are_read(tmp_path):
    assert torch.equal(
        load_foreign(tmp_path, {"mask_weights_2x4x6_float32": WEIGHTS_1fhw[0]}).weights_1fhw, WEIGHTS_1fhw
    )


def test_one_mask_frame_holds_for_all_latent_frames(tmp_path):
    entry = load_foreign(tmp_path, {"mask_weights_1x4x6_float32": WEIGHTS_1fhw[:, :1]})
    assert torch.equal(entry.weights_1fhw, WEIGHTS_1fhw[:, :1].expand(1, 2, 4, 6))


def test_the_mask_of_latents_without_frame_axis_is_read(tmp_path):
    save_tensors(
        tmp_path / NAME,
        {"latents_4x6_float32": LATENTS_Cfhw[:, 0], "mask_weights_4x6_float16": WEIGHTS_1fhw[:, :1].half()},
        {},
    )
    save_tensors(tmp_path / text_name("kyla", "wan"), {"llm_float16": torch.ones(1)}, {})
    assert torch.allclose(load_entry(read_header(tmp_path / NAME, "wan")).weights_1fhw, WEIGHTS_1fhw[:, :1], atol=1e-3)


def test_a_mask_of_another_grid_is_refused(tmp_path):
    with pytest.raises(CacheError, match="does not fit the latents"):
        load_foreign(tmp_path, {"mask_weights_2x4x5_float32": WEIGHTS_1fhw[..., :5]})


def test_clip_features_go_by_the_tensor_not_by_the_name(tmp_path):
    assert (
        load_foreign(tmp_path, {"clip_bfloat16": torch.ones(2, 3, dtype=torch.float16)}).conditioning["clip"].dtype
        == torch.float16
    )


@pytest.mark.parametrize(
    ("frame_axis", "grid", "axes"),
    [(FrameAxis.KEPT, "1x4x6", 4), (FrameAxis.NAMED, "1x4x6", 3), (FrameAxis.ABSENT, "4x6", 3)],
)
def test_latents_come_back_with_their_frame_axis_however_a_family_spells_them(tmp_path, frame_axis, grid, axes):
    contents = {"latents": LATENTS_Cfhw[:, :1], "latents_control_0": LATENTS_Cfhw[:, 1:]}
    options = {"weights_1fhw": WEIGHTS_1fhw[:, :1], "regions_4fhw": None, "metadata": {}}
    write_latents(tmp_path / NAME, contents, frame_axis=frame_axis, **options)
    save_tensors(tmp_path / text_name("kyla", "wan"), {"llm_float16": torch.ones(1)}, {})
    stored = read_tensors(tmp_path / NAME)
    assert {key: stored[key].ndim for key in stored if key.startswith("latents")} == {
        f"latents_{grid}_float32": axes,
        f"latents_control_0_{grid}_float32": axes,
    }
    header = read_header(tmp_path / NAME, "wan")
    entry = load_entry(header)
    assert header.latent_shape == (16, 1, 4, 6)
    assert torch.equal(entry.latents_Cfhw, contents["latents"])
    assert torch.equal(entry.conditioning["latents_control_0"], contents["latents_control_0"])
    assert torch.equal(entry.weights_1fhw, WEIGHTS_1fhw[:, :1])


def test_headers_hold_the_metadata_and_share_what_they_have_in_common(tmp_path):
    for stem in ("a", "b"):
        facts = {"blissmask.media_print": stem, "blissmask.look": "no training asks for it", "blissmask.new": "yes"}
        metadata = {**latent_metadata("wan", LatentName(stem, (48, 32), None)), **facts}
        path = tmp_path / latent_name(stem, (48, 32), "wan")
        write_latents(path, {"latents": LATENTS_Cfhw}, weights_1fhw=WEIGHTS_1fhw, regions_4fhw=None, metadata=metadata)
    a, b = list_headers(tmp_path, "wan")
    assert a.metadata == {key: text for key, text in read_metadata(a.path).items() if key != "blissmask.look"}
    assert (a.metadata["blissmask.media_print"], b.metadata["blissmask.media_print"]) == ("a", "b")
    assert a.shared is b.shared


def test_the_same_content_gives_the_same_bytes(tmp_path):
    metadata = {f"name {number}": 'quote " newline \n bell \x07 é 😀' for number in range(20)}
    for name in ("a", "b"):
        save_tensors(
            tmp_path / name, {"b_float32": torch.ones(2), "a_float16": torch.zeros(3, dtype=torch.float16)}, metadata
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_metadata(tmp_path / "a") == metadata


def test_any_file_name_works(tmp_path):
    stem = os.fsdecode("naïve [bold] \n 😀 -x".encode() + b"\xff")
    write_entry(tmp_path, stem=stem)
    assert list_headers(tmp_path, "wan")[0].text_path.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    with pytest.raises(CacheError, match="NaN or infinite values in `latents`"):
        save_tensors(tmp_path / NAME, {"latents": torch.tensor([value])}, {})


def test_nothing_is_written_when_values_are_refused(tmp_path):
    with pytest.raises(CacheError):
        save_tensors(tmp_path / NAME, {"latents": torch.tensor([float("nan")])}, {})
    assert list(tmp_path.iterdir()) == []


def test_what_is_told_about_values_that_are_not_finite_belongs_to_the_file(tmp_path):
    broken = {"a": torch.tensor([float("nan")])}
    with pytest.raises(CacheError) as latents:
        write_latents(
            tmp_path / NAME,
            {"latents": torch.full((1, 1, 1, 1), float("nan"))},
            weights_1fhw=None,
            regions_4fhw=None,
            metadata={},
        )
    with pytest.raises(CacheError) as text:
        write_text(tmp_path / NAME, broken, variable_length=(), metadata={})
    with pytest.raises(CacheError) as lora:
        save_tensors(tmp_path / NAME, broken, {}, fix="train slower")
    fixes = [caught.value.problems[0].fix for caught in (latents, text, lora)]
    assert ["vae_dtype" in fix for fix in fixes] == [True, False, False]
    assert ["text encoder" in fix for fix in fixes] == [False, True, False]
    assert fixes[2] == "train slower"


@pytest.mark.parametrize("metadata", [{}, {"b": "1", "a": "2"}])
def test_a_file_without_tensors_can_be_written(tmp_path, metadata):
    save_tensors(tmp_path / NAME, {}, metadata)
    assert read_metadata(tmp_path / NAME) == metadata


def test_views_of_one_tensor_can_be_written(tmp_path):
    batch = torch.ones(2, 3)
    save_tensors(tmp_path / NAME, {"a_float32": batch[0], "b_float32": batch[1]}, {})
    assert (tmp_path / NAME).exists()


def test_all_damaged_files_are_named_at_once(tmp_path):
    for stem in ("a", "b"):
        (tmp_path / latent_name(stem, (48, 32), "wan")).write_bytes(b"no safetensors at all")
    with pytest.raises(CacheError) as caught:
        list_headers(tmp_path, "wan")
    assert len(caught.value.problems[0].where) == 2


def test_a_latent_file_without_latents_is_refused(tmp_path):
    save_tensors(tmp_path / NAME, {"clip_float16": torch.ones(1)}, {})
    with pytest.raises(CacheError, match="no latents in the cache file"):
        list_headers(tmp_path, "wan")


def test_a_missing_caption_file_is_named(tmp_path):
    write_entry(tmp_path)
    (tmp_path / text_name("kyla", "wan")).unlink()
    [header] = list_headers(tmp_path, "wan")
    with pytest.raises(CacheError) as caught:
        load_entry(header)
    assert "kyla_wan_te.safetensors" in caught.value.problems[0].where[0]


def test_a_missing_cache_folder_says_what_to_run(tmp_path):
    with pytest.raises(CacheError) as caught:
        list_headers(tmp_path / "none", "wan")
    assert "blissmask cache" in str(caught.value.problems[0].fix)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = write_entry(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CacheError):
        list_headers(tmp_path, "wan")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_read_or_refused_but_never_crash(tmp_path, changes):
    path = write_entry(tmp_path)
    data = bytearray(path.read_bytes())
    for position, value in changes:
        data[position] = value
    path.write_bytes(data)
    try:
        for header in list_headers(tmp_path, "wan"):
            load_entry(header)
    except CacheError:
        pass


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    header = json.dumps(
        {"latents_1x4x6_float32": {"dtype": "F32", "shape": [16, 1, 4, 6], "data_offsets": [0, 1 << 40]}}
    ).encode()
    (tmp_path / NAME).write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CacheError, match="damaged"):
        list_headers(tmp_path, "wan")
