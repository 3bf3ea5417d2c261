"""Tests that the facts that the files of the defenses declare agree with measurements of each defense."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from purebench.cli.declaration import VARIES, own
from purebench.core import registry
from purebench.core.defense import Defense, as_defense
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.defenses.checkpoints import BUNDLED
from purebench.defenses.classifiers.resnet import fashion_resnet
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.architectures.guided_unet import GuidedUNet
from purebench.defenses.diffusion.released import settings as released
from purebench.defenses.ebm import hill
from purebench.defenses.mlvgm import classifiers as paper_classifiers
from purebench.defenses.mlvgm import presets
from purebench.defenses.mlvgm.bundled import hvae
from purebench.integrations.robustbench.zoo import load

from tiny_zoo import NAME, Tiny, save, tiny_in_the_zoo  # isort: skip

OURS = own()
COSTS = json.loads(BUNDLED.with_name("costs.json").read_text(encoding="utf-8"))
FACTS = ("random", "gradient", "surrogate", "forwards", "passes")
UNPUBLISHED = ("control", "own")
"""Sources that are not papers."""
FAMILIES = {
    "art": ["art:GaussianAugmentation(sigma=0.1)", "art:CutoutPyTorch(length=8)", "art:JpegCompression(quality=50)"],
    "before": [
        "before(purifier=none, classifier=fashion-trades)",
        "before(purifier=jpeg, classifier=fashion-trades)",
        "before(purifier='vote(defense=mlvgm-hvae, draws=2)', classifier=fashion-trades)",
    ],
    "vote": [
        "vote(defense=gaussian-noise)",
        "vote(defense=mlvgm-hvae)",
        "vote(defense='before(purifier=smoothing)', draws=2)",
        "vote(defense='art:GaussianAugmentation(sigma=0.1)')",
    ],
    "mlvgm": ["mlvgm/gender-noise", "mlvgm/gender-blur", "mlvgm/gender-cosine"],
    "robustbench": [f"robustbench:{NAME}"],
    "resized": [
        "resized(purifier=gaussian-blur, size=40)",
        "resized(purifier='art:JpegCompression(quality=50)', size=40)",
        "resized(purifier='diffpure(steps=2)', size=40)",
    ],
    "trades-released": ["trades-released/gender"],
    "masked": ["masked(fault=detached)", "masked(fault=decoy-noise, classifier=fashion-trades)"],
}
"""Defenses that require parameters, and examples of them that differ in every fact declared as `varies`."""


RELEASED = released.data()["procedures"]
"""Published purifiers whose files are not on this machine; small networks replace theirs."""


class OneLayer(nn.Module):
    """A noise predictor of one layer, for procedures of hundreds of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.9 * x + 0.1 * torch.tanh(self.layer(x) + t.view(-1, 1, 1, 1) / 1000)


def small_network(name: str) -> nn.Module:
    """Returns a small network of the kind that a published purifier needs."""
    with seeded("small", name):
        if name == "likelihood-maximisation/iclr":
            return EDM(size=8, width=8, multiples=(1, 1), blocks=1, attended=(False, False))
        if RELEASED[name]["settings"].get("variance") == "learned":
            return GuidedUNet(width=8, multiples=(1, 1, 1), blocks=1, attended=(False,) * 3, head_width=8, groups=4)
        return OneLayer()


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    return fashion_resnet()


