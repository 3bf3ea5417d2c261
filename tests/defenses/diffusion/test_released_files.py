"""Tests which files the published purifiers load, and what must be stated about those of the user."""

from __future__ import annotations

import re
import shlex

import plain_networks as plain
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from purebench.cli.main import app
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.ddpmpp import DDPMpp
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.released.settings import data, procedure
from purebench.defenses.official_files import convert


def test_every_procedure_is_registered_and_names_its_missing_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    for name, chosen in data()["procedures"].items():
        where = data()["files"][chosen["file"]]
        with pytest.raises(MissingFiles, match=where["file"]):
            create("defenses", Spec(name))
        assert (chosen.get("size") == 256) is ("imagenet" in name)


def test_a_released_purifier_loads_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    with seeded("file"):
        model = DDPMpp(width=16, multiples=(1, 2), blocks=1, attended=(False, True))
    (tmp_path / "score_sde").mkdir()
    torch.save({"model": model.state_dict()}, tmp_path / "score_sde" / "checkpoint_8.pth")
    surrogate = create("defenses", Spec("ddpm-surrogate/cifar10"))
    assert not surrogate.network.continuous, "Lee & Kim give the index of the timestep"
    assert create("defenses", Spec("diffpure/cifar10")).network.continuous
    assert surrogate(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)


def small_score_sde(path):
    with seeded("file"):
        model = DDPMpp(width=16, multiples=(1,), blocks=1, attended=(False,))
    path.parent.mkdir(parents=True)
    torch.save({"model": model.state_dict()}, path)
    return path


def test_only_the_published_file_of_score_sde_needs_no_statement(tmp_path, monkeypatch):
    """A file that the user names may be sub-VP, and one that is called so is not taken for the published one."""
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "models"))
    other = small_score_sde(tmp_path / "subvp" / "checkpoint_8.pth")
    for named in (other, small_score_sde(tmp_path / "mine" / "checkpoint_8.pth")):
        with pytest.raises(PurebenchError, match="expected a VP network"):
            create("defenses", Spec("diffpure/cifar10", {"weights": str(named)}))
    (tmp_path / "models" / "score_sde").mkdir(parents=True)
    place = tmp_path / "models" / "score_sde" / "checkpoint_8.pth"
    place.symlink_to(other)
    with pytest.raises(PurebenchError, match="is called sub-VP"):
        create("defenses", Spec("diffpure/cifar10"))
    stated = {"architecture": {"parametrisation": "linear"}}
    assert create("defenses", Spec("diffpure/cifar10", stated)) is not None
    place.unlink()
    small_score_sde(tmp_path / "vp" / "c.pth").rename(place)
    assert create("defenses", Spec("diffpure/cifar10")) is not None
    convert(place, place.with_suffix(".safetensors"), architecture={"parametrisation": "linear"})
    place.unlink()
    assert create("defenses", Spec("diffpure/cifar10")) is not None, "a converted file states its architecture"


def test_arguments_of_the_network_may_be_lists(tmp_path):
    path = small_score_sde(tmp_path / "vp" / "c.pth")
    spec = f"diffpure/cifar10(weights='{path}', architecture={{'parametrisation': 'linear', 'multiples': [1]}})"
    assert create("defenses", Spec.parse(spec)) is not None
    with pytest.raises(PurebenchError, match=r"c\.pth: expected"):
        create("defenses", Spec.parse(spec.replace("[1]", "[1, 2]")))


def test_printed_option_of_the_command_converts_the_file(tmp_path):
    """The message of a missing statement contains the option of `purebench convert`, ready to paste."""
    files = {
        "score_sde.pth": plain.random_state(DDPMpp(width=16, multiples=(1,), blocks=1, attended=(True,))),
        "edm.pt": plain.random_state(EDM(size=8, width=8, multiples=[1], blocks=1, attended=[False], augmented=0)),
    }
    for name, state in files.items():
        path, out = tmp_path / name, tmp_path / f"{name}.safetensors"
        torch.save(state, path)
        refused = CliRunner().invoke(app, ["convert", str(path), str(out)])
        (option,) = re.findall(r"\(purebench convert (.*?)\)", str(refused.exception))
        found = CliRunner().invoke(app, ["convert", str(path), str(out), *shlex.split(option)])
        assert found.exit_code == 0, found.output
        assert network(out) is not None


def test_likelihood_maximisation_refuses_another_network():
    with pytest.raises(PurebenchError, match="expected EDM's network, but got a Identity"):
        procedure("likelihood-maximisation/iclr", nn.Identity())
