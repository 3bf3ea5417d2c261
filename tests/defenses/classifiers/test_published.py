"""Tests the published classifiers on small files in their layouts, and their sizes without memory."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from purebench.cli.main import app
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.checkpoints import load, save
from purebench.defenses.classifiers import published
from purebench.defenses.classifiers.layouts import (
    classifier_network,
    dm_wide_resnet,
    kind_of_classifier,
    torchvision_network,
    wide_resnet,
    without_memory,
)
from purebench.defenses.classifiers.published import CIFAR10_MEAN, CIFAR10_STD, load_normalised
from purebench.defenses.official_files import convert

SMALL = {"depth": 10, "width": 1}


def random_state(model):
    """Return random weights; the variances of batch norms are positive, as in every file."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value = 0.3 * torch.randn(value.shape, generator=generator)
        state[name] = value.abs() + 0.5 if name.endswith("running_var") else value
    return state


def plain(state, x, activate, names):
    """Compute a WideResNet of depth 10 block by block from the weights alone."""

    def norm(name, h):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        mean, var, weight, bias = (part.view(1, -1, 1, 1) for part in parts)
        return (h - mean) / (var + 1e-5).sqrt() * weight + bias

    h = F.conv2d(x, state[f"{names['stem']}.weight"], padding=1)
    for group in range(3):
        block = names["block"](group)
        stride = 1 if group == 0 else 2
        active = activate(norm(f"{block}.{names['norms'][0]}", h))
        # DeepMind's code pads as TensorFlow does: on the right and below only where the stride is 2
        padded = F.pad(active, (0, 1, 0, 1) if names["same"] and stride == 2 else (1, 1, 1, 1))
        inner = F.conv2d(padded, state[f"{block}.{names['convs'][0]}.weight"], stride=stride)
        inner = activate(norm(f"{block}.{names['norms'][1]}", inner))
        inner = F.conv2d(inner, state[f"{block}.{names['convs'][1]}.weight"], padding=1)
        shortcut = f"{block}.{names['shortcut']}.weight"
        h = inner + (F.conv2d(active, state[shortcut], stride=stride) if shortcut in state else h)
    h = activate(norm(names["norm"], h)).mean((2, 3))
    return h @ state[f"{names['head']}.weight"].T + state[f"{names['head']}.bias"]


LAYOUTS = {
    "wide-resnet": (
        wide_resnet,
        "module.",
        F.relu,
        {
            "stem": "conv1",
            "block": lambda group: f"block{group + 1}.layer.0",
            "norms": ("bn1", "bn2"),
            "convs": ("conv1", "conv2"),
            "shortcut": "convShortcut",
            "norm": "bn1",
            "head": "fc",
            "same": False,
        },
    ),
    "dm-wide-resnet": (
        dm_wide_resnet,
        "module.0.",
        lambda x: x * torch.sigmoid(x),
        {
            "stem": "init_conv",
            "block": lambda group: f"layer.{group}.block.0",
            "norms": ("batchnorm_0", "batchnorm_1"),
            "convs": ("conv_0", "conv_1"),
            "shortcut": "shortcut",
            "norm": "batchnorm",
            "head": "logits",
            "same": True,
        },
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layout_equals_a_plain_forward_pass(tmp_path, name):
    build, prefix, activate, names = LAYOUTS[name]
    state = random_state(build(**SMALL))
    wrapped = {"model_state_dict": {prefix + key: value for key, value in state.items() if "num_" not in key}}
    torch.save(wrapped, path := tmp_path / "weights.pt")
    model = load_normalised(path, name, CIFAR10_MEAN, CIFAR10_STD, **SMALL)
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CIFAR10_MEAN, CIFAR10_STD))
    expected = plain(state, (x - mean) / std, activate, names)
    assert torch.allclose(model(x), expected, atol=1e-4 * float(expected.abs().max()))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_sizes_of_the_published_files():
    """267 million weights in float32 are the 1,067,654,334 bytes that are published, but for the packaging."""
    with torch.device("meta"):
        for build in (wide_resnet, dm_wide_resnet):
            assert sum(parameter.numel() for parameter in build().parameters()) == 266_796_506
    assert pytest.approx(1_067_654_334, rel=1e-3) == 266_796_506 * 4


@pytest.mark.parametrize("name", ["wrn-70-16-dropout", "dm-wrn-70-16", "torchvision:resnet50"])
def test_missing_file_is_named_with_its_source(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    with pytest.raises(MissingFiles, match="published at https://d") as caught:
        create("classifiers", Spec(name))
    licence = "BSD 3-clause (torchvision)" if "torchvision" in name else "not stated by its authors"
    assert [file.licence for file in caught.value.files] == [licence]


def made(name):
    """Return a network of the layout of a published classifier, and the prefix of its file's keys."""
    if name.startswith("torchvision:"):
        with seeded(name):
            return torchvision_network(name=name.partition(":")[2]), "", "torchvision"
    kind = "wide-resnet" if "dropout" in name else "dm-wide-resnet"
    with seeded(name):
        return LAYOUTS[kind][0](**SMALL), LAYOUTS[kind][1], kind


@pytest.mark.parametrize("name", ["wrn-70-16-dropout", "dm-wrn-70-16", "torchvision:densenet121"])
def test_printed_command_converts_a_file_that_needs_trust(tmp_path, monkeypatch, name):
    """The command stands in the message; its result is loaded under the same name, once the file is removed."""
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "my models"))
    monkeypatch.setattr(published, "WRN_70_16", SMALL)
    with pytest.raises(MissingFiles) as missing:
        create("classifiers", Spec(name))
    path = missing.value.files[0].place
    model, prefix, kind = made(name)
    content = {
        "opts": Namespace(lr=1),
        "state_dict": {prefix + key: value for key, value in model.state_dict().items()},
    }
    (tmp_path / path).parent.mkdir(parents=True)
    torch.save(content, path)
    with pytest.raises(PurebenchError, match=r"argparse\.Namespace") as caught:
        create("classifiers", Spec(name))
    (command,) = re.findall(r"convert it once \(purebench (.*?)\), and remove", str(caught.value))
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == 0, done.output
    assert f"{kind}; took 'state_dict'" in " ".join(done.output.split())
    (tmp_path / path).unlink()
    found = create("classifiers", Spec(name))
    assert not found.training
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(found(x), model.eval()((x - found.mean) / found.std), atol=1e-5)


