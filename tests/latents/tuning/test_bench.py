"""Tests the value of a list of alphas against closed forms, and which images a search may use."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.latents.tuning.bench import Bench
from purebench.latents.tuning.images import boards_of, refuse_shared, shuffled_tail
from purebench.latents.tuning.setting import setting_for

from linear_world import SIGNAL, flat, robust  # isort: skip

N = len(SIGNAL)
LISTS = ([0.0] * N, [0.0, 0.0, 1.0, 1.0, 1.0], [0.3, 0.5, 0.2, 0.9, 0.7])


def test_the_value_of_a_list_agrees_with_the_closed_form(setting_of):
    bench = Bench(setting_of(images=500, fresh=4))
    for alphas in LISTS:
        error = 4 * (0.25 / 500) ** 0.5
        assert bench.value(alphas) == pytest.approx(robust(alphas), abs=error)
        assert bench.clean(alphas, bench.search).mean() == pytest.approx(flat(alphas), abs=error)


def test_attenuation_multiplies_the_alphas(setting_of):
    half = Bench(setting_of(attenuation=0.5))
    whole = Bench(setting_of())
    assert half.value([0.8] * N) == whole.value([0.4] * N) != whole.value([0.8] * N)


def test_all_lists_use_the_same_random_numbers_which_the_seed_decides(setting_of):
    bench, again, other = Bench(setting_of()), Bench(setting_of()), Bench(setting_of(seed=1))
    some = [0.4] * N
    first = bench.ask(some, bench.search)
    bench.ask(LISTS[2], bench.search)
    assert (bench.ask(some, bench.search) == first).all()
    assert (again.ask(some, again.search) == first).all()
    assert (other.ask(some, other.search) != first).any()


def test_search_images_and_fresh_images_are_disjoint(setting_of):
    bench = Bench(setting_of(skip=100))
    assert not set(bench.search.places) & set(bench.fresh.places)
    assert min(*bench.search.places, *bench.fresh.places) >= 100
    assert (len(bench.search.images), len(bench.fresh.images)) == (100, 60)


def test_the_paper_objective_uses_images_that_one_step_breaks(setting_of):
    radius = 0.1
    bench = Bench(setting_of(objective="paper", threat=ThreatModel("l2", radius), images=40, fresh=20))
    for part in (bench.search, bench.fresh):
        side = 2 * part.images.labels - 1
        before = side * (part.images.floats() - 0.5).sum((1, 2, 3))
        after = side * (part.adversarial - 0.5).sum((1, 2, 3))
        # a step of length radius along the gradient lowers the sum of N pixels by radius·√N
        assert ((before > 0) & (after < 0) & (before < radius * N**0.5 + 1e-5)).all()
        np.testing.assert_allclose(before - after, radius * N**0.5, atol=1e-4)
        assert part.adversarial.dtype == np.float32
        assert (
            np.abs(part.adversarial * 255 - np.round(part.adversarial * 255)).max() > 0.1
        )  # not rounded to grey levels
        assert not bench.ask([0.0] * N, part).any()
    assert bench.value([0.9] * N) > 0


def test_too_few_images_are_rejected(setting_of):
    with pytest.raises(PurebenchError, match="expected at most 540, because 60 of"):
        Bench(setting_of(images=541))
    with pytest.raises(PurebenchError, match="available images"):
        Bench(setting_of(objective="paper", threat=ThreatModel("l2", 0.01), images=300))


def test_a_failing_attack_raises_an_error(setting_of):
    from purebench.boards.board import AttackChoice

    bench = Bench(setting_of(attack=AttackChoice("attack", Spec("square"), "exact"), threat=ThreatModel("l1", 1.0)))
    with pytest.raises(PurebenchError, match="square"):
        bench.value([0.5] * N)


def test_a_purifier_without_latents_is_rejected(setting_of):
    with pytest.raises(PurebenchError, match="mixes latents"):
        Bench(setting_of(defense=Spec("gaussian-blur")))


@pytest.mark.parametrize("name", ["schedule", "attenuation"])
def test_parameters_that_the_search_sets_are_rejected(setting_of, name):
    with pytest.raises(PurebenchError, match=f"without {name}"):
        setting_of(defense=Spec("mlvgm-hvae", {name: 1}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "papr"}, "--objective: 'papr' is unknown; did you mean 'paper'?"),
        ({"attenuation": 0}, "--attenuation: expected a number in (0,1], but got 0."),
        ({"attenuation": 1.5}, "--attenuation: expected a number in (0,1], but got 1.5."),
        ({"attenuation": float("nan")}, "--attenuation: expected a number in (0,1], but got nan."),
        ({"images": 0}, "--images: expected a whole number of at least 1, but got 0."),
        ({"images": 2.5}, "--images: expected a whole number of at least 1, but got 2.5."),
        ({"fresh": 3}, "--fresh: expected a whole number of at least 4, but got 3."),
        ({"draws": True}, "--draws: expected a whole number of at least 1, but got True."),
        ({"confidence": 1}, "--confidence: expected a number in (0,1), but got 1."),
        ({"skip": -1}, "--skip: expected a whole number of at least 0, but got -1."),
    ],
)
def test_invalid_values_of_a_setting_are_rejected_by_the_name_of_their_option(setting_of, change, message):
    with pytest.raises(PurebenchError, match=f"^{re.escape(message)}$"):
        setting_of(**change)


def test_images_of_a_board_are_rejected(setting_of):
    board = load_board(find_board("fashion-quick"))
    setting = setting_for("mlvgm-hvae", board, dataset="fashion-mnist", images=500, fresh=400)
    with pytest.raises(PurebenchError, match=r"fashion-.*among them"):
        Bench(setting)


def test_test_images_that_are_on_no_board_are_rejected(monkeypatch):
    board = load_board(find_board("fashion-quick"))
    monkeypatch.setattr("purebench.latents.tuning.bench.boards_of", lambda dataset, named: [])
    setting = setting_for("mlvgm-hvae", board, dataset="fashion-mnist", skip=900, images=40, fresh=20)
    with pytest.raises(PurebenchError, match="expected dev images, but got test images"):
        Bench(setting)


def test_a_single_image_of_a_board_is_rejected():
    boards = boards_of(Spec("fashion-mnist"))
    assert {"fashion-linf", "fashion-quick"} <= {board.name for board in boards}
    own = fashion_mnist()
    strange = np.random.default_rng(0).integers(0, 256, (20, 1, 32, 32), dtype=np.uint8)
    apart = ImageSet("fashion-mnist", strange, np.zeros(20, dtype=np.int64), own.classes, "made")
    assert set(refuse_shared(apart, boards)) == {board.name for board in boards}
    strange[7] = own.images[123]
    with pytest.raises(PurebenchError, match="but 1 of its 1000"):
        refuse_shared(apart, boards)


def test_the_images_of_a_setting_are_dev_images_by_default():
    setting = setting_for("mlvgm-hvae", load_board(find_board("fashion-linf")))
    assert (setting.dataset, setting.skip) == (Spec("fashion-mnist", {"split": "dev"}), 0)
    assert setting.threat == ThreatModel("linf", 16 / 255)
    paper = setting_for("mlvgm-hvae", load_board(find_board("fashion-linf")), objective="paper")
    assert paper.threat.norm == "l2"
    made = ImageSet("x", np.zeros((50, 1, 1, 1), np.uint8), np.arange(50) % 5, tuple("abcde"), "")
    order = shuffled_tail(made, 40, 0)
    assert sorted(order) == list(range(40, 50))
    assert set(made.labels[order[:5]]) == set(range(5))
    with pytest.raises(PurebenchError, match="--skip"):
        shuffled_tail(made, 50, 0)


def test_with_alphas_keeps_the_model_and_its_preprocessing():
    from purebench.core.seeds import seeded
    from purebench.defenses.mlvgm.hvae import HVAE
    from purebench.defenses.mlvgm.purifier import MLVGMPurifier

    with seeded("hvae"):
        model = HVAE(size=16, widths=(10, 8, 6), groups=(1, 2, 1), z=3).eval().requires_grad_(False)
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    listed = [0.1, 0.5, 0.0, 1.0]
    for options in ({}, {"blur": 1.0, "noise": 2.0}):
        direct = MLVGMPurifier(model, schedule=listed, attenuation=0.7, **options)
        other = MLVGMPurifier(model, schedule="linear", **options).with_alphas([0.7 * alpha for alpha in listed])
        with seeded("a"):
            expected = direct(x)
        with seeded("a"):
            assert torch.equal(other(x), expected)
        assert other.kept == direct.kept
        assert other.model is model


def test_with_alphas_works_for_any_latent_purifier(world):
    from linear_world import Pixels

    from purebench.core.seeds import seeded

    x = torch.rand(6, 1, 1, N)
    plain = Pixels().with_alphas([0.0] * N)
    assert not plain.random
    torch.testing.assert_close(plain(x), x)
    mixed = Pixels().with_alphas(LISTS[2])
    assert mixed.random
    with seeded("a"):
        found = mixed(x)
    with seeded("a"):
        noise = torch.cat([torch.randn(6, 1, 1, 1) for _ in range(N)], -1)
    alpha = torch.tensor(LISTS[2])
    torch.testing.assert_close(found, (1 - alpha) * x + alpha * (0.5 + 0.05 * noise))
    for wrong in ([0.5], [0.5] * (N - 1) + [1.5]):
        with pytest.raises(PurebenchError, match="one per latent"):
            Pixels().with_alphas(wrong)
