"""Tests of the draws of a view: gradients of single draws by exact replay, on toys and on every random purifier."""

from functools import cache

import pytest
import torch

from purebench.attacks.gradient import losses
from purebench.attacks.views.draws import OTHER_DRAW
from purebench.attacks.views.gradient_modes import blind, bpda, exact, no_gradient
from purebench.cli.declaration import VARIES, own
from purebench.core.answers import Inapplicable
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense, Function, Purifier, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.core.warning_codes import WarningCode
from purebench.data.datasets import fashion_mnist

DRAWS, BATCH = 3, 4
EXAMPLES = {
    "a-vae": ["a-vae(samples=2)"],
    "diffpure": ["diffpure(steps=2)", "diffpure(steps=2, sampler=ddim)", "diffpure(steps=2, checkpointed=False)"],
    "diffpure-sde": ["diffpure-sde(steps=2)"],
    "gdmp": ["gdmp(rounds=1, steps=2)"],
    "likelihood-maximisation": ["likelihood-maximisation(steps=2)"],
    "ebm-langevin": ["ebm-langevin(steps=3)"],
    "smoothing": ["smoothing(draws=2)", "smoothing(draws=2, denoiser=ddpm)"],
    "gradual-noise": ["gradual-noise(schedule=[30, 60])"],
    "vae": ["vae(sampled=True)"],
    "puvae": ["puvae(sampled=True)"],
    "tv-minimisation": ["tv-minimisation(steps=3, keep=0.9)"],
    "defense-gan": ["defense-gan(steps=2, space=z, restarts=2, seed=None)"],
    "vote": ["vote(defense=mlvgm-hvae, draws=2)", "vote(defense='diffpure(steps=2)', draws=2, how=logits)"],
    "before": ["before(purifier='diffpure(steps=2)', classifier=fashion-trades)"],
    "masked": ["masked(fault=decoy-noise)", "masked(fault=random-scale)"],
    "resized": ["resized(purifier='gaussian-noise(sigma=0.1)', size=24)"],
    "art": ["art:GaussianAugmentation(sigma=0.1)", "art:CutoutPyTorch(length=8)"],
}
"""Small settings; the others are tested with their defaults."""
ELSEWHERE = {"mlvgm": "of the paper, from files that are not here", "robustbench": "a classifier"}
WHOLE = ("art:GaussianAugmentation", "art:CutoutPyTorch", "puvae")
"""Purifiers whose rows cannot be replayed alone: ART draws from numpy, and PuVAE draws for all classes at once."""


def specs():
    """Return the specs of every random defense of this package."""
    random = [name for name, one in own().items() if one.random in (True, VARIES) and name not in ELSEWHERE]
    random = [name for name in random if "/" not in name]  # presets of other classes, which need files
    named = [text for name in random if name not in EXAMPLES for text in [name]]
    return named + [text for texts in EXAMPLES.values() for text in texts]


@cache
def made(text):
    classifier = create("classifiers", Spec("fashion-resnet"))
    return as_defense(create("defenses", Spec.parse(text), classifier=classifier), classifier)


def images(count=2):
    return 0.2 + 0.6 * torch.as_tensor(fashion_mnist().take([1, 4, 7, 9][:count]).floats())


def expected(view, x, y, loss, draws):
    """Return the gradient of every draw, [N,D,C,H,W], by passes of the same batches with a graph."""
    leaf = x.repeat_interleave(draws, 0).requires_grad_()
    purified = torch.cat([view.purify(leaf[start : start + BATCH]) for start in range(0, len(leaf), BATCH)])
    values = loss(view.defense.classifier(purified), y.repeat_interleave(draws))
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return gradient.view(len(x), draws, *x.shape[1:])


@pytest.mark.parametrize("text", specs())
def test_a_pull_back_is_the_exact_gradient_of_its_draw(text):
    defense, x, y, picks = made(text), images(), torch.tensor([1, 4]), torch.tensor([2, 0])
    assert defense.random
    gradient = defense.purifier is None or defense.purifier.differentiable
    view, other = (exact if gradient else bpda)(defense), (exact if gradient else bpda)(defense)
    view.batch = DeviceBatch(BATCH)
    with seeded("draws"):
        found = view.draws_at(x, y, losses.cross_entropy, DRAWS)
        before = torch.get_rng_state()
        alone = defense.purifier is None  # the gradient at the logits is that of the image already
        assert (view.forwards, view.backwards) == (2 * DRAWS, 2 * DRAWS if alone else 0)
        pulled = found.pull_back(found.cotangent[[0, 1], picks], picks)
        assert torch.equal(torch.get_rng_state(), before)
    with seeded("draws"):
        gradients = expected(other, x, y, losses.cross_entropy, DRAWS)
    assert gradients[:, 0].sub(gradients[:, 1]).abs().max() > 0 or not gradient  # the draws differ
    right = gradients[[0, 1], picks]
    assert (pulled - right).abs().max() <= 1e-5 * right.abs().max()
    # both rows are in the first part; likelihood maximisation draws two numbers, so it is replayed with a third row
    replayed = BATCH if text.startswith(WHOLE) else 3 if text.startswith("likelihood") else 2
    assert view.backwards == (2 * DRAWS if alone else replayed)


