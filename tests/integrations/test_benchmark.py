"""Tests RobustBench's protocol against RobustBench's own function."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from purebench.core import third_party
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.integrations.robustbench import benchmark
from purebench.integrations.robustbench.command import command
from purebench.records.outcome import Outcome
from purebench.statistics import clopper_pearson

from tiny_zoo import NAME  # isort: skip

ZOO = third_party.robustbench()
RADIUS = 0.004


def ours(made, **options):
    options = {"eps": RADIUS, "n_examples": 12, "batch_size": 12, **options}
    return benchmark.benchmark(NAME, model_dir=made.folder, data_dir=made.data, **options)


def upstreams(made, patch, seed=0, eps=RADIUS, threat_model="Linf", batch_size=12):
    """Returns RobustBench's clean and robust accuracy, with an independent adapter for its call of AutoAttack."""
    from pyautoattack import AutoAttack

    class Translated(AutoAttack):
        def __init__(self, model, norm, eps, version, device, log_path):
            super().__init__(model, norm=norm, eps=eps, version=version, device=device, seed=seed)

        def run_standard_evaluation(self, x, y, bs, state_path):
            return super().run_standard_evaluation(x, y, batch_size=bs)[0]

    patch.setattr(ZOO.eval, "AutoAttack", Translated)
    model = ZOO.load_model(NAME, model_dir=made.folder, threat_model=threat_model)
    with seeded("theirs"):
        return ZOO.benchmark(
            model, 12, "cifar10", threat_model, data_dir=str(made.data), batch_size=batch_size, eps=eps
        )


@pytest.fixture(scope="module")
def result(made):
    return ours(made)


def test_accuracies_agree_with_robustbench(made, result, monkeypatch):
    clean, robust = upstreams(made, monkeypatch)
    assert 0 < robust < clean < 1
    assert result.clean == clopper_pearson(10, 12)
    assert result.robust == clopper_pearson(round(12 * robust), 12)
    assert (result.clean.value, result.robust.value) == pytest.approx((clean, robust), abs=1e-9)


def test_accuracies_at_another_radius_agree_with_robustbench(made, result, monkeypatch):
    found, theirs = ours(made, eps=0.2), upstreams(made, monkeypatch, eps=0.2)
    assert found.robust.value == pytest.approx(theirs[1], abs=1e-9)
    assert found.robust.value != result.robust.value


@pytest.mark.slow
@pytest.mark.parametrize(("eps", "batch_size"), [(0.03, 5), (0.12, 12)])
def test_accuracies_in_l2_agree_with_robustbench(made, cheap, monkeypatch, eps, batch_size):
    cheap.undo(monkeypatch)
    found = ours(made, threat_model="L2", eps=eps, batch_size=batch_size)
    theirs = upstreams(made, monkeypatch, threat_model="L2", eps=eps, batch_size=batch_size)
    assert (found.clean.value, found.robust.value) == pytest.approx(theirs, abs=1e-9)


def test_outcomes_claims_and_distances_agree_with_the_accuracies(made, result):
    right = (made.net(made.x).argmax(1) == made.y).tolist()
    held = [outcome is Outcome.ROBUST for outcome in result.outcomes]
    assert result.labels == made.y.tolist()
    assert held == [not claim for claim in result.claims]
    assert sum(held) / 12 == result.verified.value == result.claimed.value == result.robust.value
    assert all(distance == 0 for distance, was in zip(result.distances, right, strict=True) if not was)
    assert all(
        (distance > 0) == (was and not stays)
        for distance, was, stays in zip(result.distances, right, held, strict=True)
    )
    assert max(result.distances) <= RADIUS * (1 + 1e-4)
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["verified"]["n"] == 12
    assert plain["outcomes"].count("robust") == sum(held)
    assert plain["versions"]["robustbench"]


