"""One optimiser step, on a model small enough to check by hand."""

import dataclasses

import pytest
import torch

from blissmask.processes import Processes
from blissmask.training.data.micro_batch import collate
from blissmask.training.step import prepared_batch
from blissmask.training.step import run_step as step_module
from blissmask.training.step.run_step import run_step
from blissmask.training.step.step_rule import is_unmasked
from blissmask.training.weighting.prior import PriorRule
from tests.builders.toy_step import CPU, make_item, make_learner, rows, rule, update_of

ITEMS = [
    make_item(0, weights=rows(1.0, 0.0)),
    make_item(1, weights=rows(0.02, 0.01)),
    make_item(2),
    make_item(3, weights=rows(0.5, 1.0)),
]


@pytest.mark.parametrize("mean", ["global", "sample"])
def test_accumulation_gives_the_update_of_one_big_batch(noise_by_item, mean):
    whole, _ = update_of([collate(ITEMS, 0)], rule(mean=mean))
    split, _ = update_of([collate(ITEMS[:1], 0), collate(ITEMS[1:], 1)], rule(mean=mean))
    assert whole.norm() > 0.01
    assert (whole - split).norm() / whole.norm() < 1e-6


def test_the_mean_of_micro_batch_means_is_another_thing(noise_by_item):
    whole, _ = update_of([collate(ITEMS, 0)], rule(mean="batch"))
    split, _ = update_of([collate(ITEMS[:1], 0), collate(ITEMS[1:], 1)], rule(mean="batch"))
    assert (whole - split).norm() / whole.norm() > 0.05


def test_a_gradient_above_the_limit_is_scaled_down_to_it(noise_by_item):
    """SGD with a learning rate of 1 moves by the gradient itself."""
    free, _ = update_of([collate(ITEMS, 0)], rule())
    clipped, _ = update_of([collate(ITEMS, 0)], rule(max_grad_norm=float(free.norm()) / 4))
    assert torch.allclose(clipped, free / 4, rtol=1e-4, atol=1e-8)


def test_the_logged_gradient_norm_is_the_one_before_clipping(noise_by_item):
    free, _ = update_of([collate(ITEMS, 0)], rule())
    _, numbers = update_of([collate(ITEMS, 0)], rule(max_grad_norm=1e-3))
    assert float(numbers["grad_norm"]) == pytest.approx(float(free.norm()), rel=1e-5)


def test_the_regions_of_each_subject_have_losses_of_their_own(noise_by_item):
    """Those of one who is not shown have none, and those of both together are the mean by their masses."""
    face, half = torch.zeros(2, 4, 1, 2, 3)
    face[0], half[0, :, 0] = 1.0, 1.0
    items = [
        dataclasses.replace(make_item(number), regions_4fhw=regions, subjects=(name,))
        for number, (regions, name) in enumerate([(face, "kyla"), (half, "tom"), (face, "")])
    ]
    batches = [collate([item], number) for number, item in enumerate(items)]
    told = rule(subjects=("kyla", "tom", "absent"))
    _, numbers = update_of(batches, told)
    losses = {name: float(value) for name, value in numbers.items() if name.startswith("loss/")}
    assert losses.keys() == {"loss/face", "loss/kyla/face", "loss/tom/face"}
    for name, item in zip(("kyla", "tom"), items, strict=False):
        _, alone = update_of([collate([item], 0)], rule())
        assert losses[f"loss/{name}/face"] == pytest.approx(float(alone["loss/face"]), rel=1e-6)
    _, third = update_of([collate([items[2]], 0)], rule())
    parts = 2 * losses["loss/kyla/face"] + losses["loss/tom/face"] + 2 * float(third["loss/face"])
    assert losses["loss/face"] == pytest.approx(parts / 5, rel=1e-6)

    class Twins(Processes):
        """Two processes that show the same."""

        def sum(self, tensor):
            return 2 * tensor

    numbers = run_step(make_learner(), batches, told, step=0, device=CPU, processes=Twins())
    assert {name: float(numbers[name]) for name in losses} == pytest.approx(losses, rel=1e-6)