@pytest.mark.parametrize("text", ["gaussian-noise", "diffpure(steps=2)", "mlvgm-nvae"])
def test_the_losses_and_logits_are_those_of_scores_under_the_same_seed(text):
    view, x, y = exact(made(text)), images(), torch.tensor([1, 4])
    with seeded("scores"):
        found = view.draws_at(x, y, losses.margin, DRAWS)
    with seeded("scores"):
        scores = view.scores(x, DRAWS)
    torch.testing.assert_close(found.logits, scores, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.loss, losses.margin(found.logits.flatten(0, 1), y.repeat_interleave(DRAWS)).view(2, -1))


class Noise(Purifier):
    """x + x·noise, with one noise for each image, so that the gradient shows which noise was replayed."""

    random = True

    def forward(self, x):
        return x * (1 + 0.1 * torch.randn_like(x))


class Crossed(Noise):
    """Draws the noise of an image from the end of the batch, so that its rows cannot be replayed alone."""

    def forward(self, x):
        return x * (1 + 0.1 * torch.randn(x.numel()).flip(0).view_as(x))


class Seeds(Noise):
    """Draws two seeds for two noises: as many numbers as there are rows when two rows are replayed."""

    def forward(self, x):
        for seed in torch.randint(2**62, (2,)).tolist():
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
            x = x * (1 + 0.1 * noise)
        return x


class Shared(Noise):
    """Draws one factor for all images of a call."""

    def forward(self, x):
        return x * (1 + 0.1 * torch.randn(()))


@pytest.mark.parametrize(
    ("purifier", "forwards", "backwards"), [(Noise, 2, 2), (Crossed, 2 + 3 + 6, 6), (Seeds, 2 + 3, 3)]
)
def test_rows_that_cannot_be_replayed_alone_are_replayed_with_the_whole_part(small, purifier, forwards, backwards):
    case, picks = small(images=2), torch.tensor([1, 2])
    view = exact(as_defense(Defense(case.net, purifier())))
    view.batch = DeviceBatch(6)
    with seeded("toy"):
        found = view.draws_at(case.x, case.y, losses.margin, DRAWS)
    pulled = found.pull_back(torch.ones_like(found.purified[:, 0]), picks)
    torch.testing.assert_close(pulled, (found.purified / case.x[:, None])[[0, 1], picks], rtol=1e-5, atol=1e-5)
    assert (view.forwards - 6, view.backwards) == (forwards, backwards)


def test_draws_that_share_a_choice_are_calls_of_their_own(small):
    case = small(images=3)
    defense = as_defense(Defense(case.net, Shared()))
    defense.shares_draws = True
    view = exact(defense)
    view.batch = DeviceBatch(2)
    with seeded("shared"):
        found = view.draws_at(case.x, case.y, losses.margin, DRAWS)
    factors = found.purified / case.x[:, None]
    assert len(factors[:, :, 0, 0, 0].round(decimals=4).unique()) == 2 * DRAWS  # one for each call of a part
    picks = torch.tensor([2, 0, 1])
    pulled = found.pull_back(torch.ones_like(found.purified[:, 0]), picks)
    torch.testing.assert_close(pulled, factors[[0, 1, 2], picks])
    assert view.backwards == 3


def test_several_draws_of_an_image_are_pulled_back_at_once(small):
    case = small(images=3)
    view = exact(as_defense(Defense(case.net, Noise())))
    view.batch = DeviceBatch(5)
    with seeded("several"):
        found = view.draws_at(case.x, case.y, losses.margin, 4)
    picks = torch.tensor([[3, 0], [1, 2], [2, 3]])
    pulled = found.pull_back(found.cotangent.gather(1, picks[..., None, None, None].expand(-1, -1, 1, 8, 8)), picks)
    for turn in range(2):
        one = found.pull_back(found.cotangent[[0, 1, 2], picks[:, turn]], picks[:, turn])
        torch.testing.assert_close(pulled[:, turn], one)


