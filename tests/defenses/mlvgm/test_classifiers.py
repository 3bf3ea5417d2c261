"""Tests the paper's classifiers, loaded from random official files, against torchvision and a reference head."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses import checkpoints
from purebench.defenses.mlvgm.classifiers import (
    KIND,
    PaperClassifier,
    load_classifier,
    paper_classifier,
    trades_released,
)


def head(x: torch.Tensor, state: dict[str, torch.Tensor], at: str) -> torch.Tensor:
    """Apply linear without bias, batch norm, ReLU and linear, computed from the weights."""
    x = x @ state[f"{at}.0.weight"].T
    x = (x - state[f"{at}.1.running_mean"]) / (state[f"{at}.1.running_var"] + 1e-5).sqrt()
    x = (x * state[f"{at}.1.weight"] + state[f"{at}.1.bias"]).clamp_min(0)
    return x @ state[f"{at}.3.weight"].T + state[f"{at}.3.bias"]


def official(network: str, classes: int) -> dict[str, torch.Tensor]:
    """Return random weights under the official keys, from torchvision's network and the specified head."""
    body = getattr(models, network)(weights=None)
    state = {f"model.{name}": value for name, value in body.state_dict().items() if not name.startswith("fc.")}
    width = body.fc.in_features
    state |= {
        "model.fc.0.weight": torch.randn(width, width) / width**0.5,
        "model.fc.1.weight": torch.rand(width) + 0.5,
        "model.fc.1.bias": torch.randn(width),
        "model.fc.1.running_mean": torch.randn(width),
        "model.fc.1.running_var": torch.rand(width) + 0.5,
        "model.fc.1.num_batches_tracked": torch.tensor(7),
        "model.fc.3.weight": torch.randn(classes, width) / width**0.5,
        "model.fc.3.bias": torch.randn(classes),
    }
    for name in state:
        if name.endswith("running_mean"):
            state[name] = 0.1 * torch.randn_like(state[name])
    return state


@pytest.fixture(scope="module", params=[("resnet50", 2), ("resnext50_32x4d", 4)], ids=lambda pair: pair[0])
def file(request, tmp_path_factory):
    with seeded("classifier"):
        state = official(*request.param)
    path = tmp_path_factory.mktemp("classifier") / "best.pt"
    torch.save({"epoch": 3, "global_step": 9, "state_dict": state}, path)
    return *request.param, path, state


def test_official_file_agrees_with_torchvisions_network_and_the_papers_head(file):
    network, classes, path, state = file
    model = paper_classifier(task={2: "gender", 4: "cars"}[classes], weights=str(path))
    assert not model.training
    x = torch.rand(2, 3, 64, 64)
    body = getattr(models, network)(weights=None)
    body.fc = torch.nn.Identity()
    body.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if not k.startswith("model.fc.")})
    expected = head(body.eval()(2 * x - 1), state, "model.fc")
    assert torch.allclose(model(x), expected, atol=1e-5, rtol=1e-4)
    assert expected.std() > 0.1


def test_converted_file_gives_the_same_logits(file, tmp_path):
    *_, path, _ = file
    model = load_classifier(path)
    checkpoints.save(tmp_path / "c.safetensors", model, KIND, model.architecture, half=False)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(load_classifier(tmp_path / "c.safetensors")(x), model(x))


def test_another_task_or_number_of_classes_is_rejected(file):
    network, classes, path, _ = file
    with pytest.raises(PurebenchError, match=r"expected .*, but got"):
        paper_classifier(task="cars" if classes == 2 else "gender", weights=str(path))
    with pytest.raises(PurebenchError, match=r"expected .*, but got"):
        paper_classifier(network=network, classes=classes + 1, weights=str(path))


def test_missing_unexpected_and_invalid_keys_are_named_in_the_error(file, tmp_path):
    *_, state = file
    name = "model.layer2.0.bn1.running_var"
    wrong = {
        "missing": {key: value for key, value in state.items() if key != name},
        "too": state | {"model.extra": torch.ones(1)},
        "of shape": state | {name: torch.ones(3)},
        "NaN": state | {name: state[name] * torch.nan},
    }
    for message, changed in wrong.items():
        torch.save({"state_dict": changed}, tmp_path / "bad.pt")
        with pytest.raises(PurebenchError, match=message) as caught:
            load_classifier(tmp_path / "bad.pt")
        assert ("model.extra" if message == "too" else name) in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"state_dict": {"conv.weight": torch.ones(1)}}, {"state_dict": 3}])
def test_files_of_another_layout_are_rejected(content, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(PurebenchError, match="expected"):
        load_classifier(tmp_path / "other.pt")


def test_head_of_vgg_replaces_its_whole_classifier():
    """Compares shapes only, because the head has 630 million weights."""
    with torch.device("meta"):
        model = PaperClassifier(network="vgg11_bn", classes=100)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["model.classifier.0.weight"] == (25088, 25088)
    assert shapes["model.classifier.1.running_mean"] == (25088,)
    assert shapes["model.classifier.3.weight"] == (100, 25088)
    assert "model.classifier.0.bias" not in shapes
    convolutions = [0, 4, 8, 11, 15, 18, 22, 25]
    assert [n for n in range(30) if len(shapes.get(f"model.features.{n}.weight", ())) == 4] == convolutions
    assert all(f"model.features.{n + 1}.running_var" in shapes for n in convolutions)
    assert not [name for name in shapes if not name.startswith(("model.features.", "model.classifier."))]
    head_size = sum(value.numel() for name, value in model.named_parameters() if "classifier.0" in name)
    assert head_size == 629_407_744
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 100)


def test_missing_files_and_invalid_options_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    with pytest.raises(MissingFiles, match=r"classifiers/ids\.pt \(published at https://huggingface\.co/SerezD"):
        paper_classifier(task="ids")
    with pytest.raises(PurebenchError, match="'gendr' is unknown; did you mean 'gender'"):
        paper_classifier(task="gendr")
    with pytest.raises(PurebenchError, match="expected a task"):
        paper_classifier(network="resnet50", classes=2)
    with pytest.raises(PurebenchError, match="drop one"):
        paper_classifier(task="ids", classes=2)
    with pytest.raises(PurebenchError, match="'resnet51' is unknown"):
        PaperClassifier(network="resnet51", classes=2)


def test_trades_of_a_task_is_the_classifier_in_its_own_file(file, tmp_path, monkeypatch):
    network, classes, path, _ = file
    task = {2: "gender", 4: "cars"}[classes]
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    with pytest.raises(MissingFiles, match=rf"competitors/trades/{task}\.pt .*SerezD/gen_adversarial.*competitors"):
        create("defenses", Spec(f"trades-released/{task}"))
    (tmp_path / "competitors" / "trades").mkdir(parents=True)
    (tmp_path / "competitors" / "trades" / f"{task}.pt").symlink_to(path)
    made = create("defenses", Spec(f"trades-released/{task}"))
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(made(x), load_classifier(path)(x))
    assert made.architecture == {"network": network, "classes": classes}
    with pytest.raises(PurebenchError, match=r"expected .*vgg11_bn"):
        trades_released(name="ids", weights=str(path))
    with pytest.raises(PurebenchError, match="'car' is unknown; did you mean 'cars'"):
        trades_released(name="car")