def test_items_that_show_several_subjects_have_the_losses_of_each_by_its_own_regions(noise_by_item):
    """Beside an item of one alone, in a batch and over processes; who is in neither has none."""
    kyla, tom = torch.zeros(4, 1, 2, 3), torch.zeros(4, 1, 2, 3)
    kyla[0, :, :, 0], kyla[3, :, :, 1:] = 1.0, 1.0
    tom[0, :, 0, 1], tom[1, :, 1, 1] = 1.0, 1.0
    tom[3] = 1.0 - tom[:3].sum(dim=0)
    people = ("kyla", "tom", "absent")
    sets = [torch.cat([kyla, tom, 0 * tom]), torch.cat([kyla, 0 * tom, 0 * tom])]
    items = [
        dataclasses.replace(
            make_item(number), regions_4fhw=torch.maximum(kyla, tom), subjects=people, subjects_Qfhw=own
        )
        for number, own in enumerate(sets)
    ]

    def losses_of(batches, subjects=(), **options):
        numbers = run_step(make_learner(), batches, rule(subjects=subjects), step=0, device=CPU, **options)
        return {name: float(value) for name, value in numbers.items() if name.startswith("loss/")}

    found = losses_of([collate(items, 0)], people)
    of_kyla = {"loss/kyla/face", "loss/kyla/background"}
    of_tom = {"loss/tom/face", "loss/tom/body", "loss/tom/background"}
    assert {name for name in found if name.count("/") == 2} == of_kyla | of_tom
    # What the region losses of these very items are where the own mask is the only one.
    alone = losses_of(
        [collate([dataclasses.replace(item, regions_4fhw=kyla, subjects_Qfhw=None) for item in items], 0)]
    )
    assert [found[name] for name in sorted(of_kyla)] == pytest.approx([alone["loss/background"], alone["loss/face"]])
    alone = losses_of([collate([dataclasses.replace(items[0], regions_4fhw=tom, subjects_Qfhw=None)], 0)])
    for region in ("face", "body", "background"):
        assert found[f"loss/tom/{region}"] == pytest.approx(alone[f"loss/{region}"])
    split = losses_of([collate([item], number) for number, item in enumerate(items)], people)
    assert split == pytest.approx(found)


def test_an_empty_step_moves_nothing_and_spends_no_forward_pass():
    learner = make_learner()
    before = [parameter.detach().clone() for _, parameter in learner.lora.named_parameters()]
    numbers = run_step(learner, [collate([make_item(0, weights=rows(0.0, 0.0))], 0)], rule(), step=0, device=CPU)
    assert learner.denoiser.calls == 0
    assert numbers["mask/empty"] == 1
    assert "loss" not in numbers
    assert all(torch.equal(old, new) for old, (_, new) in zip(before, learner.lora.named_parameters(), strict=True))


def test_an_empty_item_beside_others_changes_nothing(noise_by_item):
    empty = make_item(7, weights=rows(0.0, 0.0))
    for mean in ("batch", "sample", "global"):
        alone, _ = update_of([collate(ITEMS[:2], 0)], rule(mean=mean))
        beside, _ = update_of([collate(ITEMS[:2], 0), collate([empty], 1)], rule(mean=mean))
        assert torch.allclose(alone, beside, atol=1e-7)


def test_what_lies_under_weight_zero_moves_nothing_when_the_input_is_pure_noise(monkeypatch):
    monkeypatch.setattr(prepared_batch, "draw_levels", lambda noise, count, **_: torch.ones(count))
    item = make_item(0, weights=rows(1.0, 0.0))
    other = make_item(0, weights=rows(1.0, 0.0))
    other.latents_Cfhw[..., 1, :] += 50.0
    first, _ = update_of([collate([item], 0)], rule())
    second, _ = update_of([collate([other], 0)], rule())
    assert torch.equal(first, second)


def test_area_beta_multiplies_the_loss_by_the_mean_weight(noise_by_item):
    item = make_item(0, weights=rows(0.5, 0.0))
    plain, _ = update_of([collate([item], 0)], rule())
    calmed, _ = update_of([collate([item], 0)], rule(area_beta=0.5))
    assert torch.allclose(calmed, plain * 0.25**0.5, atol=1e-7)


def test_unmasked_steps_train_as_without_masks_and_are_the_share_asked_for(noise_by_item):
    always, _ = update_of([collate(ITEMS[:2], 0)], rule(unmasked_probability=1.0))
    plain, _ = update_of([collate([make_item(0), make_item(1)], 0)], rule())
    assert torch.allclose(always, plain, atol=1e-7)
    share = sum(is_unmasked(rule(unmasked_probability=0.25), step) for step in range(2000)) / 2000
    assert share == pytest.approx(0.25, abs=0.03)


def prior_item(seed=0):
    return make_item(seed, weights=rows(1.0, 0.0), outside=rows(0.0, 1.0))


def test_prior_pulls_the_outside_to_the_base_model_and_nothing_else(noise_by_item):
    """The gradient of both terms is that of the formula, written out."""
    learner = make_learner()
    item = prior_item()
    run_rule = rule(prior=PriorRule(0.7))
    base = learner.denoiser.module.mix.get_base_layer().weight.detach().clone()
    batch = collate([item], 0)
    target, inputs = step_module.noise_batch(batch, torch.tensor([0.5]), seed=1, device=CPU)
    teacher = torch.einsum("oc,bcfhw->bofhw", base, inputs.noisy_BCFHW)
    pred = learner.denoiser.predict(inputs)
    inside, outside = item.weights_1fhw, item.outside_1fhw
    loss = ((pred - target).square() * inside).sum() / (4 * inside.sum())
    loss = loss + 0.7 * ((pred - teacher).square() * outside).sum() / (4 * outside.sum())
    parameters = [parameter for _, parameter in learner.lora.named_parameters()]
    expected = torch.cat([-gradient.flatten() for gradient in torch.autograd.grad(loss, parameters)])
    update, numbers = update_of([batch], run_rule)
    assert torch.allclose(update, expected, atol=1e-6)
    assert float(numbers["loss"] + numbers["prior/loss"]) == pytest.approx(loss.item(), rel=1e-5)
    assert numbers["prior/items"] == 1