def test_a_random_classifier_keeps_its_draw(small):
    """Without a purifier the gradient at its output is the whole gradient: a backward for each draw, no pull-back."""
    case = small(noise=0.3, images=4)
    view = exact(case.defense)
    with seeded("classifier"):
        found = view.draws_at(case.x, case.y, losses.margin, 5)
    assert (view.forwards, view.backwards) == (20, 20)
    pulled = found.pull_back(found.cotangent[:, 3], torch.full((4,), 3))
    assert torch.equal(pulled, found.cotangent[:, 3])
    assert (view.forwards, view.backwards) == (20, 20)
    with seeded("classifier"):
        look = exact(case.defense, eot=5).look(case.x, case.y, losses.margin)
    torch.testing.assert_close(found.cotangent.mean(1), look.gradient)
    behind = exact(as_defense(Defense(case.defense.classifier, Noise(), random=True)))
    with seeded("both"):
        found = behind.draws_at(case.x, case.y, losses.margin, 5)
    pulled = found.pull_back(torch.ones_like(case.x), torch.full((4,), 3))
    torch.testing.assert_close(pulled, (found.purified / case.x[:, None])[:, 3], rtol=1e-5, atol=1e-5)


def test_bpda_pulls_back_through_the_surrogate(small):
    case = small(images=2)
    purifier = Function(lambda x: x * torch.randn_like(x), random=True, surrogate=lambda x: x * torch.rand_like(x))
    view = bpda(as_defense(Defense(case.net, purifier)))
    with seeded("bpda"):
        torch.randn(2 * DRAWS, 1, 8, 8)
        factors = torch.rand(2, DRAWS, 1, 8, 8)
    with seeded("bpda"):
        found = view.draws_at(case.x, case.y, losses.margin, DRAWS)
    pulled = found.pull_back(torch.ones_like(case.x), torch.tensor([1, 2]))
    torch.testing.assert_close(pulled, factors[[0, 1], [1, 2]])


def test_bf16_passes_are_replayed(small):
    case = small(images=4)
    view = exact(as_defense(Defense(case.net, Noise())))
    view.precision = "bf16"
    with seeded("bf16"):
        found = view.draws_at(case.x, case.y, losses.margin, DRAWS)
    assert found.logits.dtype == found.cotangent.dtype == torch.float32
    pulled = found.pull_back(torch.ones_like(case.x), torch.tensor([0, 1, 2, 0]))
    right = (found.purified / case.x[:, None])[torch.arange(4), torch.tensor([0, 1, 2, 0])]
    torch.testing.assert_close(pulled, right, rtol=1e-2, atol=1e-2)


def test_an_answer_that_is_not_repeated_is_inapplicable(small):
    """The noise comes from a generator of the purifier's own, which nothing sets back."""
    case, moving = small(images=2), torch.Generator().manual_seed(1)
    noise = Function(lambda x: x + 0.1 * torch.randn(x.shape, generator=moving), random=True)
    found = exact(as_defense(Defense(case.net, noise))).draws_at(case.x, case.y, losses.margin, DRAWS)
    with pytest.raises(Inapplicable, match=OTHER_DRAW):
        found.pull_back(found.cotangent[:, 0], torch.tensor([0, 0]))


def test_memory_that_runs_out_in_a_pull_back_halves_the_batch(small):
    case = small(images=4)

    def limited(x):
        if torch.is_grad_enabled() and len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x * (1 + 0.1 * torch.randn_like(x))

    view = exact(as_defense(Defense(case.net, Function(limited, random=True))))
    with seeded("memory"):
        found = view.draws_at(case.x, case.y, losses.margin, DRAWS)
    assert not view.batch.notes
    picks = torch.tensor([0, 1, 2, 0])
    pulled = found.pull_back(torch.ones_like(case.x), picks)
    torch.testing.assert_close(pulled, (found.purified / case.x[:, None])[range(4), picks], rtol=1e-5, atol=1e-5)
    assert view.batch.notes == ["out of memory: device batch halved to 2"]


def test_missing_and_invalid_gradients(small):
    case = small(images=2)
    defense = as_defense(Defense(case.net, Noise()))
    found = no_gradient(defense).draws_at(case.x, case.y, losses.margin, 2)
    with pytest.raises(PurebenchError, match="a gradient at the image, but none arrives"):
        found.pull_back(found.cotangent[:, 0], torch.tensor([0, 0]))
    detached = as_defense(Defense(lambda x: case.net(x.detach()), Noise()))
    with pytest.raises(PurebenchError, match="a gradient at the image, but none arrives"):
        exact(detached).draws_at(case.x, case.y, losses.margin, 2)
    view = exact(as_defense(Defense(lambda x: case.net(x) + (x - x).sqrt().sum((1, 2, 3))[:, None], Noise())))
    found = view.draws_at(case.x, case.y, losses.cross_entropy, 2)
    assert torch.isfinite(found.cotangent).all()
    assert [warning.code for warning in view.warnings] == [WarningCode.NON_FINITE_GRADIENT, WarningCode.ZERO_GRADIENT]
    assert blind(defense).draws_at(case.x, case.y, losses.margin, 2).purified.shape == (2, 2, 1, 8, 8)
