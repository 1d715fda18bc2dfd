"""Captions with the class word are held to the base model: the formula written out, exact however a step is split."""

import dataclasses

import pytest
import torch

from blissmask.training.data.micro_batch import collate
from blissmask.training.step import prepared_batch
from blissmask.training.step import run_step as step_module
from blissmask.training.step.run_step import run_step
from blissmask.training.step.step_rule import holds_class, holds_outside
from blissmask.training.weighting.prior import PriorRule, TriggerFreeRule
from tests.builders.toy_step import CPU, make_item, make_learner, rows, rule, update_of

OHWX, WOMAN = (0.5, -1.0, 0.3, 0.8), (0.1, 0.2, -0.4, 0.6)
INSIDE, OUTSIDE = rows(1.0, 0.25), rows(0.0, 1.0)

pytestmark = pytest.mark.usefixtures("noise_by_item")


def subject(seed=0, *, weights=INSIDE, outside=None):
    return make_item(seed, weights=weights, outside=outside, text=OHWX, class_text=WOMAN)


def somebody(seed=9):
    """Return an item whose caption does not hold the trigger."""
    return make_item(seed, weights=INSIDE, text=WOMAN)


def holding(weight=0.7, **options):
    return rule(trigger_free=TriggerFreeRule(weight, **options))


def predictions(learner, item):
    """Return what is predicted for an item alone: with the trigger, with the class word, and by the base model."""
    target, inputs = step_module.noise_batch(collate([item], 0), torch.tensor([0.5]), seed=1, device=CPU)
    base = learner.denoiser.module.mix.get_base_layer().weight.detach()
    with_class = step_module.replace(inputs, conditioning={"text": torch.tensor([WOMAN])})
    words = torch.tensor(WOMAN)[None, :, None, None, None]
    teacher = torch.einsum("oc,bcfhw->bofhw", base, inputs.noisy_BCFHW + words)
    return target, learner.denoiser.predict(inputs), learner.denoiser.predict(with_class), teacher


def mean(errors, weights):
    return (errors * weights).sum() / (4 * weights.sum())


def gradient_of(loss, learner):
    parameters = [parameter for _, parameter in learner.lora.named_parameters()]
    return torch.cat([-gradient.flatten() for gradient in torch.autograd.grad(loss, parameters)])


def test_the_gradient_is_that_of_the_formula():
    learner, item = make_learner(), subject()
    target, with_trigger, with_class, teacher = predictions(learner, item)
    learned = mean((with_trigger - target).square(), INSIDE)
    held = 0.7 * mean((with_class - teacher).square(), INSIDE)
    update, numbers = update_of([collate([item], 0)], holding())
    assert torch.allclose(update, gradient_of(learned + held, learner), atol=1e-6)
    assert float(numbers["trigger_free/loss"]) == pytest.approx(held.item(), rel=1e-5)
    assert float(numbers["loss"]) == pytest.approx(learned.item(), rel=1e-5)
    assert numbers["trigger_free/items"] == 1


def test_the_prior_shares_the_teacher_and_reads_the_class_word():
    learner, item = make_learner(), subject(outside=OUTSIDE)
    target, with_trigger, with_class, teacher = predictions(learner, item)
    loss = mean((with_trigger - target).square(), INSIDE) + 0.7 * mean((with_class - teacher).square(), INSIDE)
    loss = loss + 0.4 * mean((with_trigger - teacher).square(), OUTSIDE)
    both = rule(trigger_free=TriggerFreeRule(0.7), prior=PriorRule(0.4))
    update, _ = update_of([collate([item], 0)], both)
    assert torch.allclose(update, gradient_of(loss, learner), atol=1e-6)
    learner = make_learner()
    run_step(learner, [collate([item], 0)], both, step=0, device=CPU)
    assert learner.denoiser.calls == 3


@pytest.mark.parametrize("mean_of", ["global", "sample"])
def test_accumulation_gives_the_update_of_one_big_batch(mean_of):
    items = [subject(0), somebody(), subject(2, weights=rows(0.02, 0.01)), subject(3, weights=None)]
    options = {"mean": mean_of, "trigger_free": TriggerFreeRule(0.7)}
    whole, _ = update_of([collate(items, 0)], rule(**options))
    split, _ = update_of([collate(items[:1], 0), collate(items[1:3], 1), collate(items[3:], 2)], rule(**options))
    assert whole.norm() > 0.01
    assert (whole - split).norm() / whole.norm() < 1e-6


def test_captions_without_the_trigger_hold_nothing_and_make_no_pass():
    learner = make_learner()
    numbers = run_step(learner, [collate([somebody()], 0)], holding(), step=0, device=CPU)
    assert (learner.denoiser.calls, numbers["trigger_free/items"]) == (1, 0)


