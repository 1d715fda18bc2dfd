"""Which programs read which LoRA file whole: the table of the page, derived from the names that each looks for."""

import functools
import os
import tempfile
from pathlib import Path

import pytest

from blissmask.config.model import Config
from blissmask.families.registry import load_family
from blissmask.tasks.train.odd_options import lora_part_readers, part_reader_warnings
from blissmask.training.lora.formats import split_key
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.lora.names import layer_names
from tests.builders.diffusers_lora import error_of, load_into, pipeline_class
from tests.builders.families import NAMES, family_of, has_fused_layers, tiny_denoiser
from tests.builders.lora_conversion import convert
from tests.builders.lora_file import save_lora
from tests.builders.training import seeded, tensors_of

FORMATS = ("native", "kohya", "diffusers")
PAGE = Path(__file__).parents[4] / "examples" / "same-as-others.md"
DECLARED = [name for name in NAMES if load_family(name).lora_readers]
"""Families that say what other programs call their layers; those of other packages need not."""


@functools.cache
def trained_lora(name):
    lora = inject_lora(tiny_denoiser(name), LoraShape(rank=2, alpha=1.0), seed=0)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    return lora


def layers_of(name, file_format, folder):
    """Return the keys, up to the names of their tensors, of a file that training writes."""
    path = folder / f"{name}-{file_format}.safetensors"
    save_lora(path, trained_lora(name), {}, file_format=file_format)
    return list(dict.fromkeys(split_key(key)[0] for key in tensors_of(path)))


def word(unread, layers):
    if not unread:
        return "whole"
    return "nothing" if len(unread) == len(layers) else "in part"


def read_by_diffusers(name, file_format, folder):
    """Return what diffusers reads of a file, tried with its own loader."""
    denoiser, pipeline = tiny_denoiser(name), pipeline_class(name)
    has_loader = hasattr(pipeline, "lora_state_dict")
    if has_loader and file_format == "native" and has_fused_layers(denoiser):
        # It splits fused layers at the widths of the released model, so a miniature cannot stand in: the family's own
        # test does it at full width.
        return "diffusers whole"
    lora = trained_lora(name)
    (folder / name).mkdir(exist_ok=True)
    alpha = load_family(name).native_alpha
    save_lora(folder / name / "kyla.safetensors", lora, {}, file_format=file_format, native_alpha=alpha)
    try:
        load_into(denoiser.module, pipeline, folder / name)
        is_whole = error_of(denoiser.module, lora) == 0.0
    except (ValueError, KeyError, RuntimeError, AssertionError):
        is_whole = False
    if not is_whole:
        return "diffusers nothing"
    return "diffusers whole" if has_loader else "diffusers' model class whole"


@functools.cache
def row(name):
    """Return the line of a family in the page's table."""
    family = load_family(name)
    originals = layer_names(family, block_count=4).modules
    cells = []
    with tempfile.TemporaryDirectory() as place:
        for file_format in FORMATS:
            layers = layers_of(name, file_format, Path(place))
            unread = {reader.program: reader.unread(layers, originals) for reader in family.lora_readers}
            read = [f"{program} {word(left_out, layers)}" for program, left_out in unread.items()]
            read.append(read_by_diffusers(name, file_format, Path(place)))
            cells.append(", ".join(cell for cell in read if not cell.endswith("nothing")) or "-")
    return f"| {name} | {' | '.join(cells)} |"


@pytest.mark.parametrize("name", DECLARED)
def test_every_family_says_which_programs_read_its_files_and_the_page_repeats_it(name):
    expected = row(name)
    if os.environ.get("BLISSMASK_UPDATE_GOLDEN"):
        lines = PAGE.read_text(encoding="utf-8").splitlines()
        others = [line for line in lines if not line.startswith(f"| {name} |")]
        place = 1 + next(number for number, line in enumerate(others) if line.startswith("| family |"))
        end = next((n for n in range(place + 1, len(others)) if not others[n].startswith("|")), len(others))
        table = sorted([*others[place + 1 : end], expected])
        PAGE.write_text("\n".join([*others[: place + 1], *table, *others[end:]]) + "\n", encoding="utf-8")
    assert expected in PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", DECLARED)
def test_a_native_file_is_whole_in_comfyui(name):
    assert "ComfyUI whole" in row(name).split("|")[2]


def test_conversion_warns_where_a_program_would_use_a_part_of_the_file(tmp_path):
    partly = next(
        (name, file_format)
        for name in DECLARED
        for file_format in ("kohya", "native")
        if "in part" in row(name).split("|")[2 + FORMATS.index(file_format)]
    )
    name, file_format = partly
    other = "native" if file_format == "kohya" else "kohya"
    save_lora(tmp_path / "start.safetensors", trained_lora(name), {}, file_format=other)
    plan, _ = convert(tmp_path / "start.safetensors", file_format, tmp_path / "out.safetensors", arch=name)
    (warning,) = plan.warnings
    assert "ComfyUI would use" in warning.what
    assert f"--lora-format {other}" in warning.fix


def test_conversion_to_what_everybody_reads_warns_of_nothing(tmp_path):
    name = next(name for name in DECLARED if "in part" not in row(name))
    save_lora(tmp_path / "start.safetensors", trained_lora(name), {})
    plan, _ = convert(tmp_path / "start.safetensors", "kohya", tmp_path / "out.safetensors", arch=name)
    assert plan.warnings == []


@pytest.mark.parametrize("name", [name for name in DECLARED if layer_names(load_family(name), block_count=1).apart])
def test_a_training_tells_of_programs_that_would_use_a_part_of_its_lora(name):
    def told(kind, file_format):
        tables = {"lora": {"network_type": kind}, "saving": {"lora_format": file_format}, "model": {"arch": name}}
        readers = lora_part_readers(Config.model_validate(tables), family_of(name))
        return [(problem.what.partition(" ")[0], problem.fix) for problem in part_reader_warnings(readers)]

    (program, fix), *others = told("lokr", "native")
    assert program == "ComfyUI"
    assert (
        "train with `--network-type lora`, or make a LoRA of it afterwards, with `--convert-lora FILE --rank N`" in fix
    )
    assert not others
    assert told("lora", "kohya") == [("ComfyUI", "for ComfyUI take `--lora-format native`")]
    assert told("lora", "native") == []
