"""Two experts: one LoRA each, steps by share, noise inside each one's range."""

import itertools

import pytest
import torch

from blissmask.errors import StoppedError, UsageError
from blissmask.events import Measured, Noted
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.experts import schedule_steps
from tests.builders.families import TWO_EXPERTS, tiny_denoiser
from tests.builders.training import run, tensors_of, train_config


def files_in(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def moved(path):
    return any(value.abs().max() > 0 for key, value in tensors_of(path).items() if key.endswith("lora_B.weight"))


def test_low_expert_is_trained_when_none_is_named(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", arch=TWO_EXPERTS))
    assert files_in(tmp_path / "out") == ["kyla-low.safetensors"]


def test_both_experts_get_a_file_each_and_noise_of_their_own_range(cache, tmp_path):
    _, recorder = run(
        train_config(
            cache,
            tmp_path / "out",
            arch=TWO_EXPERTS,
            expert="both",
            max_train_steps=12,
            expert_run_length=3,
            high_noise_share=0.5,
        )
    )
    assert files_in(tmp_path / "out") == ["kyla-high.safetensors", "kyla-low.safetensors"]
    assert all(moved(tmp_path / "out" / name) for name in files_in(tmp_path / "out"))
    for event in recorder.of(Measured):
        high = "loss/high" in event.values
        assert (event.values["timestep"] >= 0.875) == high
    turns = ["high" if "loss/high" in event.values else "low" for event in recorder.of(Measured)]
    assert turns == (["high"] * 3 + ["low"] * 3) * 2


def test_share_of_the_steps_follows_the_noise_and_is_said(cache, tmp_path):
    plan = plan_training(train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, expert="both", max_train_steps=100))
    # With shift 3, 0.875 lies at the logistic 0.847 of a standard normal: 19.8 percent of the draws are above it.
    assert plan.steps.expert_lines() == [
        "the high-noise expert gets 20 of 100 steps (20%)",
        "the low-noise expert gets 80 of 100 steps (80%)",
    ]
    _, recorder = run(
        train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, expert="both", max_train_steps=4, high_noise_share=0.5)
    )
    assert "the high-noise expert gets 2 of 4 steps (50%)" in [event.text for event in recorder.of(Noted)]


def test_a_shared_lora_is_one_file_that_both_experts_move(cache, tmp_path):
    options = {
        "arch": TWO_EXPERTS,
        "expert": "both",
        "shared_lora": True,
        "high_noise_share": 0.5,
        "expert_run_length": 1,
        "weight_decay": 0.0,
    }
    run(train_config(cache, tmp_path / "out", max_train_steps=2, **options))
    assert files_in(tmp_path / "out") == ["kyla.safetensors"]
    run(train_config(cache, tmp_path / "one", max_train_steps=1, **options))
    both, first = tensors_of(tmp_path / "out" / "kyla.safetensors"), tensors_of(tmp_path / "one" / "kyla.safetensors")
    assert any(not torch.equal(both[key], first[key]) for key in both if key.endswith("lora_B.weight"))


@pytest.mark.parametrize("shared", [False, True])
def test_two_experts_resume_to_the_same_weights(cache, tmp_path, shared):
    options = {
        "arch": TWO_EXPERTS,
        "expert": "both",
        "max_train_steps": 8,
        "expert_run_length": 2,
        "high_noise_share": 0.5,
        "shared_lora": shared,
        "lr_scheduler": "cosine",
        "offload_inactive_dit": True,
    }
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=3)
    run(train_config(cache, tmp_path / "parts", **options))
    for name in files_in(tmp_path / "whole"):
        whole, parts = tensors_of(tmp_path / "whole" / name), tensors_of(tmp_path / "parts" / name)
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_lora_of_the_high_expert_loads_into_its_transformer(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, expert="high"))
    denoiser = tiny_denoiser(TWO_EXPERTS)
    names = {
        key.removeprefix("diffusion_model.").rpartition(".lora_")[0]
        for key in tensors_of(tmp_path / "out" / "kyla-high.safetensors")
    }
    originals = {denoiser.original_name(name) for name, _ in denoiser.module.named_modules()}
    assert {name for name in names if name} <= originals


def test_an_expert_of_a_family_with_one_is_refused(cache, tmp_path):
    with pytest.raises(UsageError, match="only one expert"):
        plan_training(train_config(cache, tmp_path / "out", expert="high"))


def test_a_range_upside_down_is_refused(cache, tmp_path):
    with pytest.raises(UsageError, match="above `max_timestep`"):
        plan_training(train_config(cache, tmp_path / "out", min_timestep=900, max_timestep=100))


def test_a_fixed_noise_level_stays_fixed_inside_an_experts_range(cache, tmp_path):
    _, recorder = run(
        train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, expert="low", min_timestep=500, max_timestep=500)
    )
    assert [event.values["timestep"] for event in recorder.of(Measured)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "expert"),
    [({"expert": "both", "max_timestep": 800}, "high"), ({"min_timestep": 900, "max_timestep": 900}, "low")],
)
def test_a_range_that_leaves_an_expert_nothing_is_refused(cache, tmp_path, options, expert):
    with pytest.raises(UsageError, match=f"leave nothing to the {expert}-noise expert"):
        plan_training(train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, **options))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_the_schedule_gives_every_expert_its_share_in_long_runs(share):
    schedule = schedule_steps([share, 1 - share], run_length=8, total=1600)
    counts = [schedule.steps_of(position) for position in (0, 1)]
    assert sum(counts) == 1600
    assert counts[0] / 1600 == pytest.approx(share, abs=0.01)
    turns = [schedule.learner_at(step) for step in range(1600)]
    changes = sum(a != b for a, b in itertools.pairwise(turns))
    assert changes <= 2 * 1600 * min(share, 1 - share) / 8 + 2


def test_one_expert_gets_every_step():
    assert schedule_steps([1.0], run_length=8, total=5).steps_of(0) == 5
    # Without counting them one by one, which took the plan of so long a run a quarter of an hour.
    assert schedule_steps([1.0], run_length=8, total=10**9).steps_of(0) == 10**9
