"""Tests that networks are compiled for two batch sizes only, and that compiled calls give the network's own answers."""

import pickle
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from torch import nn

from purebench.core.compute import cast_weights
from purebench.core.compute.cast_weights import CastWeights
from purebench.core.compute.compiled import Compiled, CompileFailure, Network, Networks, networks, probe
from purebench.core.compute.compiled.agreement import ANSWERS, compare
from purebench.core.compute.compiled.call_layout import Arguments, Layout
from purebench.core.defense import Defense, Purifier, as_defense
from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.chain import run

from counting_backend import Counting, is_weight  # isort: skip

LARGEST = 16


class Small(nn.Module):
    """A classifier of images [N,1,6,6]."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.last(self.first(x).relu().flatten(1))


class Denoiser(nn.Module):
    """A network of images, times [N], a table of as many rows as it happens to have, and an option."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t, table, *, scale=None):
        return 0.9 * x + 0.1 * self.first(x) * t.view(-1, 1, 1, 1) + table.mean()


class Denoised(Purifier):
    random = False

    def __init__(self, checkpointed=False):
        super().__init__()
        self.network, self.checkpointed = Denoiser(), checkpointed
        self.register_buffer("table", torch.arange(5.0) / 100)

    def forward(self, x):
        steps = [lambda state, t=t: self.network(state, state.new_full((len(state),), t), self.table) for t in (2, 1)]
        return run(x, steps, self.checkpointed)


@pytest.fixture
def backend(monkeypatch):
    counted = Counting()
    monkeypatch.setattr(networks, "BACKEND", counted)
    return counted


@pytest.fixture(autouse=True)
def images():
    torch.manual_seed(0)
    return torch.rand(70, 1, 6, 6)


def found(defense, images, inside=lambda defense: nullcontext()):
    return probe(lambda: deepcopy(defense), images[:3], LARGEST, (Defense, Purifier), inside)


def answers(defense, x, context=None):
    leaf = x.clone().requires_grad_()
    with context or nullcontext():
        logits = defense(leaf)
    (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
    return logits.detach(), gradient


def test_many_batch_sizes_and_copies_are_compiled_for_two_sizes_only(backend, images):
    defense = as_defense(Small())
    probed = found(defense, images)
    assert (probed.networks.names, probed.refused, backend.graphs) == (("classifier",), {}, 1)
    for size in (1, 2, 3, 5, 15, 16, 17, 31, 64, 70, 33, 7):
        copy = deepcopy(defense)
        own, compiled = answers(copy, images[:size]), answers(copy, images[:size], Compiled(copy, probed.networks))
        assert len(compiled[0]) == size
        assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(own, compiled, strict=True))
    assert backend.graphs == 2
    assert set(backend.rows) == {LARGEST // networks.SHARE, LARGEST}
    with torch.no_grad(), Compiled(defense, probed.networks):  # without gradients the code is another one
        defense(images[:5])
    assert backend.graphs == 3


def test_the_answers_do_not_depend_on_the_sizes_that_came_before(backend, images):
    defense = as_defense(Small())
    orders = [(3, 40, 9), (40, 9, 3)]
    seen = []
    for order in orders:
        compiled = Compiled(defense, found(defense, images).networks)
        seen.append({size: answers(defense, images[:size], compiled) for size in order})
    for size in orders[0]:
        assert all(torch.equal(one, other) for one, other in zip(seen[0][size], seen[1][size], strict=True))


def test_networks_are_as_they_were_after_the_context(backend, images):
    defense = as_defense(Small(), None)
    compiled = Compiled(defense, found(defense, images).networks)
    with compiled, compiled:
        assert "forward" in vars(defense.classifier)
    assert "forward" not in vars(defense.classifier)
    before = backend.calls
    answers(defense, images[:3])
    assert backend.calls == before


@pytest.mark.parametrize("size", [2, 5, 16, 21])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_arguments_with_and_without_rows_are_told_apart(backend, images, size, checkpointed):
    """The table has five rows, which is also the size of a batch, and belongs to no image."""
    defense = as_defense(Denoised(checkpointed), Small())
    probed = found(defense, images)
    assert set(probed.networks.names) == {"classifier", "purifier.network"}
    calls = backend.calls
    own = answers(defense, images[:size])
    assert backend.calls == calls
    compiled = answers(defense, images[:size], Compiled(defense, probed.networks))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(own, compiled, strict=True))
    parts = 1 if size in (2, 16) else 3 if size == 5 else 4
    # the backward pass of a chain computes its steps again, in the contexts of the forward pass
    assert backend.calls - calls >= parts * (5 if checkpointed else 3)


