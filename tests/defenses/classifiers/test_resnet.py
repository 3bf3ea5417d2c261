"""Tests the ResNet classifier: output shapes, built-in normalisation, residual blocks and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from purebench.defenses.classifiers.resnet import Block, ResNet


def small(**options) -> ResNet:
    torch.manual_seed(0)
    model = ResNet(**{"width": 4, "depth": 1} | options)
    model(torch.rand(16, options.get("channels", 1), 32, 32))  # moves the running statistics away from 0 and 1
    return model.eval()


@pytest.mark.parametrize("options", [{}, {"channels": 3, "classes": 7}, {"depth": 3}, {"stride": 2}, {"width": 6}])
def test_logits_have_one_row_per_image(options):
    model = small(**options)
    logits = model(torch.rand(5, options.get("channels", 1), 32, 32))
    assert logits.shape == (5, options.get("classes", 10))
    assert logits.isfinite().all()
    assert len(model.blocks) == 3 * options.get("depth", 1)


def test_forward_normalises_images():
    torch.manual_seed(0)
    x = torch.rand(3, 1, 32, 32)
    model, plain = small(mean=0.4, std=0.25), small(mean=0.0, std=1.0)
    plain.load_state_dict(model.state_dict())
    assert torch.allclose(model(x), plain((x - 0.4) / 0.25), atol=1e-6)
    assert not torch.allclose(model(x), plain(x), atol=1e-3)


def test_images_of_a_batch_do_not_influence_each_other():
    model, x = small(), torch.rand(6, 1, 32, 32)
    alone = torch.cat([model(image[None]) for image in x])
    assert torch.allclose(model(x), alone, atol=1e-5)


def test_block_with_zero_residual_branch_returns_the_relu_of_its_shortcut():
    torch.manual_seed(0)
    block = Block(4, 4, 1).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x.relu())
    narrower = Block(4, 8, 2).eval()
    nn.init.zeros_(narrower.conv2.weight)
    assert torch.equal(narrower(x), narrower.shortcut(x).relu())
    assert narrower(x).shape == (2, 8, 4, 4)


def test_every_image_receives_a_nonzero_gradient():
    x = torch.rand(2, 1, 32, 32, requires_grad=True)
    small()(x)[:, 0].sum().backward()
    assert (x.grad.flatten(1).abs().amax(1) > 0).all()
