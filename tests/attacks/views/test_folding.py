"""Folding never changes what is attacked: logits and gradients against the original's, and every case it must leave."""

import random
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.folding import folded
from purebench.attacks.views.gradient_modes import blind, bpda, exact
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.defenses.classifiers.resnet import ResNet

LOSS = losses.cross_entropy


def settled(model):
    """A model in eval mode whose batch norms have statistics and slopes of their own."""
    with seeded("settled"):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                if module.affine:
                    nn.init.uniform_(module.weight, -1.5, 1.5)
                    nn.init.normal_(module.bias, 0, 0.3)
    return model.eval().requires_grad_(False)


def pictures(count=6, channels=3, side=8):
    with seeded("pictures"):
        return torch.rand(count, channels, side, side)


class Net(nn.Module):
    """A convolution, its batch norm and a head; what is between them is the case."""

    def __init__(self, conv=None, norm=None):
        super().__init__()
        with seeded("net"):
            self.conv = nn.Conv2d(3, 6, 3, padding=1) if conv is None else conv
            self.norm = nn.BatchNorm2d(6) if norm is None else norm
            self.head = nn.Linear(6, 4)

    def features(self, x):
        return self.norm(self.conv(x))

    def forward(self, x):
        return self.head(torch.relu(self.features(x)).mean((2, 3)))


def slope(model, x):
    """Logits, and the gradient of their weighted sum."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    (gradient,) = torch.autograd.grad((logits * torch.arange(1.0, logits.shape[1] + 1)).sum(), leaf)
    return logits, gradient


def same(one, other, x, rtol, atol):
    for found, expected in zip(slope(one, x), slope(other, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        ({}, {}),
        ({"bias": False, "stride": 2, "padding": (1, 2)}, {"affine": False}),
        ({"groups": 3, "dilation": 2, "kernel_size": (3, 2)}, {"eps": 0.1}),
        ({"padding": 1, "padding_mode": "reflect"}, {}),
    ],
)
def test_a_pair_is_one_convolution(conv, norm, dtype, close):
    with seeded("pair"):
        made = nn.Conv2d(3, 6, **{"kernel_size": 3} | conv)
    model = settled(Net(made, nn.BatchNorm2d(6, **norm))).to(dtype)
    x = pictures().to(dtype)
    found = folded(model, x[:2])
    assert (found.pairs, found.passes) == (1, 4)
    assert found.classifier is not model
    same(found.classifier, model, x, close, close)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_residual_network_is_folded_whole(dtype, close):
    with seeded("resnet"):
        model = ResNet(channels=3, width=4, depth=2)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    model, x = settled(model).to(dtype), pictures(side=32).to(dtype)
    for _ in range(5):
        found = folded(model, x[:2])
        assert found.pairs == norms == 13
    same(found.classifier, model, x, 10 * close, close)


def test_nothing_of_the_caller_s_is_changed():
    model = settled(Net())
    model.layers = [model.conv, model.norm]  # beside what torch knows of
    state, before = deepcopy(model.state_dict()), {id(one): dict(vars(one)) for one in model.modules()}
    inside = {id(one): dict(vars(one)["_modules"]) for one in model.modules()}
    look = exact(Defense(model)).look(pictures(), torch.zeros(6, dtype=torch.long), LOSS)
    assert look.gradient.any()
    assert {id(one): dict(vars(one)) for one in model.modules()} == before
    assert {id(one): dict(vars(one)["_modules"]) for one in model.modules()} == inside
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    copy = folded(model, pictures(2)).classifier
    assert copy.head is model.head  # what is not folded is shared
    assert copy.conv.weight is model.conv.weight


class Live(Net):
    """A forward that cannot be traced: a length, a branch on the data, a count."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        logits = super().forward(x) * self.calls
        if x.mean() > 0.5:
            logits = 2 * logits
        return logits[torch.arange(len(x))]


def test_code_stays_as_it_is():
    model, x = settled(Live()), pictures()
    dark, bright = x / 2, 0.5 + x / 2
    copy = folded(model, dark[:2]).classifier
    assert copy is not model
    again = deepcopy(model)
    copy.calls = again.calls = 0
    for images in (dark, bright, dark):
        same(copy, again, images, 1e-5, 1e-5)
    assert copy.calls == again.calls == 3
    assert model.calls == 0


def touched(touch):
    def make():
        model = settled(Net())
        touch(model)
        return model

    return make


