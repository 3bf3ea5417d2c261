"""Tests the authors' files, from detection of their kind and conversion to a row of a board."""

from __future__ import annotations

from argparse import Namespace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from purebench.boards.parse import parse_board
from purebench.cli.main import app
from purebench.core.defense import fingerprint
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.checkpoints import save
from purebench.defenses.mlvgm.nvae.model import NVAE
from purebench.defenses.mlvgm.official import load_official
from purebench.defenses.mlvgm.presets import preset
from purebench.defenses.mlvgm.purifier import MLVGMPurifier
from purebench.defenses.mlvgm.schedules import alphas
from purebench.defenses.mlvgm.stylegan.e4e import E4E
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN
from purebench.defenses.mlvgm.stylegan.style_transformer import StyleTransformer
from purebench.defenses.official_files import KINDS, convert, kind_of
from purebench.execution.board_run import run_board
from purebench.records.outcome import Outcome

CONFIGURATION = {
    "resolution": [3, 32, 32],
    "autoencoder": {
        "num_scales": 3,
        "num_groups_per_scale": 8,
        "is_adaptive": False,
        "min_groups_per_scale": 8,
        "num_cells_per_group": 1,
        "num_latent_per_group": 2,
        "num_nf_cells": None,
        "initial_channels": 4,
        "num_pre-post_process_blocks": 1,
        "num_pre-post_process_cells": 1,
        "num_logistic_mixtures": 2,
    },
}
"""The 24 latents of the CelebA-64 model; all other sizes are minimal."""


@cache
def states() -> list[dict[str, torch.Tensor]]:
    """Return two sets of random weights."""
    with seeded("nvae"):
        return [NVAE(CONFIGURATION).state_dict() for _ in range(2)]


def nvae_file(path: Path, **more: object) -> Path:
    """Write an NVAE with random weights in the official layout, with other weights for temperature 0.6."""
    content = {"epoch": 1, "global_step": 2, "configuration": CONFIGURATION, "optimizer": {}, "grad_scaler": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**content, "state_dict": states()[0], "state_dict_temp=0.6": states()[1], **more}, path)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder of models that contains the NVAE under the authors' file name."""
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PUREBENCH_DATA", str(tmp_path / "data"))
    nvae_file(tmp_path / "models" / "NVAE/celeba64/last.pt")
    return tmp_path


def test_kind_is_detected_from_the_official_keys(tmp_path):
    with torch.device("meta"):
        e4e = E4E(size=64, image=64).state_dict()
        cars = StyleTransformer(size=64, image=64).state_dict()
    wrapped = {f"{name.split('.')[0]}.module.{name.partition('.')[2]}": value for name, value in cars.items()}
    found = {
        "nvae": {"configuration": CONFIGURATION, "state_dict": {}},
        "e4e": {"state_dict": e4e},
        "style-transformer": {"state_dict": wrapped},
        "classifier": {"state_dict": {"model.features.0.weight": torch.ones(1)}},
    }
    assert {name: kind_of(tmp_path, content) for name, content in found.items()} == {name: name for name in found}
    for other in ({}, {"state_dict": {"g.weight": 1}}, {"generator": {}}):
        with pytest.raises(PurebenchError, match=r"its keys are .*--kind"):
            kind_of(tmp_path, other)


@pytest.mark.parametrize(
    "content",
    [
        {1: torch.zeros(2)},
        {"model": {"all_modules.0.weight": torch.zeros(2, 2), 3: torch.zeros(2)}},
        {"model.map_layer0.weight": 3, "model.enc.8x8_conv.weight": 3, "w": torch.zeros(2)},
        {"block1.layer.0.conv1.weight": 3},
        {"block1.layer.0.conv1.weight": torch.zeros(())},
    ],
)
def test_keys_and_values_of_other_types_are_rejected(tmp_path, content):
    torch.save(content, path := tmp_path / "odd.pt")
    with pytest.raises(PurebenchError, match=r"odd\.pt: .*expected"):
        convert(path, tmp_path / "odd.safetensors")


def test_converted_nvae_is_the_same_model(home):
    file, out = home / "models/NVAE/celeba64/last.pt", home / "n.safetensors"
    official = load_official(file, "nvae", *KINDS["nvae"](), temperature=0.6)
    whole = official.state_dict().items()
    assert convert(file, out) == "nvae"
    converted = load_official(out, "nvae", *KINDS["nvae"](), temperature=0.6)
    assert fingerprint(converted) == fingerprint(official)
    assert converted.temperature == official.temperature == 0.6
    with pytest.raises(PurebenchError, match=r"temperature 0\.8, but got 0\.6"):
        load_official(out, "nvae", *KINDS["nvae"](), temperature=0.8)
    convert(file, out, half=True)
    half = load_official(out, "nvae", *KINDS["nvae"](), temperature=0.6).state_dict()
    assert all(torch.allclose(half[name].double(), value.double(), rtol=1e-3, atol=1e-6) for name, value in whole)
    with pytest.raises(PurebenchError, match=r"expected weights of a 'e4e', but got 'nvae'"):
        load_official(out, "e4e", *KINDS["e4e"](), temperature=1.0)