@contextmanager
def counted(module: nn.Module | None) -> Iterator[Counter[int]]:
    """Counts the images that pass through each layer with weights."""
    seen: Counter[int] = Counter()

    def note(layer: nn.Module, given: tuple[object, ...], _: object) -> None:
        if given and isinstance(given[0], Tensor):  # a constant input is called with the number of images
            seen[id(layer)] += len(given[0])

    layers = [] if module is None else [one for one in module.modules() if list(one.parameters(recurse=False))]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def measured(defense: Defense, x: Tensor) -> dict[str, object]:
    """Measures the facts of a defense."""
    behind = defense.classifier if isinstance(defense.classifier, nn.Module) else None
    with counted(defense.purifier) as own, counted(behind) as asked, torch.no_grad(), seeded("a"):
        one = defense(x)
    with torch.no_grad(), seeded("b"):
        other = defense(x)
    found: dict[str, object] = {"random": not torch.equal(one, other)}
    assert defense.random is found["random"], "`random` of the defense is wrong"
    leaf = x.clone().requires_grad_()
    with seeded("a"):
        seen = defense.purify(leaf) if defense.purifier is not None else defense(leaf)
    found["gradient"] = "none"
    if seen.requires_grad:
        weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
        (slope,) = torch.autograd.grad((weights * seen).sum(), leaf)
        found["gradient"] = "exact" if bool(slope.any()) else "zero"
    if defense.purifier is not None:
        assert defense.purifier.differentiable is (found["gradient"] != "none"), (
            "`differentiable` of the purifier is wrong"
        )
    found["surrogate"] = surrogate_of(defense, x)
    for key, seen_by in (("forwards", own), ("passes", asked)):
        times = Counter(seen_by.values())
        found[key] = max(times, key=lambda count: (times[count], count), default=0) / len(x)
    assert defense.passes == found["passes"]
    return found


