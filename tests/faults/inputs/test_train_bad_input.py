"""`train` and bad input: a clear message, the right exit code, nothing executed, and what an earlier training left stays byte for byte."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import annotated_types
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from blissmask.cli.app import build_app
from blissmask.cli.guarded import guarded
from blissmask.config.load import load_config
from blissmask.config.model import Config
from blissmask.errors import UsageError
from blissmask.training.record.states import faults
from blissmask.training.record.states.find import find_states
from tests.builders.families import CACHE_SUFFIX, PICTURES, PLAIN, family_of
from tests.builders.pictures import tree
from tests.builders.training import problems_of, write_entry, write_masked_set

CONFIG = f"""
[[datasets]]
cache_directory = "cache"
[model]
arch = "{PLAIN}"
model = "tiny"
device = "cpu"
[train]
max_train_steps = 2

[lora]
network_dim = 2
"""
LATENTS, TEXT = f"cache/kyla001_0032x0032_{CACHE_SUFFIX}.safetensors", f"cache/kyla001_{CACHE_SUFFIX}_te.safetensors"
OTHER_SUFFIX = family_of(PICTURES).cache_suffix
WARM = "warm.safetensors"
STATE = "out/lora-step00000002-state"
NAN = float("nan")


def run(arguments):
    typed = ["train", "--no-progress", *arguments.split()]
    return guarded(lambda: build_app()(typed, prog_name="blissmask", standalone_mode=False), typed)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A cache, and the two steps that were trained on it."""
    folder = tmp_path_factory.mktemp("scene")
    write_masked_set(folder / "cache")
    (folder / "blissmask.toml").write_text(CONFIG, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("--use-mask-loss") == 0
    return folder


@pytest.fixture
def folder(scene, tmp_path, monkeypatch):
    shutil.copytree(scene, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoil(content, *, value=NAN):
    """Return what puts ``value`` into a tensor of a safetensors file."""

    def change(path):
        with safe_open(path, framework="pt") as file:
            tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
        next(tensor for key, tensor in tensors.items() if content in key).view(-1)[0] = value
        save_file(tensors, path, metadata)

    return change


def cut(kept):
    """Return what leaves the first ``kept`` bytes of a file, or all but the last ``-kept``."""
    return lambda path: path.write_bytes(path.read_bytes()[:kept])


def copied(change):
    """Return what makes ``warm.safetensors`` of the trained LoRA, changed."""

    def make(path):
        shutil.copy(path.parent / "out" / "lora.safetensors", path)
        change(path)

    return make


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def hostile(*, zipped):
    return lambda path: torch.save({"a": torch.ones(2), "b": Hostile()}, path, _use_new_zipfile_serialization=zipped)


def other_family(path):
    shutil.rmtree(path)
    write_entry(path, "kyla", arch=OTHER_SUFFIX)


def with_tensor(content, tensor):
    """Return what puts ``tensor`` in the place of one of a safetensors file."""

    def change(path):
        with safe_open(path, framework="pt") as file:
            tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
        [key] = [key for key in tensors if key == content] or [key for key in tensors if content in key]
        save_file({**tensors, key: tensor}, path, metadata)

    return change


def each_caption(change):
    """Return what does ``change`` to every caption of a cache."""

    def make(folder):
        for path in folder.glob("*_te.safetensors"):
            change(path)

    return make


def one_cell(folder):
    """Write an entry of one latent cell, which is less than the denoiser's patch."""
    write_entry(folder, "kyla999", shape=(16, 1, 1, 1))


def changed_state(name, value):
    """Return what changes a number of the training state, whose manifest is made to fit."""

    def make(folder):
        numbers = json.loads((folder / "state.json").read_text())
        owner = numbers
        *tables, key = name.split("/")
        for table in tables:
            owner = owner[int(table) if isinstance(owner, list) else table]
        owner[key] = value
        (folder / "state.json").write_text(json.dumps(numbers))
        fit_manifest(folder)

    return make


def changed_tensors(file, change):
    """Return what changes a file of the training state, whose manifest is made to fit."""

    def make(folder):
        change(folder / file)
        fit_manifest(folder)

    return make


def fit_manifest(folder):
    names = [path.name for path in folder.iterdir() if path.name != "manifest.json"]
    (folder / "manifest.json").write_text(json.dumps(faults.describe(folder, names)))


@dataclass(frozen=True)
class Case:
    """One bad input: what is done to which file, the arguments that meet it, and what the user then reads."""

    says: tuple[str, ...]
    damage: tuple[str, Callable[[Path], object]] | None = None
    arguments: str = ""
    code: int = 1


CASES = {
    "a NaN latent": Case(("`latents` of this cache entry holds NaN or infinity", LATENTS), (LATENTS, spoil("latents"))),
    "a NaN caption": Case(("`t5` of this cache entry holds NaN or infinity", TEXT), (TEXT, spoil("t5"))),
    "an infinite mask weight": Case(
        ("`mask_weights` of this cache entry", LATENTS),
        (LATENTS, spoil("mask_weights", value=float("inf"))),
        "--use-mask-loss",
    ),
    "a NaN region": Case(
        ("`mask_regions` of this cache entry", LATENTS),
        (LATENTS, spoil("mask_regions")),
        "--use-mask-loss --mask-transform pixel",
    ),
    "truncated latents": Case(("a cache file is damaged", LATENTS), (LATENTS, cut(-8))),
    "empty latents": Case(("a cache file is damaged", LATENTS), (LATENTS, cut(0))),
    "a truncated caption": Case(("a cache file is damaged", TEXT), (TEXT, cut(-8))),
    "a missing caption": Case(
        ("1 cache entry: no cached caption", TEXT, f"blissmask cache --arch {PLAIN}"), (TEXT, os.remove)
    ),
    "a cache of another family": Case(
        (f"of another model family than `{PLAIN}`", f"kyla_0032x0032_{OTHER_SUFFIX}.safetensors"),
        ("cache", other_family),
    ),
    "another family than the cache": Case(
        (f"of another model family than `{PICTURES}`",), arguments=f"--arch {PICTURES}"
    ),
    "a hostile pickle for a model": Case(
        (
            "refusing to unpickle model.pt: it asks to import `posix.mkdir`",
            "use the safetensors file of the same model",
        ),
        ("model.pt", hostile(zipped=True)),
        "--model . --dit model.pt",
    ),
    "an old hostile pickle": Case(
        ("refusing to unpickle model.pth",), ("model.pth", hostile(zipped=False)), "--model . --dit model.pth"
    ),
    "a pickle that is called safetensors": Case(
        ("refusing to unpickle model.safetensors",),
        ("model.safetensors", hostile(zipped=True)),
        "--model . --dit model.safetensors",
    ),
    "a truncated model": Case(("a damaged safetensors file", WARM), (WARM, copied(cut(-8))), f"--model . --dit {WARM}"),
    "a model that is none": Case((f"{WARM} is no Wan denoiser",), (WARM, copied(cut(None))), f"--model . --dit {WARM}"),
    "a model that is not there": Case(
        ("there is no such model file", "gone.safetensors"), arguments="--model . --dit gone.safetensors"
    ),
    "a hostile pickle for a LoRA": Case(
        ("the LoRA file is damaged or not safetensors", "warm.pt", "could run code while it is read"),
        ("warm.pt", hostile(zipped=True)),
        "--no-resume --network-weights warm.pt",
    ),
    "a truncated LoRA": Case(
        ("the LoRA file is damaged or not safetensors", WARM),
        (WARM, copied(cut(-8))),
        f"--no-resume --network-weights {WARM}",
    ),
    "a NaN in a LoRA": Case(
        ("self_attn.q.lora_A.weight` of this LoRA holds NaN or infinity", WARM),
        (WARM, copied(spoil("self_attn.q.lora_A"))),
        f"--no-resume --network-weights {WARM}",
    ),
    "a LoRA of another rank": Case(
        ("has rank 2 in this LoRA and 4 here", "set `network_dim = 2`"),
        (WARM, copied(cut(None))),
        f"--no-resume --network-weights {WARM} --network-dim 4",
    ),
    "a LoRA that is not there": Case(
        ("there is no such LoRA file", "gone.safetensors"), arguments="--no-resume --network-weights gone.safetensors"
    ),
    "a LoRA of rank 0": Case(
        ("self_attn.q.lora_A.weight` has shape [0, 24], which holds nothing", WARM),
        (WARM, copied(with_tensor("blocks.0.self_attn.q.lora_A", torch.ones(0, 24)))),
        f"--no-resume --network-weights {WARM}",
    ),
    "a LoRA of three alphas": Case(
        ("self_attn.q.alpha` has shape [3], and must be one number above 0", WARM),
        (WARM, copied(with_tensor("blocks.0.self_attn.q.alpha", torch.ones(3)))),
        f"--no-resume --network-weights {WARM}",
    ),
    "latents of one cell": Case(
        ("1 cache entry: latents of a size that the family cannot train", "kyla999_0008x0008"), ("cache", one_cell)
    ),
    "a caption of another width": Case(
        ("`t5` of this cached caption is unlike that of", f"kyla002_{CACHE_SUFFIX}_te.safetensors"),
        (f"cache/kyla002_{CACHE_SUFFIX}_te.safetensors", with_tensor("t5", torch.ones(3, 7))),
    ),
    "captions of another width": Case(
        ("the model cannot take what the cache holds", "kyla00"),
        ("cache", each_caption(with_tensor("t5", torch.ones(3, 7)))),
    ),
    "a state of a negative step": Case(("says that it is of step -5", STATE), (STATE, changed_state("step", -5))),
    "a state of other settings": Case(("holds settings of another kind", STATE), (STATE, changed_state("settings", 3))),
    "a state without an optimiser": Case(
        ("holds no optimiser or no schedule", STATE), (STATE, changed_state("optimizer", None))
    ),
    "a state of an odd schedule": Case(
        ("holds no optimiser or no schedule", STATE), (STATE, changed_state("scheduler", "soon"))
    ),
    "a state of an odd option": Case(
        ("does not fit the optimiser", STATE), (STATE, changed_state("optimizer/groups/0/eps", "x"))
    ),
    "a state whose moments have another shape": Case(
        ("does not fit the optimiser", STATE),
        (STATE, changed_tensors("optimizer.safetensors", with_tensor("0.exp_avg", torch.ones(3, 3)))),
    ),
    "a state without its LoRA": Case(
        ("none of the training states of `lora` is whole", f"{STATE}: `lora.safetensors` is missing"),
        (STATE, changed_tensors("lora.safetensors", lambda path: path.unlink())),
        code=2,
    ),
    "a log of bytes": Case(
        ("the step log holds a line that is not ours", "lora-log.jsonl"),
        ("out/lora-log.jsonl", lambda path: path.write_bytes(b"\xff\xfe\n")),
    ),
    "an optimiser that is none": Case(
        ("`os.system` is no optimiser class",), arguments="--no-resume --optimizer-type os.system", code=2
    ),
    "a warm-up longer than the training": Case(
        ("`lr_warmup_steps` must be in range [0, 4], got 99",), arguments="--no-resume --lr-warmup-steps 99", code=2
    ),
    "a name with a folder": Case(
        ("`output_name` must be a plain file name", "`a/b`"), arguments="--output-name a/b", code=2
    ),
    "a name that no state fits": Case(
        ("`output_name` has 191 bytes, and 190 are possible",), arguments=f"--output-name {'x' * 191}", code=2
    ),
    "an output folder that is a file": Case(
        ("cannot write to the folder", "taken"), ("taken", Path.touch), "--output-dir taken"
    ),
    "a rank that is no number": Case(
        ("--network-dim must be a whole number, got many",), arguments="--network-dim many", code=2
    ),
    "noise upside down": Case(
        ("`min_timestep` is 900, above `max_timestep`, 100",), arguments="--min-timestep 900 --max-timestep 100", code=2
    ),
}


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "-"))
def test_bad_input_is_told_and_what_was_trained_stays(folder, capsys, name):
    case = CASES[name]
    if case.damage is not None:
        path, damage = case.damage
        damage(folder / path)
    before = tree(folder / "out")
    capsys.readouterr()
    assert run(f"--max-train-steps 4 {case.arguments}") == case.code
    said = " ".join(capsys.readouterr().err.split())
    assert "error: " in said
    assert [phrase for phrase in case.says if phrase not in said] == [], said
    assert not (folder / "executed").exists()
    assert tree(folder / "out") == before