def own_forward(model):
    model.forward = lambda x: Net.forward(model, x) + 1


def trains(model):
    model.norm.train()


def without_statistics():
    return settled(Net(norm=nn.BatchNorm2d(6, track_running_stats=False)))


def of(features):
    """A model whose features are found this way."""
    return lambda: settled(type("Other", (Net,), {"features": features})())


def under_no_grad(self, x):
    with torch.no_grad():
        z = self.conv(x)
    return self.norm(z) + x.mean()


def changed_in_between(self, x):
    x = x + 0
    z = self.conv(x)
    x.mul_(2)
    return self.norm(z)


def in_place(self, x):
    return self.norm(self.conv(x).mul_(2))


class Rounded(nn.Conv2d):
    """A convolution that is none."""

    def forward(self, x):
        return super().forward(x) + x.mean()


def moves_its_weights(self, x):
    self.conv.weight.data.add_(0.01 * torch.randn_like(self.conv.weight))
    return self.norm(self.conv(x))


def copies_its_weights(self, x):
    with torch.no_grad():
        self.norm.weight.copy_(1 + 0.1 * torch.rand(6))
    return self.norm(self.conv(x))


class Generated(Net):
    """Randomness that no seed of ours reaches."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator()

    def features(self, x):
        return self.norm(self.conv(x)) * (1 + torch.rand(1, generator=self.generator))


TOLD = []


def grows(self, x):
    """Another answer at each call, whatever object is asked."""
    TOLD.append(0)
    return len(TOLD) * self.norm(self.conv(x))


LEFT = {
    "no batch norm": lambda: settled(nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten())),
    "a hook": touched(lambda model: model.register_forward_hook(lambda *_: None)),
    "a hook on the convolution": touched(lambda model: model.conv.register_forward_hook(lambda m, i, o: 2 * o)),
    "a hook before the norm": touched(lambda model: model.norm.register_forward_pre_hook(lambda m, i: (2 * i[0],))),
    "a hook on gradients": touched(lambda model: model.norm.register_full_backward_hook(lambda *_: None)),
    "weight norm": touched(lambda model: parametrizations.weight_norm(model.conv)),
    "spectral norm": touched(lambda model: parametrizations.spectral_norm(model.conv).eval()),
    "a forward of its own": touched(own_forward),
    "a convolution's own forward": touched(lambda model: setattr(model.conv, "forward", lambda x: x[:, :1] * 2 + 0)),
    "a batch norm that trains": touched(trains),
    "a batch norm without statistics": without_statistics,
    "another convolution": lambda: settled(Net(Rounded(3, 6, 3))),
    "a script": lambda: torch.jit.script(settled(nn.Sequential(nn.Conv2d(3, 6, 8), nn.BatchNorm2d(6), nn.Flatten()))),
    "two consumers": of(lambda self, x: self.norm(z := self.conv(x)) + z),
    "two batch norms": of(lambda self, x: self.norm(z := self.conv(x)) + self.norm(z)),
    "asked about its shape": of(lambda self, x: self.norm(z := self.conv(x)) * z.shape[1]),
    "something in between": of(lambda self, x: self.norm(self.conv(x).relu())),
    "in place in between": of(in_place),
    "the input changed in between": of(changed_in_between),
    "detached in between": of(lambda self, x: self.norm(self.conv(x).detach()) + x.mean()),
    "no gradient of the convolution": of(under_no_grad),
    "used twice": of(lambda self, x: self.norm(self.conv(x)) + self.norm(self.conv(1 - x))),
    "the norm used twice": of(lambda self, x: self.norm(self.norm(self.conv(x)))),
    "weights moved at each pass": of(moves_its_weights),
    "weights copied at each pass": of(copies_its_weights),
    "a generator of its own": lambda: settled(Generated()),
    "another answer each time": of(grows),
    "no gradient": of(lambda self, x: self.norm(self.conv(x.detach()))),
    "a fault": of(lambda self, x: self.norm(self.conv(x)) + None),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_be_folded_is_left_alone(case):
    model = LEFT[case]()
    found = folded(model, pictures(2))
    assert found.classifier is model
    assert found.pairs == 0
    nothing = case in list(LEFT)[: list(LEFT).index("two consumers")]  # seen without asking
    assert found.passes == 0 or not nothing


def test_a_function_is_left_alone():
    def function(x):
        return x.flatten(1)

    assert folded(function, pictures(2)).classifier is function


def test_beside_what_is_left_alone_the_rest_is_folded():
    """In one model: a pair within a module with a hook, a pair used twice, and one as usual."""

    def pair():
        return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())

    class Three(nn.Module):
        def __init__(self):
            super().__init__()
            with seeded("three"):
                self.hooked, self.twice, self.usual, self.head = pair(), pair(), pair(), nn.Linear(192, 4)
            self.again = self.twice

        def forward(self, x):
            return self.head(self.usual(self.again(self.twice(self.hooked(x)))).flatten(1))

    model, seen = settled(Three()), []
    model.hooked.register_forward_hook(lambda module, inputs, answer: seen.append(module))
    found = folded(model, pictures(2))
    assert found.pairs == 1
    same(found.classifier, model, pictures(), 1e-5, 1e-5)
    assert all(module is model.hooked for module in seen)
    assert found.classifier.hooked is model.hooked
    assert found.classifier.twice is model.twice


class Sometimes(Net):
    """Dark images take a way that bright ones do not show."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def features(self, x):
        z = self.conv(x)
        if x.mean() > 0.5:
            return self.norm(z)
        if self.way == "looks":
            return self.norm(z) + z.mean()
        if self.way == "other":
            return self.norm(z * 2)
        return self.norm(torch.cat([x, x], 1))