def surrogate_of(defense: Defense, x: Tensor) -> str:
    """Returns `none`, `identity` (in value and gradient, for every vote), or `other`."""
    if defense.purifier is None:
        return "none"
    leaf = x.clone().requires_grad_()
    with seeded("a"):
        shown = defense.purifier.surrogate(leaf)
    weights = torch.randn(shown.shape, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((weights * shown).sum(), leaf)
    assert bool(slope.any()), "the surrogate has no gradient"
    each = leaf if shown.shape == leaf.shape else leaf.unsqueeze(1).expand_as(shown)
    summed = weights if shown.shape == leaf.shape else weights.sum(1)
    return "identity" if torch.equal(shown, each) and torch.allclose(slope, summed, atol=1e-5) else "other"


@pytest.fixture
def members(classifier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Iterator]:
    """Returns a function of a name that yields the defense with default settings, or the examples of its family.

    Each defense comes with images for it. Small models replace those of the paper and of the zoo.
    """

    def make(name: str) -> Iterator[tuple[Defense, Tensor]]:
        with seeded("images", name):
            grey, colours = 0.2 + 0.6 * torch.rand(2, 1, 32, 32), torch.rand(2, 3, 32, 32)
        if name == "robustbench":
            with tiny_in_the_zoo():
                save(Tiny(), tmp_path)
                yield as_defense(load(NAME, model_dir=tmp_path)), colours
            return
        if name == "trades-released":
            small = nn.Sequential(nn.Flatten(), nn.Linear(grey[0].numel(), 2)).eval()
            monkeypatch.setattr(paper_classifiers, "find_official", lambda *_: Path(__file__))
            monkeypatch.setattr(paper_classifiers, "_checked", lambda *_: small)
        if name in RELEASED:
            monkeypatch.setattr(released, "_find", lambda *_: Path(__file__))
            monkeypatch.setattr(released, "_network", lambda *_: small_network(name))
            colours = colours[..., :8, :8]
            if "size" in RELEASED[name]:
                monkeypatch.setitem(RELEASED[name], "size", 8)
        if name == "ebm-langevin/hill":
            monkeypatch.setattr(hill, "find_official", lambda *_, **__: tmp_path / "ebm.pth")
            with seeded(name):
                torch.save(hill.HillEnergy(width=2).state_dict(), tmp_path / "ebm.pth")
        if name in RELEASED or name == "ebm-langevin/hill":
            flat = nn.Sequential(nn.Flatten(), nn.Linear(colours[0].numel(), 10)).eval()
            made = registry.create("defenses", Spec(name))
            yield as_defense(made, flat), colours
            return
        model = hvae(schedule=[0.5] * 8, attenuation=1.0).model
        here = SimpleNamespace(stat=lambda: os.stat(__file__))
        monkeypatch.setattr(presets, "find_official", lambda *_, **__: here)
        monkeypatch.setattr(presets, "_model", lambda *_: model)
        chosen = presets.data()["tasks"]["gender"]
        monkeypatch.setitem(chosen, "cosine", [0.1] * model.latents)
        for text in FAMILIES.get(name, [name]):
            made = registry.create("defenses", Spec.parse(text), classifier=classifier)
            yield as_defense(made, classifier), colours if name.startswith("cifar10-") else grey

    return make


def test_exactly_the_defenses_of_this_package_are_declared() -> None:
    points = registry.installed("defenses")
    ours = {name for name, point in points.items() if point.value.startswith("purebench.")}
    assert ours == OURS.keys()
    assert set(FAMILIES) == {name for name, one in OURS.items() if one.ms == VARIES}


@pytest.mark.parametrize("name", sorted(OURS))
def test_declared_facts_agree_with_measurements(name: str, members: Callable[[str], Iterator]) -> None:
    found = [measured(*member) for member in members(name)]
    for key in FACTS:
        said, seen = vars(OURS[name])[key], {facts[key] for facts in found}
        if said == VARIES:
            assert len(seen) > 1, f"{key} is declared as varies, but is {seen} for all examples"
        elif key == "surrogate" and said not in ("identity", "none"):
            assert seen == {"other"}
        else:
            assert seen == {said}, key


def test_measured_forwards_follow_the_number_of_steps(classifier: nn.Module) -> None:
    for spec, forwards in (("diffpure(steps=3)", 3), ("gdmp(rounds=1, steps=2)", 2)):
        defense = as_defense(registry.create("defenses", Spec.parse(spec)), classifier)
        assert measured(defense, torch.full((2, 1, 32, 32), 0.5))["forwards"] == forwards


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_declared_paper_is_the_one_named_in_the_code(name: str) -> None:
    """The module of the factory, or that of the purifier that it returns, contains the number of the paper."""
    source = OURS[name].source
    if source in UNPUBLISHED:
        return
    (number,) = re.findall(r"arXiv:\d{4}\.\d{4,5}", source)
    make, _ = registry.factory("defenses", name)
    code = Path(sys.modules[make.__module__].__file__ or "").read_text(encoding="utf-8")
    made = sys.modules.get("purebench.defenses.mlvgm.purifier") if name.startswith("mlvgm") else None
    code += Path(made.__file__ or "").read_text(encoding="utf-8") if made else ""
    assert number in code
    year = re.search(r"\b(19|20)\d\d\b", source)
    assert year
    assert source.split(f" {year[0]}")[0].removeprefix("after ") in code, (
        "the authors differ from those named in the code"
    )


def test_the_declared_licence_is_that_of_the_package_and_the_weights() -> None:
    assert metadata("purebench")["License-Expression"] == "MIT"
    cards = {path.stem: path.read_text(encoding="utf-8") for path in BUNDLED.glob("*.md")}
    for name, one in OURS.items():
        if one.licence == VARIES:
            assert name in FAMILIES, "a defense without parameters has a fixed licence"
            continue
        if name in RELEASED:
            assert one.licence == released.data()["files"][RELEASED[name]["file"]]["licence"]
            continue
        assert one.licence == "MIT"
        make, _ = registry.factory("defenses", name)
        weights = (make.__kwdefaults__ or {}).get("weights")
        if weights is not None:
            assert f"- Licence: {one.licence}," in cards[weights]


def test_declared_times_are_those_of_the_recorded_benchmark() -> None:
    assert COSTS["command"].startswith("python benchmarks/purification.py --declared ")
    assert COSTS["command"].endswith(" --costs defenses/costs.json")
    assert COSTS["ms"].keys() <= OURS.keys() - FAMILIES.keys()
    for name, one in OURS.items():
        assert one.ms == (VARIES if name in FAMILIES else COSTS["ms"].get(name))


@pytest.mark.parametrize("name", ["vae", "mlvgm-hvae", "diffpure", "gdmp", "smoothing"])
def test_a_draw_takes_about_the_declared_time(name: str, classifier: nn.Module) -> None:
    """The limits allow for other and for busy machines; a wrong unit would be off by a factor of a thousand."""
    defense = as_defense(registry.create("defenses", Spec(name), classifier=classifier), classifier)
    x = torch.full((8, 1, 32, 32), 0.5)
    with torch.no_grad():
        defense(x)
        began = time.process_time()
        defense(x)
        ms = 1000 * (time.process_time() - began) / len(x)
    said = OURS[name].ms
    assert isinstance(said, float)
    assert said / 20 < ms < said * 20
