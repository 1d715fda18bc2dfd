"""Which text an item is shown with follows from the seed, the micro-batch and the place, and from nothing else."""

import dataclasses

import pytest
import torch

from blissmask.processes import Processes
from blissmask.training.data.batch_order import BatchOrder, BucketedItem
from blissmask.training.data.caption_draw import CaptionText, OtherTexts
from blissmask.training.data.prefetch import ItemStore, Prefetcher
from tests.builders.toy_step import make_item

WRITTEN, ORDERS, EMPTY = 0.0, (1.0, 2.0, 3.0), 9.0


def text(value):
    return {"text": torch.full((4,), value)}


def others(*, rate=0.0, orders=ORDERS):
    empty = CaptionText(text(EMPTY)) if rate else None
    return OtherTexts(tuple(CaptionText(text(value), text(-value)) for value in orders), empty, rate)


def item(**options):
    written = make_item(0, text=[WRITTEN] * 4, class_text=[WRITTEN] * 4)
    return dataclasses.replace(written, others=others(**options))


def shown(shown_item, *, seed=1, count=2000):
    return [
        float(shown_item.as_shown(seed=seed, micro_batch=number, place=0).conditioning["text"][0])
        for number in range(count)
    ]


def test_every_order_is_drawn_as_often_as_the_written_one():
    values = shown(item())
    assert {value: values.count(value) / 2000 for value in values} == {
        value: pytest.approx(0.25, abs=0.03) for value in (WRITTEN, *ORDERS)
    }


def test_captions_are_dropped_at_the_rate_asked_for_and_orders_stay_where_they_are():
    kept, dropped = shown(item()), shown(item(rate=0.1))
    assert dropped.count(EMPTY) / 2000 == pytest.approx(0.1, abs=0.02)
    assert all(now in (before, EMPTY) for before, now in zip(kept, dropped, strict=True))


def test_seed_micro_batch_and_place_decide():
    assert shown(item(), count=20) == shown(item(), count=20)
    assert shown(item(), count=20) != shown(item(), seed=2, count=20)
    places = [item().as_shown(seed=1, micro_batch=0, place=place).conditioning["text"][0] for place in range(20)]
    assert len({float(value) for value in places}) == 4


def test_the_class_word_stands_in_the_order_that_is_shown_and_nowhere_without_a_caption():
    for number in range(50):
        drawn = item(rate=0.3).as_shown(seed=1, micro_batch=number, place=0)
        value = float(drawn.conditioning["text"][0])
        assert drawn.class_text is None if value == EMPTY else float(drawn.class_text["text"][0]) == -value


def test_items_with_one_text_are_shown_as_they_are():
    plain = make_item(0, text=[WRITTEN] * 4)
    assert plain.as_shown(seed=1, micro_batch=3, place=0) is plain


def test_copies_and_sizes_count_all_texts():
    # Three orders with their class word, and no caption: seven texts of four float32.
    assert item(rate=0.1).byte_count - make_item(0, text=[0.0] * 4, class_text=[0.0] * 4).byte_count == 7 * 16
    before = item(rate=0.1)
    pairs = zip(before.others.tensors, before.copied().others.tensors, strict=True)
    assert all(torch.equal(one, other) and one.data_ptr() != other.data_ptr() for one, other in pairs)


def test_processes_draw_what_one_draws():
    order = BatchOrder([BucketedItem("all", batch_size=2)] * 8, seed=3)
    store = ItemStore(lambda position: item(rate=0.2), budget=1 << 20)

    def texts(processes, accumulation):
        with Prefetcher(
            order, store, accumulation=accumulation, device=torch.device("cpu"), processes=processes
        ) as batches:
            return {
                batch.number: torch.as_tensor(batch.conditioning["text"]).tolist()
                for step in range(4)
                for batch in batches.window(step, last=step == 3)
            }

    alone = texts(Processes(rank=0, count=1), 2)
    apart = [texts(Processes(rank=rank, count=2), 1) for rank in range(2)]
    assert apart[0] | apart[1] == alone
    assert len({str(value) for value in alone.values()}) > 1
