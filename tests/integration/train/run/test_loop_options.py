"""Options of the loop: what is shown how often, from which seed, with which loss, and where the weights rest meanwhile."""

import pytest
import torch

from blissmask.events import Measured
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.experts import Learner
from tests.builders.families import TWO_EXPERTS
from tests.builders.training import losses, run, tensors_of, train_config, write_entry, write_masked_set


def watch_learners(monkeypatch, look):
    """Let ``look`` see each learner of the test's runs once it is loaded."""
    genuine = train_lora.load_learners

    def load(*arguments):
        learners, left_out = genuine(*arguments)
        for learner in learners:
            look(learner)
        return learners, left_out

    monkeypatch.setattr(train_lora, "load_learners", load)


@pytest.fixture
def learners(monkeypatch):
    """Return the list that the learners of the test's runs go into."""
    kept = []
    watch_learners(monkeypatch, kept.append)
    return kept


@pytest.fixture
def block_calls(monkeypatch):
    """Return the list that every call of a model's first block goes into."""
    calls = []
    watch_learners(
        monkeypatch,
        lambda learner: learner.denoiser.module.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1)),
    )
    return calls


def lora_of(folder, name="kyla"):
    return tensors_of(folder / f"{name}.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


# What is shown


@pytest.mark.parametrize("kind", ["image_directory", "video_directory"])
def test_without_a_cache_folder_the_cache_is_beside_what_it_was_made_from(cache, tmp_path, kind):
    plan = plan_training(train_config(cache, tmp_path / "out", datasets=[{kind: cache}]))
    assert [cached.folder for cached in plan.data.sets] == [cache]


def test_a_cache_folder_of_its_own_comes_first(cache, tmp_path):
    plan = plan_training(
        train_config(cache, tmp_path / "out", datasets=[{"image_directory": tmp_path, "cache_directory": cache}])
    )
    assert [cached.folder for cached in plan.data.sets] == [cache]


def test_an_epoch_shows_the_items_of_a_data_set_as_often_as_it_repeats(cache, tmp_path):
    plan = plan_training(train_config(cache, tmp_path / "out", datasets=[{"cache_directory": cache, "num_repeats": 3}]))
    assert plan.data.order.batches_per_epoch == 4 * 3


# The loss


def test_huber_logs_a_smaller_loss_the_smaller_its_delta(cache, tmp_path):
    options = [{}, {"loss_type": "huber"}, {"loss_type": "huber", "huber_delta": 0.1}]
    firsts = [
        losses(run(train_config(cache, tmp_path / str(n), max_train_steps=1, **extra))[1])[0]
        for n, extra in enumerate(options)
    ]
    assert firsts[0] > firsts[1] > firsts[2]


# The seed


def order_of(cache, seed):
    order = plan_training(train_config(cache, cache / "out", seed=seed)).data.order
    return [order.indices(number) for number in range(order.batches_per_epoch)]


def test_another_seed_shows_the_items_in_another_order(tmp_path):
    cache = write_masked_set(tmp_path / "cache", count=8)
    assert order_of(cache, 1) != order_of(cache, 2)


def test_another_seed_draws_other_noise(tmp_path):
    """In the first step of a single item the LoRA adds nothing yet: at a fixed noise level the noise alone decides the loss."""
    write_entry(tmp_path / "cache", "kyla")
    options = {"max_train_steps": 1, "min_timestep": 500, "max_timestep": 500}
    first, second = (
        losses(run(train_config(tmp_path / "cache", tmp_path / str(seed), seed=seed, **options))[1]) for seed in (1, 2)
    )
    assert first != second


def test_another_seed_draws_other_noise_levels(cache, tmp_path):
    recorders = [run(train_config(cache, tmp_path / str(seed), seed=seed))[1] for seed in (1, 2)]
    first, second = ([event.values["timestep"] for event in recorder.of(Measured)] for recorder in recorders)
    assert first != second


def test_another_seed_begins_with_another_first_matrix(cache, tmp_path):
    """At such a learning rate A stays as it was drawn."""
    for seed in (1, 2):
        run(train_config(cache, tmp_path / str(seed), seed=seed, learning_rate=1e-30, max_train_steps=1))
    first, second = (
        lora_of(tmp_path / str(seed))["diffusion_model.blocks.0.self_attn.q.lora_A.weight"] for seed in (1, 2)
    )
    assert not torch.equal(first, second)


# Dropout


def test_dropout_changes_what_the_steps_see(cache, tmp_path):
    options = {"max_train_steps": 3}
    _, plain = run(train_config(cache, tmp_path / "plain", **options))
    _, dropped = run(train_config(cache, tmp_path / "dropped", network_dropout=0.5, **options))
    assert losses(plain)[1:] != losses(dropped)[1:]


def test_dropout_drops_the_same_in_every_run_of_one_seed(cache, tmp_path):
    options = {"max_train_steps": 3, "network_dropout": 0.5}
    first, second = (losses(run(train_config(cache, tmp_path / name, **options))[1]) for name in ("first", "second"))
    assert first == second


# Precision and memory


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_the_frozen_weights_have_the_precision_that_is_asked_for(cache, tmp_path, learners, name, dtype):
    run(train_config(cache, tmp_path / "out", dit_dtype=name, max_train_steps=1))
    assert dict(learners[0].denoiser.module.named_parameters())["blocks.0.attn1.to_q.base_layer.weight"].dtype == dtype


def test_the_lora_is_trained_in_float32_on_a_bfloat16_model(cache, tmp_path, learners):
    run(train_config(cache, tmp_path / "out", dit_dtype="bfloat16", max_train_steps=1))
    assert {parameter.dtype for _, parameter in learners[0].lora.named_parameters()} == {torch.float32}


@pytest.mark.parametrize(("checkpointing", "calls_per_step"), [(False, 1), (True, 2)])
def test_gradient_checkpointing_runs_each_block_again_in_the_backward_pass(
    cache, tmp_path, block_calls, checkpointing, calls_per_step
):
    run(train_config(cache, tmp_path / "out", gradient_checkpointing=checkpointing, max_train_steps=3))
    assert len(block_calls) == 3 * calls_per_step


def test_gradient_checkpointing_trains_the_same_bytes(cache, tmp_path):
    for name, checkpointing in (("plain", False), ("checkpointed", True)):
        run(train_config(cache, tmp_path / name, gradient_checkpointing=checkpointing, max_train_steps=3))
    assert same(lora_of(tmp_path / "plain"), lora_of(tmp_path / "checkpointed"))


TURNS = {"arch": TWO_EXPERTS, "expert": "both", "high_noise_share": 0.5, "expert_run_length": 1, "max_train_steps": 4}


def moves_of(cache, output, monkeypatch, **options):
    """Return which experts were moved in a run of four steps, high and low in turn."""
    moved = []
    genuine = Learner.to
    monkeypatch.setattr(Learner, "to", lambda self, device: (moved.append(self.name), genuine(self, device)))
    run(train_config(cache, output, **TURNS, **options))
    return moved


def test_experts_stay_where_they_are_when_there_is_room_for_both(cache, tmp_path, monkeypatch):
    assert moves_of(cache, tmp_path / "out", monkeypatch) == ["high", "low"] * 2


def test_the_resting_expert_makes_room_before_the_other_takes_its_turn(cache, tmp_path, monkeypatch):
    loaded, turns = ["high", "low"], ["low", "high", "high", "low"] * 2
    assert moves_of(cache, tmp_path / "out", monkeypatch, offload_inactive_dit=True) == loaded + turns


def test_offloading_trains_the_same_bytes(cache, tmp_path):
    for name, offload in (("beside", False), ("offloaded", True)):
        run(train_config(cache, tmp_path / name, offload_inactive_dit=offload, **TURNS))
    for name in ("kyla-high", "kyla-low"):
        assert same(lora_of(tmp_path / "beside", name), lora_of(tmp_path / "offloaded", name))
