"""`train` from a cache on disk to a LoRA file, with the real model class in miniature."""

import json

import pytest
import torch
from safetensors import safe_open

from blissmask.archs.protocol import ModelFiles
from blissmask.archs.registry import load_architecture
from blissmask.cachefile.read import list_headers, load_entry
from blissmask.config.load import load_config
from blissmask.errors import CacheError, InputError, ModelError, StoppedError, UsageError, exit_code_of
from blissmask.events import Announced, Measured, Warned
from blissmask.tasks.plan import Action, RunContext
from blissmask.tasks.train import train_lora
from blissmask.training.batches import collate
from blissmask.training.checkpoint import find_states
from blissmask.training.items import make_item
from blissmask.training.lora import LoraShape, adapters_off, inject_lora
from blissmask.training.lora_file import load_lora
from blissmask.training.metrics import read_log
from blissmask.training.step import noise_batch
from tests.training_builders import Recorder, problems_of, stripes, train_config, weights_of, write_entry, write_masked_set

BANNER = """\
============================================================
MASK-WEIGHTED LOSS TRAINING ENABLED
============================================================
  mask_loss_scale: 1.0
  mask_min_weight: 0.05
  mask_gamma: 0.7
------------------------------------------------------------
IMPORTANT: Masks must be baked into latent cache!
If you see 'batch has no mask_weights' errors, re-run
the cache script with mask_directory in your dataset config.
============================================================
 tier         value   weight   loss weight   share of weight
 face           255    1.000         1.000             46.3%
 body           128    0.502         0.636             29.5%
 hair            80    0.314         0.472             21.9%
 background       0    0.000         0.050              2.3%
 4 cache entries, all with mask weights; mean loss weight 0.540"""


@pytest.fixture
def cache(tmp_path):
    return write_masked_set(tmp_path / "cache")


def run(config, *, stop_after=None):
    recorder = Recorder()

    def stop_signal():
        return 15 if stop_after is not None and len(recorder.of(Measured)) >= stop_after else 0

    summary = train_lora.run(train_lora.plan(config), RunContext(recorder, stop_signal=stop_signal))
    return summary, recorder


def losses(recorder):
    return [event.values["loss"] for event in recorder.of(Measured)]