@pytest.mark.parametrize("way", ["looks", "other", "alone"])
def test_where_the_copy_does_not_hold_the_classifier_is_asked(way):
    model, x, y = settled(Sometimes(way)), pictures(), torch.zeros(6, dtype=torch.long)
    bright, dark = (0.6 + 0.4 * x), (0.3 * x)
    defense = as_defense(Defense(model, Function(lambda x: x + 0, random=False)))
    view, plain = exact(defense), exact(defense)
    plain.folds = False
    for images in (bright, dark, bright):
        one, other = view.look(images, y, LOSS), plain.look(images, y, LOSS)
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.gradient, other.gradient, rtol=1e-5, atol=1e-5)
    assert len(view.notes) == 1
    assert "later passes use the original classifier" in view.notes[0]
    assert (view.forwards, view.backwards) == (18 + 4 + 6, 18 + 4)  # the looks, the trial, and the pass made again
    assert (plain.forwards, plain.backwards, plain.notes) == (18, 18, [])


@pytest.fixture
def net():
    """A folding classifier, images, and labels as it sees them."""
    model, x = settled(Net()), pictures(12)
    return model, x, model(x).argmax(1)


def test_a_look_goes_through_the_copy_and_what_decides_does_not(net):
    model, x, y = net
    view = exact(as_defense(model), eot=8)
    look = view.look(x, y, LOSS)
    (gradient,) = torch.autograd.grad(LOSS(model(leaf := x.clone().requires_grad_()), y).sum(), leaf)
    torch.testing.assert_close(look.gradient, gradient, rtol=1e-4, atol=1e-6)
    assert (view.forwards, view.backwards) == (12 + 4, 12 + 4)  # two images twice to try the copy
    assert torch.equal(view.scores(x)[:, 0], model(x))
    assert torch.equal(view.as_module()(x.clone().requires_grad_()), model(x))  # libraries differentiate the original
    view.look(x, y, LOSS)
    assert (view.forwards, view.backwards) == (52, 40)


@pytest.mark.parametrize("make", [exact, bpda, blind])
def test_it_is_the_classifier_behind_any_purifier(net, make):
    model, x, y = net

    def half(x):
        return 0.5 * x + 0.2

    def noisy(x):
        return half(x) + 0.05 * torch.randn_like(x)

    for random_, function in ((False, half), (True, noisy)):
        defense = as_defense(Defense(model, Function(function, random=random_, surrogate=half)))
        looks = []
        for folds in (True, False):
            view = make(defense, eot=3)
            view.folds = folds
            asked = []
            model.head.register_forward_hook(lambda module, given, answer, asked=asked: asked.append(len(answer)))
            with seeded("purifier"):
                looks.append(view.look(x, y, LOSS))
            assert sum(asked) == view.forwards == 12 * view.draws + 4 * folds
            model.head._forward_hooks.clear()
        torch.testing.assert_close(looks[0].gradient, looks[1].gradient, rtol=1e-4, atol=1e-6)


