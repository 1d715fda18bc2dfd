"""What was typed: several values behind one flag, flags quoted as they were typed, and hints that carry them."""

import pytest

from blissmask.cli.typed import flag_every_value, our_flag, spellings, typed_for_commands

LISTS, PAIRS = {"-r", "--reference"}, {"--optimizer-args"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("-r a.jpg b.jpg -o out", "-r a.jpg -r b.jpg -o out"),
        ("--reference a.jpg b.jpg c.jpg", "--reference a.jpg --reference b.jpg --reference c.jpg"),
        ("--reference=a.jpg b.jpg", "--reference=a.jpg --reference b.jpg"),
        ("-r a.jpg -r b.jpg", "-r a.jpg -r b.jpg"),
        ("-r 1 -5", "-r 1 -r -5"),
        ("--optimizer_args a=1 b=2", "--optimizer_args a=1 --optimizer_args b=2"),
        ("--optimizer_args a=1 photos", "--optimizer_args a=1 photos"),
        ("-o out photos", "-o out photos"),
        ("-r -o out", "-r -o out"),
    ],
)
def test_every_value_behind_a_list_gets_a_flag_of_its_own(typed: str, meant: str) -> None:
    assert flag_every_value(typed.split(), LISTS, PAIRS) == meant.split()


@pytest.mark.parametrize(
    ("typed", "flag"),
    [("--mask_gamma", "--mask-gamma"), ("--t5=x", "--text-encoder"), ("-r", "-r"), ("--Mask", "--Mask")],
)
def test_our_flag_for_what_was_typed(typed: str, flag: str) -> None:
    assert our_flag(typed) == flag


def test_flags_are_remembered_as_they_were_typed() -> None:
    fields = {"--mask-gamma": ("mask_loss", "mask_gamma"), "-i": ("masks", "input"), "--seed": ("train", "seed")}
    typed = ["--mask_gamma=0.7", "-i", "photos", "--unknown", "--seed", "-5"]
    assert spellings(typed, fields) == {
        ("mask_loss", "mask_gamma"): "--mask_gamma",
        ("masks", "input"): "-i",
        ("train", "seed"): "--seed",
    }


def test_a_command_in_a_hint_carries_what_it_takes_of_what_was_typed() -> None:
    flags = {"model": {"model": "my model"}, "train": {"seed": "7"}, "run": {"verbose": True}}
    spelled = {("model", "model"): "--model", ("train", "seed"): "--seed", ("run", "verbose"): "-v"}
    typed = typed_for_commands(flags, spelled)
    assert typed["cache"] == {"--model": "--model 'my model'"}
    assert typed["train"] == {"--model": "--model 'my model'", "--seed": "--seed 7"}
    assert typed["apply"] == {}


def test_switches_and_lists_are_carried_as_they_were_typed() -> None:
    flags = {"general": {"enable_bucket": False, "resolution": ["960", "544"]}}
    spelled = {("general", "enable_bucket"): "--no-enable_bucket", ("general", "resolution"): "--resolution"}
    assert list(typed_for_commands(flags, spelled)["cache"].values()) == ["--no-enable_bucket", "--resolution 960 544"]
