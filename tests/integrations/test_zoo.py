"""Tests loading models of RobustBench's zoo from a local folder."""

from __future__ import annotations

import argparse
import pickle
import re
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from purebench.core import registry
from purebench.core.defense import as_defense
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.defenses.transforms.simple import GaussianBlur, gaussian_blur
from purebench.integrations.robustbench import zoo

from tiny_zoo import NAME, Tiny, save, tiny_in_the_zoo  # isort: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo with Tiny in it, and four images."""
    folder = tmp_path_factory.mktemp("zoo")
    with tiny_in_the_zoo():
        with seeded("zoo"):
            net, x = Tiny(), torch.rand(4, 3, 32, 32)
        for threat_model in ("Linf", "L2"):
            save(net, folder, threat_model=threat_model)
        yield SimpleNamespace(net=net, folder=folder, x=x)


def test_available_lists_models_with_all_their_files(made, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    assert [(entry.name, entry.threat_model) for entry in zoo.available(made.folder)] == [
        (NAME, "Linf"),
        (NAME, "L2"),
    ]
    for part in range(2):
        save(Tiny(), tmp_path, "Chen2020Adversarial", ending=f"_m{part}.pt")
    assert not zoo.available(tmp_path)
    save(Tiny(), tmp_path, "Chen2020Adversarial", ending="_m2.pt")
    (entry,) = zoo.available(tmp_path)
    assert (entry.name, entry.dataset, entry.threat_model) == ("Chen2020Adversarial", "cifar10", "Linf")


def test_a_published_architecture_is_loaded_from_its_checkpoint_layout(tmp_path):
    name = "Andriushchenko2020Understanding"
    with seeded("preact"):
        model = zoo.models("cifar10", "Linf")[name]["model"]().eval()
        x = torch.rand(2, 3, 32, 32)
    save(model, tmp_path, name, wrap=lambda weights: {"last": weights, "best": {}})
    found = zoo.load(name, model_dir=tmp_path)
    assert torch.equal(found(x), model(x))
    assert not found.training
    assert not any(value.requires_grad for value in found.parameters())


def test_a_timm_model_is_loaded_from_the_cache(tmp_path, monkeypatch):
    import timm

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "Debenedetti2022Light_XCiT-S12"
    (file,) = zoo.find(name, model_dir=tmp_path).files
    with seeded("xcit"):
        model = timm.create_model("debenedetti2022light_xcit_s12_cifar10_linf", num_classes=10).eval()
        x = torch.rand(2, 3, 32, 32)
    file.parent.mkdir(parents=True)
    torch.save(model.model.state_dict(), file)
    assert torch.allclose(zoo.load(name, model_dir=tmp_path)(x), model(x))


def test_a_checkpoint_may_contain_training_options_and_numpy_numbers(made, tmp_path):
    extras = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.5), "epoch": np.int64(3), "done": np.True_}
    path = save(made.net, tmp_path, wrap=lambda weights: {"state_dict": weights, **extras})
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)
    assert torch.equal(zoo.load(NAME, model_dir=tmp_path)(made.x), made.net(made.x))


def test_numpy_numbers_are_read_and_other_numpy_objects_are_rejected(tmp_path):
    path, kinds = tmp_path / "numbers", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
    numbers = [np.dtype(kind).type(7) for kind in kinds] + [np.True_, np.float64(-0.1)]
    torch.save(numbers, path)
    with torch.serialization.safe_globals(zoo.PLAIN):
        assert torch.load(path) == [7.0] * len(kinds) + [1.0, -0.1]
        for other in (np.dtype("O"), np.dtype([("field", "O")]), np.arange(3)):
            torch.save(other, path)
            with pytest.raises(pickle.UnpicklingError):
                torch.load(path)


