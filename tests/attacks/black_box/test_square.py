"""Tests of the Square attack: schedule, proposals, patches, and behaviour on random defenses."""

import pytest
import torch

from purebench.attacks.black_box.square import Square, area, bump, l2_proposal, l2_start, linf_proposal, side, stripes
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel


def test_patch_area_halves_at_the_queries_given_in_the_paper():
    """p is halved at 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000 queries."""
    marks = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
    for done, mark in enumerate(marks):
        assert area(0.8, mark, 10_000) == 0.8 / 2**done
        assert area(0.8, mark + 1, 10_000) == 0.8 / 2 ** (done + 1)
    assert area(0.8, 5 * 50, 50_000) == 0.4  # the schedule scales with the budget


def test_patch_side_stays_within_its_bounds():
    assert side(0.8, 32) == 29
    assert side(0.0001, 32) == 1
    assert side(0.0001, 32, 3) == 3
    assert side(1.0, 32) == 31


def test_linf_start_and_proposals_are_corners_of_the_ball():
    x = torch.full((50, 2, 6, 6), 0.5)
    with seeded("corners"):
        start = stripes(x, 0.1)
        proposal = linf_proposal(x, start, 0.1, 3)
    for point in (start, proposal):
        torch.testing.assert_close((point - x).abs(), torch.full_like(x, 0.1))
    assert torch.equal(start, start[:, :, :1].expand_as(start))  # stripes are vertical
    changed = proposal != start
    rows, columns = changed.any(1).any(2).sum(1), changed.any(1).any(1).sum(1)
    assert rows.max() == 3
    assert columns.max() <= 3
    assert changed.flatten(1).any(1).all()  # every proposal differs from the current point


def test_l2_patch_equals_the_paper_formula_computed_by_hand():
    """s = 4: halves of 2×4, n = 2; at distance 0, 1, 2 from the peak: 1 + 1/4 + 1/9, 1/4 + 1/9, 1/9."""
    near, middle, far = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
    half = torch.tensor([[far, middle, middle, middle], [far, middle, near, middle]])
    expected = torch.cat([half, -half])
    expected = expected / expected.norm()
    with seeded("patch"):
        found = [bump(4, expected) for _ in range(8)]
    straight = [torch.allclose(patch, expected) for patch in found]
    turned = [torch.allclose(patch, expected.T) for patch in found]
    assert all(a != b for a, b in zip(straight, turned, strict=True))
    assert any(straight)
    assert any(turned)


@pytest.mark.parametrize("s", [1, 2, 3, 5, 8])
def test_l2_patches_have_norm_one(s):
    with seeded("norm"):
        assert bump(s, torch.zeros(1)).norm().item() == pytest.approx(1)


def test_l2_proposals_use_the_full_radius():
    x, threat = torch.full((20, 3, 8, 8), 0.5), ThreatModel("l2", 0.3)
    with seeded("budget"):
        point = l2_start(x, 0.3)
        for _ in range(20):
            torch.testing.assert_close(threat.size(point - x), torch.full((20,), 0.3), rtol=1e-4, atol=0)
            point = l2_proposal(x, point, 0.3, 3)


@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 9, 5), (1, 2, 2)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_results_for_non_square_images_are_inside_the_threat_model(norm, shape, inside):
    with seeded("wide"):
        x = torch.rand(3, *shape)
        view = exact(as_defense(lambda x: torch.stack([x.flatten(1).sum(1) + 9, 0 * x.flatten(1).sum(1)], 1)))
        threat = ThreatModel(norm, 0.1)
        inside(Square(queries=12)(view, x, torch.zeros(3, dtype=torch.long), threat), x, threat)


def test_square_needs_no_gradient(small):
    case = small()
    view = exact(as_defense(lambda x: case.net(x.detach())))
    with seeded("scores"):
        Square(queries=5)(view, case.x, case.y, ThreatModel("linf", 0.05))
    assert view.backwards == 0


def test_square_lowers_the_accuracy_of_a_noisy_defense(small, accuracy):
    """The incumbent is queried again at every step and returned, rather than the last proposal."""
    case, threat = small(noise=0.3, images=40), ThreatModel("linf", 0.15)
    with seeded("noise"):
        clean = accuracy(case.defense, case.x, case.y, 64)
        found = Square(queries=150)(exact(case.defense, eot=2), case.x, case.y, threat)
        left = accuracy(case.defense, found, case.y, 64)
    assert left < clean - 0.1


@pytest.mark.parametrize("wrong", [{"queries": 0}, {"share": 0.0}, {"share": 1.5}, {"restarts": 0}])
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        Square(**wrong)