def test_calls_that_the_probe_has_not_seen_run_uncompiled(backend, images):
    network, layouts = Denoiser(), []
    table = torch.zeros(4)
    for rows in (2, 3):
        layouts.append(Arguments.of((images[:rows], torch.ones(rows), table), {"scale": None}))
    layout = Layout.of(*layouts)
    known, one = Networks((), LARGEST), Network("network", (layout,))
    x, t = images[:4], torch.ones(4)
    for args, kwargs in [
        ((x, t, table), {}),
        ((x, t, table), {"scale": 1}),
        ((x, t, torch.zeros(3)), {"scale": None}),
        ((x, t[:3], table), {"scale": None}),
        ((x.double(), t, table), {"scale": None}),
        ((x[:, :, :5], t, table), {"scale": None}),
    ]:
        assert layout.rows(Arguments.of(args, kwargs)) == 0
    assert layout.rows(Arguments.of((x, t, table), {"scale": None})) == 4
    known.call(one, network, x, t, table)
    assert backend.graphs == 0
    known.call(one, network, x, t, table, scale=None)
    assert backend.graphs == 1
    assert Layout.of(layouts[0], layouts[0]) is None


@pytest.mark.parametrize(("steps", "compiled"), [(2, True), (3, False)])
def test_a_network_whose_calls_differ_in_a_number_is_compiled_for_two_numbers_at_most(backend, images, steps, compiled):
    class Numbered(Purifier):
        random = False

        def __init__(self):
            super().__init__()
            self.network = Denoiser()

        def forward(self, x):
            for scale in range(steps):
                x = self.network(x, x.new_ones(len(x)), x.new_zeros(4), scale=scale)
            return x

    probed = found(as_defense(Numbered(), Small()), images)
    assert ("purifier.network" in probed.networks.names) == compiled
    assert compiled or "differ from call to call" in probed.refused["purifier.network"]


class Dropped(Small):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.1, training=True))


class Broken(Small):
    """Cannot be compiled as one graph."""

    def forward(self, x):
        torch._dynamo.graph_break()
        return super().forward(x)


class Paired(Small):
    def forward(self, x):
        return {"logits": super().forward(x), "name": "small"}["logits"], "small"


@pytest.mark.parametrize(
    ("classifier", "reason"),
    [(Dropped, "draws random numbers"), (Broken, "graph_break"), (Paired, "an object of the class str")],
)
def test_networks_that_cannot_be_compiled_are_refused_with_the_reason(backend, images, classifier, reason):
    network = classifier()

    class Wrapped(Purifier):
        random = False

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            answer = self.network(x)
            answer = answer[0] if isinstance(answer, tuple) else answer
            return x + answer.mean(1).view(-1, 1, 1, 1)

    probed = found(as_defense(Wrapped(), Small()), images)
    assert probed.networks.names == ("classifier",)
    assert list(probed.refused) == ["purifier.network"]
    assert reason in probed.refused["purifier.network"]
    assert "\n" not in probed.refused["purifier.network"]


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1 + 1e-5, False), (1.01, True), (float("nan"), True)])
def test_compiled_code_with_other_answers_is_refused(monkeypatch, images, factor, refused):
    monkeypatch.setattr(networks, "BACKEND", Counting(lambda answer: answer * factor))
    probed = found(as_defense(Small()), images)
    assert bool(probed.refused) == refused
    assert bool(probed.networks.names) != refused
    if refused:
        assert "expected answers of its compiled form" in probed.refused["classifier"]


def test_compiled_code_with_other_gradients_is_refused(monkeypatch, images):
    """The compiled code gives the right answers and half of the gradient, which would weaken every attack."""
    monkeypatch.setattr(networks, "BACKEND", Counting(lambda answer: answer.detach() / 2 + answer / 2))
    probed = found(as_defense(Small()), images)
    assert "expected gradients of its compiled form" in probed.refused["classifier"]


@pytest.mark.parametrize("part", ["answers", "gradients"])
def test_other_answers_or_gradients_at_the_large_size_fail_instead_of_being_used(monkeypatch, images, part):
    """The probe compiles the small size only, so that the large one is compared at its first call."""

    def wrong(answer):
        return answer.detach() / 2 + answer / 2 if part == "gradients" else 1.01 * answer

    large = Counting(lambda answer: wrong(answer) if len(answer) == LARGEST else answer)
    monkeypatch.setattr(networks, "BACKEND", large)
    defense = as_defense(Small())
    compiled = Compiled(defense, found(defense, images).networks)
    answers(defense, images[: LARGEST - 1], compiled)
    with pytest.raises(CompileFailure, match=f"classifier: expected {part} of .*; run without --compile$") as caught:
        answers(defense, images[:LARGEST], compiled)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # workers send it