def test_an_item_without_the_trigger_beside_others_is_learned_and_not_held():
    learner, ours, theirs = make_learner(), subject(), somebody()
    target, pred, with_class, teacher = predictions(learner, ours)
    their_target, their_pred, _, _ = predictions(learner, theirs)
    learned = mean((pred - target).square(), INSIDE) + mean((their_pred - their_target).square(), INSIDE)
    loss = learned / 2 + 0.7 * mean((with_class - teacher).square(), INSIDE)
    update, numbers = update_of([collate([theirs, ours], 0)], rule(mean="sample", trigger_free=TriggerFreeRule(0.7)))
    assert torch.allclose(update, gradient_of(loss, learner), atol=1e-6)
    assert numbers["trigger_free/items"] == 1


def test_low_noise_is_not_held(monkeypatch):
    monkeypatch.setattr(prepared_batch, "draw_levels", lambda noise, count, **_: torch.tensor([0.9, 0.1])[:count])
    _, numbers = update_of([collate([subject(0), subject(1)], 0)], holding(min_level=0.5))
    assert numbers["trigger_free/items"] == 1


def test_the_share_of_the_steps_is_the_one_asked_for_and_the_others_cost_nothing():
    quarter = holding(share=0.25)
    held = [holds_class(quarter, step) for step in range(2000)]
    assert sum(held) / 2000 == pytest.approx(0.25, abs=0.03)
    for step in (held.index(True), held.index(False)):
        learner = make_learner()
        run_step(learner, [collate([subject()], 0)], quarter, step=step, device=CPU)
        assert learner.denoiser.calls == (3 if held[step] else 1)


def test_copies_and_sizes_of_items_count_the_other_caption():
    item = subject()
    assert item.byte_count - make_item(0, weights=INSIDE, text=OHWX).byte_count == 16
    copy = item.copied().class_text["text"]
    assert torch.equal(copy, item.class_text["text"])
    assert copy.data_ptr() != item.class_text["text"].data_ptr()


def regularisation(seed=20):
    """Return an item that is only held to the base model, everywhere."""
    item = make_item(seed, outside=torch.ones(1, 1, 2, 3), text=WOMAN)
    return dataclasses.replace(item, mass=0.0, prior_only=True)


@pytest.mark.parametrize("mean_of", ["global", "sample", "batch"])
def test_items_that_are_only_held_have_the_gradient_of_the_formula(mean_of):
    learner, learned, item = make_learner(), make_item(0, weights=INSIDE, text=OHWX), regularisation()
    target, pred, _, _ = predictions(learner, learned)
    _, of_held, _, teacher = predictions(learner, item)
    loss = mean((pred - target).square(), INSIDE) + 0.4 * (of_held - teacher).square().mean()
    options = {"mean": mean_of, "prior": PriorRule(0.4)}
    update, numbers = update_of([collate([learned], 0), collate([item], 1)], rule(**options))
    assert torch.allclose(update, gradient_of(loss, learner), atol=1e-6)
    assert (numbers["prior/items"], numbers["mask/empty"]) == (1, 0)


def test_steps_without_masks_teach_nothing_of_items_that_are_only_held():
    unmasked = rule(prior=PriorRule(0.4), unmasked_probability=1.0)
    update, numbers = update_of([collate([regularisation()], 0)], unmasked)
    plain, _ = update_of([collate([regularisation()], 0)], rule(prior=PriorRule(0.4)))
    assert torch.equal(update, plain)
    assert "loss" not in numbers


SHARE = 0.3


def steps_of(run_rule):
    """Return a step that holds what is outside, and one that does not."""
    held = [holds_outside(run_rule, step) for step in range(20)]
    return held.index(True), held.index(False)


def outside_item(seed=0):
    return make_item(seed, weights=INSIDE, outside=OUTSIDE, text=OHWX)


@pytest.mark.parametrize("mean_of", ["global", "sample", "batch"])
def test_a_share_of_the_steps_has_on_average_the_gradient_of_all(mean_of):
    """Of what is learned, of what is held, and of items that are only held, which every step holds as it is."""
    always = rule(mean=mean_of, prior=PriorRule(4.0))
    shared = rule(mean=mean_of, prior=PriorRule(4.0, share=SHARE))
    batches = [collate([outside_item(0), outside_item(1)], 0), collate([regularisation()], 1)]
    wanted, _ = update_of(batches, always)
    with_hold, without = (update_of(batches, shared, step=step)[0] for step in steps_of(shared))
    assert torch.allclose(SHARE * with_hold + (1 - SHARE) * without, wanted, atol=1e-6)
    assert (with_hold - without).norm() / wanted.norm() > 0.1
    alone, _ = update_of([batches[0]], rule(mean=mean_of))
    assert (without - alone).norm() / wanted.norm() > 0.01


def test_steps_that_hold_nothing_cost_no_pass_of_the_base_model_and_log_no_loss_of_it():
    shared = rule(prior=PriorRule(0.4, share=SHARE))
    told = []
    for step in steps_of(shared):
        learner = make_learner()
        numbers = run_step(learner, [collate([outside_item()], 0)], shared, step=step, device=CPU)
        told.append((learner.denoiser.calls, numbers["prior/items"], "prior/loss" in numbers))
    assert told == [(2, 1, True), (1, 0, False)]


