"""Memory options change where weights are and how blocks run, never what is trained."""

import dataclasses
import importlib.util
import shutil

import pytest
import torch
from torch._dynamo import register_backend
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from blissmask.cachefile import write
from blissmask.cachefile.read_file import read_tensors
from blissmask.errors import MachineError, MissingPackageError, ModelError, UsageError
from blissmask.events import Warned
from blissmask.families.family import FamilyForTask
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import plan as planning
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.data import read_items
from blissmask.tasks.train.memory import fit_memory as train_memory
from blissmask.tasks.train.memory.compile_rule import CompileRule
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.data.cached_set import read_set
from tests.builders.cached_families import write_cache
from tests.builders.families import EDIT, PICTURES, PLAIN, TWO_EXPERTS, family_of
from tests.builders.recorder import Recorder
from tests.builders.training import FEWER_LAYERS, train_config, write_entry


@pytest.fixture
def compiler():
    """Forget what was compiled before: after some compilations of one function PyTorch runs it as it is, without a word."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def train(cache, output, **options):
    config = train_config(
        cache, output, use_mask_loss=True, **{"prior_preservation_weight": 0.5, "max_train_steps": 3, **options}
    )
    plan = plan_training(config)
    train_lora.run(plan, RunContext(Recorder()))
    return {path.name: read_tensors(path) for path in plan.names.lora_files()}


def same(first, second):
    assert first.keys() == second.keys()
    return all(
        torch.equal(tensor, second[name][key]) for name, tensors in first.items() for key, tensor in tensors.items()
    )


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"fp8_base": True},
        {"int8_base": True, "use_dora": True},
        {"nf4_base": True, "dit_dtype": "bfloat16", "use_dora": True},
        {
            "arch": TWO_EXPERTS,
            "expert": "both",
            "high_noise_share": 0.5,
            "expert_run_length": 1,
            "offload_inactive_dit": True,
        },
    ],
)
def test_swapped_blocks_train_the_same_bytes(cache, tmp_path, with_package_of, extra):
    with_package_of(extra)
    plain = train(cache, tmp_path / "plain", gradient_checkpointing=True, **extra)
    swapped = train(cache, tmp_path / "swapped", gradient_checkpointing=True, blocks_to_swap=1, **extra)
    assert same(plain, swapped)


def test_swapped_blocks_hold_nothing_on_the_device_while_they_rest(cache, tmp_path, monkeypatch):
    kept = []

    def load(*arguments):
        result = genuine(*arguments)
        kept.extend(result[0])
        return result

    genuine = train_lora.load_learners
    monkeypatch.setattr(train_lora, "load_learners", load)
    train(cache, tmp_path / "out", gradient_checkpointing=True, blocks_to_swap=1)
    blocks = kept[0].denoiser.module.blocks
    frozen = [[p.numel() for p in block.parameters() if not p.requires_grad] for block in (blocks[0], blocks[-1])]
    assert min(frozen[0]) > 0
    assert max(frozen[1]) == 0


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        {},
        # The base model's own prediction, without adapters, would be compiled a second time.
        {"int8_base": True, "dit_dtype": "bfloat16", "prior_preservation_weight": 0.0},
        {"fp8_base": True, "gradient_checkpointing": True, "prior_preservation_weight": 0.0},
    ],
)
def test_compiled_blocks_train_the_same(cache, tmp_path, compiler, extra):
    plain = train(cache, tmp_path / "plain", **FEWER_LAYERS, **extra)["kyla.safetensors"]
    counters.clear()
    compiled = train(cache, tmp_path / "compiled", compile=True, compile_backend="aot_eager", **FEWER_LAYERS, **extra)[
        "kyla.safetensors"
    ]
    assert counters["stats"]["unique_graphs"] > 0
    assert all(torch.allclose(tensor, compiled[key], atol=1e-4) for key, tensor in plain.items())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiler_that_fails_unasked_costs_a_warning_and_the_run_that_goes_on_leaves_it_out(
    cache, tmp_path, compiler, monkeypatch
):
    """The second kind of pass is validation's."""
    graphs = []

    @register_backend(name="fails_later")
    def fails_later(graph, _):
        graphs.append(graph)
        if len(graphs) > 1:
            raise RuntimeError("no such header")
        return graph.forward

    options = {"validation_split": 0.25, "validate_every_n_steps": 1, "prior_preservation_weight": 0.0, **FEWER_LAYERS}
    plain = train(cache, tmp_path / "plain", **options)
    rule = CompileRule(compiles=True, reason="on: it pays")
    asked = []
    monkeypatch.setattr(planning, "compile_rule", lambda *_, before, **__: asked.append(before) or rule)
    config = train_config(
        cache, tmp_path / "out", use_mask_loss=True, max_train_steps=3, compile_backend="fails_later", **options
    )
    recorder = Recorder()
    train_lora.run(plan_training(config), RunContext(recorder))
    assert len(graphs) == 2
    (warned,) = [event.problem for event in recorder.of(Warned) if "compile" in event.problem.what]
    assert warned.where == ("RuntimeError: no such header",)
    assert same(plain, {"kyla.safetensors": read_tensors(tmp_path / "out" / "kyla.safetensors")})
    plan_training(config)
    assert asked == [None, False]


