"""Tests that networks which cannot be compiled, or whose compiled code is wrong, run uncompiled or fail."""

import pickle

import pytest
import torch
from torch import nn

from purebench.core.compute.compiled import Compiled, CompileFailure, networks
from purebench.core.defense import Purifier, as_defense

from counting_backend import Counting, is_weight  # isort: skip
from small_networks import LARGEST, Climbing, Small, answers, found  # isort: skip


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