def test_prior_is_gated_item_by_item(noise_by_item, monkeypatch):
    monkeypatch.setattr(prepared_batch, "draw_levels", lambda noise, count, **_: torch.tensor([0.9, 0.1])[:count])
    _, numbers = update_of([collate([prior_item(0), prior_item(1)], 0)], rule(prior=PriorRule(1.0, min_level=0.5)))
    assert numbers["prior/items"] == 1


def test_prior_without_an_outside_is_skipped_and_needs_no_teacher(noise_by_item):
    learner = make_learner()
    numbers = run_step(
        learner, [collate([make_item(0, weights=rows(1.0, 0.5))], 0)], rule(prior=PriorRule(1.0)), step=0, device=CPU
    )
    assert numbers["prior/items"] == 0
    assert learner.denoiser.calls == 1


def test_prior_decays_towards_low_noise():
    levels = torch.tensor([1.0, 0.5, 0.0])
    assert PriorRule(2.0).strengths(levels).tolist() == [2.0, 2.0, 2.0]
    assert PriorRule(2.0, decay="linear").strengths(levels).tolist() == [2.0, 1.0, 0.0]
    assert PriorRule(2.0, decay="cosine").strengths(levels).tolist() == pytest.approx([2.0, 1.0, 0.0])


def test_the_decay_begins_at_its_start():
    levels = torch.tensor([1.0, 0.5, 0.25, 0.0])
    assert PriorRule(2.0, decay="linear", decay_start=0.5).strengths(levels).tolist() == [2.0, 2.0, 1.0, 0.0]
    cosine = PriorRule(2.0, decay="cosine", decay_start=0.5).strengths(levels)
    assert cosine.tolist() == pytest.approx([2.0, 2.0, 1.0, 0.0])


def test_the_prior_warms_up_step_by_step():
    warming = PriorRule(2.0, warmup_steps=4)
    assert [float(warming.strengths(torch.ones(1), step=step)) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_a_step_warms_the_prior_up_by_its_own_number(noise_by_item):
    warming = rule(prior=PriorRule(1.0, warmup_steps=4))
    half = rule(prior=PriorRule(0.5))
    second, _ = update_of([collate([prior_item()], 0)], warming, step=1)
    assert torch.allclose(second, update_of([collate([prior_item()], 0)], half)[0], atol=1e-7)


def test_a_continuous_prior_holds_by_what_is_not_learned(noise_by_item):
    """The gradient of both terms is that of the formula, written out."""
    weights = rows(0.75, 0.25)
    item = make_item(0, weights=weights, outside=PriorRule(1.0, mask_threshold=None).outside(weights, weights))
    learner = make_learner()
    base = learner.denoiser.module.mix.get_base_layer().weight.detach()
    target, inputs = step_module.noise_batch(collate([item], 0), torch.tensor([0.5]), seed=1, device=CPU)
    teacher = torch.einsum("oc,bcfhw->bofhw", base, inputs.noisy_BCFHW)
    pred = learner.denoiser.predict(inputs)
    held = 1 - weights
    loss = ((pred - target).square() * weights).sum() / (4 * weights.sum())
    loss = loss + 0.7 * ((pred - teacher).square() * held).sum() / (4 * held.sum())
    parameters = [parameter for _, parameter in learner.lora.named_parameters()]
    expected = torch.cat([-gradient.flatten() for gradient in torch.autograd.grad(loss, parameters)])
    update, _ = update_of([collate([item], 0)], rule(prior=PriorRule(0.7, mask_threshold=None)))
    assert torch.allclose(update, expected, atol=1e-6)


def test_noise_depends_on_the_micro_batch_number_alone():
    batch = collate([make_item(0)], 3)
    torch.manual_seed(0)
    first, _ = step_module.noise_batch(batch, torch.tensor([0.3]), seed=1, device=CPU)
    torch.manual_seed(5)
    second, inputs = step_module.noise_batch(batch, torch.tensor([0.3]), seed=1, device=CPU)
    assert torch.equal(first, second)
    noise = first + batch.latents_BCFHW
    assert torch.allclose(inputs.noisy_BCFHW, 0.7 * batch.latents_BCFHW + 0.3 * noise, atol=1e-6)
