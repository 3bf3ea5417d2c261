"""Tests A-VAE: strict loading, agreement with a reference implementation, and both variants of the purifier."""

from __future__ import annotations

import plain_a_vae as plain
import pytest
import torch

from purebench.core.defense import fingerprint
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.checkpoints import save
from purebench.defenses.mlvgm.official import load_official
from purebench.defenses.official_files import KINDS, convert
from purebench.defenses.vae.a_vae.layers import Blur, FusedUp
from purebench.defenses.vae.a_vae.network import AVAE
from purebench.defenses.vae.a_vae.official import load_a_vae
from purebench.defenses.vae.a_vae.purifier import AVAEPurifier

KEY = "generator.progression.3.adain1.style.linear.bias"
FILES = {"gender": 256, "ids": 64, "cars": 128}


def write(path, size=64, change=None):
    state = plain.random_state(size)
    if change:
        change(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path, state


def small(**more) -> AVAE:
    """Return a model with random weights whose noise has an effect and whose results are mostly in [0,1]."""
    with seeded("a-vae"):
        model = AVAE(**{"size": 32, "inside": 16, "colours": 1, "width": 16} | more)
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.mul_(0.3) if "to_rgb" in name else None
                value.normal_() if "noise" in name else None
    return model.eval().requires_grad_(False)


def images(count=4, colours=1, side=32) -> torch.Tensor:
    return torch.rand(count, colours, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", FILES.values())
def test_loaded_model_agrees_with_the_reference_implementation(tmp_path, size):
    path, state = write(tmp_path / "a.pt", size)
    model, x = load_a_vae(path), images(2, 3, size)
    assert model.architecture == {"size": size, "inside": 32, "colours": 3, "width": 8}
    assert not model.training
    for temperature in (0.6, 1.0):
        with seeded("same"):
            encoded = model.encode(x)
            found = model.decode(encoded, model.chance(encoded), temperature)
        with seeded("same"):
            expected = plain.purified(state, x, temperature)
        assert (found - expected).abs().max() <= 1e-4
        assert found.std() > 0.1
    with seeded("same"):
        purified = AVAEPurifier(model, samples=1, temperature=1.0)(x)
    assert torch.allclose(purified, expected.clamp(0, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(KEY), f"the key '{KEY}', but it is missing"),
        (lambda state: state.update({KEY: torch.zeros(9)}), rf"'{KEY}' of shape \[8\], but got \[9\]"),
        (lambda state: state.update(extra=torch.zeros(1)), "only the model's keys, but got 'extra'"),
        (lambda state: state[KEY].fill_(float("nan")), f"finite weights, but '{KEY}'"),
        (lambda state: state.update({KEY: 3.0}), f"'{KEY}' is a float"),
        (lambda state: state.pop("style.1.linear.weight_orig"), "'style.1.linear.weight_orig', but it is missing"),
        (lambda state: state.pop("generator.progression.1.conv1.2.weight_flip"), "conv1.2.weight_flip', but it is"),
        (lambda state: state["generator.progression.3.conv1.1.weight"].mul_(2), r"conv1\.1\.weight' to be the blur"),
        (
            lambda state: state.update({"style.1.linear.weight_orig": torch.zeros(6, 96)}),
            "building it from them failed",
        ),
    ],
)
def test_invalid_key_is_named_in_the_error(tmp_path, change, message):
    path, _ = write(tmp_path / "a.pt", change=change)
    with pytest.raises(PurebenchError, match=message):
        load_a_vae(path)


def test_official_size_has_the_released_shapes():
    """The expected shapes are those of the release, with its width of 512."""
    with torch.device("meta"):
        state = AVAE(size=128).state_dict()
    shapes = {
        "encoder.conv4.conv2.conv.weight_orig": [1024, 1024, 3, 3],
        "style.1.linear.weight_orig": [512, 8192],
        "generator.progression.3.conv1.0.weight": [768, 256, 3, 3],
        "generator.progression.4.conv1.0.weight": [256, 256, 3, 3],
        "generator.progression.5.conv1.0.weight": [256, 128, 3, 3],
        "generator.progression.2.conv1.1.conv.weight_orig": [512, 512, 3, 3],
        "generator.progression.2.noise1.weight_orig": [1, 512, 1, 1],
        "generator.progression.5.adain2.style.linear.weight_orig": [256, 512],
        "generator.to_rgb.conv.weight_orig": [3, 128, 1, 1],
    }
    assert {name: list(state[name].shape) for name in shapes} == shapes
    assert "generator.progression.6.conv1.0.weight" not in state


def test_converted_file_is_the_same_model_and_its_kind_is_detected(tmp_path):
    path, _ = write(tmp_path / "a.pt")
    assert convert(path, tmp_path / "a.safetensors") == "a-vae"
    one, other = (load_official(tmp_path / name, "a-vae", *KINDS["a-vae"]()) for name in ("a.pt", "a.safetensors"))
    assert fingerprint(one) == fingerprint(other)
    assert one.architecture == other.architecture
    torch.save({"generator": {}, "discriminator": {}}, tmp_path / "training.pt")
    with pytest.raises(PurebenchError, match="not of the whole training"):
        convert(tmp_path / "training.pt", tmp_path / "b.safetensors", kind="a-vae")


@pytest.mark.parametrize("task", FILES)
def test_presets_match_the_papers_configurations(tmp_path, monkeypatch, task):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    for name in (f"a-vae/{task}", f"a-vae-released/{task}"):
        with pytest.raises(MissingFiles, match=rf"a-vae/{task}\.pt.*SerezD/gen_adversarial.*competitors"):
            create("defenses", Spec(name))
    write(tmp_path / f"competitors/a-vae/{task}.pt", FILES[task])
    released, meant = create("defenses", Spec(f"a-vae-released/{task}")), create("defenses", Spec(f"a-vae/{task}"))
    assert (released.samples, released.temperature) == (1, 0.6)
    assert (meant.samples, meant.temperature) == (16, 1.0)
    assert released.model.architecture["inside"] == 32
    other = "ids" if task != "ids" else "cars"
    with pytest.raises(PurebenchError, match=f"expected the a-vae of {other}"):
        create("defenses", Spec(f"a-vae/{other}", {"weights": str(tmp_path / f"competitors/a-vae/{task}.pt")}))
    with pytest.raises(PurebenchError, match=r"a-vae: 'faces' is unknown"):
        create("defenses", Spec("a-vae/faces"))


def test_purifier_returns_the_sample_nearest_to_the_image():
    """The reference draws samples one by one and takes the smallest squared distance for each image."""
    model, x = small(), images()
    with seeded("many"), torch.no_grad():
        encoded = model.encode(x)
        answers = torch.stack([model.decode(encoded, model.chance(encoded), 0.8) for _ in range(7)])
    distances = (answers - x).square().mean((2, 3, 4))
    chosen = distances.argmin(0)
    assert len(set(chosen.tolist())) > 1
    with seeded("many"):
        found = AVAEPurifier(model, samples=7, temperature=0.8)(x)
    assert torch.allclose(found, answers[chosen, range(len(x))].clamp(0, 1), atol=1e-5)


def test_more_samples_reduce_the_distance_to_the_image():
    model, x = small(), images(8)
    means = []
    for samples in (1, 4, 16):
        with seeded("nearer"):
            means.append(float((AVAEPurifier(model, samples=samples, temperature=1.0)(x) - x).square().mean()))
    assert means == sorted(means, reverse=True)
    assert means[0] > 1.05 * means[-1]


@pytest.mark.parametrize("samples", [1, 4])
def test_purifier_is_seeded_with_independent_images_and_exact_gradients(samples, assert_seeded_independent_and_exact):
    assert_seeded_independent_and_exact(AVAEPurifier(small(), samples=samples, temperature=1.0), images())


def test_result_is_deterministic_without_temperature_and_noise():
    model = small()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.zero_() if "noise" in name else None
    still = AVAEPurifier(model, samples=1, temperature=0.0)
    assert torch.equal(still(images()), still(images()))
    assert not torch.equal(*(AVAEPurifier(model, samples=1, temperature=0.6)(images()) for _ in range(2)))


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"samples": 1.5}, {"temperature": -1.0}, {"temperature": float("nan")}]
)
def test_invalid_settings_are_rejected(options):
    with pytest.raises(PurebenchError, match=rf"a-vae: {next(iter(options))}: expected a (whole )?number"):
        AVAEPurifier(small(), **{"samples": 1, "temperature": 1.0} | options)