def test_a_step_whose_only_masks_are_empty_is_not_lost_where_others_let_go():
    """Nothing else is learned of such items, which `empty_mask = "train"` keeps, and so they count alike each time."""
    empty = make_item(0, weights=torch.zeros_like(INSIDE), outside=torch.ones_like(OUTSIDE), text=OHWX)
    wanted, _ = update_of([collate([empty], 0)], rule(prior=PriorRule(0.4)))
    shared = rule(prior=PriorRule(0.4, share=SHARE))
    assert wanted.norm() > 0.01
    for step in steps_of(shared):
        assert torch.equal(update_of([collate([empty], 0)], shared, step=step)[0], wanted)


def test_the_logged_loss_is_the_one_of_a_share_of_all_steps_and_none_where_a_part_is_let_go():
    shared, always = rule(prior=PriorRule(0.4, share=SHARE)), rule(prior=PriorRule(0.4))
    batches = [collate([outside_item()], 0), collate([regularisation()], 1)]
    held, let_go = (update_of(batches, shared, step=step)[1] for step in steps_of(shared))
    _, of_all = update_of(batches, always)
    assert float(held["prior/loss"]) == float(of_all["prior/loss"])
    assert (held["prior/items"], let_go["prior/items"]) == (2, 1)
    assert "prior/loss" not in let_go


@pytest.mark.parametrize("share", [0.01, 0.25, 0.3, 0.5, 0.75])
def test_held_steps_are_spread_evenly_over_every_stretch(share):
    """In any number of steps there is their share of them, but for 2 or 3; of tossed coins 1,000 are off by 15."""
    run_rule = rule(prior=PriorRule(1.0, share=share))
    held = [holds_outside(run_rule, step) for step in range(1000)]
    for length in (2, 10, 100, 1000):
        counts = [sum(held[at : at + length]) for at in range(0, 1000, length)]
        assert max(abs(count - share * length) for count in counts) < 3


def test_which_steps_hold_is_the_seeds_choice():
    drawn = {
        tuple(holds_outside(rule(seed=seed, prior=PriorRule(1.0, share=0.5)), step) for step in range(12))
        for seed in range(8)
    }
    assert len(drawn) > 4


def test_a_share_of_one_holds_in_every_step():
    assert all(holds_outside(rule(prior=PriorRule(1.0)), step) for step in (*range(500), 10**9))


def test_the_steps_of_the_smaller_share_are_among_those_of_the_larger_so_that_both_need_one_teacher():
    both = rule(prior=PriorRule(1.0, share=0.5), trigger_free=TriggerFreeRule(1.0, share=0.2))
    with_class = [step for step in range(300) if holds_class(both, step)]
    assert len(with_class) == pytest.approx(60, abs=2)
    assert all(holds_outside(both, step) for step in with_class)


CONTINUOUS = PriorRule(8.0, mask_threshold=None, decay="linear", decay_start=0.8, warmup_steps=10)


def continuous(seed=0, weights=INSIDE, **texts):
    """Return an item that is held everywhere by what it is not learned."""
    return make_item(seed, weights=weights, outside=CONTINUOUS.outside(weights, weights), **texts)


def test_the_continuous_prior_has_the_gradient_of_the_formula():
    # The caption of `predictions`' teacher is the class word.
    learner, item = make_learner(), continuous(text=WOMAN)
    target, pred, _, teacher = predictions(learner, item)
    # At noise level 0.5 of 0.8, in the first of ten steps.
    strength = 8.0 * 0.5 / 0.8 / 10
    loss = mean((pred - target).square(), INSIDE) + strength * mean((pred - teacher).square(), 1 - INSIDE)
    update, numbers = update_of([collate([item], 0)], rule(prior=CONTINUOUS))
    assert torch.allclose(update, gradient_of(loss, learner), atol=1e-6)
    assert float(numbers["prior/loss"]) == pytest.approx(loss.item() - float(numbers["loss"]), rel=1e-4)


@pytest.mark.parametrize("mean_of", ["global", "sample"])
def test_all_terms_at_once_are_exact_however_a_step_is_split(mean_of):
    items = [
        continuous(0, text=OHWX, class_text=WOMAN),
        continuous(1, weights=rows(0.02, 0.5), text=WOMAN),
        continuous(2, weights=rows(0.0, 0.0), text=OHWX, class_text=WOMAN),
    ]
    held = [regularisation(20), regularisation(21)]
    options = {"mean": mean_of, "trigger_free": TriggerFreeRule(0.7), "prior": CONTINUOUS}
    whole, _ = update_of([collate(items, 0), collate(held, 1)], rule(**options))
    split, numbers = update_of(
        [collate([item], at) for at, item in enumerate([held[0], *items, held[1]])], rule(**options)
    )
    without, _ = update_of([collate(items, 0)], rule(**options))
    assert (whole - split).norm() / whole.norm() < 1e-6
    assert (whole - without).norm() / whole.norm() > 0.01
    assert numbers["prior/items"] == 5