def tensors_of(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def tiny_denoiser(name="wan21", expert=""):
    return load_architecture(name).load_denoiser(
        ModelFiles(model="tiny"), expert=expert, task="t2v", device=torch.device("cpu"), dtype=torch.float32
    )


def test_banner_is_the_guides_word_for_word_with_the_tiers_as_trained(cache, tmp_path):
    _, recorder = run(train_config(cache, tmp_path / "out", use_mask_loss=True, mask_gamma=0.7, mask_min_weight=0.05))
    (announced,) = recorder.of(Announced)
    assert "\n".join(announced.lines) == BANNER


def test_without_mask_loss_there_is_no_banner_and_ignored_masks_are_named(cache, tmp_path):
    config = train_config(cache, tmp_path / "out")
    assert "4 of 4 cache entries have masks that this training ignores" in [p.what for p in train_lora.plan(config).warnings]
    assert run(config)[1].of(Announced) == []


def test_lora_file_has_original_names_alpha_and_mask_settings(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", use_mask_loss=True, mask_gamma=0.7, network_alpha=1.0))
    with safe_open(tmp_path / "out" / "kyla.safetensors", framework="pt") as file:
        keys, metadata = set(file.keys()), file.metadata()
        assert file.get_tensor("diffusion_model.blocks.0.self_attn.q.alpha").item() == 1.0
    assert "diffusion_model.blocks.1.ffn.2.lora_B.weight" in keys
    assert all(key.startswith("diffusion_model.blocks.") for key in keys)
    assert metadata["ss_mask_gamma"] == "0.7"
    assert metadata["ss_mask_loss"] == "True"
    assert metadata["modelspec.architecture"] == "wan2.1/lora"
    assert len(metadata["sshs_model_hash"]) == 64


def test_lora_file_loads_into_a_diffusers_pipeline_without_error(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", network_alpha=1.0, max_train_steps=4))
    file = tmp_path / "out" / "kyla.safetensors"
    ours = tiny_denoiser()
    lora = inject_lora(ours, LoraShape(rank=2, alpha=1.0), seed=0)
    load_lora(file, lora)
    with torch.no_grad():
        trained = ours.predict(inputs_of(cache))
        with adapters_off(lora):
            base = ours.predict(inputs_of(cache))
    assert (trained - prediction_with(file, cache)).abs().max() == 0.0
    assert (trained - base).abs().max() > 1e-3


@pytest.mark.parametrize("file_format", ["kohya", "diffusers"])
def test_other_formats_load_into_diffusers_and_back_here_like_the_native_one(cache, tmp_path, file_format):
    options = {"network_alpha": 1.0, "max_train_steps": 3}
    run(train_config(cache, tmp_path / "native", **options))
    run(train_config(cache, tmp_path / file_format, lora_format=file_format, **options))
    outputs = [prediction_with(tmp_path / name / "kyla.safetensors", cache) for name in ("native", file_format)]
    assert torch.allclose(outputs[0], outputs[1], atol=1e-6)
    denoiser = tiny_denoiser()
    load_lora(tmp_path / file_format / "kyla.safetensors", inject_lora(denoiser, LoraShape(rank=2, alpha=1.0), seed=0))
    with torch.no_grad():
        assert torch.allclose(denoiser.predict(inputs_of(cache)), outputs[0], atol=1e-6)


def prediction_with(file, cache):
    """Return what the diffusers pipeline's transformer predicts with a LoRA file."""
    denoiser = tiny_denoiser()
    pipeline_of(denoiser.module).load_lora_weights(str(file.parent), weight_name=file.name)
    with torch.no_grad():
        return denoiser.predict(inputs_of(cache))


def pipeline_of(transformer):
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline

    vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    return WanPipeline(tokenizer=None, text_encoder=None, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(), transformer=transformer)


def inputs_of(cache):
    _, inputs = noise_batch(collate([items(cache)[0]], 0), torch.tensor([0.5]), seed=0, device=torch.device("cpu"))
    return inputs


def items(cache, **options):
    options = {"rule": None, "prior_threshold": None, **options}
    return [make_item(header, load_entry(header), **options) for header in list_headers(cache, "wan")]


def test_only_the_lora_moves_and_the_loss_of_a_fixed_batch_falls(cache, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(train_lora, "load_learners", keep_result(train_lora.load_learners, kept))
    untouched = {name: value.clone() for name, value in tiny_denoiser().module.state_dict().items()}
    _, recorder = run(train_config(cache, tmp_path / "out", max_train_steps=60, min_timestep=500, max_timestep=500, network_dim=8))
    after = {name.replace(".base_layer", ""): value for name, value in kept[0].denoiser.module.state_dict().items() if "lora_" not in name}
    assert after.keys() == untouched.keys()
    assert all(torch.equal(after[name], untouched[name]) for name in untouched)
    first, last = losses(recorder)[:8], losses(recorder)[-8:]
    assert sum(last) < sum(first)


def test_fp8_keeps_the_blocks_in_float8_and_the_lora_in_float32(cache, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(train_lora, "load_learners", keep_result(train_lora.load_learners, kept))
    run(train_config(cache, tmp_path / "out", fp8_base=True))
    parameters = dict(kept[0].denoiser.module.named_parameters())
    assert parameters["blocks.0.attn1.to_q.base_layer.weight"].dtype == torch.float8_e4m3fn
    assert {parameter.dtype for _, parameter in kept[0].lora.named_parameters()} == {torch.float32}
    assert parameters["patch_embedding.weight"].dtype == torch.float32


def keep_result(function, kept):
    def call(*arguments):
        learners, left_out = function(*arguments)
        kept.extend(learners)
        return learners, left_out

    return call


def test_what_lies_under_weight_zero_changes_no_lora_byte_at_floor_zero(tmp_path):
    shares = stripes(1, 4, 4)
    outcomes = []
    for name, change in (("same", 0.0), ("other", 50.0)):
        folder = tmp_path / name / "cache"
        write_entry(folder, "kyla", weights=weights_of(shares), regions=shares)
        # Only the target may differ: the model's input sees the background, so it is pushed in at noise level 1.
        target = load_entry(list_headers(folder, "wan")[0]).latents_Cfhw.float()
        target[:, :, 3] += change
        write_entry(folder, "kyla", latents=target, weights=weights_of(shares), regions=shares)
        config = train_config(folder, tmp_path / name / "out", use_mask_loss=True, min_timestep=1000, max_timestep=1000)
        run(config)
        outcomes.append(tensors_of(tmp_path / name / "out" / "kyla.safetensors"))
    assert all(torch.equal(outcomes[0][key], outcomes[1][key]) for key in outcomes[0])


def test_an_all_ones_mask_trains_like_no_mask(tmp_path):
    for stem in ("a", "b"):
        write_entry(tmp_path / "cache", stem, weights=torch.ones(1, 1, 4, 4), seed=ord(stem))
    _, masked = run(train_config(tmp_path / "cache", tmp_path / "masked", use_mask_loss=True, max_train_steps=4))
    _, plain = run(train_config(tmp_path / "cache", tmp_path / "plain", max_train_steps=4))
    assert losses(masked) == pytest.approx(losses(plain), rel=1e-6)


def test_a_mixed_set_counts_and_names_what_has_no_mask(cache, tmp_path):
    bare = write_entry(cache, "bare", seed=9)
    plan = train_lora.plan(train_config(cache, tmp_path / "out", use_mask_loss=True))
    (warning,) = [p for p in plan.warnings if "full weight" in p.what]
    assert warning.what == "1 of 5 cache entries have no mask and count as full weight"
    assert str(bare) in warning.where


def test_floor_zero_without_prior_is_said_to_be_unconstrained_with_two_remedies(cache, tmp_path):
    (problem,) = train_lora.plan(train_config(cache, tmp_path / "out", use_mask_loss=True)).warnings
    assert "unconstrained outside the mask" in problem.what
    assert "--prior-preservation-weight" in problem.fix
    assert "--mask-min-weight" in problem.fix
    floored = train_config(cache, tmp_path / "out", use_mask_loss=True, mask_min_weight=0.05)
    assert train_lora.plan(floored).warnings == []


def test_a_mask_loss_scale_warns_that_it_has_no_effect(cache, tmp_path):
    plan = train_lora.plan(train_config(cache, tmp_path / "out", use_mask_loss=True, mask_min_weight=0.05, mask_loss_scale=2.0))
    assert "--mask_loss_scale has no effect" in plan.warnings[0].what


def test_mask_loss_without_any_mask_is_fatal_before_a_model_is_loaded(tmp_path):
    path = write_entry(tmp_path / "cache", "kyla")
    with pytest.raises(CacheError) as caught:
        train_lora.plan(train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, model="no-such-model"))
    assert caught.value.problems[0].what == "FATAL: --use_mask_loss is enabled but batch has no mask_weights!"
    assert path.name in problems_of(caught.value)
    assert "blissmask cache --arch wan21" in problems_of(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mask_gamma", "0", "--mask_gamma must be > 0"),
        ("mask_min_weight", "1.0", "--mask_min_weight must be in range [0, 1)"),
        ("mask_loss_scale", "-1", "--mask_loss_scale must be > 0"),
    ],
)
def test_arguments_out_of_range_are_refused_in_the_words_of_the_guide(field, value, message):
    with pytest.raises(UsageError) as caught:
        load_config(None, {"mask_loss": {field: value}})
    assert message in problems_of(caught.value)


def test_family_comes_from_the_cache_when_it_is_not_given(tmp_path):
    write_masked_set(tmp_path / "cache", **{"blissmask.arch": "wan22", "blissmask.task": "t2v"})
    plan = train_lora.plan(train_config(tmp_path / "cache", tmp_path / "out", arch=None))
    assert (plan.arch.name, plan.task) == ("wan22", "t2v")


def test_family_that_nobody_knows_is_asked_for(cache, tmp_path):
    with pytest.raises(UsageError, match="family is not known"):
        train_lora.plan(train_config(cache, tmp_path / "out", arch=None))


def test_a_cache_of_another_family_is_refused_by_name(tmp_path):
    path = write_entry(tmp_path / "cache", "kyla", arch="qi")
    with pytest.raises(CacheError, match="another model family") as caught:
        train_lora.plan(train_config(tmp_path / "cache", tmp_path / "out"))
    assert str(path) in problems_of(caught.value)


def test_a_caption_that_was_not_cached_is_named(tmp_path):
    write_entry(tmp_path / "cache", "kyla", text=False)
    with pytest.raises(CacheError, match="no cached caption") as caught:
        train_lora.plan(train_config(tmp_path / "cache", tmp_path / "out"))
    assert "kyla_wan_te.safetensors" in problems_of(caught.value)


def test_a_truncated_cache_file_is_named(cache, tmp_path):
    path = next(cache.glob("kyla000_*x*_wan.safetensors"))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CacheError) as caught:
        train_lora.plan(train_config(cache, tmp_path / "out"))
    assert str(path) in problems_of(caught.value)


def test_nan_in_latents_is_an_error_that_names_the_file(cache, tmp_path):
    from safetensors.torch import save_file

    path = next(cache.glob("kyla001_*x*_wan.safetensors"))
    tensors = tensors_of(path)
    tensors["latents_1x4x4_bfloat16"][0, 0, 0, 0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(CacheError, match="NaN") as caught:
        run(train_config(cache, tmp_path / "out"))
    assert str(path) in problems_of(caught.value)
    assert not (tmp_path / "out" / "kyla.safetensors").exists()


def test_an_empty_mask_is_passed_over_and_counted_and_nothing_is_nan(cache, tmp_path):
    write_entry(cache, "empty", weights=torch.zeros(1, 1, 4, 4), seed=7)
    summary, recorder = run(train_config(cache, tmp_path / "out", use_mask_loss=True, max_train_steps=5))
    assert "1 of 5 cache entries have weight 0 everywhere" in recorder.of(Warned)[0].problem.what
    assert summary.details["empty_masks"] == 1
    assert sum(event.values["mask/empty"] for event in recorder.of(Measured)) == 1
    assert all(torch.isfinite(value).all() for value in tensors_of(tmp_path / "out" / "kyla.safetensors").values())


def test_losses_are_logged_per_region(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", use_mask_loss=True))
    line = read_log(tmp_path / "out" / "kyla-log.jsonl")[0]
    assert {"loss", "loss/face", "loss/body", "loss/hair", "loss/background", "mask/weight", "lr", "grad_norm"} <= line.keys()


def test_tensorboard_gets_every_step(cache, tmp_path):
    event_file = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    run(train_config(cache, tmp_path / "out", use_mask_loss=True, max_train_steps=3))
    (path,) = (tmp_path / "out" / "logs" / "kyla").iterdir()
    events = [event for event in event_file.EventFileLoader(str(path)).Load() if event.HasField("summary")]
    assert {(event.step, event.summary.value[0].tag) for event in events} >= {(step, "loss/face") for step in (1, 2, 3)}


def test_regions_that_a_step_does_not_show_are_left_out_of_its_numbers(tmp_path):
    shares = torch.zeros(4, 1, 4, 4)
    shares[1] = 1.0
    write_entry(tmp_path / "cache", "coat", weights=weights_of(shares), regions=shares)
    run(train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True))
    line = read_log(tmp_path / "out" / "kyla-log.jsonl")[0]
    assert line["loss/body"] == pytest.approx(line["loss"], rel=1e-5)
    assert not {"loss/face", "loss/hair", "loss/background"} & line.keys()


def test_a_non_finite_loss_stops_the_run_and_keeps_the_last_state(cache, tmp_path):
    def fail(*arguments, **options):
        values = genuine(*arguments, **options)
        return {**values, "loss": float("nan")} if options["step"] == 3 else values

    from blissmask.training import loop

    genuine = loop.run_step
    config = train_config(cache, tmp_path / "out", save_every_n_steps=2, max_train_steps=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "run_step", fail)
        with pytest.raises(InputError, match="not finite at step 4"):
            run(config)
    assert [step for step, _ in find_states(tmp_path / "out", "kyla").whole] == [2]


def test_a_finished_training_is_not_done_again(cache, tmp_path):
    config = train_config(cache, tmp_path / "out")
    run(config)
    plan = train_lora.plan(config)
    assert [item.action for item in plan.items] == [Action.SKIP]
    longer = train_lora.plan(train_config(cache, tmp_path / "out", max_train_steps=3))
    assert [item.action for item in longer.items] == [Action.WRITE]


def test_hostile_lora_for_a_warm_start_is_refused(cache, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(ModelError, match="missing or damaged"):
        run(train_config(cache, tmp_path / "out", network_weights=bad))


def test_warm_start_begins_from_the_weights_of_the_file(cache, tmp_path):
    run(train_config(cache, tmp_path / "first", network_alpha=1.0))
    start = tmp_path / "first" / "kyla.safetensors"
    run(train_config(cache, tmp_path / "second", network_weights=start, learning_rate=1e-12, max_train_steps=1, weight_decay=0.0))
    for key, value in tensors_of(start).items():
        if key.endswith("lora_A.weight"):
            assert torch.allclose(tensors_of(tmp_path / "second" / "kyla.safetensors")[key], value, atol=1e-6)


def test_a_stop_signal_finishes_the_step_and_saves(cache, tmp_path):
    with pytest.raises(StoppedError) as caught:
        run(train_config(cache, tmp_path / "out", max_train_steps=8), stop_after=3)
    assert exit_code_of(caught.value) == 143
    assert [step for step, _ in find_states(tmp_path / "out", "kyla").whole] == [3]


@pytest.mark.parametrize("extra", [{}, {"network_dropout": 0.3, "lr_scheduler": "cosine", "gradient_accumulation_steps": 2}])
def test_four_steps_a_stop_and_four_more_give_the_bytes_of_eight(cache, tmp_path, extra):
    options = {"use_mask_loss": True, "mask_gamma": 0.7, "max_train_steps": 8, **extra}
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=4)
    run(train_config(cache, tmp_path / "parts", **options))
    assert parsed(tmp_path / "parts" / "kyla.safetensors") == parsed(tmp_path / "whole" / "kyla.safetensors")
    assert (tmp_path / "parts" / "kyla-log.jsonl").read_bytes() == (tmp_path / "whole" / "kyla-log.jsonl").read_bytes()


def parsed(path):
    """Return header and data of a safetensors file; the order of metadata in the header is the library's and changes from call to call."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def test_log_lines_after_the_last_state_are_trained_and_written_again(cache, tmp_path):
    config = train_config(cache, tmp_path / "out", max_train_steps=4)
    run(config)
    log = tmp_path / "out" / "kyla-log.jsonl"
    expected = log.read_bytes()
    log.write_bytes(expected + json.dumps({"step": 5, "loss": 9.0}).encode() + b'\n{"step": 6, "lo')
    longer = train_config(cache, tmp_path / "out", max_train_steps=5)
    run(longer)
    assert log.read_bytes().startswith(expected)
    assert [line["step"] for line in read_log(log)] == [1, 2, 3, 4, 5]


def test_a_damaged_state_is_named_and_the_older_whole_one_is_used(cache, tmp_path):
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "out", max_train_steps=8, save_every_n_steps=2), stop_after=4)
    newest = find_states(tmp_path / "out", "kyla").newest
    (newest / "lora.safetensors").write_bytes((newest / "lora.safetensors").read_bytes()[:-1])
    plan = train_lora.plan(train_config(cache, tmp_path / "out", max_train_steps=8, save_every_n_steps=2))
    assert plan.state.step == 2
    assert str(newest) in plan.warnings[-1].where or any(str(newest) in p.where for p in plan.warnings)


def test_only_the_last_states_are_kept(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", max_train_steps=5, save_every_n_steps=1, keep_last=2))
    assert [step for step, _ in find_states(tmp_path / "out", "kyla").whole] == [4, 5]
    assert (tmp_path / "out" / "kyla-step00000001.safetensors").is_file()


def test_another_rank_cannot_go_on_from_a_state(cache, tmp_path):
    run(train_config(cache, tmp_path / "out"))
    with pytest.raises(UsageError, match="other settings") as caught:
        train_lora.plan(train_config(cache, tmp_path / "out", network_dim=4, max_train_steps=4))
    assert "`network_dim` was 2, is 4" in problems_of(caught.value)
    anew = train_lora.plan(train_config(cache, tmp_path / "out", network_dim=4, resume=False))
    assert anew.state is None
