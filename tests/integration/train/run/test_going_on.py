"""Going on from a training state with other settings: what the user changes counts, what cannot change is refused."""

import shutil
from pathlib import Path

import pytest
import torch

from blissmask.config.sections.optimizer_section import OptimizerSection
from blissmask.errors import MachineError, ModelError, StoppedError, UsageError
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training import loop
from blissmask.training.record.metrics import read_log
from blissmask.training.record.states.find import find_states
from blissmask.training.step import run_step as step
from tests.builders.families import CACHE_SUFFIX
from tests.builders.training import problems_of, run, tensors_of, train_config, write_entry, write_masked_set


def rates(folder):
    return [line["lr"] for line in read_log(folder / "kyla-log.jsonl")]


def stop(cache, out, **options):
    """Train two of four steps and return what the stop says."""
    with pytest.raises(StoppedError) as caught:
        run(train_config(cache, out, max_train_steps=4, **options), stop_after=2)
    return caught.value


@pytest.fixture(scope="module")
def stopped_training(tmp_path_factory):
    """Return the folder of a training that was stopped after two of four steps, with the options of :func:`train_config`."""
    folder = tmp_path_factory.mktemp("stopped")
    stop(write_masked_set(folder / "cache"), folder / "out")
    return folder / "out"


@pytest.fixture
def stopped(stopped_training, tmp_path):
    """Return the output folder of a stopped training, a copy of this test's own."""
    return shutil.copytree(stopped_training, tmp_path / "stopped")


def test_a_lower_learning_rate_counts_from_the_next_step(cache, stopped):
    run(train_config(cache, stopped, max_train_steps=4, learning_rate=1e-4))
    assert rates(stopped) == [1e-2] * 2 + [1e-4] * 2


def test_another_schedule_counts_from_the_next_step(cache, tmp_path, stopped):
    run(train_config(cache, tmp_path / "whole", max_train_steps=4, lr_scheduler="linear"))
    run(train_config(cache, stopped, max_train_steps=4, lr_scheduler="linear"))
    assert rates(stopped)[2:] == rates(tmp_path / "whole")[2:]


@pytest.fixture(scope="module")
def gone_on(stopped_training, tmp_path_factory):
    """Return the log of the stopped training that went on with its own options."""
    folder = tmp_path_factory.mktemp("gone_on")
    out = shutil.copytree(stopped_training, folder / "out")
    run(train_config(write_masked_set(folder / "cache"), out, max_train_steps=4))
    return read_log(out / "kyla-log.jsonl")


@pytest.mark.parametrize("change", [{"weight_decay": 0.5}, {"optimizer_args": ["betas=(0.5,0.6)"]}])
def test_another_option_of_the_optimiser_changes_what_is_learnt(cache, stopped, gone_on, change):
    run(train_config(cache, stopped, max_train_steps=4, **change))
    lines = read_log(stopped / "kyla-log.jsonl")
    # The loss of the third step is taken before the first update with the other option.
    assert lines[:3] == gone_on[:3]
    assert lines[3]["loss"] != gone_on[3]["loss"]


@pytest.mark.parametrize("change", [{"network_alpha": 2.0}, {"use_rslora": True}, {"network_type": "loha"}])
def test_what_would_rescale_all_that_was_learnt_is_refused(cache, stopped, change):
    with pytest.raises(UsageError, match="made with other settings") as caught:
        plan_training(train_config(cache, stopped, max_train_steps=4, **change))
    assert f"`{next(iter(change))}` was" in problems_of(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "run the same command again to continue"),
        ({"resume": False}, "run the command again without `--no-resume` to continue"),
        ({"force": True}, "run the command again without `--force` to continue"),
    ],
)
def test_a_stop_says_what_to_type(cache, tmp_path, options, told):
    assert stop(cache, tmp_path / "out", **options).problems[0].fix.startswith(told)


def test_the_plan_holds_no_tensors_of_the_state(cache, stopped):
    state = plan_training(train_config(cache, stopped, max_train_steps=4)).state
    assert state.step == 2
    assert "tensors" not in type(state).__slots__
    assert state.tensors()["lora"]


def test_prodigy_finds_its_own_rate_unless_one_is_given(cache, tmp_path):
    pytest.importorskip("prodigyopt")
    assert plan_training(train_config(cache, tmp_path / "out")).config.optimizer.learning_rate == 1e-2
    options = {"optimizer_type": "prodigy", "max_train_steps": 2}
    config = train_config(cache, tmp_path / "out", **options)
    left_out = OptimizerSection(optimizer_type="prodigy")
    plan = plan_training(config.model_copy(update={"optimizer": left_out}))
    assert plan.config.optimizer.learning_rate == 1.0
    low = plan_training(train_config(cache, tmp_path / "out", **options))
    assert any("multiplies it by `learning_rate = 0.01`" in warning.what for warning in low.warnings)