def test_a_compiler_that_there_is_not_is_told_also_where_nobody_asked_to_compile(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "compile_rule", lambda *_, **__: CompileRule(compiles=True, reason="on: it pays"))
    with pytest.raises(UsageError, match="there is no compiler `inducter`"):
        train(cache, tmp_path / "out", compile_backend="inducter")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_pictures_and_clips_alone_and_in_pairs_are_all_compiled(cache, tmp_path, compiler):
    for number in range(4):
        write_entry(cache, f"clip{number}", shape=(16, 2, 4, 4), seed=number)
    counters.clear()
    pairs = {"datasets": [{"cache_directory": cache, "batch_size": 2}], "validation_split": 0.25}
    train(cache, tmp_path / "out", compile=True, compile_backend="eager", max_train_steps=8, **FEWER_LAYERS, **pairs)
    # More than PyTorch would compile by itself.
    assert counters["stats"]["unique_graphs"] > 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_trains_the_same(cache, tmp_path, compiler, monkeypatch):
    """One block: two that are equal are compiled twice, since the input of the first needs no gradient."""
    load = FamilyForTask.load_denoiser

    def first_block(*arguments, **options):
        denoiser = load(*arguments, **options)
        denoiser.module.blocks = denoiser.module.blocks[:1]
        return denoiser

    monkeypatch.setattr(FamilyForTask, "load_denoiser", first_block)
    options = {"prior_preservation_weight": 0.0, "max_train_steps": 2, **FEWER_LAYERS}
    # What an earlier run compiled would be found again and nothing compiled.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    # In this process: the others that would compile have torch to import first.
    monkeypatch.setattr(inductor, "compile_threads", 1)
    # Vectors double the time of g++, and PyTorch writes none on a card.
    monkeypatch.setattr(inductor.cpp, "vec_isa_ok", False)
    plain = train(cache, tmp_path / "plain", **options)["kyla.safetensors"]
    counters.clear()
    compiled = train(cache, tmp_path / "compiled", compile=True, **options)["kyla.safetensors"]
    assert counters["stats"]["unique_graphs"] > 0
    assert any((tmp_path / "inductor").rglob("*.so"))
    assert all(torch.allclose(tensor, compiled[key], atol=1e-3) for key, tensor in plain.items())


def test_inductor_without_a_compiler_is_told_before_the_first_step(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MachineError, match=r"needs a C\+\+ compiler"):
        train(cache, tmp_path / "out", compile=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks_to_swap": 1, "gradient_checkpointing": True, "compile": True}, "moves them"),
        ({"blocks_to_swap": 99, "gradient_checkpointing": True}, "can swap at most 1 of its 2 blocks"),
        ({"fsdp": True}, "there is one"),
        (
            {"fsdp": True, "blocks_to_swap": 1, "gradient_checkpointing": True},
            "`fsdp` spreads the weights .* and `blocks_to_swap` moves them",
        ),
        ({"fsdp": True, "offload_inactive_dit": True}, "`offload_inactive_dit` moves them"),
        ({"fp8_base": True, "int8_base": True}, "two ways to keep the same weights"),
        ({"fp8_base": True, "nf4_base": True}, "two ways to keep the same weights"),
    ],
)
def test_options_that_cannot_work_are_refused(cache, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        train(cache, tmp_path / "out", **options)


def test_memory_auto_is_refused_where_processes_could_pick_differently(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="2 could pick differently"):
        plan_training(train_config(cache, tmp_path / "out", memory="auto"))


def test_a_base_in_shards_takes_less_of_each_process(cache, tmp_path, monkeypatch):
    config = {"dit": model_file(tmp_path, blocks=40), "max_train_steps": 3}
    whole = plan_training(train_config(cache, tmp_path / "out", **config)).details["memory_bytes"]
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    shared = plan_training(train_config(cache, tmp_path / "out", fsdp=True, **config)).details["memory_bytes"]
    # A quarter of the blocks' float32 weights, and the two that run, are left of all.
    assert whole - shared == 256 * 256 * 4 * (40 - 10 - 2)


@pytest.fixture(autouse=True)
def _of_any_shape(monkeypatch):
    """Let files pass that hold blocks alone, so that their bytes can be counted by hand."""
    monkeypatch.setattr("blissmask.families.files.part.begins_as_safetensors", lambda path: False)


def model_file(folder, *, blocks=4):
    """Write the names of a denoiser; planning reads no more than its header."""
    weight = torch.zeros(256, 256, dtype=torch.bfloat16)
    write.save_tensors(
        folder / "dit.safetensors", {f"blocks.{n}.self_attn.q.weight": weight for n in range(blocks)}, {}
    )
    return folder / "dit.safetensors"


def test_plan_tells_the_memory_of_a_model_file(cache, tmp_path):
    plan = plan_training(train_config(cache, tmp_path / "out", dit=model_file(tmp_path)))
    assert plan.details["memory_bytes"] > 4 * 256 * 256 * 4
    assert sum(plan.details["memory_bytes_by_part"].values()) == plan.details["memory_bytes"]
    rows = dict(plan.tables[0].rows)
    assert rows["memory, estimated"] == "1.0 GiB"
    assert rows["  of it"].endswith("activations 0.0 GiB, libraries 1.0 GiB")


def test_nf4_without_its_package_is_refused_with_the_line_that_installs_it(cache, tmp_path, monkeypatch):
    genuine = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else genuine(name)
    )
    with pytest.raises(MissingPackageError) as caught:
        plan_training(train_config(cache, tmp_path / "out", nf4_base=True))
    assert "pip install 'blissmask[nf4]'" in str(caught.value.as_one().fix)


