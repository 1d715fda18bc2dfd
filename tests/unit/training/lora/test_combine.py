"""Averages, sums and lower ranks of LoRA tensors, against the whole updates."""

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError, UsageError
from blissmask.training.lora.combine import LoraPart, average_loras, lower_rank, merge_loras, refuse_unmergeable
from blissmask.training.lora.lokr_loha import factors_pair, factors_product
from tests.builders.training import seeded

LAYER = "diffusion_model.blocks.0.q"


def lora(rank, *, alpha=None, seed=0, layer=LAYER, outputs=10, inputs=8):
    tensors = {
        f"{layer}.lora_A.weight": seeded(rank, inputs, seed=seed),
        f"{layer}.lora_B.weight": seeded(outputs, rank, seed=seed + 1),
    }
    if alpha is not None:
        tensors[f"{layer}.alpha"] = torch.tensor(float(alpha))
    return tensors


def part(tensors, strength=1.0, name="a"):
    return LoraPart(Path(f"{name}.safetensors"), tensors, strength)


def update(tensors, layer=LAYER):
    a, b = tensors[f"{layer}.lora_A.weight"], tensors[f"{layer}.lora_B.weight"]
    alpha = tensors.get(f"{layer}.alpha")
    return (1.0 if alpha is None else float(alpha) / a.shape[0]) * b @ a