def test_an_optimiser_that_cannot_take_a_step_is_refused_by_the_plan(cache, tmp_path):
    pytest.importorskip("prodigyopt")
    with pytest.raises(UsageError, match="`prodigy` cannot train with these settings"):
        plan_training(train_config(cache, tmp_path / "out", optimizer_type="prodigy", loraplus_lr_ratio=4.0))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: you tried"), MemoryError()],
)
def test_a_full_memory_says_what_makes_the_training_smaller(cache, tmp_path, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(loop, "run_step", full)
    with pytest.raises(MachineError, match="does not fit into the memory") as caught:
        run(train_config(cache, tmp_path / "out", int8_base=True))
    told = problems_of(caught.value)
    assert "1 x 1 x 4 x 4 latent cells" in told
    assert "use `--gradient-checkpointing`, then `--blocks-to-swap N`, a smaller `resolution`" in told


def test_steps_that_are_done_are_saved_when_memory_runs_out_and_going_on_gives_the_same(cache, tmp_path, monkeypatch):
    options = {"max_train_steps": 3, "use_mask_loss": True}
    run(train_config(cache, tmp_path / "whole", **options))
    backward, calls = step._backward, []

    def full_at_the_third(*args, **kwargs):
        sums = backward(*args, **kwargs)
        calls.append(args)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sums

    monkeypatch.setattr(step, "_backward", full_at_the_third)
    with pytest.raises(MachineError):
        run(train_config(cache, tmp_path / "out", **options))
    assert [done for done, _ in find_states(tmp_path / "out", "kyla").whole] == [2]
    run(train_config(cache, tmp_path / "out", **options))
    whole, parts = (tensors_of(tmp_path / name / "kyla.safetensors") for name in ("whole", "out"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert (tmp_path / "out" / "kyla-log.jsonl").read_bytes() == (tmp_path / "whole" / "kyla-log.jsonl").read_bytes()


def test_other_errors_of_torch_stay_what_they_are(cache, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(loop, "run_step", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run(train_config(cache, tmp_path / "out"))


def test_a_lora_with_dora_norms_is_not_started_from_without_them(cache, tmp_path):
    run(train_config(cache, tmp_path / "first", use_dora=True))
    start = tmp_path / "first" / "kyla.safetensors"
    with pytest.raises(ModelError, match="trained with DoRA") as caught:
        run(train_config(cache, tmp_path / "second", network_weights=start))
    assert "--use-dora" in problems_of(caught.value)
    run(train_config(cache, tmp_path / "second", network_weights=start, use_dora=True))


def test_entries_with_pictures_of_other_sizes_are_not_put_into_one_batch(tmp_path):
    from blissmask.cachefile.write import write_latents

    for number, side in enumerate((4, 4, 8)):
        path = write_entry(tmp_path / "cache", f"kyla{number}", seed=number)
        contents = {"latents": torch.zeros(16, 1, 4, 4), "latents_control_0": torch.zeros(16, 1, side, side)}
        write_latents(
            path,
            contents,
            weights_1fhw=None,
            regions_4fhw=None,
            metadata={"architecture": CACHE_SUFFIX, "format_version": "1.0.1"},
        )
    plan = plan_training(
        train_config(
            tmp_path / "cache", tmp_path / "out", datasets=[{"cache_directory": tmp_path / "cache", "batch_size": 4}]
        )
    )
    assert sorted(sorted(plan.data.order.indices(number)) for number in range(plan.data.order.batches_per_epoch)) == [
        [0, 1],
        [2],
    ]


def told(cache, out, **options):
    return {warning.what: warning for warning in plan_training(train_config(cache, out, **options)).warnings}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the output folder of a training that took its two steps; planning changes nothing in it."""
    folder = tmp_path_factory.mktemp("finished")
    run(train_config(write_masked_set(folder / "cache"), folder / "out"))
    return folder / "out"


def test_a_training_that_is_finished_says_so_and_what_to_do(cache, finished):
    warning = told(cache, finished)["`kyla` is already trained for 2 steps, so nothing is done"]
    assert warning.where == ()
    assert "--max-train-steps" in warning.fix
    assert "--output-name" in warning.fix
    assert "--no-resume" in warning.fix


def test_a_training_that_is_finished_with_other_settings_does_not_claim_to_go_on(cache, finished):
    warnings = told(cache, finished, mask_preset="person", learning_rate=1e-3)
    assert not any("goes on" in what for what in warnings)
    where = warnings["`kyla` is already trained for 2 steps, so nothing is done"].where
    assert where[0] == "it was trained with other settings:"
    assert "`mask_preset` was not set, is person" in where
    assert "`learning_rate` was 0.01, is 0.001" in where


def test_other_masks_in_the_cache_are_noticed_when_training_goes_on(cache, stopped):
    write_masked_set(cache, **{"blissmask.mean_weight": "0.25"})
    warning = told(cache, stopped, max_train_steps=4)["training goes on from step 2 with other settings"]
    assert warning.where == ("the cache holds other photos, captions or masks",)


def test_a_state_of_another_base_model_is_refused(cache, stopped, monkeypatch):
    monkeypatch.setattr(train_lora, "base_identities", lambda learners: ["other weights"])
    with pytest.raises(UsageError, match="made with another base model"):
        run(train_config(cache, stopped, max_train_steps=4))


def test_a_warning_tells_what_changed(cache, stopped):
    plan = plan_training(train_config(cache, stopped, max_train_steps=4, learning_rate=1e-3))
    [warning] = [warning for warning in plan.warnings if "other settings" in warning.what]
    assert "`learning_rate` was 0.01, is 0.001" in warning.where


def test_lora_files_of_an_earlier_run_are_none_of_a_new_one_also_where_it_is_resumed(cache, tmp_path):
    out = tmp_path / "out"
    run(train_config(cache, out, max_train_steps=4, save_every_n_steps=1))
    steps = {"max_train_steps": 2, "save_every_n_steps": 1}
    anew, _ = run(train_config(cache, out, resume=False, **steps))
    assert [Path(path).stem[-1] for path in anew.details["checkpoints"]] == ["1"]
    resumed, _ = run(train_config(cache, out, **steps | {"max_train_steps": 4}))
    # After step 2 the last file of the new run was saved, and none of that step.
    assert [Path(path).stem[-1] for path in resumed.details["checkpoints"]] == ["1", "3"]