def test_file_that_needs_trust_is_converted_only_with_trust(tmp_path):
    file = nvae_file(tmp_path / "a.pt", opts=Namespace(lr=1))
    with pytest.raises(PurebenchError, match="--trust"):
        convert(file, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
    assert convert(file, tmp_path / "a.safetensors", trust=True) == "nvae"


@pytest.mark.parametrize(
    ("out", "kind", "message"),
    [
        ("a.pt", None, r"ends in \.safetensors"),
        ("a.safetensors", "nvea", "'nvae'"),
        ("a.safetensors", "e4e", "opts"),
        ("nowhere/a.safetensors", None, "is not a folder; create it first"),
    ],
)
def test_failed_conversion_raises_an_error_and_writes_no_file(home, out, kind, message):
    with pytest.raises(PurebenchError, match=message):
        convert(home / "models/NVAE/celeba64/last.pt", home / out, kind=kind)
    assert not (home / out).exists()


def test_converted_file_is_not_converted_again(home):
    convert(home / "models/NVAE/celeba64/last.pt", home / "n.safetensors")
    with pytest.raises(PurebenchError, match="converted already"):
        convert(home / "n.safetensors", home / "again.safetensors")


@pytest.mark.parametrize("kind", ["nvae", "e4e", "style-transformer", "classifier"])
@pytest.mark.parametrize("state", [{"model.layer1.0.conv2.weight": 3}, {7: torch.ones(1)}, {(1, 2): None}])
def test_invalid_keys_and_values_are_rejected_with_a_one_line_error(home, kind, state):
    opts = {"encoder_type": "Encoder4Editing", "stylegan_size": 8, "output_size": 8, "input_nc": 3}
    opts["start_from_latent_avg"] = False
    torch.save({"configuration": CONFIGURATION, "opts": opts, "state_dict": state}, home / "odd.pt")
    with pytest.raises(PurebenchError) as caught:
        convert(home / "odd.pt", home / "odd.safetensors", kind=kind, temperature=1.0)
    assert "\n" not in str(caught.value)


def test_convert_command_writes_a_file_that_presets_load(home):
    file, out = home / "models/NVAE/celeba64/last.pt", home / "n.safetensors"
    done = CliRunner().invoke(app, ["convert", str(file), str(out)])
    assert done.exit_code == 0, done.output
    assert "nvae" in done.stdout
    file.unlink()
    out.rename(file.with_suffix(".safetensors"))
    assert preset(name="ids-linear").model.latents == 24


@pytest.mark.parametrize("how", ["", "-none", "-noise", "-blur"])
def test_preset_matches_the_papers_configuration(home, how):
    purifier = create("defenses", Spec(f"mlvgm/ids-cosine{how}"))
    assert purifier.random
    assert purifier.blur == (1.0 if how == "-blur" else 0.0)
    assert purifier.noise == (2.0 if how == "-noise" else 0.0)
    assert purifier.model.temperature == 0.6
    assert max(abs(a - b) for a, b in zip(purifier.alphas, alphas("cosine", 24, 0.7), strict=True)) < 0.7 * 0.0051
    x = torch.rand(2, 3, 32, 32)
    with seeded("one"):
        first = purifier(x)
    with seeded("one"):
        again = purifier(x)
    assert torch.equal(first, again)
    assert first.shape == x.shape
    assert 0 <= first.min() <= first.max() <= 1
    assert not torch.equal(first, purifier(x))


def test_presets_share_one_model_but_have_different_fingerprints(home):
    cosine, learned = preset(name="ids-cosine"), preset(name="ids-learned")
    assert cosine.model is learned.model
    assert fingerprint(cosine) != fingerprint(learned)
    nvae_file(home / "models" / "NVAE/celeba64/last.pt", epoch=2)
    assert preset(name="ids-cosine").model is not cosine.model


def test_board_runs_with_available_models_and_leaves_out_the_others(home):
    for label, name in enumerate(("dark", "light")):
        (home / "data/faces" / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.random.default_rng(i).integers(120 * label, 120 * label + 100, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(home / "data/faces" / name / f"{i}.png")
    (home / "bright.py").write_text(
        "import torch\n\ndef classifier():\n"
        "    return lambda x: torch.stack([0.45 - x.mean((1, 2, 3)), x.mean((1, 2, 3)) - 0.45], 1)\n"
        "class Bright(torch.nn.Module):\n    def forward(self, x):\n        return classifier()(x)\n",
        encoding="utf-8",
    )
    board = parse_board(
        {
            "name": "faces",
            "dataset": {
                "use": {"image-folder": {"folder": "faces", "size": 32, "classes": 2}},
                "images": 4,
                "block": 4,
            },
            "classifier": f"{home}/bright.py:Bright",
            "threat": {"norm": "l2", "radius": 0.5},
            "verify": {"draws": 4},
            "attacks": {
                "clean": {"use": "clean"},
                "apgd-bpda": {"use": "apgd(steps=2)", "gradient": "bpda", "eot": 2},
                "apgd-exact": {"use": "apgd(steps=2)", "gradient": "exact", "eot": 2},
            },
            "defenses": {
                "none": "none",
                "noise": "mlvgm/ids-noise",
                "learned-blur": "mlvgm/ids-learned-blur",
                "gender": "mlvgm/gender-linear",
            },
        }
    )
    message: list[str] = []
    context, records = run_board(board, home / "s", workers=1, tell=message.append)
    assert list(context.left_out) == ["gender"]
    assert "e4e_ffhq_encode.pt" in message[0]
    assert {record.defense for record in records} == {"none", "noise", "learned-blur"}
    assert not [record.reason for record in records if Outcome.ERRORED in record.outcomes]
    clean = next(record for record in records if (record.defense, record.attack) == ("none", "clean"))
    assert set(clean.outcomes) == {Outcome.ROBUST}
    assert all(distance <= 0.5 * (1 + 1e-4) for record in records for distance in record.distances if distance)


def test_preset_loads_given_weights_and_rejects_missing_files_and_other_temperatures(home):
    file = home / "models/NVAE/celeba64/last.pt"
    assert preset(name="ids-linear", weights=str(file)).model.latents == 24
    with pytest.raises(MissingFiles, match=r"mine\.pt"):
        preset(name="ids-linear", weights=str(home / "mine.pt"))
    with pytest.raises(PurebenchError, match="temperature"):
        preset(name="ids-linear", temperature=0.9)
    with pytest.raises(PurebenchError, match="expected no temperature for e4e"):
        preset(name="gender-linear", temperature=0.9)


@pytest.mark.parametrize(
    ("name", "build", "side", "latents", "attenuation"),
    [("gender-learned", E4E, 1024, 18, 1.0), ("cars-learned-blur", StyleTransformer, 512, 16, 0.7)],
)
def test_stylegan_presets_run_on_converted_files_with_the_same_number_of_latents(
    home, name, build, side, latents, attenuation
):
    channels = {2**k: 2 for k in range(2, 11) if 2**k <= side}
    with seeded(name):
        model = build(size=side, image=32, widths=(16,) * 4, depths=(1,) * 4, mappings=1, channels=channels).eval()
    save(home / "m.safetensors", model, "e4e" if build is E4E else "style-transformer", model.architecture, half=False)
    purifier = preset(name=name, weights=str(home / "m.safetensors"))
    assert len(purifier.alphas) == latents
    assert max(purifier.alphas) <= attenuation
    x = torch.rand(2, 3, 32, 32)
    purified = purifier(x)
    assert purified.shape == x.shape
    assert 0 <= purified.min() <= purified.max() <= 1
    with pytest.raises(PurebenchError, match=f"expected {latents} alphas"):
        MLVGMPurifier(purifier.model, schedule=[0.5] * 24)


def test_bundled_defenses_share_their_options(home):
    """Uses weights created here; the shipped weights are tested in test_bundled.py."""
    convert(home / "models/NVAE/celeba64/last.pt", home / "n.safetensors")
    with seeded("small"):
        small = SmallStyleGAN()
    save(home / "s.safetensors", small, "small-stylegan", {"size": 32})
    for name, file, colours in (("mlvgm-nvae", "n", 3), ("mlvgm-stylegan", "s", 1)):
        made = create("defenses", Spec(name, {"weights": str(home / f"{file}.safetensors"), "schedule": "linear"}))
        assert made.alphas == pytest.approx(alphas("linear", made.model.latents, 0.7))
        assert made(torch.rand(1, colours, 32, 32)).shape == (1, colours, 32, 32)
        with pytest.raises(PurebenchError, match="no list was learned"):
            create("defenses", Spec(name, {"weights": str(home / f"{file}.safetensors"), "schedule": "learned"}))
    warm = create("defenses", Spec("mlvgm-nvae", {"weights": str(home / "n.safetensors"), "temperature": 0.9}))
    assert warm.model.temperature == 0.9