class Touch:
    """An object whose unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_rejected_and_runs_none(made, tmp_path):
    save(made.net, tmp_path, wrap=lambda weights: {"state_dict": weights, "x": Touch(tmp_path / "ran")})
    with pytest.raises(PurebenchError, match="you trust its authors"):
        zoo.load(NAME, model_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_checkpoints_of_other_models_and_web_pages_are_rejected(made, tmp_path):
    save(nn.Linear(2, 2), tmp_path)
    with pytest.raises(PurebenchError, match=r"cannot be made from .*Tiny2026Test.pt: RuntimeError: Error"):
        zoo.load(NAME, model_dir=tmp_path)
    (tmp_path / "cifar10" / "Linf" / f"{NAME}.pt").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(PurebenchError, match="a web page, saved instead of the file"):
        zoo.load(NAME, model_dir=tmp_path)


@pytest.mark.parametrize("group", ["classifiers", "defenses"])
def test_a_zoo_model_is_created_by_name(made, group, monkeypatch, tmp_path):
    spec = Spec.parse(f"robustbench:{NAME}(model_dir='{made.folder}')")
    defense = as_defense(registry.create(group, spec))
    assert torch.equal(defense(made.x), made.net(made.x))
    assert not defense.random
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    with pytest.raises(MissingFiles, match=f"{tmp_path}/robustbench/cifar10/Linf/{NAME}.pt"):
        registry.create(group, Spec(f"robustbench:{NAME}"))
    (tmp_path / "robustbench").symlink_to(made.folder)
    assert torch.equal(as_defense(registry.create(group, Spec(f"robustbench:{NAME}")))(made.x), made.net(made.x))


@pytest.mark.parametrize(
    ("model", "where", "licence"),
    [
        ("Standard", {}, "MIT"),
        ("Rebuffi2021Fixing_70_16_cutmix_extra", {}, "Apache 2.0"),
        ("Gowal2020Uncovering_extra", {"threat_model": "L2"}, "Apache 2.0"),
        ("Ding2020MMA", {"threat_model": "L2"}, "CC BY-NC-SA 4.0"),
        ("Rony2019Decoupling", {"threat_model": "L2"}, "BSD 3-clause"),
        ("Salman2020Do_R50", {"dataset": "imagenet"}, "MIT"),
        ("Standard_R50", {"dataset": "imagenet"}, "BSD 3-clause (torchvision)"),
    ],
)
def test_missing_files_have_the_licence_of_their_weights(model, where, licence, monkeypatch, tmp_path):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingFiles) as caught:
        registry.create("classifiers", Spec(f"robustbench:{model}", where))
    assert {file.licence for file in caught.value.files} == {licence}


def test_licences_are_those_that_robustbench_states():
    """Its LICENSE has a line `- data sets, threat models, name: licence; copyright` for each licence other than MIT."""
    (file,) = (one for one in distribution("robustbench").files or () if one.name.startswith("LICENSE"))
    stated = dict(re.findall(r"^- .*, (\w+)\*?: (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    short = {"Apache": "Apache 2.0", "BSD": "BSD 3-clause", "Attribution": "CC BY-NC-SA 4.0"}
    assert {name: short[licence] for name, licence in stated.items()} == zoo.LICENCES


def test_a_purifier_can_be_placed_before_a_zoo_model(made):
    """The zoo model is the classifier of the board, or that of one row."""
    zoo = f"robustbench:{NAME}(model_dir={str(made.folder)!r})"
    row = Spec("before", {"purifier": "gaussian-blur(sigma=0.8)", "classifier": zoo})
    own = registry.create("defenses", row, classifier=nn.Identity())
    boards = as_defense(GaussianBlur(0.8), registry.create("classifiers", Spec.parse(zoo)))
    expected = made.net(gaussian_blur(made.x, 0.8))
    assert torch.equal(own(made.x), expected)
    assert torch.equal(boards(made.x), expected)


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"<!DOCTYPE html>", bytes(range(256)), b"\x80\x02}q\x00."])
def test_a_file_that_is_not_a_checkpoint_is_rejected(tmp_path, content):
    with tiny_in_the_zoo():
        path = save(Tiny(), tmp_path)
        path.write_bytes(content)
        with pytest.raises(
            PurebenchError, match=r"expected a PyTorch checkpoint, but .*Tiny2026Test.pt is not one .*again"
        ):
            zoo.load(NAME, model_dir=tmp_path)


def test_a_checkpoint_in_the_legacy_format_is_loaded(made, tmp_path):
    path = save(made.net, tmp_path)
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    assert path.read_bytes()[:2] != b"PK"
    assert torch.equal(zoo.load(NAME, model_dir=tmp_path)(made.x), made.net(made.x))


def test_a_file_as_model_folder_is_rejected(made, tmp_path):
    file = save(made.net, tmp_path)
    with pytest.raises(PurebenchError, match=r"expected a folder of DATASET/THREAT/NAME.pt, but .* is a file"):
        zoo.find(NAME, model_dir=file)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("carmon2019", "did you mean 'Carmon2019Unlabeled'"),
        ("Carmon2019Unlabelled", "did you mean 'Carmon2019Unlabeled'"),
        ("resnet", r"the zoo has \d+ models, such as .*; see https://robustbench.github.io"),
        ("", "the zoo has"),
    ],
)
def test_an_unknown_model_is_rejected_with_a_short_message(tmp_path, name, told):
    with pytest.raises(PurebenchError, match=told) as found:
        zoo.find(name, model_dir=tmp_path)
    assert len(str(found.value)) < 250
