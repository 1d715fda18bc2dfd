"""What the screen says of the loss while a training runs."""

from blissmask.tasks.train.records import LossTrend


def test_the_loss_of_a_step_is_told_alone_until_two_means_can_be_compared():
    trend = LossTrend()
    assert [trend.after(loss) for loss in [0.5] * 198 + [0.25]][-1] == "loss 0.2500"
    assert trend.after(0.25) == "loss 0.495, was 0.500"


def test_the_trend_is_that_of_the_latest_steps_those_of_an_earlier_run_among_them():
    trend = LossTrend([9.0] * 50 + [0.5] * 100)
    assert [trend.after(0.25) for _ in range(100)][-1] == "loss 0.250, was 0.500"
