"""Tests that NVIDIA's network pickles are read without running what is inside them."""

from __future__ import annotations

import pickle
import sys
import types

import pytest
import torch
from torch import nn

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.networks import network
from purebench.defenses.official_files import convert
from purebench.defenses.persistent_pickles import read_persistent

SOURCE = "raise SystemExit('the source text in the pickle was run')"


@pytest.fixture
def persistent(monkeypatch):
    """Return a function that marks modules as NVIDIA's code does: they are pickled as source text and state.

    The module `torch_utils.persistence` exists only while the file is written.
    """
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the authors' function was called")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj

    def write(path, **networks):
        def reduce(self):
            meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": "Net", "state": vars(self)}
            return _reconstruct_persistent_obj, (meta,)

        monkeypatch.setitem(sys.modules, "torch_utils", package)
        monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
        for model in networks.values():
            for part in model.modules():
                if not type(part).__module__.startswith("torch.nn"):
                    marked = type("Net", (type(part),), {"__reduce__": reduce})
                    part.__class__ = marked
        path.write_bytes(pickle.dumps({**networks, "augment_pipe": None, "dataset_kwargs": {"resolution": 8}}))
        monkeypatch.delitem(sys.modules, "torch_utils")
        monkeypatch.delitem(sys.modules, "torch_utils.persistence")
        return path

    return write


def small():
    with seeded("pickle"):
        return EDM(size=8, width=8, multiples=(1, 2), blocks=1, attended=(False, True)).requires_grad_(False)


def test_weights_are_those_of_the_network_and_nothing_is_run(tmp_path, persistent):
    path = persistent(tmp_path / "edm-cifar10-32x32-uncond-vp.pkl", ema=small())
    found = read_persistent(path)
    expected = small().state_dict()
    assert found.keys() == {"ema"}
    assert found["ema"].keys() == expected.keys()
    assert all(torch.equal(found["ema"][name], value) for name, value in expected.items())


def test_network_and_conversion_read_the_pickle(tmp_path, persistent):
    path = persistent(tmp_path / "edm.pkl", ema=small())
    x, t = torch.rand(2, 3, 8, 8), torch.tensor([5, 500])
    assert torch.equal(network(path)(x, t), small()(x, t))
    assert convert(path, tmp_path / "edm.safetensors").startswith("edm; took 'ema'")
    assert torch.equal(network(tmp_path / "edm.safetensors")(x, t), small()(x, t))


class Harmful:
    def __reduce__(self):
        return exec, (SOURCE,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"ema": Harmful()}), r"builtins\.exec, which is not allowed"),
        (pickle.dumps({"ema": 3}), "expected a dict with a network"),
        (pickle.dumps([nn.Identity]), "expected a dict with a network"),
        (b"<html>", "cannot be read as one"),
        (b"", "cannot be read as one"),
    ],
)
def test_other_files_are_rejected_with_the_reason(tmp_path, content, message):
    path = tmp_path / "net.pkl"
    path.write_bytes(content)
    with pytest.raises(PurebenchError, match=message):
        read_persistent(path)
    with pytest.raises(PurebenchError, match="there is no such file"):
        read_persistent(tmp_path / "none.pkl")
