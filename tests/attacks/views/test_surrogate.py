"""Tests of the views that attack something cheaper than the defense: fewer steps, or the noise alone."""

import pytest
import torch
from linear_chain import linear_defense, points

from purebench.attacks.best import Best
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import exact
from purebench.attacks.views.surrogate import noised, surrogate
from purebench.core import registry
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

THREAT = ThreatModel("linf", 0.02)
X = 0.2 + 0.6 * torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3])


@pytest.fixture(scope="module")
def diffpure():
    classifier = create("classifiers", Spec("fashion-resnet"))
    return as_defense(create("defenses", Spec.parse("diffpure(steps=2)")), classifier)


@pytest.mark.parametrize(("options", "eot"), [({"steps": 2}, 2), ({"purifier": "diffpure(steps=2)"}, 1)])
def test_a_surrogate_that_is_the_defense_gives_what_exact_gives(diffpure, options, eot):
    looks, found = [], []
    whole = exact(diffpure, eot=eot)
    whole.decides = False  # an attack takes all steps through either view
    for view in (whole, surrogate(diffpure, eot=eot, **options)):
        with seeded("same"):
            looks.append(view.look(X, Y, losses.find("cw")))
            found.append(APGD(steps=3)(view, X, Y, ThreatModel("linf", 0.1)))
    for part in ("loss", "gradient", "logits"):
        assert torch.equal(getattr(looks[0], part), getattr(looks[1], part))
    assert torch.equal(*found)
    assert not torch.equal(found[0], X)


@pytest.mark.parametrize("attack", [PGD(steps=20, loss="cw"), APGD(steps=20, loss="cw")])
def test_an_attack_reaches_the_corner_of_the_surrogate_and_not_that_of_the_defense(attack):
    """The margin is linear in the image, so its optimum in linf is the corner along the sign of its gradient."""
    defense, x = linear_defense(), points()
    y = torch.zeros(len(x), dtype=torch.long)
    corners = [
        (x + THREAT.radius * (purifier.jacobians()[-1].T @ defense.classifier.weight).sign().view(1, *x.shape[1:]))
        for purifier in (defense.purifier, defense.purifier.shorter)
    ]
    with seeded("corner"):
        found = attack(surrogate(defense), x.float(), y, THREAT)
    torch.testing.assert_close(found, corners[1].float())
    assert not torch.allclose(*corners)


def test_the_views_do_not_decide_and_name_what_they_attack():
    defense = linear_defense()
    short = surrogate(defense, steps=1, rounds=2)
    assert short.notes == [
        "attacks a surrogate of the purifier: the defense's own purifier, shortened to at most 1 steps a round and "
        "at most 2 rounds"
    ]
    assert surrogate(defense).notes[0].endswith("shortened to about half of its steps")
    assert not short.decides
    assert not noised(defense).decides
    assert short.random
    other = surrogate(defense, purifier={"gaussian-blur": {"sigma": 0.5}})
    assert other.notes[0].endswith("gaussian-blur(sigma=0.5)")
    assert not other.random


class Contradicting(torch.nn.Module):
    """Class 1 with the sign of the draw: the gradient of each draw is of random sign and the images move for ever."""

    def forward(self, x):
        score = x.flatten(1).sum(1) - 0.5 * x[0].numel()
        return torch.stack([-score, score], 1)


