"""One cache entry made ready for training."""

import dataclasses

import pytest
import torch

from blissmask.cachefile.entry import CacheEntry
from blissmask.errors import CacheError
from blissmask.families.protocol import LatentSpec
from blissmask.masks.tiers import TIERS
from blissmask.training.data.items import make_item
from blissmask.training.data.mask_totals import MaskTotals, edge_lines, share_rows
from blissmask.training.data.subject_totals import SubjectTotals
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule
from tests.builders.training import header_of

RULE = WeightRule(gamma=1.0, min_weight=0.0)


def make(
    weights,
    *,
    rule=RULE,
    prior=None,
    latents=None,
    regions=None,
    latent=None,
    shown_frames=0,
    subjects=(),
    subject_sets=None,
    **metadata,
):
    latents = torch.ones(16, 1, 1, 4) if latents is None else latents
    header = header_of(latents, **metadata)
    entry = CacheEntry(latents, weights, regions, {"t5": torch.ones(2, 8)}, subjects_Qfhw=subject_sets)
    return make_item(header, entry, rule=rule, prior=prior, latent=latent, shown_frames=shown_frames, subjects=subjects)


def cells(*values):
    return torch.tensor(values).reshape(1, 1, 1, 4)


def test_outside_are_the_cells_whose_cached_weight_is_below_the_threshold():
    item = make(cells(1.0, 0.5, 0.05, 0.0), prior=PriorRule(1.0, mask_threshold=0.1))
    assert item.outside_1fhw.flatten().tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_floor_or_a_tier_weight_does_not_change_what_is_outside():
    regions = torch.eye(4).reshape(4, 1, 1, 4)
    rule = WeightRule(gamma=1.0, min_weight=0.3, own_weights=dict(zip(TIERS, (1.0, 0.0, 0.0, 0.0), strict=True)))
    item = make(cells(1.0, 0.5, 0.3, 0.0), rule=rule, regions=regions, prior=PriorRule(1.0, mask_threshold=0.1))
    assert item.outside_1fhw.flatten().tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_mask_without_an_outside_has_none():
    assert make(torch.ones(1, 1, 1, 4), prior=PriorRule(1.0, mask_threshold=0.1)).outside_1fhw is None


def test_without_mask_loss_the_weights_are_left_aside():
    item = make(cells(1.0, 0.0, 0.0, 0.0), rule=None)
    assert item.weights_1fhw is None
    assert item.mass == 64.0


def test_an_all_zero_mask_is_empty_and_a_faint_one_is_not():
    assert make(torch.zeros(1, 1, 1, 4)).empty
    assert not make(torch.full((1, 1, 1, 4), 1e-4)).empty


def test_latents_of_families_that_cache_them_as_the_vae_gives_them_are_shifted_and_scaled():
    spec = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16, train_scale=0.5)
    assert make(None, latent=spec).latents_Cfhw.unique().tolist() == [0.5]
    shifted = dataclasses.replace(spec, train_shift=0.25)
    latents = torch.full((16, 1, 1, 4), 2.0, dtype=torch.bfloat16)
    found = make(None, latent=shifted, latents=latents).latents_Cfhw
    assert found.dtype == torch.float32
    assert found.unique().tolist() == [0.875]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_refused(value):
    latents = torch.ones(16, 1, 1, 4, dtype=torch.bfloat16)
    latents[3, 0, 0, 1] = value
    with pytest.raises(CacheError, match="`latents`"):
        make(None, latents=latents)


def test_large_finite_latents_are_not_taken_for_infinite():
    make(None, latents=torch.full((16, 1, 1, 4), 3e38))


def test_frames_that_are_shown_are_left_out_of_weights_outside_and_regions():
    weights = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 4)
    regions = torch.arange(3.0).reshape(1, 3, 1, 1).expand(4, 3, 1, 4)
    options = {
        "latents": torch.ones(16, 3, 1, 4),
        "regions": regions,
        "prior": PriorRule(1.0, mask_threshold=0.1),
        "shown_frames": 1,
    }
    item = make(weights, **options)
    assert item.weights_1fhw[..., 0].flatten().tolist() == [0.5, 0.0]
    assert item.outside_1fhw[..., 0].flatten().tolist() == [0.0, 1.0]
    assert item.regions_4fhw[0, :, 0, 0].tolist() == [1.0, 2.0]
    assert item.mass == 16 * 4 * 0.5
    assert make(None, **options).mass == 16 * 4 * 2


def test_a_picture_of_one_frame_predicts_it_whatever_clips_are_shown():
    item = make(cells(1.0, 0.5, 0.0, 0.0), shown_frames=1)
    assert item.shown_frames == 0
    assert item.mass == 16 * 1.5


def test_a_copy_of_an_item_has_memory_of_its_own():
    item = make(
        cells(1.0, 0.5, 0.0, 0.0), regions=torch.eye(4).reshape(4, 1, 1, 4), prior=PriorRule(1.0, mask_threshold=0.1)
    )
    item = dataclasses.replace(item, subjects=("kyla", "tom"), subjects_Qfhw=torch.ones(8, 1, 1, 4))
    copy = item.copied()
    for name in ("latents_Cfhw", "weights_1fhw", "outside_1fhw", "regions_4fhw", "subjects_Qfhw"):
        assert torch.equal(getattr(copy, name), getattr(item, name))
        assert getattr(copy, name).data_ptr() != getattr(item, name).data_ptr()
    assert copy.conditioning["t5"].data_ptr() != item.conditioning["t5"].data_ptr()