@pytest.mark.parametrize("sizes", [{"size": 48}, {"inside": 64}, {"inside": 4}, {"width": 18}])
def test_invalid_sizes_are_rejected(sizes):
    with pytest.raises(PurebenchError, match="a-vae: expected powers of two"):
        small(**sizes)


def test_purifier_loads_a_given_weights_file(tmp_path):
    model = small()
    save(tmp_path / "mine.safetensors", model, "a-vae", model.architecture, half=False)
    made = create("defenses", Spec("a-vae-released", {"weights": str(tmp_path / "mine.safetensors")}))
    assert fingerprint(made.model) == fingerprint(model)


def test_fused_upsampling_of_a_constant_image_is_the_sum_of_the_kernel_inside():
    """Away from the border, every pixel is a quarter of the scaled kernel's sum plus the bias."""
    layer = FusedUp(2, 3)
    out = Blur()(layer(torch.ones(1, 2, 6, 6)))
    wanted = layer.gain * layer.weight.sum((0, 2, 3)) / 4 + layer.bias
    inside = out[0, :, 4:-4, 4:-4]
    assert torch.allclose(inside, wanted[:, None, None].expand_as(inside), atol=1e-5)


def test_without_clamp_images_are_the_decoders_own() -> None:
    model, x = small(), images()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "to_rgb" in name:
                value.mul_(10)
    found = {}
    for clamp in (True, False):
        with seeded("same"):
            found[clamp] = AVAEPurifier(model, samples=2, temperature=0.6, clamp=clamp)(x)
    assert found[False].min() < 0
    assert torch.equal(found[True], found[False].clamp(0, 1))
    released = create("defenses", Spec("a-vae-released", {"clamp": False}))
    assert not released.clamp