class Noisy(Net):
    """Noise of torch, numpy and Python before, within and after the layers."""

    def features(self, x):
        scale = 1 + 0.1 * random.random() + 0.1 * np.random.random()
        return nn.functional.dropout(self.norm(self.conv(x + 0.1 * torch.randn_like(x))), 0.2) * scale


class Views(Net):
    """Takes its features as one vector by `view`, which channels-last ones do not allow."""

    def forward(self, x):
        kept = self.features(x)
        return self.head(kept.view(len(kept), -1)[:, : self.head.in_features])


@pytest.mark.parametrize("kind", [Net, Views])
def test_the_copy_lies_channels_last_where_the_classifier_bears_it(kind):
    """The answers are the same either way; only what the next layer is given lies otherwise."""
    model = settled(kind())
    seen = []
    for wanted in (True, False):
        found = folded(model, pictures(), channels_last=wanted)
        features = found.classifier.features(pictures())
        seen.append(features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous())
        torch.testing.assert_close(found.classifier(pictures()), model(pictures()), rtol=1e-4, atol=1e-5)
        assert found.pairs == 1
    assert seen == [kind is Net, False]


def test_a_random_classifier_draws_as_before():
    """The same noise under the same seed, fresh noise at each pass, and nothing drawn for the trial."""
    model, x, y = settled(Noisy()), pictures(), torch.zeros(6, dtype=torch.long)
    views = exact(as_defense(model, random=True), eot=4), exact(as_defense(model, random=True), eot=4)
    views[1].folds = False
    looks = []
    for view in views:
        with seeded("random"):
            looks.append([view.look(x, y, LOSS) for _ in range(2)])
    assert views[0]._folding.pairs == 1
    for one, other in zip(*looks, strict=True):
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.gradient, other.gradient, rtol=1e-5, atol=1e-5)
    assert (looks[0][0].logits - looks[0][1].logits).abs().min() > 1e-4
    # watched, tried channels-last, where noise is laid out otherwise, and tried as it is: two images each
    assert (views[0].forwards, views[1].forwards) == (48 + 6, 48)


@pytest.mark.parametrize("change", ["in place", "another", "training"])
def test_weights_that_change_later_are_heeded(net, change):
    """Also the caller's own: an optimiser's step between two looks."""
    model, x, y = net
    view = exact(as_defense(model))
    before = view.look(x, y, LOSS)
    if change == "in place":
        with torch.no_grad():
            model.conv.weight.mul_(-2)
    elif change == "another":
        model.norm.weight = nn.Parameter(-2 * model.norm.weight)
    else:
        view._folding.classifier.norm.train()
    after = view.look(x, y, LOSS)
    torch.testing.assert_close(after.logits[:, 0], model(x), rtol=1e-5, atol=1e-5)
    assert change == "training" or (after.logits - before.logits).abs().max() > 0.01
    assert any("later passes use the original classifier" in note for note in view.notes)


@pytest.mark.parametrize("attack", [PGD(steps=8), APGD(steps=8)])
def test_an_attack_finds_the_same_points(net, attack):
    """Where the classifier computes in float64, so that rounding turns no sign."""

    class Double(Net):
        def forward(self, x):
            return super().forward(x.double()).float()

    _, x, y = net
    model, found = settled(Double()).double(), []
    for folds in (True, False):
        view = exact(as_defense(model))
        view.folds = folds
        with seeded("points"):
            found.append(attack(view, x, y, ThreatModel("linf", 0.05)))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)
    assert not torch.equal(found[0], x)


def test_no_memory_for_the_copy_halves_the_batch(net):
    _, x, y = net

    class Cramped(Net):
        def features(self, x):
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().features(x)

    view = exact(as_defense(settled(Cramped())))
    view.look(x, y, LOSS)
    assert view.batch.size == 3
    assert view._folding.pairs == 1
    assert view.notes == view.warnings == []


def test_bf16_looks_agree_with_float32(net):
    model, x, y = net
    looks = []
    for precision in ("float32", "bf16"):
        view = exact(as_defense(model))
        view.precision = precision
        looks.append(view.look(x, y, LOSS))
        assert view._folding.pairs == 1
    cosine = torch.nn.functional.cosine_similarity(*(look.gradient.flatten(1) for look in looks))
    assert cosine.min() > 0.95
    assert looks[1].logits.dtype == torch.float32