def test_an_average_is_the_weighted_mean_of_each_matrix():
    first, second = lora(2, alpha=2), lora(2, alpha=2, seed=5)
    averaged = average_loras([part(first, 3.0), part(second, 1.0)])
    for key in (f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"):
        assert torch.allclose(averaged[key], 0.75 * first[key] + 0.25 * second[key])
    assert float(averaged[f"{LAYER}.alpha"]) == 2.0


def test_the_average_of_a_file_with_itself_keeps_every_bit():
    first = lora(3)
    averaged = average_loras([part(first)] * 3)
    assert all(torch.equal(tensor, first[key]) for key, tensor in averaged.items())


def test_files_with_another_alpha_are_averaged_as_what_they_do():
    first, second = lora(2, alpha=2), lora(2, alpha=1)
    doubled = {**second, f"{LAYER}.lora_B.weight": 2 * second[f"{LAYER}.lora_B.weight"]}
    assert torch.allclose(update(average_loras([part(first), part(doubled)])), update(first))


def test_the_factors_of_lokr_are_averaged():
    first = {"lora_unet_q.lokr_w1": seeded(2, 2), "lora_unet_q.lokr_w2": seeded(4, 4, seed=1)}
    second = {key: tensor + 1 for key, tensor in first.items()}
    averaged = average_loras([part(first), part(second)])
    assert all(torch.allclose(tensor, first[key] + 0.5) for key, tensor in averaged.items())


@pytest.mark.parametrize("other", [lora(3), lora(2, layer="diffusion_model.blocks.1.q")])
def test_files_of_another_rank_or_other_layers_have_no_average(other):
    with pytest.raises(UsageError, match="cannot be averaged"):
        average_loras([part(lora(2)), part(other, name="b")])


def test_a_lokr_that_has_no_average_with_a_lora_is_made_one_before_both_are_merged():
    lokr = {f"{LAYER}.lokr_w1": seeded(2, 2), f"{LAYER}.lokr_w2": seeded(4, 4)}
    with pytest.raises(UsageError) as caught:
        average_loras([part(lora(2), name="a"), part(lokr, name="b")])
    assert (
        "`--merge`, once b.safetensors is made a LoRA, with `--convert-lora FILE --rank N`" in caught.value.as_one().fix
    )


def test_a_merge_is_the_sum_of_the_updates():
    first, second = lora(2, alpha=1), lora(3, seed=5)
    merged = merge_loras([part(first, 0.5), part(second, -2.0)])
    assert torch.allclose(update(merged), 0.5 * update(first) - 2.0 * update(second), atol=1e-5)
    assert merged[f"{LAYER}.lora_A.weight"].shape[0] == 5


def test_a_layer_of_one_file_alone_is_merged_as_it_is():
    other = lora(1, layer="diffusion_model.blocks.1.q", seed=9)
    merged = merge_loras([part(lora(2)), part(other, 0.5)])
    assert torch.allclose(
        update(merged, "diffusion_model.blocks.1.q"), 0.5 * update(other, "diffusion_model.blocks.1.q")
    )


def test_layers_of_another_size_are_refused_by_name():
    with pytest.raises(ModelError, match=r"blocks\.0\.q"):
        merge_loras([part(lora(2)), part(lora(2, inputs=6), name="b")])


def test_dora_lokr_and_loha_are_refused_in_a_merge():
    with pytest.raises(UsageError, match="DoRA"):
        refuse_unmergeable({**lora(2), f"{LAYER}.dora_scale": torch.ones(10, 1)}, Path("a"))
    with pytest.raises(UsageError, match="LoKr"):
        refuse_unmergeable({f"{LAYER}.lokr_w1": seeded(2, 2)}, Path("a"))


@pytest.mark.parametrize("rank", [1, 3])
def test_a_lower_rank_is_the_closest_there_is(rank):
    tensors = lora(6, alpha=3)
    lowered = lower_rank(tensors, {}, rank)
    left, values, right = torch.linalg.svd(update(tensors))
    closest = left[:, :rank] * values[:rank] @ right[:rank]
    assert torch.allclose(update(lowered.tensors), closest, atol=1e-4)
    assert lowered.tensors[f"{LAYER}.lora_A.weight"].shape[0] == rank
    share = float(values[:rank].square().sum() / values.square().sum())
    assert lowered.kept == {"blocks.0.q": pytest.approx(share, rel=1e-4)}


def test_a_layer_of_a_lower_rank_keeps_its_own():
    tensors = lora(2, alpha=1)
    lowered = lower_rank(tensors, {}, 4)
    assert lowered.kept == {}
    assert torch.allclose(update(lowered.tensors), update(tensors))


def test_parts_that_share_one_a_still_share_one():
    q, k = lora(6, layer=f"{LAYER}kv:q"), lora(6, layer=f"{LAYER}kv:k", seed=3)
    k[f"{LAYER}kv:k.lora_A.weight"] = q[f"{LAYER}kv:q.lora_A.weight"]
    lowered = lower_rank(q | k, {"blocks.0.qkv": (("q", 10), ("k", 10))}, 2).tensors
    assert torch.equal(lowered[f"{LAYER}kv:q.lora_A.weight"], lowered[f"{LAYER}kv:k.lora_A.weight"])
    whole = torch.cat([update(q, f"{LAYER}kv:q"), update(k, f"{LAYER}kv:k")])
    left, values, right = torch.linalg.svd(whole)
    together = torch.cat([update(lowered, f"{LAYER}kv:q"), update(lowered, f"{LAYER}kv:k")])
    assert torch.allclose(together, left[:, :2] * values[:2] @ right[:2], atol=1e-4)


LOKR = {"lokr_w1": seeded(3, 2), "lokr_w2_a": seeded(4, 2, seed=1), "lokr_w2_b": seeded(2, 5, seed=2)}
LOHA = {
    "hada_w1_a": seeded(6, 2),
    "hada_w1_b": seeded(2, 5, seed=1),
    "hada_w2_a": seeded(6, 2, seed=2),
    "hada_w2_b": seeded(2, 5, seed=3),
}


@pytest.mark.parametrize("factors", [LOKR, LOHA])
def test_lokr_and_loha_are_a_lora_of_a_higher_rank(factors):
    factors = {**factors, "alpha": torch.tensor(1.0)}
    a, b = factors_pair(factors, rank=100)
    assert torch.allclose(b @ a, factors_product(factors), atol=1e-5)


@pytest.mark.parametrize("factors", [LOKR, LOHA])
def test_a_lower_rank_of_lokr_and_loha_is_the_closest_lora(factors):
    lowered = lower_rank({f"{LAYER}.{part}": tensor for part, tensor in factors.items()}, {}, 2)
    left, values, right = torch.linalg.svd(factors_product(factors))
    assert torch.allclose(update(lowered.tensors), left[:, :2] * values[:2] @ right[:2], atol=1e-4)
    share = float(values[:2].square().sum() / values.square().sum())
    assert lowered.kept == {"blocks.0.q": pytest.approx(share, rel=1e-4)}
