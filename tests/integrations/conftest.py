"""Fixtures of the tests of RobustBench: a CIFAR-10 of 12 images, and an AutoAttack that takes seconds."""

from __future__ import annotations

import hashlib
import pickle
from types import SimpleNamespace

import pytest
import torch
import torchvision

from purebench.core.seeds import seeded

from tiny_zoo import Tiny, save, tiny_in_the_zoo  # isort: skip


@pytest.fixture(scope="module")
def cheap():
    """AutoAttack with two target classes and 200 queries, for purebench and RobustBench alike."""
    from pyautoattack import AutoAttack

    own = AutoAttack._set_version

    def set_version(self, version="standard"):
        own(self, version)
        self.apgd_targeted.n_target_classes = self.fab.n_target_classes = 2
        self.square.n_queries = 200

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoAttack, "_set_version", set_version)
        yield SimpleNamespace(undo=lambda other: other.setattr(AutoAttack, "_set_version", own))


@pytest.fixture(scope="module")
def made(tmp_path_factory, cheap):
    """A zoo with Tiny in it, and a CIFAR-10 of 12 random images, of which Tiny classifies all but two correctly."""
    folder = tmp_path_factory.mktemp("zoo")
    with seeded("robustbench"), tiny_in_the_zoo() as patch:
        net = Tiny()
        images = (
            torch.randint(64, 192, (12, 3, 4, 4), dtype=torch.uint8).repeat_interleave(8, 2).repeat_interleave(8, 3)
        )
        labels = net(images / 255).argmax(1)
        labels[[3, 7]] = (labels[[3, 7]] + 1) % 10
        for threat_model in ("Linf", "L2"):
            save(net, folder, threat_model=threat_model)
        cifar = folder / "data" / "cifar-10-batches-py"
        cifar.mkdir(parents=True)
        batch = {"data": images.flatten(1).numpy(), "labels": labels.tolist()}
        for file, content in {"test_batch": batch, "batches.meta": {"label_names": list("abcdefghij")}}.items():
            (cifar / file).write_bytes(pickle.dumps(content))
        md5 = {file: hashlib.md5((cifar / file).read_bytes()).hexdigest() for file in ("test_batch", "batches.meta")}
        kind = torchvision.datasets.CIFAR10
        patch.setattr(kind, "train_list", [])
        patch.setattr(kind, "test_list", [["test_batch", md5["test_batch"]]])
        patch.setattr(kind, "meta", {**kind.meta, "md5": md5["batches.meta"]})
        yield SimpleNamespace(net=net, folder=folder, x=images / 255, y=labels, data=folder / "data")