@pytest.mark.parametrize(("precision", "apart"), [("float16", 0.03), ("bfloat16", 0.1)])
def test_answers_in_half_precision_may_differ_more(precision, apart):
    def compared(factor):
        one = torch.ones(3)
        with torch.autocast("cpu", getattr(torch, precision)):
            compare("answers", [one], [(1 + factor) * one], ANSWERS)

    compared(apart / 10)
    with pytest.raises(PurebenchError, match="expected answers of its compiled form within"):
        compared(apart)


class Smooth(Small):
    def forward(self, x):
        return super().forward(x).tanh()


class Climbing(Purifier):
    """Moves images along the gradient of a network, so that its own gradient needs a second derivative."""

    random = False

    def __init__(self):
        super().__init__()
        self.energy = Smooth()

    def forward(self, x):
        with torch.enable_grad():
            state = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(state).sum(), state, create_graph=True)
        return x / 10 + 10 * slope


class Cut(torch.autograd.Function):
    """A function of x whose gradient is a constant, as in compiled code, whose backward pass is compiled too."""

    @staticmethod
    def forward(context, x, function):
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            context.pair = function(leaf), leaf
        return context.pair[0].detach()

    @staticmethod
    def backward(context, gradient):
        answer, leaf = context.pair
        return torch.autograd.grad(answer, leaf, gradient.detach(), retain_graph=True)[0], None


def cut(graph, examples):
    def run(*given):
        place = next(place for place, one in enumerate(given) if len(one.shape) == 4 and not is_weight(one))

        def answer(x):
            return graph.forward(*given[:place], x, *given[place + 1 :])[0]

        return (Cut.apply(given[place], answer),)

    return run


def test_a_purifier_that_needs_second_derivatives_keeps_its_networks_and_the_classifier_is_compiled(
    monkeypatch, images
):
    monkeypatch.setattr(networks, "BACKEND", cut)
    probed = found(as_defense(Climbing(), Small()), images)
    assert probed.networks.names == ("classifier",)
    assert "gradients of its compiled form" in probed.refused["purifier.energy"]


def test_a_defense_that_fails_has_no_compiled_networks(backend, images):
    probed = found(as_defense(lambda x: x[:, 0, 0, 7]), images)
    assert (probed.networks.names, probed.refused) == ((), {})


def test_at_most_the_largest_networks_are_compiled(backend, images):
    class Many(Purifier):
        random = False

        def __init__(self):
            super().__init__()
            sizes = (1, 5, 3, 4, 2)
            self.parts = nn.ModuleList(nn.Sequential(nn.Conv2d(1, s, 1), nn.Conv2d(s, 1, 1)) for s in sizes)

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    assert found(as_defense(Many(), Small()), images).networks.names == (
        *("classifier", "purifier.parts.1", "purifier.parts.3", "purifier.parts.2"),
    )


def test_weights_in_bf16_are_compiled_too(backend, images):
    defense = as_defense(Small())

    def inside(defense):
        return cast_weights.in_bf16(torch.device("cpu"), CastWeights(defense))

    probed = found(defense, images, inside)
    calls = backend.calls
    with inside(defense), Compiled(defense, probed.networks):
        logits = defense(images[:4].requires_grad_())
    assert logits.dtype == torch.bfloat16
    assert backend.calls == calls + 2
    assert torch.allclose(logits.float(), defense(images[:4]), atol=0.05)


def test_a_network_that_must_be_compiled_again_fails_instead(backend, images):
    """A copy with other code paths would be compiled once more for each copy."""
    defense = as_defense(Small())
    networks_ = found(defense, images).networks
    other = deepcopy(defense)
    other.classifier.first = nn.Conv2d(1, 4, 3, bias=False)
    with pytest.raises(CompileFailure, match="has to be compiled again"), Compiled(other, networks_):
        other(images[:2].requires_grad_())


@pytest.mark.slow
def test_the_default_backend_agrees_with_the_network(images):
    defense = as_defense(Denoised(checkpointed=True), Small())
    probed = found(defense, images)
    assert set(probed.networks.names) == {"classifier", "purifier.network"}
    own, compiled = (answers(defense, images, context) for context in (None, Compiled(defense, probed.networks)))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(own, compiled, strict=True))
    assert "purifier.energy" in found(as_defense(Climbing(), Small()), images).refused