def test_the_seed_decides_the_result_and_another_seed_changes_it(made):
    one, again, other, clock = (ours(made, threat_model="L2", eps=3.0, seed=seed) for seed in (0, 0, 1, None))
    assert one.distances == again.distances
    assert one.distances != other.distances
    assert clock.seed not in (0, 1)
    assert ours(made, threat_model="L2", eps=3.0, seed=clock.seed).distances == clock.distances


def test_global_random_state_and_robustbench_are_unchanged_after_a_run(made):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), ZOO.eval.AutoAttack
    ours(made, eps=0.5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert ZOO.eval.AutoAttack is before[2]


class Boaster:
    """An AutoAttack with the signature of the package on GitHub, which exceeds the radius and claims all images."""

    def __init__(self, model, norm="Linf", eps=0.3, seed=None, verbose=True, version="standard", device="cuda"):
        self.model = model

    def run_standard_evaluation(self, x, y, bs=250, return_labels=False):
        print("Warning: it seems to be a randomized defense!")
        return (1 - x, (y + 1) % 10) if return_labels else 1 - x


def test_a_wrong_verdict_is_shown_beside_the_verification(made, monkeypatch):
    package = SimpleNamespace(__name__="autoattack", AutoAttack=Boaster)
    monkeypatch.setattr(third_party, "autoattack", lambda: package)
    heard = []
    found = ours(made, eps=1e-6, tell=heard.append)
    assert found.claimed == clopper_pearson(0, 12)
    assert found.verified == found.clean
    assert found.robust.value < found.clean.value
    assert min(found.distances) > 0.1
    assert found.notes == [
        "AutoAttack warns: it seems to be a randomized defense!",
        "AutoAttack's verdict and the verification differ on 10 of 12 images",
    ]
    assert any("Clean accuracy" in line for line in heard)


def test_a_version_outside_the_protocol_is_noted(made):
    assert ours(made, eps=0.5, version="rand").notes[-1] == "not RobustBench's protocol: AutoAttack rand"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": "Carmon2019Unlabelled"}, "did you mean 'Carmon2019Unlabeled'"),
        ({"dataset": "cifar-10"}, "did you mean 'cifar10'"),
        ({"threat_model": "corruptions"}, "corruptions are not an attack"),
        ({"threat_model": "L1"}, "expected the threat model Linf or L2 for cifar10, but got 'L1'"),
        ({"dataset": "imagenet", "threat_model": "L2"}, "expected the threat model Linf for imagenet"),
        ({"version": "standart"}, "did you mean 'standard'"),
        ({"n_examples": 10_001}, "expected 1 to 10000 for cifar10, but got 10001"),
        ({"n_examples": 0}, "expected 1 to 10000"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
        ({"eps": -1.0}, "radius: expected a number above 0"),
        ({"data_dir": "/nowhere"}, "expected /nowhere/cifar-10-batches-py .* download https://www.cs.toronto.edu"),
        ({"model": "Wong2020Fast"}, "Linf/Wong2020Fast.pt, published at https://drive.google.com/uc.id=1Re--_lf3jCE"),
        ({"model": "Chen2020Adversarial"}, "Adversarial.pt_m0.pt, .*Adversarial.pt_m1.pt, .*Adversarial.pt_m2.pt, "),
        ({"model": "Debenedetti2022Light_XCiT-S12"}, "published at https://github.com/RobustBench/.*xcit-s-cifar10"),
        ({"model": "Standard_R50", "dataset": "imagenet"}, "published at https://download.pytorch.org/models/resnet50"),
    ],
)
def test_unknown_names_and_missing_files_are_rejected_before_a_run(made, monkeypatch, tmp_path, options, told):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    call = {"model": NAME, "model_dir": made.folder, "data_dir": made.data, **options}
    with pytest.raises(PurebenchError, match=told):
        benchmark.benchmark(**call)


