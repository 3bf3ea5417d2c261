"""Tests that networks are compiled for two batch sizes only, and that compiled calls give the network's own answers."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from purebench.core.compute import cast_weights
from purebench.core.compute.cast_weights import CastWeights
from purebench.core.compute.compiled import Compiled, CompileFailure, Network, Networks, networks
from purebench.core.compute.compiled.agreement import ANSWERS, compare
from purebench.core.compute.compiled.call_layout import Arguments, Layout
from purebench.core.defense import Purifier, as_defense
from purebench.core.errors import PurebenchError

from small_networks import LARGEST, Climbing, Denoised, Denoiser, Small, answers, found  # isort: skip


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


@pytest.mark.parametrize(("precision", "apart"), [("float16", 0.03), ("bfloat16", 0.1)])
def test_answers_in_half_precision_may_differ_more(precision, apart):
    def compared(factor):
        one = torch.ones(3)
        with torch.autocast("cpu", getattr(torch, precision)):
            compare("answers", [one], [(1 + factor) * one], ANSWERS)

    compared(apart / 10)
    with pytest.raises(PurebenchError, match="expected answers of its compiled form within"):
        compared(apart)


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