def test_memory_auto_picks_by_what_is_free_and_says_so(cache, tmp_path, monkeypatch):
    config = train_config(cache, tmp_path / "out", dit=model_file(tmp_path), memory="auto")
    monkeypatch.setattr(train_memory, "free_memory", lambda device: 64 << 30)
    roomy = plan_training(config)
    assert ("memory auto", "nothing is needed (64.0 GiB free)") in roomy.tables[0].rows
    monkeypatch.setattr(train_memory, "free_memory", lambda device: 1 << 30)
    tight = plan_training(config)
    assert tight.config.memory.gradient_checkpointing
    assert tight.config.memory.int8_base
    assert "1.0 GiB are free" in " ".join(warning.what for warning in tight.warnings)


def test_memory_auto_says_when_the_model_is_not_here(cache, tmp_path):
    plan = plan_training(train_config(cache, tmp_path / "out", memory="auto"))
    assert ("memory", "not known before the model is here; nothing is picked") in plan.tables[0].rows


@pytest.mark.parametrize(
    ("options", "experts"), [({"expert": "high"}, 1), ({"expert": "low"}, 1), ({"expert": "both"}, 2)]
)
def test_the_memory_of_every_expert_that_is_trained_is_known_from_its_own_file(cache, tmp_path, options, experts):
    file = model_file(tmp_path, blocks=40)
    given = {"high": ["dit_high_noise"], "low": ["dit"], "both": ["dit", "dit_high_noise"]}[options["expert"]]
    config = train_config(
        cache, tmp_path / "out", arch=TWO_EXPERTS, model=None, **dict.fromkeys(given, file), **options
    )
    needed = plan_training(config).details["memory_bytes"]
    one = plan_training(train_config(cache, tmp_path / "one", arch=PLAIN, model=None, dit=file)).details["memory_bytes"]
    weights, adapters = 40 * 256 * 256 * 4, 40 * 512 * config.lora.network_dim * 16
    assert needed - one == (experts - 1) * (weights + adapters)


def test_the_memory_is_not_known_while_an_expert_is_not_here(cache, tmp_path):
    # The other may be fetched later.
    model = {"model": "nobody/has-this", "download": True}
    config = train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, expert="both", dit=model_file(tmp_path), **model)
    assert "memory_bytes" not in plan_training(config).details


def test_control_pictures_count_as_tokens_and_first_frames_do_not(tmp_path):
    latents = {}
    for name, task in ((PICTURES, ""), (EDIT, ""), (PLAIN, "t2v"), (PLAIN, "i2v")):
        family = family_of(name, task)
        folder = write_cache(tmp_path / name / family.task_name, family)
        cached = read_set(1, folder, family, batch_size=3, repeats=1)
        micro = train_memory.largest_micro(family, [cached])
        latents[name, task] = micro.tokens - micro.items * train_memory.text_rows(family)
    assert latents[PICTURES, ""] == 3 * 4
    assert latents[EDIT, ""] == 2 * latents[PICTURES, ""]
    assert latents[PLAIN, "i2v"] == 2 * latents[PLAIN, "t2v"] == 3 * 2 * 4


def test_the_items_of_the_largest_micro_batch_are_those_of_its_own_data_set(tmp_path):
    family = family_of(PLAIN, "t2v")
    clips = read_set(1, write_cache(tmp_path / "clips", family), family, batch_size=2, repeats=1)
    header = clips.headers[0]
    channels, _, rows, columns = header.latent_shape
    shared = dataclasses.replace(header.shared, latent_shape=(channels, 9, rows, columns))
    larger = dataclasses.replace(header, shared=shared)
    few = dataclasses.replace(clips, headers=(larger,), batch_size=1)
    many = dataclasses.replace(clips, headers=(header,), batch_size=4)
    both = train_memory.largest_micro(family, [few, many])
    assert both == train_memory.largest_micro(family, [few])
    assert both.items == 1


def test_cached_items_leave_the_memory_free_that_the_denoisers_will_take(cache, tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr(read_items, "memory_budget", lambda models: left.append(models) or 1 << 30)
    config = train_config(cache, tmp_path / "out", model=None, dit=model_file(tmp_path))
    plan = plan_training(config)
    assert plan.resting_bytes == plan.details["memory_bytes"]
    with pytest.raises(ModelError):
        train_lora.run(plan, RunContext(Recorder()))
    assert left == [plan.resting_bytes]