def test_converted_file_of_another_architecture_is_rejected(tmp_path):
    save(tmp_path / "w.safetensors", wide_resnet(depth=16, width=1), "wide-resnet", {"depth": 16, "width": 1})
    with pytest.raises(PurebenchError, match=r"expected a wide-resnet of .*10.*, but got .*16"):
        load_normalised(tmp_path / "w.safetensors", "wide-resnet", CIFAR10_MEAN, CIFAR10_STD, **SMALL)


def test_kinds_are_told_from_the_keys(tmp_path):
    with torch.device("meta"):
        alexnet = torchvision_network(name="alexnet").state_dict()
    assert kind_of_classifier({"state_dict": alexnet}) == "torchvision"
    assert kind_of_classifier({"fc.weight": torch.ones(10, 2)}) is None
    with pytest.raises(
        PurebenchError,
        match=r"expected the keys of a torchvision, with 1,000 classes as .* its keys are fc.*; name a checkpoint",
    ):
        classifier_network(tmp_path, {"fc.weight": torch.ones(10, 2)}, "torchvision")


def test_networks_are_built_without_memory():
    """torchvision's RegNets compute their widths with tensors, which need values."""
    model = without_memory(torchvision_network, name="regnet_y_400mf")
    assert all(value.is_meta for value in model.state_dict().values())
    assert all(parameter.is_meta for parameter in without_memory(wide_resnet, **SMALL).parameters())


def test_regnet_is_converted_without_a_kind_and_with_it(tmp_path):
    from torchvision import models

    with seeded("regnet"):
        state = models.regnet_y_400mf(weights=None).state_dict()
    torch.save(state, path := tmp_path / "regnet.pt")
    for kind in (None, "torchvision"):
        assert convert(path, tmp_path / "regnet.safetensors", kind=kind) == "torchvision"
    found = load(str(tmp_path / "regnet.safetensors"), "torchvision", torchvision_network).state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_cure_for_another_kind_does_not_go_in_a_circle(tmp_path):
    state = random_state(wide_resnet(**SMALL))
    with pytest.raises(PurebenchError, match=r"expected the keys of a dm-wide-resnet.*; leave out --kind"):
        classifier_network(tmp_path, state, "dm-wide-resnet")
    with pytest.raises(PurebenchError, match="; name a checkpoint of the kind dm-wide-resnet"):
        classifier_network(tmp_path, {"fc.weight": torch.ones(10, 2)}, "dm-wide-resnet")


def test_pickled_module_is_converted_by_its_state_dict_if_trusted(tmp_path):
    with seeded("module"):
        model = torchvision_network(name="squeezenet1_1")
    torch.save(model, path := tmp_path / "module.pt")
    with pytest.raises(PurebenchError, match="purebench convert --trust"):
        convert(path, tmp_path / "net.safetensors")
    assert convert(path, tmp_path / "net.safetensors", trust=True) == "torchvision; took 'state_dict'"
    found = load(str(tmp_path / "net.safetensors"), "torchvision", torchvision_network).state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_other_weights_are_rejected(tmp_path):
    state = random_state(wide_resnet(**SMALL))
    torch.save({**state, "fc.bias": torch.ones(11)}, path := tmp_path / "weights.pt")
    with pytest.raises(PurebenchError, match=r"'fc.bias' of shape \[10\], but got \[11\]"):
        load_normalised(path, "wide-resnet", CIFAR10_MEAN, CIFAR10_STD, **SMALL)


@pytest.fixture
def resnet18(tmp_path, monkeypatch):
    """torchvision's ResNet-18 with random weights, under its official file name."""
    from torchvision import models

    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    (tmp_path / "torchvision").mkdir()
    with seeded("resnet18"):
        model = models.resnet18(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "torchvision" / "resnet18-f37072fd.pth")
    return model


def test_torchvision_classifier_is_torchvisions_with_its_normalisation(resnet18):
    from torchvision.models import ResNet18_Weights

    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    shown = ResNet18_Weights.IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (shown.mean, shown.std))
    found = create("classifiers", Spec("torchvision:resnet18"))
    with torch.no_grad():
        assert torch.allclose(found(x), resnet18((x - mean) / std), atol=1e-5)


def test_unknown_classifiers_and_versions_of_torchvision_are_rejected():
    with pytest.raises(PurebenchError, match="'resnet51' is unknown; did you mean"):
        published.torchvision_classifier(name="resnet51")
    with pytest.raises(PurebenchError, match="resnet50 has no version 'V3'"):
        published.torchvision_classifier(version="V3")


def test_dm_wide_resnet_can_be_derived_twice():
    model = dm_wide_resnet(**SMALL).eval()
    x = torch.rand(1, 3, 32, 32).requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), x)[0].abs().max() > 0
    assert isinstance(model.relu, nn.SiLU)
