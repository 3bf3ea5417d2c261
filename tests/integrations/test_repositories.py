"""Tests the adapters on small classes in the layouts of the repositories, by running the page that shows them."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import nn
from torch.nn import functional as F

from purebench.core.defense import as_defense, fingerprint
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.chain import seeded_noise
from purebench.defenses.diffusion.sampling import noise_levels
from purebench.integrations.repositories import from_diffhammer, from_diffpure, from_lee_kim, from_pipeline

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-a-repository.md"
MOST_LINES = 15


def blocks():
    """Return the Python blocks of the page by file name."""
    found = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return dict(found)


def classifier():
    with seeded("classifier"):
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded("network"):
            self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t):
        return torch.tanh(self.layer(x)) + t.view(-1, 1, 1, 1) / 1000


class PurificationForward(nn.Module):
    """The attributes and methods of Lee & Kim's class; each step removes a share of the predicted noise."""

    def __init__(self, clf, diffusion, max_timestep, attack_steps, sampling_method, is_imagenet, device):
        super().__init__()
        self.clf, self.diffusion, self.is_imagenet = clf, diffusion, is_imagenet
        self.max_timestep, self.attack_steps = max_timestep, attack_steps

    def purified(self, x):
        for t, steps in zip(self.max_timestep, self.attack_steps, strict=True):
            x = x + t / 1000 * torch.randn_like(x)
            for step in reversed(steps):
                x = x - 0.1 * self.diffusion(x, torch.full((len(x),), float(step)))
        return x

    def preprocess(self, x):
        if self.is_imagenet:
            x = F.interpolate(x, size=(256, 256), mode="bilinear", align_corners=False)
        return (self.purified(2 * x - 1) + 1) / 2

    def forward(self, x):
        z = self.purified(2 * (bilinear(x, 256) if self.is_imagenet else x) - 1)
        if self.is_imagenet:
            return self.clf(((bilinear(z, 8) + 1) / 2 - 0.4) / 0.2)
        return self.clf((z + 1) / 2)


def bilinear(x, size):
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


