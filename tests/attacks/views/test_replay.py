"""Tests that replayed rows get the random numbers that they had in the whole batch."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from purebench.attacks.views.replay import GeneratorStates, Replay
from purebench.core.seeds import seeded

TOTAL, ROWS = 12, [7, 2, 9]


def generator():
    return torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))


RANDOM = {
    "randn": lambda x: torch.randn(len(x), 4),
    "randn of a shape": lambda x: torch.randn(x.shape, dtype=torch.float64),
    "randn with a generator": lambda x: torch.randn(x.shape, generator=generator()),
    "randn, rows second": lambda x: torch.randn(5, len(x), 4).transpose(0, 1),
    "rand": lambda x: torch.rand(len(x), 1, 1, 1, device=x.device),
    "randn_like": torch.randn_like,
    "randn_like, channels last": lambda x: torch.randn_like(x.contiguous(memory_format=torch.channels_last)),
    "randn_like, expanded": lambda x: torch.randn_like(x[:1, :1].expand(len(x), -1, -1, -1)),
    "rand_like": torch.rand_like,
    "randint": lambda x: torch.randint(9, (len(x),)),
    "randint with a low end": lambda x: torch.randint(low=-9, high=9, size=(len(x), 7), generator=generator()),
    "randint_like": lambda x: torch.randint_like(x, 9),
    "normal": lambda x: torch.normal(0.0, 1.0, (len(x), 3)),
    "normal of tensors": lambda x: torch.normal(x, 1 + x),
    "bernoulli": torch.bernoulli,
    "multinomial": lambda x: torch.multinomial(0.1 + x.flatten(1), 3),
    "dropout": functional.dropout,
    "dropout in place": lambda x: functional.dropout(x.clone(), inplace=True),
    "dropout of channels": functional.dropout2d,
    "gumbel_softmax": lambda x: functional.gumbel_softmax(x.flatten(1)),
    "normal_": lambda x: torch.empty_like(x).normal_(),
    "normal_ with a generator": lambda x: torch.empty_like(x).normal_(generator=generator()),
    "uniform_": lambda x: x.new_zeros(len(x)).uniform_(-1, 1),
    "bernoulli_": lambda x: torch.empty_like(x).bernoulli_(0.3),
    "bernoulli_ of a tensor": lambda x: torch.empty_like(x).bernoulli_(x),
    "random_": lambda x: torch.empty_like(x).random_(9),
    "exponential_": lambda x: torch.empty_like(x).exponential_(),
    "a distribution": lambda x: torch.distributions.Normal(x, 1.0).rsample(),
}


@pytest.mark.parametrize("name", RANDOM)
def test_rows_have_the_random_numbers_of_the_whole_batch(name):
    with seeded("replay", name):
        x = torch.rand(TOTAL, 2, 6, 6)
        states = GeneratorStates.now(x.device)
        whole, after = RANDOM[name](x), torch.rand(())
    index = torch.tensor(ROWS)
    with states.again(), Replay(index, TOTAL):
        found, then = RANDOM[name](x[index]), torch.rand(())
    assert torch.equal(found, whole[index])
    assert torch.equal(then, after)  # the generator is in the state in which the whole batch left it
    assert len(whole.reshape(TOTAL, -1).unique(dim=0)) > 1  # the rows differ, so that the test can fail


@pytest.mark.parametrize("name", RANDOM)
def test_with_votes_every_row_is_a_run_of_copies(name):
    """A defense that votes repeats each row before it draws; the copies of a row are replayed together."""
    copies = 4
    with seeded("votes", name):
        x = torch.rand(TOTAL, 2, 6, 6)
        states = GeneratorStates.now(x.device)
        whole = RANDOM[name](x.repeat_interleave(copies, 0))
    index = torch.tensor(ROWS)
    with states.again(), Replay(index, TOTAL, copies):
        found = RANDOM[name](x[index].repeat_interleave(copies, 0))
    assert torch.equal(found, whole.view(TOTAL, copies, *whole.shape[1:])[index].flatten(0, 1))


def test_random_numbers_of_a_backward_pass_are_replayed():
    """Checkpointed functions draw again in the backward pass, also in an inner one whose graph is kept."""

    class Checkpointed(torch.autograd.Function):
        @staticmethod
        def forward(context, x, seed):
            context.save_for_backward(x)
            context.seed = seed
            return x * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))

        @staticmethod
        def backward(context, gradient):
            (x,) = context.saved_tensors
            return gradient * torch.randn(x.shape, generator=torch.Generator().manual_seed(context.seed)), None

    def inner(x):
        asked = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(Checkpointed.apply(asked, 2).sum(), asked)
        return x * gradient + Checkpointed.apply(x, 3)

    def slope(x):
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(inner(leaf).sum(), leaf)[0]

    x, index = torch.rand(TOTAL, 2, 6, 6), torch.tensor(ROWS)
    with Replay(index, TOTAL):
        found = slope(x[index])
    assert torch.equal(found, slope(x)[index])


def test_tensors_of_other_shapes_are_drawn_as_they_are():
    with seeded("other"):
        states = GeneratorStates.now(torch.device("cpu"))
        shared = torch.randn(5, 4), torch.randn(()), torch.randint(9, (2,))
    with states.again(), Replay(torch.tensor(ROWS), TOTAL):
        again = torch.randn(5, 4), torch.randn(()), torch.randint(9, (2,))
    assert all(torch.equal(one, other) for one, other in zip(shared, again, strict=True))


def test_the_states_of_the_caller_are_restored_even_after_an_error():
    states = GeneratorStates.now(torch.device("cpu"))
    torch.rand(3)
    before = torch.get_rng_state()

    def failing():
        with states.again():
            assert torch.equal(torch.get_rng_state(), states.cpu)
            torch.rand(5)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        failing()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_replay_does_not_import_the_compiler():
    """It takes several seconds to import; in a process of its own, because other tests may have imported it."""
    code = (
        "import sys, torch; from purebench.attacks.views.replay import Replay\n"
        "with Replay(torch.tensor([1, 2]), 5): torch.randn_like(torch.rand(2, 3))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
