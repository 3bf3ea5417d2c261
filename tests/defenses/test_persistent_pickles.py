"""Tests that NVIDIA's network pickles are read without running what is inside them."""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import sys
import types
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.networks import network
from purebench.defenses.mlvgm.official import read_official
from purebench.defenses.official_files import convert
from purebench.defenses.persistent_pickles import read_persistent

SOURCE = "raise SystemExit('the source text in the pickle was run')"
NEW, OLD = b"numpy._core.multiarray", b"numpy.core.multiarray"


def of_numpy_1(data):
    """Return a pickle with the name of numpy's scalars in numpy 1, in the text and in the binary opcode."""
    for before, after in ((NEW + b"\n", OLD + b"\n"), (b"\x8c\x16" + NEW, b"\x8c\x15" + OLD)):
        data = data.replace(before, after)
    return pickletools.optimize(data)  # writes the lengths of the frames anew


@pytest.fixture
def persistent(monkeypatch):
    """Return a function that marks modules as NVIDIA's code does: they are pickled as source text and state.

    As in EDM's pickles, arguments are scalars of numpy. The module `torch_utils.persistence` exists only while the file
    is written.
    """
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the authors' function was called")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj

    def write(path, *, class_name="EDMPrecond", protocol=4, numpy_1=False, **networks):
        def reduce(self):
            state = {**vars(self), "skip_scale": np.sqrt(0.5), "_init_kwargs": {"init_weight": np.sqrt(0.2)}}
            meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": class_name, "state": state}
            return _reconstruct_persistent_obj, (meta,)

        monkeypatch.setitem(sys.modules, "torch_utils", package)
        monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
        for model in networks.values():
            for part in model.modules():
                if not type(part).__module__.startswith("torch.nn"):
                    marked = type("Net", (type(part),), {"__reduce__": reduce})
                    part.__class__ = marked
        content = {**networks, "augment_pipe": None, "dataset_kwargs": {"resolution": 8}}
        data = pickle.dumps(content, protocol=protocol)
        assert NEW in data
        path.write_bytes(of_numpy_1(data) if numpy_1 else data)
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


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("numpy_1", [True, False])
def test_scalars_of_numpy_are_ignored(tmp_path, persistent, protocol, numpy_1):
    """Each block of EDM's networks holds sqrt(0.5), under the name of numpy 1 or of numpy 2."""
    path = persistent(tmp_path / "edm.pkl", ema=small(), protocol=protocol, numpy_1=numpy_1)
    assert (NEW in path.read_bytes(), OLD in path.read_bytes()) == (not numpy_1, numpy_1)
    assert network(path)(torch.rand(1, 3, 8, 8), torch.tensor([5])).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("name", ["VPPrecond", "iDDPMPrecond", ""])
def test_networks_of_another_class_are_rejected_by_its_name(tmp_path, persistent, name):
    """baseline-cifar10-32x32-uncond-vp.pkl has the keys of EDM's network, and another parametrisation."""
    path = persistent(tmp_path / "baseline.pkl", ema=small(), class_name=name)
    assert read_persistent(path)["ema"].class_name == name
    for stated in ({}, {"parametrisation": "edm"}):
        with pytest.raises(PurebenchError, match=f"class EDMPrecond, but got {name or 'none'}"):
            network(path, stated)
        with pytest.raises(PurebenchError, match=f"class EDMPrecond, but got {name or 'none'}"):
            convert(path, tmp_path / "net.safetensors", architecture=stated)


def test_network_without_source_text_has_no_class_name(tmp_path):
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps({"ema": nn.Linear(2, 2)}))
    assert read_persistent(path)["ema"].class_name == ""


def test_printed_statement_saves_the_weights_of_a_pickle_with_other_names(tmp_path):
    path, layer = tmp_path / "net.pkl", nn.Linear(2, 2)
    path.write_bytes(pickle.dumps({"ema": layer, "share": Fraction(1, 2)}))
    with pytest.raises(PurebenchError, match=r"names fractions\.Fraction") as caught:
        read_persistent(path)
    assert "fetch it again" not in str(caught.value)
    (statement,) = re.findall(r"imported \((.*)\) and name that file", str(caught.value))
    exec(statement, {})
    saved = read_official(tmp_path / "net.pt")
    assert saved.keys() == {"weight", "bias"}
    assert torch.equal(saved["weight"], layer.weight)


def test_conversion_of_a_pickle_refuses_trust(tmp_path, persistent):
    path = persistent(tmp_path / "edm.pkl", ema=small())
    with pytest.raises(PurebenchError, match=r"--trust: expected .*\.pth.*leave it out"):
        convert(path, tmp_path / "edm.safetensors", trust=True)


def test_network_and_conversion_read_the_pickle(tmp_path, persistent):
    path = persistent(tmp_path / "edm.pkl", ema=small())
    x, t = torch.rand(2, 3, 8, 8), torch.tensor([5, 500])
    assert torch.equal(network(path)(x, t), small()(x, t))
    assert convert(path, tmp_path / "edm.safetensors").startswith("edm; took 'ema'")
    assert torch.equal(network(tmp_path / "edm.safetensors")(x, t), small()(x, t))


class Harmful:
    def __reduce__(self):
        return exec, (SOURCE,)


def cyclic():
    """Return a module that contains itself."""
    model = nn.Sequential(nn.Linear(2, 2))
    model._modules["self"] = model
    return model


def described(meta):
    """Return a pickle of a network of NVIDIA's classes with this description, whatever it is."""
    reconstruct = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    return b"\x80\x02}\x8c\x03ema" + reconstruct + pickle.dumps(meta, protocol=2)[2:-1] + b"\x85Rs."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"ema": Harmful()}), r"names builtins\.exec, which is not read"),
        (pickle.dumps({"ema": 3}), "expected a dict with a network"),
        (pickle.dumps([nn.Identity]), "expected a dict with a network"),
        (pickle.dumps({"ema": cyclic()}), "recursion"),
        (described({"state": [1, 2]}), "the state of a module is a list"),
        (described({"state": {"_parameters": [1, 2]}}), "_parameters of a module is a list"),
        (described({"state": {"_modules": "zz"}}), "_modules of a module is a str"),
        (described(3), "cannot be read as one"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 45) + b"abc.", "only 4 remain"),
        (b"\x80\x02Nr" + struct.pack("<I", 0xFFFFFFF0) + b".", "LONG_BINPUT of 4294967280 in a file of 9 bytes"),
        (b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.", "FRAME of"),
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
