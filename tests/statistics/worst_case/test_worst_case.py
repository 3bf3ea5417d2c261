"""Tests the worst case over attacks: boards computed by hand, bias on simulated boards, and invalid arrays."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from purebench.statistics import accuracy, clopper_pearson, gaffke, robust_accuracy, robust_per_image

BOARDS = arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=6))


def board(*attacks):
    """Returns bool [attacks, 1 image, draws] from strings: board("10 11", "01 00")."""
    return np.array([[[draw == "1" for draw in attack.replace(" ", "")]] for attack in attacks])


def naive_per_image(right):
    """Returns the estimate without a split: the smallest mean over all draws."""
    return right.mean(axis=2).min(axis=0)


def simulated(q, images, draws, seed):
    """Returns bool [attacks, images, draws]; draws under attack a are right with probability q[a]."""
    return np.random.default_rng(seed).random((len(q), images, draws)) < np.array(q)[:, None, None]


@pytest.mark.parametrize(
    ("attacks", "expected"),
    [
        (("10 11", "11 00"), 1.0),  # the attack that each half picks has only right draws in the other half
        (("10 11", "01 00"), 0.5),  # a tie scores (1 + 0)/2; the second half picks attack 1: 1/2
        (("11 11", "01 00"), 0.25),  # both halves pick attack 1: (0 + 1/2)/2
        (("1 01", "0 11"), 1.0),  # odd, halves of one and two draws: attack 1 scores 1; attack 0 scores 1
        (("0 11", "1 11"), 0.75),  # attack 0 scores 1; the second half ties: (0 + 1)/2
        (("1",), 1.0),
        (("1", "0"), 0.0),  # one draw: the plain minimum
        (("1101",), 0.75),  # one attack: the plain mean of two halves
    ],
)
def test_robust_per_image_agrees_with_values_computed_by_hand(attacks, expected):
    assert robust_per_image(board(*attacks)) == pytest.approx([expected])


EQUAL = [0.6] * 6
CLEAR = [0.95] * 5 + [0.3]
CLOSE = [0.5, 0.55, 0.6, 0.65]


@pytest.mark.parametrize("draws", [16, 15])
@pytest.mark.parametrize("q", [EQUAL, CLEAR])
def test_the_split_is_unbiased_for_equal_attacks_or_a_clearly_strongest_one(q, draws):
    scores = robust_per_image(simulated(q, 5000, draws, seed=[1, draws, len(q)]))
    assert scores.mean() == pytest.approx(min(q), abs=4 * scores.std() / math.sqrt(scores.size))


def test_the_naive_minimum_is_biased_downwards_for_equal_attacks():
    right = simulated(EQUAL, 5000, 16, seed=2)
    assert naive_per_image(right).mean() < min(EQUAL) - 0.03


def test_the_split_is_at_least_the_accuracy_of_the_strongest_attack():
    scores = robust_per_image(simulated(CLOSE, 20_000, 16, seed=3))
    error = scores.std() / math.sqrt(scores.size)
    assert min(CLOSE) - 4 * error < scores.mean() < np.mean(CLOSE)


def test_the_interval_covers_the_robust_accuracy_of_a_random_defense():
    held = 0
    for seed in range(200):
        q = np.random.default_rng([4, seed]).beta(2, 1, size=60)  # one q per image, the same for six attacks
        right = np.random.default_rng([5, seed]).random((6, 60, 8)) < q[None, :, None]
        estimate = robust_accuracy(right, deterministic=False)
        held += estimate.low <= 2 / 3 <= estimate.high
    assert held >= 200 * (0.945 - 3 * math.sqrt(0.95 * 0.05 / 200))


@given(right=BOARDS, data=st.data())
@settings(max_examples=80, deadline=None)
def test_scores_do_not_depend_on_the_order_of_attacks_or_images(right, data):
    attacks, images, draws = right.shape
    scores = robust_per_image(right)
    assert scores.shape == (images,)
    assert ((scores >= 0) & (scores <= 1)).all()
    order = data.draw(st.permutations(range(attacks)))
    np.testing.assert_allclose(robust_per_image(right[order]), scores)
    by_image = data.draw(st.permutations(range(images)))
    np.testing.assert_allclose(robust_per_image(right[:, by_image]), scores[by_image])
    np.testing.assert_allclose(robust_per_image(np.concatenate([right, right])), scores)
    # An additional attack that breaks every image never raises a score (ties are averaged, so others may count).
    assert (robust_per_image(np.concatenate([right, np.zeros_like(right)])) <= scores + 1e-12).all()
    # A defense whose draws agree is deterministic: the minimum over attacks, for any number of draws.
    same = np.repeat(right[:, :, :1], draws, axis=2)
    np.testing.assert_array_equal(robust_per_image(same), right[:, :, 0].min(axis=0))


@given(right=BOARDS, data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_skipped_attack_does_not_change_the_scores(right, data):
    attacks, images, _ = right.shape
    kept = data.draw(arrays(bool, attacks))
    kept[data.draw(st.integers(0, attacks - 1))] = True
    counts = np.repeat(kept[:, np.newaxis], images, axis=1)
    np.testing.assert_allclose(robust_per_image(right, counts), robust_per_image(right[kept]))
    # An attack that breaks every image is not picked on the images that it skipped.
    only = np.concatenate([np.ones_like(right[:1]), np.zeros_like(right[:1])])
    broken = data.draw(arrays(bool, images))
    scores = robust_per_image(only, np.stack([np.ones(images, dtype=bool), broken]))
    np.testing.assert_array_equal(scores, np.where(broken, 0.0, 1.0))


def test_ties_go_to_the_attack_that_is_stronger_over_all_images():
    """Two draws: both halves tie on image 0, so the attack that also breaks image 1 is scored."""
    weak = [[[True, False], [True, True]]]
    strong = [[[True, False], [False, False]]]
    right = np.array(weak + strong)
    np.testing.assert_array_equal(robust_per_image(right), [0.5, 0.0])


def test_robust_accuracy_of_a_deterministic_defense_is_clopper_pearson():
    right = np.array([[1, 1, 0, 1], [1, 0, 1, 1]], dtype=bool)[:, :, None]
    assert robust_accuracy(right, deterministic=True) == clopper_pearson(2, 4)
    assert robust_accuracy(right.repeat(5, axis=2), deterministic=True) == clopper_pearson(2, 4)
    counts = np.array([[1, 1, 1, 1], [1, 0, 1, 1]], dtype=bool)
    assert robust_accuracy(right, deterministic=True, confidence=0.9, counts=counts) == clopper_pearson(3, 4, 0.9)


def test_accuracy_under_a_single_attack():
    right = simulated([0.7], 100, 16, seed=7)
    assert accuracy(right[0], deterministic=False, confidence=0.9) == gaffke(right[0].mean(axis=1), 0.9)
    assert accuracy(right[0, :, :1], deterministic=True) == clopper_pearson(int(right[0, :, 0].sum()), 100)
    assert robust_accuracy(right, deterministic=False).value == pytest.approx(
        accuracy(right[0], deterministic=False).value
    )


def test_one_draw_of_a_random_defense_suffices_only_for_one_attack_per_image():
    right = simulated([0.7, 0.7], 30, 1, seed=8)
    with pytest.raises(ValueError, match="at least 2 draws of a random defense"):
        robust_accuracy(right, deterministic=False)
    one_each = np.arange(30) % 2 == np.array([[0], [1]])
    assert robust_accuracy(right, deterministic=False, counts=one_each).n == 30
    assert robust_accuracy(right[:1], deterministic=False).n == 30


def test_a_deterministic_defense_whose_draws_disagree_is_rejected():
    right = board("10", "11")
    with pytest.raises(ValueError, match="disagree on 1 of 1 images"):
        robust_accuracy(right, deterministic=True)
    with pytest.raises(ValueError, match="disagree on 1 of 1 images"):
        accuracy(right[0], deterministic=True)
    assert robust_accuracy(right, deterministic=True, counts=np.array([[False], [True]])).value == 1.0


@pytest.mark.parametrize(
    ("right", "counts", "message"),
    [
        (np.ones((2, 3)), None, r"bool array \[attacks, images, draws\]"),
        (np.ones((2, 3, 4)), None, "but got float64 of shape"),
        (np.ones((0, 3, 4), dtype=bool), None, "each at least 1"),
        (np.ones((2, 3, 4), dtype=bool), np.ones((3, 2), dtype=bool), r"counts of shape \[2, 3\]"),
        (np.ones((2, 3, 4), dtype=bool), np.ones((2, 3)), "counts to be a bool array"),
        (
            np.ones((2, 2, 4), dtype=bool),
            np.array([[1, 0], [1, 0]], dtype=bool),
            "none on 1 of 2 images .first: image 1",
        ),
    ],
)
def test_invalid_arrays_are_rejected(right, counts, message):
    with pytest.raises(ValueError, match=message):
        robust_per_image(right, counts)