def test_a_training_goes_on_once_the_input_is_mended(folder, capsys):
    kept = (folder / TEXT).read_bytes()
    (folder / TEXT).unlink()
    assert run("--max-train-steps 4 --use-mask-loss") == 1
    (folder / TEXT).write_bytes(kept)
    assert run("--max-train-steps 4 --use-mask-loss") == 0
    assert "going on after step 2 of 4" in capsys.readouterr().err


def test_a_training_that_starts_anew_replaces_the_earlier_one_with_its_first_state(folder):
    assert run("--max-train-steps 1 --no-resume") == 0
    assert [step for step, _ in find_states(folder / "out", "lora").whole] == [1]


def beyond_range():
    """Yield every number of the sections that `train` alone reads, with a value just outside its range."""
    sections = ("mask_loss", "train", "memory", "lora", "optimizer", "timesteps", "saving", "previews", "logging")
    for section in sections:
        for name, field in Config.model_fields[section].annotation.model_fields.items():
            for constraint in field.metadata:
                whole = "Int" in str(field.annotation) or "int" in str(field.annotation)
                step = 1 if whole else 1e-3
                match constraint:
                    case annotated_types.Gt(gt=bound) | annotated_types.Lt(lt=bound):
                        yield section, name, bound
                    case annotated_types.Ge(ge=bound):
                        yield section, name, bound - step
                    case annotated_types.Le(le=bound):
                        yield section, name, bound + step


@pytest.mark.parametrize(("section", "name", "value"), beyond_range())
def test_a_number_out_of_its_range_is_refused_by_name(section, name, value):
    with pytest.raises(UsageError) as caught:
        load_config(None, {section: {name: str(value)}})
    assert f"--{name} must be " in problems_of(caught.value)
    assert str(value) in problems_of(caught.value)