class Flipping(Function):
    """An identity purifier whose surrogate flips the image around mid grey on half of the draws."""

    def __init__(self):
        super().__init__(torch.clone, random=True)

    def shortened(self, steps=None, rounds=None):
        return Function(lambda x: torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, 1 - x), random=True)


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("kind", [PGD, APGD])
def test_through_a_random_view_that_does_not_decide_the_last_point_is_kept(kind, restarts):
    """All images take all steps, though each look misclassifies half of them, and no lucky point is returned."""
    x, y = torch.full((40, 1, 2, 2), 0.5), torch.zeros(40, dtype=torch.long)
    view, points, scores = surrogate(Defense(Contradicting(), Flipping())), [], []
    look, score = view.look, view.scores

    def see(images, labels, loss, **options):
        points.append(images.clone())
        return look(images, labels, loss, **options)

    def evaluate(images, draws=None):
        points.append(images.clone())
        scores.append((images.clone(), score(images, draws)))
        return scores[-1][1]

    view.look, view.scores = see, evaluate
    with seeded("last"):
        found = kind(steps=6, restarts=restarts)(view, x, y, ThreatModel("linf", 0.1))
    assert view.backwards == 40 * 6 * restarts
    lasts = [images for images, _ in scores][-restarts:]
    if not lasts:  # a single run of PGD returns its last point without a further evaluation
        assert not any(torch.equal(found, seen) for seen in points)
        return
    values = torch.stack([losses.mean_over_draws(losses.find("ce"), logits, y) for _, logits in scores[-restarts:]])
    expected = torch.stack(lasts)[values.argmax(0), torch.arange(40)]
    assert torch.equal(found, expected)


def test_a_misclassification_through_a_surrogate_does_not_end_the_attack_on_an_image():
    defense, x = linear_defense(), points(1)
    best = Best(surrogate(defense), x, torch.tensor([0]))
    wrong = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)
    for _ in range(100):
        assert best.see(torch.tensor([0]), x, torch.tensor([9.0]), wrong).all()
    assert best.open.all()


def test_the_gradient_of_the_noised_view_is_that_of_the_classifier_at_the_noised_image(diffpure):
    with seeded("noised"):
        look = noised(diffpure).look(X, Y, losses.find("ce"))
    leaf = X.clone().requires_grad_()
    with seeded("noised"):
        shown = diffpure.purifier.noised(leaf)
    logits = diffpure.classifier(shown)
    (expected,) = torch.autograd.grad(losses.cross_entropy(logits, Y).sum(), leaf)
    torch.testing.assert_close(look.gradient, expected)
    torch.testing.assert_close(look.logits[:, 0], logits)


def test_defenses_without_a_cheaper_version_are_inapplicable():
    plain = as_defense(lambda x: x.flatten(1)[:, :2])
    other = Defense(lambda x: x.flatten(1)[:, :2], Function(torch.clone, random=False))
    for make in (surrogate, noised):
        with pytest.raises(Inapplicable, match="has no purifier"):
            make(plain)
    with pytest.raises(Inapplicable, match="no shorter version"):
        surrogate(other)
    with pytest.raises(Inapplicable, match="does not diffuse"):
        APGD(steps=2)(noised(other), X[:, :, :2, :2], Y % 2, THREAT)


def test_invalid_surrogates_are_rejected():
    defense = linear_defense()
    with pytest.raises(PurebenchError, match="steps and rounds or a purifier, but got both"):
        surrogate(defense, steps=2, purifier="diffpure")
    with pytest.raises(PurebenchError, match="expected purifier to be a differentiable purifier, but jpeg is not"):
        surrogate(defense, purifier="jpeg")
    with pytest.raises(PurebenchError, match="fashion-resnet"):
        registry.create("views", Spec.parse("surrogate(purifier=fashion-resnet)"), defense=defense)
    with pytest.raises(PurebenchError, match="steps: expected"):
        surrogate(defense, steps=0)
    with pytest.raises(PurebenchError, match=r"bundled weights, but diffpure has weights='mine.safetensors'"):
        surrogate(defense, purifier="diffpure(weights=mine.safetensors)")


def test_the_draws_of_another_purifier_are_calls_of_their_own(tmp_path):
    """Its noise may be shared by the images of a call; EOT samples would then be one draw."""
    file = tmp_path / "shared.py"
    file.write_text(
        "import torch\nfrom purebench import Function\n\n\ndef make():\n"
        "    return Function(lambda x: x + 0.3 * torch.randn(1, *x.shape[1:]), random=True)\n",
        encoding="utf-8",
    )
    view = surrogate(linear_defense(), purifier=f"{file}:make", eot=8)
    look = view.look(points().float(), torch.zeros(5, dtype=torch.long), losses.margin)
    assert look.logits.std(1).min() > 1e-3
