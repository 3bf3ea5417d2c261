"""Tests the presets, which are the paper's configurations by name."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.defenses.mlvgm import presets
from purebench.defenses.mlvgm.model import MLVGM
from purebench.defenses.mlvgm.presets import data, preset, preset_names
from purebench.defenses.mlvgm.purifier import FixedNormNoise
from purebench.defenses.transforms.simple import GaussianBlur, gaussian_blur

LATENTS = {"gender": 18, "ids": 24, "cars": 16}
LEARNED = {
    "gender": "492 728 58 331 246 59 68 526 646 816 548 692 309 610 729 348 728 697",
    "ids": "0 0 1 136 131 206 179 305 347 349 465 528 551 606 681 676 834 800 938 911 1000 1000 1000 1000",
    "cars": "1000 0 0 737 0 0 834 1000 261 0 205 1000 908 0 268 1000",
}


def test_preset_names_are_the_papers_27_configurations_and_6_ablations():
    names = preset_names()
    assert len(set(names)) == len(names) == 27 + 6
    assert {"gender-learned-blur", "ids-linear", "cars-cosine-noise", "cars-noise", "ids-blur"} < set(names)


@pytest.mark.parametrize("task", LATENTS)
def test_released_alphas_follow_their_formulas_to_the_released_decimals(task):
    n, chosen = LATENTS[task], data()["tasks"][task]
    for name, rule in (("linear", lambda i: i / n), ("cosine", lambda i: (1 - math.cos(math.pi * i / n)) / 2)):
        places = 2 if (task, name) in {("gender", "linear"), ("ids", "linear"), ("ids", "cosine")} else 3
        assert len(chosen[name]) == n
        for i, value in enumerate(chosen[name], start=1):
            if (task, name) == ("gender", "linear"):
                assert value == math.floor(rule(i) * 100 + 1e-9) / 100
            else:
                assert abs(value - rule(i)) <= 0.5 * 10**-places + 1e-9
    assert [round(1000 * value) for value in chosen["learned"]] == [int(word) for word in LEARNED[task].split()]


def test_inconsistencies_of_the_release_are_kept():
    tasks = data()["tasks"]
    assert [tasks["cars"]["noise"][name] for name in presets.SCHEDULES] == [2.0, 4.0, 4.0]
    assert {task: chosen["attenuation"] for task, chosen in tasks.items()} == {"gender": 1.0, "ids": 0.7, "cars": 0.7}


@pytest.mark.parametrize("width", [255, 31, 15, 7])
def test_blur_agrees_with_the_release_for_every_kernel_width(width):
    """The reference is the definition in the paper: a kernel of this width with reflected borders."""
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    half = width // 2
    kernel = torch.exp(-0.5 * torch.arange(-half, half + 1).float().square())
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    padded = functional.pad(x, (half,) * 4, mode="reflect")
    theirs = functional.conv2d(functional.conv2d(padded, kernel[:, :, None], groups=3), kernel[..., None], groups=3)
    assert (theirs - gaussian_blur(x, 1.0)).abs().max() < (1e-5 if width > 7 else 1e-3)


def test_missing_model_error_names_the_file_and_where_it_is_published(tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    for task, file, where in (
        ("gender", "e4e_ffhq_encode.pt", "1cUv_reLE6k3604or78EranS7XzuVMWeO"),
        ("ids", "NVAE/celeba64/last.pt", "SerezD/NVAE-from-scratch"),
        ("cars", "style_transformer_cars.pt", "1ri10_CWq42IzzIQ4ZQAxNX7BLsCztd92"),
    ):
        with pytest.raises(MissingFiles) as caught:
            create("defenses", Spec(f"mlvgm/{task}-cosine-blur"))
        assert str(tmp_path / file) in str(caught.value)
        assert where in str(caught.value)


@pytest.mark.parametrize("name", ["gendr-linear", "gender", "gender-linear-none-blur", "ids-sine", ""])
def test_unknown_names_are_rejected(name):
    with pytest.raises(PurebenchError, match="is unknown"):
        preset(name=name)


def test_ablations_need_no_model():
    x = torch.full((3, 3, 64, 64), 0.5)
    noise, blur = preset(name="ids-noise"), preset(name="ids-blur")
    assert isinstance(noise, FixedNormNoise)
    assert noise.random
    assert (noise(x) - x).flatten(1).norm(dim=1).tolist() == pytest.approx([2.0] * 3, rel=1e-5)
    assert not torch.equal(noise(x), noise(x))
    assert preset(name="cars-noise").norm == preset(name="gender-noise").norm == 4.0
    assert isinstance(blur, GaussianBlur)
    assert blur.sigma == 1.0
    for option in ({"temperature": 0.5}, {"weights": "mine.pt"}, {"clamp": False}):
        with pytest.raises(PurebenchError, match="expected no weights, temperature or clamp for ids-noise"):
            preset(name="ids-noise", **option)
    with pytest.raises(PurebenchError, match=r"norm: expected a number in \(0,"):
        FixedNormNoise(0)


@pytest.mark.parametrize("name", ["e4e_ffhq_encode.pt", "e4e_ffhq_encoder.pt", "e4e_ffhq_encoder.safetensors"])
def test_e4es_file_is_found_under_both_of_its_names(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    (tmp_path / name).write_bytes(b"no model")
    asked = []
    monkeypatch.setattr(presets, "_model", lambda kind, path, *_: asked.append(path) or Recorder())
    create("defenses", Spec("mlvgm/gender-linear"))
    assert asked == [tmp_path / name]


def test_presets_may_leave_out_the_clamp_as_the_release_does(tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    (tmp_path / "e4e_ffhq_encode.pt").touch()
    monkeypatch.setattr(presets, "_model", lambda *_: Recorder())
    assert create("defenses", Spec("mlvgm/gender-linear")).clamp
    assert not create("defenses", Spec("mlvgm/gender-linear-noise", {"clamp": False})).clamp


class Recorder(MLVGM):
    """A model of as many latents as the task has."""

    latents = LATENTS["gender"]

    def autoencode(self, x, mix):
        return x