class Runner:
    """The method of DiffPure's runners; from batch 2 on, it writes no pictures."""

    def __init__(self, args, under_no_grad):
        self.args, self.no_grad, self.sizes = args, under_no_grad, []

    def image_editing_sample(self, img, bs_id=0, tag=None):
        assert bs_id >= 2, "the runner would write pictures"
        self.sizes.append(img.shape[-1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.no_grad):
            return 0.9 * img + 0.1 * torch.randn_like(img)


class SDE_Adv_Model(nn.Module):
    def __init__(self, args, config):
        super().__init__()
        self.args, self.classifier = args, classifier()
        self.runner = Runner(args, args.diffusion_type not in ("sde", "ode", "ldsde"))

    def forward(self, x):
        imagenet = "imagenet" in self.args.domain
        z = self.runner.image_editing_sample(((bilinear(x, 256) if imagenet else x) - 0.5) * 2, bs_id=5)
        return self.classifier(((bilinear(z, x.shape[-1]) if imagenet else z) + 1) * 0.5)


class DiffPureClassifier(nn.Module):
    """DiffHammer's layout: purify detaches, and needs gradients inside as its likelihood maximisation does."""

    def __init__(self, diffusion, classifier, config):
        super().__init__()
        self.diffusion, self.classifier = diffusion, classifier

    def purify(self, x, backward=False, seeds=None):
        x = (x - 0.5) * 2
        x.requires_grad_(True)
        loss = (self.diffusion(x + torch.randn_like(x), torch.zeros(len(x))) ** 2).sum()
        loss.backward()
        return (x - 0.01 * x.grad).detach() / 2 + 0.5

    def forward(self, x, backward=False):
        return self.classifier(self.purify(x, backward).detach().clone())


def arguments(**more):
    return Namespace(**{"domain": "cifar10", "diffusion_type": "sde", "log_dir": "", **more})


STAND_INS = {
    "load_model": {"load_models": lambda args, src, device: (classifier(), Network())},
    "path": {"diffusion_model_path": {"cifar10": "checkpoint_8.pth"}},
    "purification": {"PurificationForward": PurificationForward},
    "eval_sde_adv": {
        "SDE_Adv_Model": SDE_Adv_Model,
        "parse_args_and_config": lambda: (arguments(domain=sys.argv[sys.argv.index("--domain") + 1]), None),
    },
    "config": {
        "get_config": lambda method, dataset, attack, seed, batch, size: SimpleNamespace(
            DEFENSE=SimpleNamespace(DIFFUSION_NAME="score_sde_c10", CLASSIFIER_NAME="wrn_c10", DIFFPURE={})
        )
    },
    "defense": {"DiffPureClassifier": DiffPureClassifier},
    "utils": {"get_model": lambda name: Network() if name == "score_sde_c10" else classifier()},
}
"""Contents of the modules of the repositories that the blocks of the page import, by module."""


@pytest.fixture
def x():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A working directory with the files of the page, beside modules in the layout of the repositories."""
    for name, text in blocks().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, contents in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    # other tests put benchmarks/ there, which has a module of the same name as a repository's
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place).name != "benchmarks"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "forward"),
    [
        (
            "lee_kim.py:defense",
            lambda: PurificationForward(
                classifier(), Network(), [199], [[39, 79, 119, 159, 199]], "ddpm", False, "cpu"
            ),
        ),
        ("diffpure_release.py:defense", lambda: SDE_Adv_Model(arguments(), None)),
        ("flowpure.py:defense", lambda: DiffPureClassifier(Network(), classifier(), {})),
    ],
)
def test_defense_of_the_page_answers_as_the_repositorys_own_forward(repository, x, file, forward):
    made = as_defense(create("defenses", Spec(file)))
    with seeded("answer"):
        found = made(x)
    with seeded("answer"):
        assert torch.allclose(found, forward()(x), atol=1e-6)
    assert made.random
    with torch.no_grad():
        assert made(x).shape == (3, 5)
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_blocks_of_the_page_are_short_and_all_of_them_run(repository, x):
    for name, text in blocks().items():
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) <= MOST_LINES, name
    assert create("defenses", Spec("anything.py:purifier"))(x).shape == x.shape
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    DDPMPipeline(unet(), scheduler).save_pretrained("ddpm-cifar10-32")
    purifier = create("defenses", Spec.parse("pipeline.py:purifier(t=20, steps=2)"))
    assert purifier(x).shape == x.shape


def unet():
    with seeded("unet"):
        return UNet2DModel(
            sample_size=8,
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            add_attention=False,
        ).eval()


def test_weights_of_the_repository_are_part_of_the_defense(x):
    made = from_lee_kim(PurificationForward(classifier(), Network(), [9], [[9]], "ddpm", False, "cpu"))
    before = fingerprint(made)
    with torch.no_grad():
        made.purifier.models[0].diffusion.layer.bias.add_(1)
    assert fingerprint(made) != before


def test_gradient_of_lee_kim_is_that_of_their_forward(x):
    model = PurificationForward(classifier(), Network(), [50], [[24, 49]], "ddpm", False, "cpu")
    slopes = []
    for call in (from_lee_kim(model), model):
        asked = x.clone().requires_grad_()
        with seeded("gradient"):
            slopes.append(torch.autograd.grad(call(asked).square().sum(), asked)[0])
    assert torch.allclose(*slopes, atol=1e-6)
    assert slopes[0].abs().max() > 1e-3


def test_lee_kim_for_imagenet_needs_a_classifier_that_normalises(x):
    model = PurificationForward(classifier(), Network(), [9], [[9]], "ddpm", True, "cpu")
    with pytest.raises(PurebenchError, match="expected a classifier that normalises its input"):
        from_lee_kim(model)

    class Normalised(nn.Module):
        def forward(self, images):
            return model.clf((images - 0.4) / 0.2)

    with seeded("imagenet"):
        found = from_lee_kim(model, classifier=Normalised())(x)
    with seeded("imagenet"):
        assert torch.allclose(found, model(x), atol=1e-5)


def test_the_attacks_model_of_lee_kim_is_the_surrogate(x):
    model = PurificationForward(classifier(), Network(), [50], [[24, 49]], "ddpm", False, "cpu")
    attacked = PurificationForward(model.clf, model.diffusion, [50], [[49]], "ddpm", False, "cpu")
    purifier = from_lee_kim(model, attacked=attacked).purifier
    with seeded("surrogate"):
        found = purifier.surrogate(x)
    with seeded("surrogate"):
        assert torch.equal(found, attacked.preprocess(x))
    assert from_lee_kim(model).purifier.surrogate(x) is x


@pytest.mark.parametrize(("kind", "differentiable"), [("sde", True), ("ode", True), ("ddpm", False)])
def test_diffpure_is_differentiable_where_its_runner_is(x, kind, differentiable):
    made = from_diffpure(SDE_Adv_Model(arguments(diffusion_type=kind), None))
    assert made.purifier.differentiable is differentiable
    assert made.purifier(x.clone().requires_grad_()).requires_grad is differentiable


def test_diffpure_for_imagenet_purifies_at_256_pixels(x):
    model = SDE_Adv_Model(arguments(domain="imagenet"), None)
    with seeded("imagenet"):
        found = from_diffpure(model)(x)
    with seeded("imagenet"):
        assert torch.allclose(found, model(x), atol=1e-6)
    assert model.runner.sizes == [256, 256]


def test_diffhammer_has_no_gradient(x):
    made = from_diffhammer(DiffPureClassifier(Network(), classifier(), {}))
    assert made.purifier.differentiable is False
    assert not made.purifier(x.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("clip", [True, False])
def test_pipeline_purifies_as_its_scheduler_samples(x, variance, clip):
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_end=0.015, variance_type=variance, clip_sample=clip)
    purifier = from_pipeline(DDPMPipeline(unet(), scheduler), t=6, steps=6)
    with seeded("pipeline"), torch.no_grad():
        found = purifier(x)
    with seeded("pipeline"):
        first, *seeds = torch.randint(2**62, (7,)).tolist()
    level = scheduler.alphas_cumprod[5]
    state = level.sqrt() * (2 * x - 1) + (1 - level).sqrt() * seeded_noise(x, first)
    for t, seed in zip(reversed(range(6)), seeds, strict=True):
        with torch.no_grad():
            predicted = unet()(state, t).sample
        step = scheduler.step(predicted, t, state, generator=torch.Generator().manual_seed(seed))
        state = step.prev_sample
    assert torch.allclose(found, ((state + 1) / 2).clamp(0, 1), atol=1e-4)
    assert not torch.allclose(purifier.levels[:-1], noise_levels(), atol=1e-3), "the schedule is the pipeline's"


def test_other_pipelines_and_layouts_are_rejected():
    with pytest.raises(PurebenchError, match="predicts the noise"):
        from_pipeline(DDPMPipeline(unet(), DDIMScheduler(prediction_type="v_prediction")))
    with pytest.raises(PurebenchError, match="learned_range"):
        from_pipeline(DDPMPipeline(unet(), DDPMScheduler(variance_type="learned_range")))
    for adapt, names in (
        (from_lee_kim, "preprocess, clf, is_imagenet"),
        (from_diffpure, "runner, classifier, args"),
        (from_diffhammer, "purify, classifier"),
        (from_pipeline, "unet, scheduler"),
    ):
        with pytest.raises(PurebenchError, match=f"with {names}, but Identity has no"):
            adapt(nn.Identity())