def test_a_continuous_prior_holds_what_the_loss_weights_leave():
    rule = WeightRule(gamma=2.0, min_weight=0.0)
    item = make(cells(1.0, 0.5, 0.0, 0.0), rule=rule, prior=PriorRule(1.0, mask_threshold=None))
    assert item.outside_1fhw.flatten().tolist() == [0.0, 0.75, 1.0, 1.0]


KYLA = torch.eye(4).reshape(4, 1, 1, 4)
TOM = torch.eye(4).flip(0).reshape(4, 1, 1, 4)
CACHED = {"blissmask.subjects": '{"kyla": true, "tom": true, "ann": false}'}
SETS = torch.cat([KYLA, TOM, torch.zeros_like(KYLA)])


def test_subjects_have_their_own_regions_in_whatever_order_they_were_cached():
    item = make(
        torch.ones(1, 1, 1, 4), regions=KYLA, subject_sets=SETS, subjects=("tom", "bob", "kyla", "ann"), **CACHED
    )
    assert torch.equal(item.regions_of("kyla"), KYLA)
    assert torch.equal(item.regions_of("tom"), TOM)
    # One was not found, one has been added since, and one is none of the data set's.
    assert [item.regions_of(name) for name in ("ann", "bob", "joan")] == [None, None, None]
    assert torch.equal(item.subjects_Qfhw, torch.cat([TOM, 0 * KYLA, KYLA, 0 * KYLA]))


def test_the_regions_of_one_subject_are_those_of_the_mask():
    item = make(torch.ones(1, 1, 1, 4), regions=KYLA, subjects=("kyla",))
    assert torch.equal(item.regions_of("kyla"), KYLA)
    assert item.subjects_Qfhw is None


def test_of_frames_that_are_shown_subjects_have_no_regions():
    item = make(
        torch.ones(1, 3, 1, 4),
        latents=torch.ones(16, 3, 1, 4),
        regions=KYLA.expand(4, 3, 1, 4),
        subject_sets=torch.arange(3.0).reshape(1, 3, 1, 1).expand(12, 3, 1, 4),
        subjects=("kyla", "tom"),
        shown_frames=1,
        **CACHED,
    )
    assert item.subjects_Qfhw[5, :, 0, 0].tolist() == [1.0, 2.0]


def test_each_subject_has_the_weight_of_its_own_cells_and_nobody_that_of_the_background():
    """A floor of 0.2 under cells of one in half, of the other, of both in halves, and of neither."""
    kyla, tom = torch.zeros(4, 1, 1, 4), torch.zeros(4, 1, 1, 4)
    kyla[0] = torch.tensor([0.5, 0.0, 0.5, 0.0])
    tom[1] = torch.tensor([0.0, 1.0, 0.5, 0.0])
    kyla[3], tom[3] = 1 - kyla[0], 1 - tom[1]
    item = make(
        cells(0.5, 0.5, 0.75, 0.0),
        rule=WeightRule(gamma=1.0, min_weight=0.2),
        regions=torch.maximum(kyla, tom),
        subject_sets=torch.cat([kyla, tom, 0 * kyla]),
        subjects=("kyla", "tom", "ann"),
        **CACHED,
    )
    totals, found = MaskTotals(), SubjectTotals(["kyla", "tom", "ann"])
    # In the second item kyla is alone, and has the cell of the two to herself.
    for add in (totals.add, found.add):
        add(item, repeats=2)
        add(dataclasses.replace(item, subjects_Qfhw=torch.cat([kyla, 0 * kyla, 0 * kyla])), repeats=1)
    weights = item.weights_1fhw.flatten().tolist()
    assert weights == pytest.approx([0.6, 0.6, 0.8, 0.2])
    whole = 3 * sum(weights)
    assert found.rows(totals) == [
        ("kyla", "2", f"{(2 * (0.6 + 0.4) + 1 * (0.6 + 0.8)) / whole:.1%}"),
        ("tom", "1", f"{2 * (0.6 + 0.4) / whole:.1%}"),
        ("ann", "0", "0.0%"),
    ]
    assert found.lines(totals)[-1] == " entries that may show several of them: kyla and tom 1, kyla alone 1"
    found.add(dataclasses.replace(item, subjects_Qfhw=None), repeats=1)
    assert found.lines(totals)[-1].endswith("do not tell subjects apart, by values that are no tier's: 1")


@pytest.mark.parametrize(
    ("floor", "shares", "lines"),
    [
        (0.0, [0.5, 0.3, 0.17, 0.03], ["the share of background, at weight 0, is its part of cells at edges"]),
        (0.0, [0.5, 0.3, 0.2, 0.0], []),
        (0.05, [0.5, 0.3, 0.17, 0.03], []),
    ],
)
def test_a_share_of_what_weighs_nothing_is_explained(floor, shares, lines):
    totals = MaskTotals(summed_weight=1.0, region_weight=torch.tensor(shares))
    assert edge_lines(WeightRule(gamma=1.0, min_weight=floor), totals) == lines


@pytest.mark.parametrize(("rest", "last"), [(0.0, "background"), (0.0004, "background"), (1.0, "no tier")])
def test_the_shares_of_the_table_add_up_where_some_weight_is_on_no_tier(rest, last):
    totals = MaskTotals(summed_weight=4.0 + rest, region_weight=torch.tensor([2.0, 1.0, 1.0, 0.0]), unknown_weight=rest)
    rows = share_rows(RULE, totals)
    assert rows[-1][0] == last
    assert sum(float(row[-1].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.1)
