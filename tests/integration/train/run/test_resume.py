"""Training goes on where it stopped: states, logs, and the bytes of a run that was never interrupted."""

import json

import pytest
import torch

from blissmask.errors import InputError, StoppedError, UsageError, exit_code_of
from blissmask.tasks.run.plan import Action
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.record.metrics import read_log
from blissmask.training.record.states.find import find_states
from blissmask.training.record.states.load import load_state
from tests.builders.training import problems_of, run, train_config, write_entry, write_other_texts


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
    plan = plan_training(config)
    assert [item.action for item in plan.items] == [Action.SKIP]
    longer = plan_training(train_config(cache, tmp_path / "out", max_train_steps=3))
    assert [item.action for item in longer.items] == [Action.WRITE]


def test_a_stop_signal_finishes_the_step_and_saves(cache, tmp_path):
    with pytest.raises(StoppedError) as caught:
        run(train_config(cache, tmp_path / "out", max_train_steps=8), stop_after=3)
    assert exit_code_of(caught.value) == 143
    assert [step for step, _ in find_states(tmp_path / "out", "kyla").whole] == [3]


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"network_dropout": 0.3, "lr_scheduler": "cosine", "gradient_accumulation_steps": 2},
        {"scale_weight_norms": 0.02},
        {"num_timestep_buckets": 5},
        {
            "ema_decay": 0.9,
            "use_dora": True,
            "prior_preservation_weight": 0.5,
            "trigger_free_weight": 0.5,
            "trigger_free_share": 0.3,
            "prior_share": 0.6,
            "prior_mask": "continuous",
            "prior_warmup_steps": 6,
            "datasets": ["cache", "others"],
            "shuffle_caption": True,
            "caption_dropout_rate": 0.3,
        },
    ],
)
def test_four_steps_a_stop_and_four_more_give_the_bytes_of_eight(cache, tmp_path, extra):
    options = {"use_mask_loss": True, "mask_gamma": 0.7, "max_train_steps": 8, **extra}
    if "datasets" in extra:
        orders = {name: options.pop(name) for name in ("shuffle_caption", "caption_dropout_rate")}
        words = {"trigger": "ohwx", "class_word": "woman", "keep_tokens": 1, "caption_orders": 2, "zoom": ["face"]}
        with_orders(cache)
        # Other people are only held to the base model.
        write_entry(tmp_path / "others", "other", seed=10)
        held = {"cache_directory": tmp_path / "others", "prior": True, "num_repeats": 2}
        options["datasets"] = [{"cache_directory": cache, **words, **orders}, held]
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=4)
    run(train_config(cache, tmp_path / "parts", **options))
    files = sorted(path.name for path in (tmp_path / "whole").glob("*.safetensors"))
    assert files == (["kyla-ema.safetensors", "kyla.safetensors"] if "ema_decay" in extra else ["kyla.safetensors"])
    for name in files:
        assert parsed(tmp_path / "parts" / name) == parsed(tmp_path / "whole" / name)
    assert (tmp_path / "parts" / "kyla-log.jsonl").read_bytes() == (tmp_path / "whole" / "kyla-log.jsonl").read_bytes()
    parts, whole = (load_state(find_states(tmp_path / folder, "kyla").newest) for folder in ("parts", "whole"))
    assert parts.numbers["items"] == whole.numbers["items"]
    draws = [count for count, _ in whole.numbers["items"].values()]
    assert sum(draws) >= 4


def with_orders(cache):
    """Give the items captions with another order and without, and one of them a zoom."""
    write_other_texts(cache, "kyla000", caption="kyla000")
    zoom = {"blissmask.zoom": "face"}
    for number, (stem, front, metadata) in enumerate(
        [
            ("kyla001", "", {}),
            ("kyla002", "", {}),
            ("kyla003", "", {}),
            ("kyla001-face", "close-up of the face, ", zoom),
        ],
        1,
    ):
        said = f"{front}ohwx {number % 4}, red, blue"
        weights, class_caption = torch.full((1, 1, 4, 4), number / 4), said.replace("ohwx", "woman")
        write_entry(cache, stem, weights=weights, seed=number, caption=said, class_caption=class_caption, **metadata)
        write_other_texts(cache, stem, caption=said, seed=number)


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


def test_a_state_of_more_steps_than_are_asked_for_is_written_for_what_it_is(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", max_train_steps=2))
    (tmp_path / "out" / "kyla.safetensors").unlink()
    summary, _ = run(train_config(cache, tmp_path / "out", max_train_steps=1))
    assert (summary.headline, summary.details["steps"]) == ("Trained 2 steps", 2)
    assert (tmp_path / "out" / "kyla.safetensors").is_file()


@pytest.mark.parametrize(("options", "kept"), [({}, [4, 5]), ({"keep_last": 3}, [3, 4, 5])])
def test_only_the_last_states_are_kept(cache, tmp_path, options, kept):
    run(train_config(cache, tmp_path / "out", max_train_steps=5, save_every_n_steps=1, **options))
    assert [step for step, _ in find_states(tmp_path / "out", "kyla").whole] == kept
    assert (tmp_path / "out" / "kyla-step00000001.safetensors").is_file()


def test_another_rank_cannot_go_on_from_a_state(cache, tmp_path):
    run(train_config(cache, tmp_path / "out"))
    with pytest.raises(UsageError, match="other settings") as caught:
        plan_training(train_config(cache, tmp_path / "out", network_dim=4, max_train_steps=4))
    assert "`network_dim` was 2, is 4" in problems_of(caught.value)
    anew = plan_training(train_config(cache, tmp_path / "out", network_dim=4, resume=False))
    assert anew.state is None
