"""The learning rate over the steps."""

import pytest
import torch

from blissmask.errors import UsageError
from blissmask.training.optim.schedule import ScheduleOptions, build_scheduler, check_schedule, count_steps


@pytest.mark.parametrize(("text", "steps"), [("0", 0), ("100", 100), ("0.05", 50), ("5%", 50), ("1000", 1000)])
def test_step_counts_are_numbers_fractions_or_percentages(text, steps):
    assert count_steps(text, 1000, name="lr_warmup_steps") == steps


@pytest.mark.parametrize("text", ["many", "1001", "-1", "120%", "nan", "inf", ""])
def test_step_counts_that_make_no_sense_are_refused_by_name(text):
    with pytest.raises(UsageError, match="`lr_warmup_steps`"):
        count_steps(text, 1000, name="lr_warmup_steps")


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "constant", "warmup_steps": "2"}, [0.0, 0.5, 1.0, 1.0]),
        ({"name": "constant_with_warmup", "warmup_steps": "2"}, [0.0, 0.5, 1.0, 1.0]),
        ({"name": "constant_with_warmup"}, [1.0, 1.0, 1.0, 1.0]),
        ({"name": "linear"}, [1.0, 0.75, 0.5, 0.25]),
        ({"name": "cosine"}, [1.0, 0.853553, 0.5, 0.146447]),
        (
            {"name": "warmup_stable_decay", "decay_steps": "3", "min_lr_ratio": 0.2},
            [1.0, 1.0, 0.8, 0.4],
        ),
        (
            {"name": "polynomial", "power": 2.0, "arguments": ["lr_end=0.0"]},
            [1.0, 0.5625, 0.25, 0.0625],
        ),
        ({"name": "cosine_with_min_lr", "arguments": ["min_lr=0.5"]}, [1.0, 0.926777, 0.75, 0.573223]),
    ],
)
def test_learning_rates_follow_the_schedule(fields, expected):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    scheduler = build_scheduler(optimizer, ScheduleOptions(**fields), steps=4)
    rates = []
    for _ in expected:
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "warmup_stable_decay", "decay_steps": "many"}, "`lr_decay_steps` must be a number of steps"),
        (
            {"name": "warmup_stable_decay", "warmup_steps": "50", "decay_steps": "60"},
            "`lr_warmup_steps`, 50, and `lr_decay_steps`, 60, are longer than the training, 100 steps",
        ),
        ({"name": "polynomial", "warmup_steps": "100%"}, "`polynomial` has no learning rate for step 100: "),
        ({"name": "inverse_sqrt", "arguments": ["timescale=-50"]}, "`inverse_sqrt` has no learning rate for step 50: "),
        ({"name": "inverse_sqrt", "arguments": ["timescale=0"]}, "`inverse_sqrt` cannot be made: division by zero"),
        ({"name": "polynomial", "arguments": ["lr_end=-1"]}, "it would be -499.5 times the highest"),
        ({"name": "cosine", "arguments": ["last_epoch=5"]}, "`cosine` does not take `last_epoch`"),
        ({"name": "constant", "arguments": ["a=1"]}, "`constant` does not take `a` of `lr_scheduler_args`"),
        ({"name": "cosine", "arguments": ["num_cycle=1"]}, "`cosine` does not take `num_cycle`"),
        (
            {"name": "cosine_with_min_lr", "min_lr_ratio": 0.5, "arguments": ["min_lr=1e-5"]},
            "`lr_scheduler_min_lr_ratio` and `min_lr` of `lr_scheduler_args` are both the lowest learning rate",
        ),
        (
            {"name": "cosine_with_min_lr", "arguments": ["min_lr=1e-5", "min_lr_rate=0.9"]},
            "`cosine_with_min_lr` cannot be made: ",
        ),
    ],
)
def test_a_schedule_that_would_fail_on_the_way_is_refused_before_the_first_step(fields, said):
    with pytest.raises(UsageError) as caught:
        check_schedule(ScheduleOptions(**fields), learning_rate=1e-3, steps=100)
    assert said in caught.value.problems[0].what


def test_a_polynomial_whose_lowest_rate_is_above_the_highest_is_refused():
    with pytest.raises(UsageError, match="lr_end"):
        check_schedule(ScheduleOptions("polynomial"), learning_rate=1e-8, steps=100)


def test_decay_steps_count_for_the_schedule_that_has_them_alone():
    check_schedule(ScheduleOptions("cosine", decay_steps="2000"), learning_rate=1e-3, steps=100)
