"""Tidy class numbers."""

import numpy as np

from blissmask.parsing.labels import drop_small_parts, fill_class_holes


def test_a_speck_takes_the_class_around_it():
    labels = np.full((20, 20), 4, np.uint8)
    labels[5:7, 5:7] = 1
    assert (drop_small_parts(labels, min_pixels=10) == 4).all()


def test_a_speck_between_two_classes_goes_to_the_longer_border():
    labels = np.zeros((20, 20), np.uint8)
    labels[:, 10:] = 4
    labels[8:11, 9:12] = 1
    tidy = drop_small_parts(labels, min_pixels=10)
    assert 1 not in tidy
    assert (tidy[8:11, 9] == 4).all()


def test_parts_that_are_large_enough_stay():
    labels = np.zeros((20, 20), np.uint8)
    labels[2:12, 2:12] = 3
    assert np.array_equal(drop_small_parts(labels.copy(), min_pixels=10), labels)


def test_nothing_is_dropped_when_no_part_may_be_too_small():
    labels = np.random.default_rng(0).integers(0, 6, (30, 30)).astype(np.uint8)
    assert np.array_equal(drop_small_parts(labels.copy(), min_pixels=0), labels)


def test_a_small_hole_in_a_face_becomes_face():
    labels = np.zeros((30, 30), np.uint8)
    labels[5:25, 5:25] = 3
    labels[12:15, 12:15] = 5
    filled = fill_class_holes(labels, 3, max_pixels=20)
    assert (filled[5:25, 5:25] == 3).all()
    assert (filled == 3).sum() == 400


def test_a_large_hole_stays_a_hole():
    labels = np.zeros((30, 30), np.uint8)
    labels[5:25, 5:25] = 3
    labels[10:20, 10:20] = 0
    assert np.array_equal(fill_class_holes(labels.copy(), 3, max_pixels=20), labels)


def test_an_open_notch_is_not_a_hole():
    labels = np.zeros((30, 30), np.uint8)
    labels[5:25, 5:25] = 3
    labels[5:8, 12:14] = 1
    assert np.array_equal(fill_class_holes(labels.copy(), 3, max_pixels=20), labels)
