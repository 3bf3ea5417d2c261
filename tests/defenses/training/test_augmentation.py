"""Tests random mirroring, shifting and cropping of training images."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from purebench.defenses.training.augmentation import augment, cropped


def test_augment_mirrors_half_of_the_images_and_shifts_all_by_the_same_amount():
    torch.manual_seed(0)
    x = torch.zeros(400, 1, 12, 12)
    x[:, :, 3:9, 3:9] = torch.rand(400, 1, 6, 6)  # inside a black border wider than the shift
    mirrored, moves = 0, set()
    for _ in range(12):
        out, fits = augment(x, 2), []
        for move in product(range(-2, 3), repeat=2):
            moved = x.roll(move, (-2, -1))
            as_it_was = (out == moved).flatten(1).all(1)
            turned = (out == x.flip(-1).roll(move, (-2, -1))).flatten(1).all(1)
            if (as_it_was | turned).all():
                fits.append((move, int(turned.sum())))
        ((move, number),) = fits
        moves.add(move)
        mirrored += number
    assert len(moves) > 3
    assert mirrored / (12 * 400) == pytest.approx(0.5, abs=0.03)  # four standard errors


def test_augment_without_a_shift_only_mirrors():
    torch.manual_seed(0)
    x = torch.rand(50, 3, 6, 6)
    out = augment(x, 0)
    assert ((out == x).flatten(1).all(1) | (out == x.flip(-1)).flatten(1).all(1)).all()


def test_each_crop_is_a_window_at_a_random_place_of_the_reflected_image():
    torch.manual_seed(0)
    x = torch.rand(200, 3, 8, 6)
    out = cropped(x, 2)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    places = []
    for image, window in zip(padded, out, strict=True):
        fits = [
            (down, right)
            for down, right in product(range(5), repeat=2)
            if torch.equal(window, image[:, down : down + 8, right : right + 6])
        ]
        assert len(fits) == 1
        places += fits
    assert len(set(places)) == 25, "all places occur among 200 images"