def test_cifar_10_with_another_md5_is_rejected(made, tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in (made.data / "cifar-10-batches-py").iterdir():
        (folder / file.name).write_bytes(file.read_bytes() + b"more")
    with pytest.raises(PurebenchError, match="its md5 differs"):
        benchmark.benchmark(NAME, model_dir=made.folder, data_dir=tmp_path)


def test_imagenet_with_missing_folders_or_images_is_rejected(tmp_path):
    with pytest.raises(PurebenchError, match=r"but found 0; of 7 images 7 are missing, such as .*val/n0"):
        benchmark._check_images("imagenet", tmp_path, 7)
    names = (Path(ZOO.__path__[0]) / "helper_files" / "imagenet_test_image_ids.txt").read_text(encoding="utf-8").split()
    for number in range(999):
        (tmp_path / "val" / f"n{number}").mkdir(parents=True)
    for name in names[:2]:
        (tmp_path / "val" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "val" / name).touch()
    classes = len(list((tmp_path / "val").iterdir()))
    for number in range(classes - 1000):
        (tmp_path / "val" / f"n{number}").rmdir()
    benchmark._check_images("imagenet", tmp_path, 2)
    (tmp_path / "val" / "n998").rmdir()
    with pytest.raises(PurebenchError, match="but found 999; of 2 images 0 are missing"):
        benchmark._check_images("imagenet", tmp_path, 2)


def test_the_command_prints_the_four_numbers_and_writes_them(made, tmp_path, capsys):
    out, options = tmp_path / "tiny.json", {"data_dir": made.data, "n_examples": 12, "batch_size": 12}
    command(NAME, model_dir=made.folder, out=out, **options)
    told = " ".join(capsys.readouterr().out.split())
    plain = json.loads(out.read_text(encoding="utf-8"))
    assert plain["eps"] == 8 / 255
    assert "AutoAttack standard (seed 0)" in told
    assert "the first 12 test images" in told
    assert "83.3 % [51.6, 97.9]" in told
    assert f"{100 * plain['verified']['value']:.1f} %" in told
    with pytest.raises(PurebenchError, match="a file in an existing folder"):
        command(NAME, model_dir=made.folder, out=tmp_path / "none" / "tiny.json", **options)


def test_the_command_without_a_model_lists_the_folder(made, tmp_path, capsys):
    command(None, model_dir=made.folder, out=None)
    assert capsys.readouterr().out.split() == [NAME, "cifar10", "Linf", NAME, "cifar10", "L2"]
    command(None, model_dir=tmp_path, out=None)
    assert "no model of RobustBench's zoo" in capsys.readouterr().out


def test_the_command_checks_its_options_before_it_reads_the_model(made, tmp_path, monkeypatch):
    def read(*args, **options):
        raise AssertionError("the model was read")

    monkeypatch.setattr(benchmark, "load", read)
    good = {"model_dir": made.folder, "data_dir": made.data, "out": None}
    for options, told in (
        ({"seed": -1}, "seed: expected a whole number of at least 0, but got -1"),
        ({"data_dir": tmp_path}, "expected .*cifar-10-batches-py"),
        ({"out": tmp_path}, "--out: expected a file, but .* is a folder"),
        ({"out": tmp_path / "none" / "x.json"}, "--out: expected a file in an existing folder"),
    ):
        with pytest.raises(PurebenchError, match=told):
            command(NAME, **good | options)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # patched because root may write anywhere
    with pytest.raises(PurebenchError, match="--out: expected a writable file"):
        command(NAME, **good | {"out": tmp_path / "x.json"})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dataset": "cifar-10"}, "did you mean 'cifar10'"),
        ({"threat_model": "L3"}, "expected the threat model Linf or L2"),
    ],
)
def test_unknown_names_are_rejected_without_a_model(made, options, told):
    with pytest.raises(PurebenchError, match=told):
        command(None, model_dir=made.folder, out=None, **options)


def test_a_file_as_model_folder_is_rejected_with_and_without_a_model(made, tmp_path):
    (tmp_path / "model.pt").touch()
    for model in (None, NAME):
        with pytest.raises(PurebenchError, match="is a file; choose the folder"):
            command(model, model_dir=tmp_path / "model.pt", out=None, data_dir=made.data)
