"""Tests random mirroring and shifting of training images."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from purebench.defenses.training.loop import augment


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
